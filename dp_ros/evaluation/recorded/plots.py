"""Draw an open-loop comparison: error by step beside the baselines, and the worst moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.evaluation.recorded.moments import BASELINES, Moment
from dp_ros.task.spec import TaskSpec

_MOST = 12
_PAST = 8
STYLES = {'policy': ('C0', '-'), 'nearest': ('C0', ':'), BASELINES[0]: ('0.5', '--'), BASELINES[1]: ('C1', '--')}


def plot_moments(
    summary: Mapping[str, Any], worst: Sequence[tuple[Moment, int]], task: TaskSpec, folder: Path
) -> list[Path]:
    """Draw a summary and its worst moments into ``folder``; return the files."""
    drawn = {'error_per_step': _errors(summary), 'worst_moments': _worst(worst, task)}
    for name, figure in drawn.items():
        figure.savefig(folder / f'{name}.png', dpi=110)
    return [folder / f'{name}.png' for name in drawn]


def _panels(count: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.0 + 4.2 * columns, 0.6 + 2.9 * rows), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat[count:]:
        one.set_axis_off()
    return figure, list(axes.flat[:count])


def _errors(summary: Mapping[str, Any]) -> Any:
    joints = summary['joints'][:_MOST]
    figure, panels = _panels(len(joints))
    for index, (axes, joint) in enumerate(zip(panels, joints, strict=True)):
        for name, errors in summary['errors'].items():
            colour, style = STYLES[name]
            axes.plot(*_line(errors['per_step'], index), style, color=colour, label=name)
        axes.plot(*_line(summary['spread']['per_step'], index), '-', color='C2', lw=1, label='spread of samples')
        axes.axvspan(-0.5, summary['exec_horizon'] - 0.5, color='0.93', zorder=0)
        axes.set(title=joint, xlabel='step of the chunk (grey: executed)', ylabel=f'[{summary["units"][index]}]')
        axes.set_xlim(-0.5, len(summary['relative']['policy']) - 0.5)
        axes.set_ylim(bottom=0.0)
        axes.grid(True, alpha=0.3)
    panels[0].legend(fontsize='small')
    figure.suptitle(f'{summary["bundle"]}: mean absolute error on {summary["moments"]} recorded moments')
    return figure


def _line(rows: Sequence[Sequence[float] | None], index: int) -> tuple[list[int], list[float]]:
    known = [(step, row[index]) for step, row in enumerate(rows) if row is not None]
    return [step for step, _ in known], [value for _, value in known]


def _worst(worst: Sequence[tuple[Moment, int]], task: TaskSpec) -> Any:
    figure, panels = _panels(len(worst))
    dt = task.control_dt
    for axes, (moment, joint) in zip(panels, worst, strict=True):
        times = moment.seconds + dt * np.arange(task.pred_horizon)
        for number, sample in enumerate(moment.samples):
            axes.plot(times, sample[:, joint], color='C0', lw=1, alpha=0.6, label='' if number else 'samples')
        for name, chunk in moment.baselines.items():
            colour, style = STYLES[name]
            axes.plot(times, chunk[:, joint], style, color=colour, lw=1, label=name)
        axes.plot(times, moment.recorded[:, joint], 'k.-', ms=4, label='recorded')
        past = moment.measured[-_PAST:, joint]
        axes.plot(moment.seconds + dt * np.arange(1 - len(past), 1), past, color='C3', lw=1.5, label='measured')
        axes.axvline(moment.seconds, color='0.7', lw=1, zorder=0)
        unit = task.action.units[joint]
        title = f'{task.action.joints[joint]} [{unit}]\n{moment.episode} at {moment.seconds:.1f} s'
        axes.set(title=title, xlabel='since the episode began [s]')
        axes.title.set_fontsize('medium')
        axes.grid(True, alpha=0.3)
    panels[0].legend(fontsize='x-small')
    figure.suptitle('where the policy is farthest from what was commanded')
    return figure
