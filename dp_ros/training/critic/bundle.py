"""A bundle written anew with a critic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dp_ros.networks.critic import Critic
from dp_ros.policy.bundle.bundle import CRITIC, Bundle
from dp_ros.policy.bundle.parity import state_of
from dp_ros.training.export.further_network import write_with_network


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
