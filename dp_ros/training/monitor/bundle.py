"""A bundle written anew with a failure monitor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dp_ros.networks.novelty import Novelty
from dp_ros.policy.bundle.bundle import MONITOR, Bundle
from dp_ros.policy.bundle.monitor_spec import MonitorSpec
from dp_ros.training.export.further_network import write_with_network


def write_with_monitor(
    bundle: Bundle,
    folder: Path,
    novelty: Novelty,
    spec: MonitorSpec,
    *,
    record: Mapping[str, Any],
    overwrite: bool = False,
    name: str = '',
) -> Bundle:
    """Write ``bundle`` with a monitor to ``folder``; ``record`` says what it comes from. All else stays as it is."""
    return write_with_network(
        bundle,
        folder,
        novelty,
        {'cond': bundle.parity().cond},
        file=MONITOR,
        provenance={'monitor': dict(record)},
        monitor=spec,
        name=name,
        overwrite=overwrite,
    )
