"""A bundle written anew with a failure monitor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dp_ros.networks.novelty import Novelty
from dp_ros.policy.bundle.bundle import MONITOR, PARITY, Bundle
from dp_ros.policy.bundle.manifest import write_bundle
from dp_ros.policy.bundle.monitor_spec import MonitorSpec
from dp_ros.training.export.export import replayed
from dp_ros.training.export.exported_networks import store_half, to_onnx


@torch.no_grad()
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
    parity = bundle.parity()
    cond = torch.from_numpy(parity.cond)
    networks: dict[str, Path | bytes] = {f: bundle.path(f) for f in bundle.files if f not in (PARITY, MONITOR)}
    networks[MONITOR] = store_half(to_onnx(novelty, (cond,), ['cond'], 'novelty'))
    return write_bundle(
        folder,
        task=bundle.task,
        normalizer=bundle.normalizer,
        schedule=bundle.schedule,
        defaults=bundle.defaults,
        networks=networks,
        parity=replace(parity, novelty=novelty(cond).numpy()),
        provenance={**bundle.provenance, 'monitor': dict(record)},
        tolerance=bundle.tolerance,
        critic_from=bundle.critic_from,
        camera_shapes=bundle.camera_shapes,
        starts=bundle.starts,
        monitor=spec,
        name=name or folder.name,
        overwrite=overwrite,
        check=replayed,
    )
