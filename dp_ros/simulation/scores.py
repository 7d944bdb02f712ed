"""Scores of episodes put together: mean score, success with its interval, latency, deadline misses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dp_ros.errors import ConfigError, DataError
from dp_ros.policy.bundle import Bundle
from dp_ros.policy.continuity import Continuity

SIDES = ('left', 'right')
Z_95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What to evaluate, and how.

    Attributes
    ----------
    episodes, seed
        Episodes on consecutive seeds, from `seed`.
    sampler, sampling_steps, exec_horizon
        Instead of the bundle's own, if not None.
    continuity
        How a chunk goes on from the last one; see `dp_ros.policy.continuity`.
    latency
        Time from observation to command, where time is simulated [s].
    rate
        Speed of simulated time through ROS; 1 is real time.
    seconds
        Longest episode [s].

    """

    bundle: Path
    world: str = 'pusht'
    episodes: int = 100
    seed: int = 100_000
    through: Literal['direct', 'ros'] = 'direct'
    sampler: str | None = None
    sampling_steps: int | None = None
    exec_horizon: int | None = None
    continuity: Continuity = 'none'
    latency: float = 0.05
    rate: float = 1.0
    threads: int = 2
    backend: Literal['onnxruntime', 'torchscript'] = 'onnxruntime'
    seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ('episodes', 1, 100_000),
            ('seed', 0, 2**31 - 1),
            ('latency', 0.0, 10.0),
            ('rate', 0.01, 100.0),
            ('threads', 1, 64),
            ('seconds', 1.0, 3600.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f'{name}: got {value}, allowed {low} to {high}')

    def sampler_settings(self, bundle: Bundle) -> dict[str, Any]:
        """Return sampler and sampling steps: what was asked for, else the bundle's own."""
        return {
            'sampler': self.sampler or bundle.defaults.sampler,
            'sampling_steps': self.sampling_steps or bundle.defaults.sampling_steps,
        }

    def about(self, bundle: Bundle) -> dict[str, Any]:
        """Return what a summary says of itself."""
        return {
            'bundle': bundle.name,
            'world': self.world,
            'through': self.through,
            **self.sampler_settings(bundle),
            'exec_horizon': self.exec_horizon or bundle.task.exec_horizon,
            'continuity': self.continuity,
            **({'latency_s': self.latency} if self.through == 'direct' else {'rate': self.rate}),
        }


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One episode's outcome.

    Attributes
    ----------
    seed
        Of the world's initial state.
    score
        The best reached, 0 to 1.
    success
        Whether the world's criterion was met.
    seconds
        Robot time until success or the end [s].
    chunks
        Chunks that were executed.
    latency
        From an observation's stamp to the command that answers it, each chunk [s].
    deadline_misses
        Chunks later than their deadline.
    side
        Which of a task's two ways was taken, ``left`` or ``right``; empty if the task has none, or neither was.
    stop
        Why the publisher stopped the robot for good; empty if it did not.

    """

    seed: int
    score: float
    success: bool
    seconds: float
    chunks: int
    latency: Sequence[float] = field(default_factory=tuple)
    deadline_misses: int = 0
    side: str = ''
    stop: str = ''


def wilson95(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a success rate (Wilson 1927, equation 1)."""
    if trials < 1 or not 0 <= successes <= trials:
        raise DataError(f'success interval: got {successes} of {trials}, allowed 0 up to the trials, one or more')
    rate, weight = successes / trials, Z_95**2 / trials
    centre = (rate + weight / 2) / (1 + weight)
    half = Z_95 / (1 + weight) * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """Return p50, p95 and p99 in milliseconds; None without samples."""
    if not len(seconds):
        return {'p50': None, 'p95': None, 'p99': None}
    return {f'p{q}': round(float(np.percentile(seconds, q)) * 1e3, 3) for q in (50, 95, 99)}


def summarize(results: Sequence[EpisodeResult], **about: Any) -> dict[str, Any]:
    """Return the summary of an evaluation as plain JSON values; ``about`` says what was evaluated and how."""
    if not results:
        raise DataError('evaluation: got 0 episodes, allowed 1 or more')
    successes = sum(r.success for r in results)
    sides = {'sides': {side: sum(r.side == side for r in results) for side in SIDES}}
    return {
        **about,
        'episodes': len(results),
        'mean_score': float(np.mean([r.score for r in results])),
        'success_rate': successes / len(results),
        'success_wilson95': list(wilson95(successes, len(results))),
        'latency_ms': percentiles([latency for r in results for latency in r.latency]),
        'deadline_misses': sum(r.deadline_misses for r in results),
        'chunks': sum(r.chunks for r in results),
        'seeds': [r.seed for r in results],
        'scores': [round(r.score, 6) for r in results],
        'successes': [r.success for r in results],
        'seconds': [round(r.seconds, 3) for r in results],
        'stops': {r.seed: r.stop for r in results if r.stop},
        **(sides if any(sides['sides'].values()) else {}),
    }


def table(summary: dict[str, Any], rows: int = 10) -> str:
    """Return a summary as a short table for people; single episodes only if there are up to ``rows``."""
    lines = []
    if summary['episodes'] <= rows:
        lines.append(f'{"seed":>8}  {"score":>6}  {"success":>7}  {"time [s]":>8}')
        for seed, score, success, seconds in zip(
            summary['seeds'], summary['scores'], summary['successes'], summary['seconds'], strict=True
        ):
            lines.append(f'{seed:>8}  {score:6.3f}  {"yes" if success else "no":>7}  {seconds:8.1f}')
        lines.append('')
    low, high = summary['success_wilson95']
    lines.append(f'mean score        {summary["mean_score"]:.3f} over {summary["episodes"]} episodes')
    lines.append(f'success rate      {summary["success_rate"]:.1%} (95 % interval {low:.1%} to {high:.1%})')
    if 'sides' in summary:
        counts = summary['sides']
        shares = (f'{side} {count / sum(counts.values()):.0%} ({count})' for side, count in counts.items())
        lines.append('ways taken        ' + ', '.join(shares))
    latency = summary['latency_ms']
    if latency['p50'] is not None:
        lines.append('latency           ' + ', '.join(f'{q} {value:.1f} ms' for q, value in latency.items()))
    if summary.get('control_rate_hz') is not None:
        lines.append(f'control rate      {summary["control_rate_hz"]:.2f} Hz')
    lines.append(f'deadline misses   {summary["deadline_misses"]} of {summary["chunks"]} chunks')
    if summary.get('refused_chunks'):
        lines.append(f'refused chunks    {summary["refused_chunks"]}')
    stops = list(summary.get('stops', {}).items())
    lines += [f'stopped           seed {seed}: {reason}' for seed, reason in stops[:rows]]
    if len(stops) > rows:
        lines.append(f'                  and {len(stops) - rows} more episodes')
    return '\n'.join(lines)
