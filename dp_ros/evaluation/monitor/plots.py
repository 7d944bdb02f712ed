"""Draw the scores of an episode that fails beside those of one that succeeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dp_ros.errors import DataError
from dp_ros.policy.bundle.monitor_spec import MonitorSpec

if TYPE_CHECKING:
    from dp_ros.evaluation.monitor.study import Watched

COLOURS = ('#c0392b', '#8e44ad', '#2471a3', '#7d9f35', '#b7950b', '#909497')
GREY = '#d5d8dc'
MOST = 3.0  # of a threshold that is drawn


def plot_failure(episodes: Sequence[Watched], spec: MonitorSpec, path: Path, detectors: Sequence[str]) -> None:
    """Draw every score as a share of its threshold, in the failed episode of median detection time.

    Raises
    ------
    DataError
        If no episode failed.

    """
    from matplotlib.figure import Figure

    failed = [e for e in episodes if not e.trace.success]
    if not failed:
        raise DataError('plot: got no failed episode, allowed one or more')
    foretold = sorted(
        (e for e in failed if e.alarm(detectors[0]) is not None), key=lambda e: e.alarm(detectors[0]) or 0
    )
    shown = foretold[len(foretold) // 2] if foretold else failed[0]
    good = [e for e in episodes if e.trace.success][:20]
    figure = Figure(figsize=(8, 1.5 * len(detectors)), dpi=110)
    axes = figure.subplots(len(detectors), 1, sharex=True)
    for axis, name, colour in zip(axes, detectors, COLOURS, strict=True):
        for other in good:
            axis.plot(other.trace.since_start, np.minimum(other.shares[name], MOST), color=GREY, linewidth=0.8)
        axis.plot(shown.trace.since_start, np.minimum(shown.shares[name], MOST), color=colour, linewidth=1.6)
        axis.axhline(1.0, color='black', linewidth=0.8, linestyle='--')
        at = shown.alarm(name)
        if at is not None:
            axis.axvline(at, color=colour, linewidth=0.8, linestyle=':')
        axis.set_ylabel(name.replace(' and ', '\nand '), fontsize=8)
        axis.set_ylim(0.0, MOST)
        axis.tick_params(labelsize=8)
    axes[0].set_title(
        f'seed {shown.trace.seed}, {shown.condition.replace("_", " ")}: scores as shares of their thresholds; '
        f'grey: {len(good)} episodes that succeed', fontsize=9,
    )  # fmt: skip
    axes[-1].set_xlabel('time since the first window [s]', fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
