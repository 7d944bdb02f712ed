"""A bundle written anew with a critic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dp_ros.networks.critic import Critic
from dp_ros.policy.bundle.bundle import CRITIC, MONITOR, PARITY, Bundle
from dp_ros.policy.bundle.manifest import write_bundle
from dp_ros.policy.bundle.parity import state_of
from dp_ros.training.export.export import replayed
from dp_ros.training.export.exported_networks import store_half, to_onnx


@torch.no_grad()
def write_with_critic(
    bundle: Bundle,
    folder: Path,
    critic: Critic,
    *,
    critic_from: float,
    record: Mapping[str, Any],
    overwrite: bool = False,
) -> Bundle:
    """Write ``bundle`` with a critic to ``folder``; ``record`` says what it comes from. Its name is the folder's.

    A monitor is left out: it was calibrated on what the policy did without the critic.
    """
    parity = bundle.parity()
    actions = torch.from_numpy(parity.x_k[..., : len(bundle.task.action.joints)].copy())
    cond = torch.from_numpy(parity.cond)
    networks: dict[str, Path | bytes] = {f: bundle.path(f) for f in bundle.files if f not in (PARITY, CRITIC, MONITOR)}
    state = torch.from_numpy(state_of(bundle.task, parity.inputs))
    networks[CRITIC] = store_half(to_onnx(critic, (cond, state, actions), ['cond', 'state', 'actions'], 'value'))
    return write_bundle(
        folder,
        task=bundle.task,
        normalizer=bundle.normalizer,
        schedule=bundle.schedule,
        defaults=bundle.defaults,
        networks=networks,
        parity=replace(parity, value=critic(cond, state, actions).numpy(), novelty=None),
        provenance={**bundle.provenance, 'critic': dict(record)},
        tolerance=bundle.tolerance,
        critic_from=critic_from,
        camera_shapes=bundle.camera_shapes,
        starts=bundle.starts,
        name=folder.name,
        overwrite=overwrite,
        check=replayed,
    )
