"""Scores of episodes put together: mean score, success with its interval, latency, deadline misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from dp_ros.errors import DataError
from dp_ros.evaluation.comparison import bootstrap95
from dp_ros.evaluation.comparison import wilson95 as wilson95
from dp_ros.evaluation.instructed import Instructed, instruction_lines, instructions_summary
from dp_ros.evaluation.seams import MEASURES, Seams
from dp_ros.evaluation.settings import EvaluationSettings as EvaluationSettings

WAYS = (('left', 'right'), ('along', 'across'))  # around a post, or to grasp an object


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One episode's outcome.

    Attributes
    ----------
    score
        The best reached, 0 to 1.
    seconds
        Robot time until success or the end [s].
    latency
        From an observation's stamp to the command that answers it, each chunk [s].
    processor
        Processor time of each chunk, which a busy machine does not lengthen [s]; empty where it was not measured.
    deadline_misses
        Chunks later than their deadline.
    side
        Which of a task's two ways was taken, of one of `WAYS`; empty if the task has none, or neither was.
    collided
        Whether it touched what it may not; None where the world does not say.
    stop
        Why the publisher stopped the robot for good; empty if it did not.
    seams
        What the seams between chunks did to the motion, where that was measured.
    gained
        Of a sequence model, the sum of the world's rewards at control ticks, less their step cost: what is asked of it
        by `asked_return`.
    instructed
        Of a policy that is asked in words, what it was asked for.

    """

    seed: int
    score: float
    success: bool
    seconds: float
    chunks: int
    latency: Sequence[float] = field(default_factory=tuple)
    processor: Sequence[float] = field(default_factory=tuple)
    deadline_misses: int = 0
    side: str = ''
    collided: bool | None = None
    stop: str = ''
    seams: Seams | None = None
    gained: float | None = None
    instructed: Instructed | None = None


def collided(details: Mapping[str, float | str]) -> bool | None:
    """Return whether an episode collided, by its world's findings; None where they have none of it."""
    return str(details['collided']) == 'True' if 'collided' in details else None


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
    counts = ({side: sum(r.side == side for r in results) for side in ways} for ways in WAYS)
    sides = next((found for found in counts if any(found.values())), None)
    gained = [r.gained for r in results if r.gained is not None]
    processor = [taken for r in results for taken in r.processor]
    asked = [(r.instructed, r.success) for r in results if r.instructed is not None]
    known = [r.collided for r in results if r.collided is not None]
    return {
        **about,
        'episodes': len(results),
        'mean_score': float(np.mean([r.score for r in results])),
        'score_ci95': bootstrap95(np.array([r.score for r in results])),
        'success_rate': successes / len(results),
        'success_wilson95': list(wilson95(successes, len(results))),
        'latency_ms': percentiles([latency for r in results for latency in r.latency]),
        **({'processor_ms': percentiles(processor)} if processor else {}),
        'deadline_misses': sum(r.deadline_misses for r in results),
        'chunks': sum(r.chunks for r in results),
        'predictions': sum(len(r.latency) for r in results),
        'seeds': [r.seed for r in results],
        'scores': [round(r.score, 6) for r in results],
        'successes': [r.success for r in results],
        'seconds': [round(r.seconds, 3) for r in results],
        'stops': {r.seed: r.stop for r in results if r.stop},
        **({'sides': sides} if sides else {}),
        **({'collisions': sum(known)} if known else {}),
        **({'returns': [round(g, 4) for g in gained]} if gained else {}),
        **({'instructed': instructions_summary(asked)} if asked else {}),
        **_seams(results),
    }


def _seams(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Return each measure's mean over the episodes with its interval, and every episode's, None without a seam."""
    measured = [asdict(r.seams) if r.seams else {} for r in results]
    if not any(measured):
        return {}
    columns = {name: np.array([m.get(name, np.nan) for m in measured]) for name in MEASURES}
    finite = {name: column[np.isfinite(column)] for name, column in columns.items()}
    return {
        'seams': {
            **{name: float(values.mean()) if len(values) else None for name, values in finite.items()},
            'ci95': {name: bootstrap95(values) for name, values in finite.items()},
            'episodes': {
                name: [float(f'{v:.6g}') if np.isfinite(v) else None for v in column]
                for name, column in columns.items()
            },
        }
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
    if 'collisions' in summary:
        lines.append(f'collisions        in {summary["collisions"]} of {summary["episodes"]} episodes')
    if 'instructed' in summary:
        lines += instruction_lines(summary['instructed'])
    if 'returns' in summary:
        lines.append(f'return            {np.mean(summary["returns"]):.2f} on average')
    lines += _seam_lines(summary.get('seams'))
    latency = summary['latency_ms']
    if latency['p50'] is not None:
        lines.append('latency           ' + ', '.join(f'{q} {value:.1f} ms' for q, value in latency.items()))
    if summary.get('control_rate_hz') is not None:
        lines.append(f'control rate      {summary["control_rate_hz"]:.2f} Hz')
    lines.append(f'deadline misses   {summary["deadline_misses"]} of {summary["predictions"]} chunks')
    refused, waited = summary.get('refused_chunks', 0), summary.get('waiting_chunks', 0)
    if refused or waited:
        lines.append(f'refused chunks    {refused}, and {waited} while a plan began')
    lines += [f'                  {count} times: {reason}' for reason, count in summary.get('refusals', {}).items()]
    stops = list(summary.get('stops', {}).items())
    lines += [f'stopped           seed {seed}: {reason}' for seed, reason in stops[:rows]]
    if len(stops) > rows:
        lines.append(f'                  and {len(stops) - rows} more episodes')
    return '\n'.join(lines)


def _seam_lines(seams: dict[str, Any] | None) -> list[str]:
    if seams is None or seams['jump'] is None:
        return []
    shown = {name: 'none' if seams[name] is None else f'{seams[name]:.3g}' for name in MEASURES}
    return [
        'seams             jump {jump}, turn {turn_at_seams} ({turn_inside} inside chunks), '
        'jerk {jerk_at_seams} ({jerk_inside} inside)'.format(**shown)
    ]
