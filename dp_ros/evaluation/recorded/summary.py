"""Summarize errors of many moments: by joint and by step of the chunk, beside the baselines, as JSON and a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dp_ros.evaluation.comparison import bootstrap95
from dp_ros.evaluation.recorded.moments import BASELINES, STAND_STILL, Moment
from dp_ros.task.spec import TaskSpec

_WORST = 6
"""Moments that are shown."""
_SHOWN = 8
"""Steps of a chunk in the table."""


def summarize_moments(found: Sequence[Moment], task: TaskSpec, **about: Any) -> dict[str, Any]:
    """Return the summary as plain JSON values. Errors are mean absolute differences in each joint's unit.

    ``executed`` is the mean over the steps that are executed before the next chunk, ``chunk`` over all; ``nearest`` is
    of the sample that is nearest to what was commanded, ``spread`` the standard deviation of samples about their mean.
    """
    reach = ranges(found)
    errors = {'policy': _by_step(found, lambda m: m.errors().mean(axis=0))}
    errors['nearest'] = _by_step(found, lambda m: m.errors()[_nearest(m, reach)])
    for name in BASELINES if found[0].baselines else ():
        errors[name] = _by_step(found, lambda m, name=name: m.baseline_errors(name))  # type: ignore[misc]
    spread = _by_step(found, lambda m: np.where(np.isnan(m.recorded), np.nan, m.samples.std(axis=0)))
    return {
        **about,
        'episodes': len({m.number for m in found}),
        'moments': len(found),
        'samples': len(found[0].samples),
        'control_dt': task.control_dt,
        'exec_horizon': task.exec_horizon,
        'joints': list(task.action.joints),
        'units': list(task.action.units),
        'range': reach.tolist(),
        'errors': {name: _errors(rows, task.exec_horizon) for name, rows in errors.items()},
        'spread': _errors(spread, task.exec_horizon),
        'policy_ci95': _intervals(found, task.exec_horizon),
        'relative': {name: _relative(rows, reach) for name, rows in errors.items()},
        'better_than': {name: _better(errors['policy'], errors[name], task) for name in BASELINES if name in errors},
        'worst': [
            {'episode': m.episode, 'stamp': m.stamp, 'seconds': m.seconds, 'joint': task.action.joints[joint],
             'error': float(_executed(m, task.exec_horizon)[joint])}
            for m, joint in worst(found, task)
        ],
    }  # fmt: skip


def ranges(found: Sequence[Moment]) -> np.ndarray:
    """Return through how much each joint was commanded (A,), never 0."""
    rows = np.concatenate([m.recorded for m in found])
    reach: np.ndarray = np.nanmax(rows, axis=0) - np.nanmin(rows, axis=0)
    return np.maximum(reach, 1e-9)


def worst(found: Sequence[Moment], task: TaskSpec) -> list[tuple[Moment, int]]:
    """Return the moments at which the executed steps are farthest off for a joint's range, each with that joint.

    Neighbours in an episode show the same: of a stretch as long as a chunk there is one.
    """
    reach = ranges(found)
    ratios = [_executed(m, task.exec_horizon) / reach for m in found]
    chosen: list[tuple[Moment, int]] = []
    length = task.pred_horizon * task.control_dt
    for i in sorted(range(len(found)), key=lambda i: -ratios[i].max()):
        near = any(m.number == found[i].number and abs(m.seconds - found[i].seconds) < length for m, _ in chosen)
        if not near:
            chosen.append((found[i], int(ratios[i].argmax())))
        if len(chosen) == _WORST:
            break
    return chosen


def _executed(moment: Moment, steps: int) -> np.ndarray:
    """Return the samples' mean error over the executed steps (A,)."""
    error: np.ndarray = np.nanmean(moment.errors()[:, :steps], axis=(0, 1))
    return error


def _nearest(moment: Moment, reach: np.ndarray) -> int:
    return int(np.nanmean(moment.errors() / reach, axis=(1, 2)).argmin())


def _by_step(found: Sequence[Moment], of: Callable[[Moment], np.ndarray]) -> np.ndarray:
    """Return the mean of ``of`` over moments (P, A); NaN for a step that no episode is long enough for."""
    rows = np.stack([of(m) for m in found])
    counts = np.isfinite(rows).sum(axis=0)
    mean: np.ndarray = np.where(counts, np.nansum(rows, axis=0) / np.maximum(counts, 1), np.nan)
    return mean


def _errors(rows: np.ndarray, executed: int) -> dict[str, Any]:
    return {
        'executed': np.nanmean(rows[:executed], axis=0).tolist(),
        'chunk': np.nanmean(rows, axis=0).tolist(),
        'per_step': [None if np.isnan(row).any() else row.tolist() for row in rows],
    }


def _relative(rows: np.ndarray, reach: np.ndarray) -> list[float | None]:
    """Return the mean over joints of error by range, by step."""
    return [None if np.isnan(value) else float(value) for value in (rows / reach).mean(axis=1)]


def _better(policy: np.ndarray, other: np.ndarray, task: TaskSpec) -> list[str]:
    """Return the joints of which the policy's executed steps are nearer to what was commanded."""
    nearer = np.nanmean((policy - other)[: task.exec_horizon], axis=0) < 0.0
    return [joint for joint, better in zip(task.action.joints, nearer.tolist(), strict=True) if better]


def _intervals(found: Sequence[Moment], steps: int) -> list[tuple[float, float] | None]:
    """Return each joint's 95 % interval of the executed steps' error, by bootstrap over episodes."""
    episodes: dict[int, list[np.ndarray]] = {}
    for moment in found:
        episodes.setdefault(moment.number, []).append(_executed(moment, steps))
    means = np.stack([np.mean(rows, axis=0) for rows in episodes.values()])
    return [bootstrap95(column) for column in means.T]


def table(summary: Mapping[str, Any]) -> str:
    """Return a summary as a table for people."""
    return '\n'.join([*_joint_lines(summary), '', *_step_lines(summary), '', *_verdict(summary)])


def _joint_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    errors = summary['errors']
    names = [name for name in errors if name in BASELINES]
    yield (
        f'{summary["bundle"]}: {summary["moments"]} moments of {_counted(summary["episodes"], "episode")}, '
        f'{_counted(summary["samples"], "sample")} at each'
    )
    yield f'mean absolute error over the {summary["exec_horizon"]} steps that are executed'
    wide = max(5, *(len(joint) for joint in summary['joints']))
    head = ('policy', '95 % interval', 'nearest', 'spread', *names, 'range')
    yield f'{"joint":<{wide}}  unit' + ''.join(f'  {name:>{_wide(name)}}' for name in head)
    for i, (joint, unit) in enumerate(zip(summary['joints'], summary['units'], strict=True)):
        interval = summary['policy_ci95'][i]
        between = '-' if interval is None else f'{interval[0]:.3g} to {interval[1]:.3g}'
        numbers = [errors['nearest'], summary['spread'], *(errors[name] for name in names)]
        cells = [f'{errors["policy"]["executed"][i]:.3g}', between, *(f'{n["executed"][i]:.3g}' for n in numbers)]
        cells.append(f'{summary["range"][i]:.3g}')
        row = ''.join(f'  {cell:>{_wide(name)}}' for cell, name in zip(cells, head, strict=True))
        yield f'{joint:<{wide}}  {unit:<4}{row}'


def _counted(count: int, what: str) -> str:
    return f'{count} {what}{"" if count == 1 else "s"}'


def _wide(name: str) -> int:
    return 18 if '95' in name else max(9, len(name))


def _step_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    relative = summary['relative']
    steps = [i for i, value in enumerate(relative['policy']) if value is not None]
    shown = sorted({steps[round(i)] for i in np.linspace(0, len(steps) - 1, min(_SHOWN, len(steps)))})
    yield "error by step of the chunk, in % of the joints' ranges"
    yield f'{"step":<12}' + ''.join(f'{step:>8}' for step in shown)
    for name, values in relative.items():
        yield f'{name:<12}' + ''.join(f'{100 * values[step]:>8.1f}' for step in shown)


def _verdict(summary: Mapping[str, Any]) -> Iterator[str]:
    count = len(summary['joints'])
    for name, better in summary['better_than'].items():
        yield f'nearer than {name}: {len(better)} of {count} joints'
    if not summary['better_than']:
        yield 'no baselines: the task does not observe the positions of its joints'
    elif not summary['better_than'][STAND_STILL]:
        yield 'For no joint is the policy nearer than an arm that stands still.'
    worst_ = summary['worst'][0]
    yield f'farthest off: {worst_["joint"]} in {worst_["episode"]} at {worst_["seconds"]:.1f} s, {worst_["error"]:.3g}'
