"""`dp_ros soak`: the nodes run for an hour, and every minute is written down: memory, latency, limits, stops."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from dp_ros.errors import ConfigError, DpRosError
from dp_ros.evaluation.scores import EpisodeResult, EvaluationSettings, percentiles, summarize
from dp_ros.evaluation.scores import table as score_table
from dp_ros.evaluation.world_planner import command_topics
from dp_ros.simulation.registry import world_spec
from dp_ros.tools.command_monitor import CommandMonitor, Minute
from dp_ros.tools.graph_evaluation import RosRunner, running

MINUTE = 60.0


def run_soak(settings: EvaluationSettings, minutes: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Run episodes for ``minutes`` of wall time, and return what was seen."""
    if not 0.0 < minutes <= 10_080.0:
        raise ConfigError(f'minutes: got {minutes}, allowed more than 0, up to a week (10080)')
    bundle = settings.load()
    limits = _limits(settings.world)
    topics = command_topics(bundle.task, world_spec(settings.world))
    rows: list[dict[str, Any]] = []
    results: list[EpisodeResult] = []
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as logs, running(settings, bundle, Path(logs)) as client:
        runner, monitor = RosRunner(client, bundle, settings), CommandMonitor(client, bundle, limits, topics)
        began = until = time.monotonic()
        ended = ''
        bar = tqdm(total=minutes, unit='min', desc=f'soak {bundle.name}', bar_format=BAR, dynamic_ncols=True)

        def watch() -> None:
            nonlocal until
            bar.update(min(minutes, (time.monotonic() - began) / MINUTE) - bar.n)
            if time.monotonic() >= until + MINUTE:
                until += MINUTE
                monitor.minute.memory_mb = client.processes.memory()
                rows.append(monitor.minute.plain())
                monitor.minute = Minute()

        with bar:
            try:
                while time.monotonic() - began < minutes * MINUTE:
                    results.append(runner.run(settings.seed + len(results), watch))
                    bar.set_postfix(score=f'{np.mean([r.score for r in results]):.3f}', excesses=monitor.excess_count)
            except DpRosError as error:
                if not results:
                    raise
                ended = str(error)  # what was seen until then must not be lost
        summary = summarize(results, **settings.about(bundle), **runner.findings()) | account(monitor, rows)
        summary['ended_early'] = ended
        summary['minutes'] = round((time.monotonic() - began) / MINUTE, 2)
    say(table(summary))
    if not summary['chunks']:
        say(f'error: no chunk was published: {results[-1].stop or ended or "the logs of the nodes may say why"}')
    return summary


BAR = '{desc} |{bar}| {n:.1f}/{total:.0f} min {postfix}'


def _limits(world: str) -> dict[str, dict[str, float]]:
    raw = yaml.safe_load(world_spec(world).parameters.read_text())
    limits: dict[str, dict[str, float]] = raw['/**/trajectory_publisher']['ros__parameters']['limits']
    return limits


def account(monitor: CommandMonitor, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a monitor counted, with ``rows`` by minute, as JSON values."""
    return {
        'trajectories': monitor.trajectories,
        'rejected_by_the_controller': monitor.rejected,
        'publisher_cost_ms': percentiles(monitor.costs),
        'limit_violations': monitor.excess_count,
        'violations': monitor.excesses,
        'worst_share_of_limit': {name: round(value, 4) for name, value in monitor.worst.items()},
        'safety_states': dict(monitor.states),
        'stop_reasons': monitor.stops,
        'late_chunks': monitor.late,
        'by_minute': rows,
    }


def growth(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return how much memory each node gained from minute 5 to the last [MB]; nothing for shorter runs."""
    if len(rows) <= 6:
        return {}
    first, last = rows[5]['memory_mb'], rows[-1]['memory_mb']
    return {name: round(last[name] - first[name], 1) for name in first if name in last}


def table(summary: dict[str, Any]) -> str:
    """Return the summary as a short table for people."""
    rows = summary['by_minute']
    grown = ', '.join(f'{name} {mb:+.1f} MB' for name, mb in growth(rows).items()) or 'too short to say'
    worst = ', '.join(f'{name} {share:.0%}' for name, share in summary['worst_share_of_limit'].items())
    costs = summary['publisher_cost_ms'].items()
    cost = ', '.join(f'{key} {value:.1f}' for key, value in costs if value is not None) or 'unknown'
    return '\n'.join(
        [
            score_table(summary),
            f'ran               {summary["minutes"]:.1f} min, refused {sum(row["refused"] for row in rows)} chunks',
            f'limit violations  {summary["limit_violations"]} in {summary["trajectories"]} trajectories; most {worst}',
            *([f'ended early       {summary["ended_early"]}'] if summary['ended_early'] else []),
            f'controller        rejected {summary["rejected_by_the_controller"]}',
            f'publisher         {cost} ms of its own for a chunk',
            f'memory            {grown} since minute 5',
        ]
    )


def plot_soak(summary: dict[str, Any], path: Path) -> None:
    """Draw memory and latency over time."""
    from matplotlib.figure import Figure

    rows = summary['by_minute']
    figure = Figure(figsize=(8, 6), layout='constrained')
    upper, lower = figure.subplots(2, 1, sharex=True)
    minutes = np.arange(1, len(rows) + 1)
    for name in rows[0]['memory_mb']:
        upper.plot(minutes, [row['memory_mb'][name] for row in rows], marker='.', label=name)
    upper.set(ylabel='resident memory [MB]', ylim=(0, None), title=f'{summary["bundle"]} on {summary["world"]}')
    upper.legend(loc='lower right')
    for key in ('p50', 'p95', 'p99'):
        lower.plot(minutes, [row['latency_ms'][key] for row in rows], marker='.', label=key)
    lower.set(xlabel='minute', ylabel='observation to command [ms]', ylim=(0, None))
    lower.legend(loc='lower right')
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
