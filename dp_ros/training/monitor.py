"""Learn from the encoder's outputs of successful episodes what is usual, and write a bundle anew with that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dp_ros.errors import DataError, check_finite, check_shape
from dp_ros.networks.novelty import Features, Novelty
from dp_ros.policy.bundle.bundle import MONITOR, Bundle
from dp_ros.policy.bundle.monitor_spec import MonitorSpec
from dp_ros.training.export.further_network import write_with_network

BATCH = 256
LEARNING_RATE = 1e-3
COMPONENTS = 32
"""Of the encoder's output that are kept, at most."""
FEWEST = 64
"""Observations that are learnt from at least."""


def fit_novelty(conds: np.ndarray, held_out: np.ndarray, *, steps: int = 2000, seed: int = 0) -> Novelty:
    """Return a network in evaluation mode that learnt from ``conds`` (N, D); ``held_out`` (M, D) say what is usual.

    Raises
    ------
    DataError
        If they are too few, of different widths, or not finite.

    """
    check_shape('conds', conds, (None, None))
    check_shape('conds held out', held_out, (None, conds.shape[1]))
    for name, given in (('conds', conds), ('conds held out', held_out)):
        check_finite(name, given)
    if len(conds) < FEWEST or not len(held_out):
        raise DataError(f'conds: got {len(conds)} and {len(held_out)} held out, allowed {FEWEST} and 1 or more')
    torch.manual_seed(seed)
    rows = torch.from_numpy(conds.astype(np.float32))
    novelty = Novelty(_features(rows))
    with torch.no_grad():
        features = novelty.features(rows)
    optimizer = torch.optim.AdamW(novelty.predictor.parameters(), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1)
    for _ in tqdm(range(steps), unit='step', desc='novelty', dynamic_ncols=True):
        loss = novelty.difference(features[torch.randint(len(features), (BATCH,))]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    novelty.eval()
    with torch.no_grad():
        for values in novelty.parameters():
            values.copy_(values.to(torch.float16).to(torch.float32))  # as they are stored
        novelty.usual.copy_(novelty.error(torch.from_numpy(held_out.astype(np.float32))).mean().clamp(min=1e-9))
    return novelty


@torch.no_grad()
def _features(rows: Tensor) -> Features:
    """Return the principal components of ``rows`` (N, D), each rounded to what it is stored as."""
    center = rows.mean(dim=0)
    kept = min(COMPONENTS, rows.shape[1])
    _, _, directions = torch.svd_lowrank(rows - center, q=kept, niter=4)
    project = directions.to(torch.float16).to(torch.float32)
    low = (rows - center) @ project
    rest = (rows - center - low @ project.T).norm(dim=1).mean()
    return Features(center, project, low.std(dim=0), rest)


def novelty_of(novelty: Novelty, conds: np.ndarray) -> np.ndarray:
    """Return the novelty (N,) of ``conds`` (N, D)."""
    with torch.no_grad():
        found: np.ndarray = novelty(torch.from_numpy(conds.astype(np.float32))).numpy()
    return found


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
