"""A bundle written anew with one more network beside its own: a critic, a monitor or a noise actor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.networks.critic import Critic
from dp_ros.policy.bundle.bundle import CRITIC, MONITOR, NOISE, PARITY, Bundle
from dp_ros.policy.bundle.manifest import write_bundle
from dp_ros.policy.bundle.monitor_spec import MonitorSpec
from dp_ros.policy.bundle.parity import state_of
from dp_ros.training.export.export import replayed
from dp_ros.training.export.exported_networks import store_half, to_onnx

OUTPUTS = {CRITIC: 'value', MONITOR: 'novelty', NOISE: 'noise'}
"""What each network's output is called, in its ONNX file and in `dp_ros.policy.bundle.parity.Parity`."""


@torch.no_grad()
def write_with_network(
    bundle: Bundle,
    folder: Path,
    network: nn.Module,
    inputs: Mapping[str, np.ndarray],
    *,
    file: str,
    provenance: Mapping[str, Any],
    defaults: SamplerSettings | None = None,
    critic_from: float | None = None,
    monitor: MonitorSpec | None = None,
    name: str = '',
    overwrite: bool = False,
) -> Bundle:
    """Write ``bundle`` with a network in place of the one it may have; all else stays as it is but for the monitor.

    A monitor is left out unless it is the network: it was calibrated on what the policy did without the other one.

    Parameters
    ----------
    bundle, folder
        Of a diffusion policy; and where to.
    network
        In evaluation mode; its large weights are stored in float16, to which they are rounded already.
    inputs
        What it is given for the recorded pair of ``bundle``, by the inputs' names, each with the batch (B, ...) first.
    file
        One of `OUTPUTS`.
    provenance
        What is added to that of ``bundle``.
    defaults, critic_from
        Of the new bundle; None: those of ``bundle``.
    monitor
        The thresholds where the network is a monitor.
    name
        Empty: the folder's.

    """
    tensors = tuple(torch.from_numpy(values) for values in inputs.values())
    output = OUTPUTS[file]
    networks: dict[str, Path | bytes] = {f: bundle.path(f) for f in bundle.files if f not in (PARITY, MONITOR, file)}
    networks[file] = store_half(to_onnx(network, tensors, list(inputs), output))
    recorded: dict[str, Any] = {OUTPUTS[MONITOR]: None, output: network(*tensors).numpy()}
    return write_bundle(
        folder,
        task=bundle.task,
        normalizer=bundle.normalizer,
        schedule=bundle.schedule,
        defaults=bundle.defaults if defaults is None else defaults,
        networks=networks,
        parity=replace(bundle.parity(), **recorded),
        provenance={**bundle.provenance, **provenance},
        tolerance=bundle.tolerance,
        critic_from=bundle.critic_from if critic_from is None else critic_from,
        camera_shapes=bundle.camera_shapes,
        starts=bundle.starts,
        monitor=monitor,
        name=name or folder.name,
        overwrite=overwrite,
        check=replayed,
    )


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
    inputs = {
        'cond': parity.cond,
        'state': state_of(bundle.task, parity.inputs),
        'actions': parity.x_k[..., : len(bundle.task.action.joints)].copy(),
    }
    return write_with_network(
        bundle,
        folder,
        critic,
        inputs,
        file=CRITIC,
        provenance={'critic': dict(record)},
        critic_from=critic_from,
        overwrite=overwrite,
    )
