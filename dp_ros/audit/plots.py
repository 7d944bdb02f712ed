"""An audit as pictures: times of topics, values of channels, and state beside action."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dp_ros.audit.audit import Audit
from dp_ros.audit.ticks import LAGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 12


def plot_audit(audit: Audit, folder: Path) -> list[Path]:
    """Draw what was measured into ``folder``; return the files."""
    from matplotlib.figure import Figure

    drawn = []
    for name, draw in (('times', _times), ('channels', _channels), ('ticks', _ticks)):
        figure = Figure(layout='constrained')
        if draw(audit, figure):
            drawn.append(folder / f'{name}.png')
            figure.savefig(drawn[-1], dpi=110)
    return drawn


def _times(audit: Audit, figure: Figure) -> bool:
    topics = [t for t in audit.topics.values() if t.intervals.count][:_MOST]
    if not topics:
        return False
    figure.set_size_inches(11, 1.2 + 0.45 * max(3, len(topics)))
    left, right = figure.subplots(1, 2)
    shares = (0.01, 0.25, 0.5, 0.75, 0.99)
    for axes, title, of in (
        (left, 'between messages [s]: 1 %, 25-75 %, 99 %; x: longest', [t.intervals for t in topics]),
        (right, 'from stamp to receive time [s]', [t.clock.latency for t in topics]),
    ):
        for row, sizes in enumerate(of):
            if not sizes.count:
                continue
            low, first, middle, third, high = (max(1e-6, sizes.quantile(share)) for share in shares)
            axes.plot([low, high], [row, row], color='0.6', lw=1.5)
            axes.plot([first, third], [row, row], color='C0', lw=7, solid_capstyle='butt')
            axes.plot(middle, row, 'o', color='k', ms=4)
            axes.plot(max(1e-6, sizes.largest), row, 'x', color='C3')
        axes.set(xscale='log', yticks=range(len(topics)), title=title, ylim=(len(topics) - 0.5, -0.5))
        axes.grid(True, axis='x', alpha=0.3)
    left.set_yticklabels([t.name for t in topics])
    right.set_yticklabels([])
    return True


def _channels(audit: Audit, figure: Figure) -> bool:
    chosen = [(t, t.channels) for t in audit.topics.values() if t.channels is not None and t.channels.count > 1][:4]
    if not chosen:
        return False
    figure.set_size_inches(11, 2.6 * len(chosen))
    all_axes = figure.subplots(len(chosen), 1, squeeze=False)
    for axes, (topic, channels) in zip(all_axes[:, 0], chosen, strict=True):
        rows = channels.sample.rows
        for index, name in enumerate(channels.names[:_MOST]):
            axes.plot(np.linspace(0, 100, len(rows)), rows[:, index], '.', ms=1.5, label=name)
        sample = ', a sample' if len(rows) < channels.count else ''
        axes.set(title=f'{topic.name}: {channels.count} messages{sample}', xlabel='of all recordings [%]')
        axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), markerscale=5, fontsize='small')
        axes.grid(True, alpha=0.3)
    return True


def _ticks(audit: Audit, figure: Figure) -> bool:
    ticks = audit.ticks
    if ticks is None or not ticks.lengths:
        return False
    figure.set_size_inches(11, 6.5)
    axes = figure.subplots(2, 2)
    axes[0, 0].hist(np.array(ticks.lengths) * ticks.task.control_dt, bins=30, color='C0')
    axes[0, 0].set(title='episodes by length', xlabel='[s]')
    for joint, column in zip(ticks.task.action.joints, ticks.correlation.T, strict=True):
        axes[0, 1].plot(LAGS, column, '.-', lw=1, label=joint)
    axes[0, 1].set(title='commanded and observed steps alike', ylabel='correlation')
    axes[0, 1].set_xlabel('state behind action [control steps]')
    axes[0, 1].legend(fontsize='x-small', ncols=2)
    names = list(ticks.ages)[:_MOST]
    for row, name in enumerate(names):
        middle, high = (ticks.ages[name].quantile(share) * 1e3 for share in (0.5, 0.99))
        axes[1, 0].barh(row, high, color='C0', alpha=0.35)
        axes[1, 0].barh(row, middle, color='C0')
    axes[1, 0].set(title='age at a tick: typical, and 99 %', xlabel='[ms]', yticks=range(len(names)), yticklabels=names)
    axes[1, 0].set_xlim(left=0.0, right=max(1.0, axes[1, 0].get_xlim()[1]))
    if ticks.example is not None:
        bag, actions, state = ticks.example
        times = np.arange(len(actions)) * ticks.task.control_dt
        for index in range(min(4, actions.shape[1])):
            axes[1, 1].plot(times, actions[:, index], color=f'C{index}', lw=1, ls='--')
            axes[1, 1].plot(times, state[:, index], color=f'C{index}', lw=1.2, label=ticks.task.action.joints[index])
        axes[1, 1].set(title=f'{bag}: action (dashed) and state', xlabel='[s]')
        axes[1, 1].legend(fontsize='x-small', ncols=2)
    for one in axes.flat:
        one.grid(True, alpha=0.3)
    return True
