"""`dp_ros monitor --study`: how well a bundle's monitor tells failures, in its world and in worlds made wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.bounded_files import write_json
from dp_ros.errors import ConfigError, DataError, check_range, listed
from dp_ros.evaluation.monitor.traces import Trace, played_traces, scored
from dp_ros.evaluation.scores import wilson95
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.options import option
from dp_ros.policy.bundle.monitor_spec import SCORES, MonitorSpec
from dp_ros.policy.failure_monitor import TOGETHER, monitor_of
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.simulation.wrong_worlds import make_wrong, wrong_names
from dp_ros.task.spec import ImageStream

BOTH, EITHER = 'novelty and entropy', 'novelty or entropy'
DETECTORS = (BOTH, EITHER, *SCORES)
NAMES = {'consistency': 'consistency (STAC)', 'seconds': 'clock'}
AS_IT_IS = 'as it is'
COLOURS = ('#c0392b', '#8e44ad', '#2471a3', '#7d9f35', '#b7950b', '#909497')
GREY = '#d5d8dc'
MOST = 3.0  # of a threshold that is drawn


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """Choose the episodes that are played: a bundle with a monitor, the world, and the episodes of each condition."""

    # fmt: off
    evaluation: EvaluationSettings
    faults: Sequence[str] | None = option(
        None, 'with --study: what is made wrong; without it, all that can be in the world for what the policy observes'
    )
    json: Path | None = option(None, 'with --study: write what was found here')
    plot: Path | None = option(None, 'with --study: draw the scores of an episode that fails (PNG)')
    # fmt: on


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """An episode with what each detector makes of it: shares of its threshold (M,), an alarm from 1 on."""

    trace: Trace
    condition: str
    shares: Mapping[str, np.ndarray]

    def alarm(self, detector: str) -> float | None:
        """Return when a detector first gives an alarm, in seconds since the first window; None if it does not."""
        found = np.flatnonzero(self.shares[detector] >= 1.0)
        return float(self.trace.since_start[found[0]]) if len(found) else None

    def highest(self, detector: str, until: float = float('inf')) -> float:
        """Return the highest share in the first ``until`` seconds."""
        return float(self.shares[detector][self.trace.since_start <= until].max())


def run_study(settings: StudySettings, say: Callable[[str], None]) -> int:
    """Play, print the table, and return 0."""
    evaluation = settings.evaluation
    policy = DiffusionPolicy.load(evaluation.bundle, policy_speed=evaluation.policy_speed)
    spec = monitor_of(policy)
    sees = any(isinstance(stream, ImageStream) for stream in policy.task.streams)
    known = wrong_names(evaluation.world, sees=sees)
    faults = known if settings.faults is None else tuple(settings.faults)
    unknown = [fault for fault in faults if fault not in known]
    if unknown:
        raise ConfigError(f'faults: got {listed(unknown)}, allowed {listed(known)} in the world {evaluation.world}')
    for fault in faults:
        make_wrong(evaluation.world, fault)
    check_range('episodes', evaluation.episodes, 2, 100_000)
    episodes = []
    for condition in ('', *faults):
        name = condition or AS_IT_IS
        for trace in played_traces(replace(evaluation, fault=condition), spec.samples, what=name):
            episodes.append(watched(trace, name, policy, spec))
    summary = summarize_study(episodes, spec)
    summary = {**evaluation.about(policy.bundle), 'seed': evaluation.seed, 'each': evaluation.episodes, **summary}
    say(study_table(summary))
    write_json(settings.json, summary)
    if settings.plot:
        plot_failure(episodes, settings.plot)
        say(f'{settings.plot}')
    return 0


def watched(trace: Trace, condition: str, policy: DiffusionPolicy, spec: MonitorSpec) -> Watched:
    """Return an episode with its shares of the thresholds."""
    novelty = policy.backend.novelty(trace.conds)
    scores = scored(trace, novelty, spec.window, spec.bin_width, spec.steps)
    shares = {name: scores[name] / getattr(spec, name) for name in SCORES}
    shares[BOTH] = np.minimum(*(shares[name] for name in TOGETHER))
    shares[EITHER] = np.maximum(*(shares[name] for name in TOGETHER))
    for name in (BOTH, EITHER, *TOGETHER):  # too few windows to average over
        shares[name][: spec.window - 1] = np.minimum(shares[name][: spec.window - 1], np.nextafter(1.0, 0.0))
    return Watched(trace=trace, condition=condition, shares=shares)


def roc_auc(failed: Sequence[float], good: Sequence[float]) -> float | None:
    """Return the chance that a failed episode's number is above a good one's, ties counted half; None without both."""
    if not failed or not good:
        return None
    above = np.array(failed)[:, None] - np.array(good)[None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def summarize_study(episodes: Sequence[Watched], spec: MonitorSpec) -> dict[str, Any]:
    """Return counts by condition, and by detector how well it tells failures.

    ``auc`` is of the highest share in an episode, ``auc_early`` of that in the time in which nearly all successful
    episodes are over: until then a clock knows nothing.
    """
    if not episodes:
        raise DataError('study: got no episode in which a chunk was made, allowed one or more')
    failed = [e for e in episodes if not e.trace.success]
    good = [e for e in episodes if e.trace.success]
    conditions = {}
    for name in dict.fromkeys(e.condition for e in episodes):
        those = [e for e in episodes if e.condition == name]
        bad = [e for e in those if not e.trace.success]
        conditions[name] = {
            'episodes': len(those),
            'failures': len(bad),
            'foretold': {d: sum(e.alarm(d) is not None for e in bad) for d in DETECTORS},
            'false_alarms': {d: sum(e.alarm(d) is not None for e in those if e.trace.success) for d in DETECTORS},
        }
    hours = sum(e.trace.seconds for e in good) / 3600.0
    detectors = {}
    for name in DETECTORS:
        alarms = [at for e in failed if (at := e.alarm(name)) is not None]
        false = sum(e.alarm(name) is not None for e in good)
        detectors[name] = {
            'auc': roc_auc([e.highest(name) for e in failed], [e.highest(name) for e in good]),
            'auc_early': roc_auc(
                [e.highest(name, spec.seconds) for e in failed], [e.highest(name, spec.seconds) for e in good]
            ),
            'foretold': len(alarms),
            'foretold_wilson95': list(wilson95(len(alarms), len(failed))) if failed else None,
            'detection_s': float(np.median(alarms)) if alarms else None,
            'false_alarms': false,
            'false_alarms_wilson95': list(wilson95(false, len(good))) if good else None,
            'false_alarms_per_hour': false / hours if hours else None,
        }
    counts = {'failures': len(failed), 'successes': len(good), 'rule': spec.rule}
    return {**counts, 'conditions': conditions, 'detectors': detectors}


def study_table(summary: Mapping[str, Any]) -> str:
    """Return what was found as text."""
    own = BOTH if summary['rule'] == 'both' else EITHER
    lines = [f'{own:22}{"episodes":>9}{"failures":>9}{"foretold":>9}{"false alarms":>13}']
    for name, row in summary['conditions'].items():
        lines.append(
            f'{name:22}{row["episodes"]:>9}{row["failures"]:>9}{row["foretold"][own]:>9}{row["false_alarms"][own]:>13}'
        )
    lines += ['', f'{"":22}{"AUC":>6}{"early":>7}{"foretold":>16}{"after [s]":>11}{"false alarms":>16}{"an hour":>9}']
    for name, row in summary['detectors'].items():
        lines.append(
            f'{NAMES.get(name, name):22}{_number(row["auc"]):>6}{_number(row["auc_early"]):>7}'
            f'{_share(row["foretold"], row["foretold_wilson95"], summary["failures"]):>16}'
            f'{_number(row["detection_s"], 1):>11}'
            f'{_share(row["false_alarms"], row["false_alarms_wilson95"], summary["successes"]):>16}'
            f'{_number(row["false_alarms_per_hour"], 0):>9}'
        )
    return '\n'.join(lines)


def _number(value: float | None, digits: int = 2) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def _share(count: int, interval: Sequence[float] | None, total: int) -> str:
    return '-' if interval is None else f'{count / total:.0%} ({interval[0]:.0%}-{interval[1]:.0%})'


def plot_failure(episodes: Sequence[Watched], path: Path) -> None:
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
    foretold = sorted((e for e in failed if e.alarm(BOTH) is not None), key=lambda e: e.alarm(BOTH) or 0)
    shown = foretold[len(foretold) // 2] if foretold else failed[0]
    good = [e for e in episodes if e.trace.success][:20]
    figure = Figure(figsize=(8, 1.5 * len(DETECTORS)), dpi=110)
    axes = figure.subplots(len(DETECTORS), 1, sharex=True)
    for axis, name, colour in zip(axes, DETECTORS, COLOURS, strict=True):
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
