"""Two evaluations on the same seeds, side by side: what differs, and how sure that is.

An episode's start decides much of how it ends, so differences between pairs say more than differences between means.
Scores and seams get a bootstrap interval (Efron 1979; percentiles), successes McNemar's exact test (1947).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dp_ros.errors import DataError

RESAMPLES = 10_000
BLOCK = 1_000_000  # numbers that are drawn at a time
Z_95 = 1.959963984540054


def bootstrap95(values: np.ndarray) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of ``values`` (N,), the same each time; None for fewer than two."""
    if len(values) < 2:
        return None
    rng, block = np.random.default_rng(0), max(1, BLOCK // len(values))
    drawn = (min(block, RESAMPLES - done) for done in range(0, RESAMPLES, block))
    means = np.concatenate([values[rng.integers(len(values), size=(n, len(values)))].mean(axis=1) for n in drawn])
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def wilson95(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a success rate (Wilson 1927, equation 1)."""
    if trials < 1 or not 0 <= successes <= trials:
        raise DataError(f'success interval: got {successes} of {trials}, allowed 0 up to the trials, one or more')
    rate, weight = successes / trials, Z_95**2 / trials
    centre = (rate + weight / 2) / (1 + weight)
    half = Z_95 / (1 + weight) * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p of as unequal a split of the pairs of which one alone succeeded, or a more unequal one."""
    pairs = only_first + only_second
    tail = sum(math.comb(pairs, i) for i in range(min(only_first, only_second) + 1))
    # Whole numbers up to the end: 2 ** pairs is beyond a float from 1024 pairs on.
    return min(1.0, 2 * tail / 2**pairs)


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the summary ``second`` differs from ``first`` on the seeds they share.

    Raises
    ------
    DataError
        If they share no seed, or are not of one world and one number of seconds.

    """
    for key in ('world', 'longest_episode_s'):
        if first.get(key) != second.get(key) and None not in (first.get(key), second.get(key)):
            raise DataError(f'{key}: got {first[key]} and {second[key]}, allowed the same in both')
    rows = [{seed: row for row, seed in enumerate(summary['seeds'])} for summary in (first, second)]
    seeds = sorted(rows[0].keys() & rows[1].keys())
    if not seeds:
        raise DataError(f'seeds: got {_range(first)} and {_range(second)}, allowed some in common')
    at = [np.array([row[seed] for seed in seeds]) for row in rows]
    successes = [np.array(s['successes'], dtype=bool)[i] for s, i in zip((first, second), at, strict=True)]
    only = [int((successes[i] & ~successes[1 - i]).sum()) for i in (0, 1)]
    pairs = {
        'pairs': len(seeds),
        'score': paired(*(np.array(s['scores'])[i] for s, i in zip((first, second), at, strict=True))),
        'success': {
            'first': float(successes[0].mean()),
            'second': float(successes[1].mean()),
            'difference': float(successes[1].mean() - successes[0].mean()),
            'only_first': only[0],
            'only_second': only[1],
            'mcnemar_p': mcnemar(*only),
        },
    }
    one, other = (summary.get('seams', {}).get('episodes', {}) for summary in (first, second))
    measured = [(name, (_column(one[name], at[0]), _column(other[name], at[1]))) for name in one if name in other]
    return pairs | ({'seams': {name: paired(*columns) for name, columns in measured}} if measured else {})


def paired(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Return both means and that of the differences with its interval; pairs with a NaN don't count."""
    both = np.isfinite(first) & np.isfinite(second)
    if not both.any():
        return {'first': None, 'second': None, 'difference': None, 'ci95': None}
    difference = second[both] - first[both]
    interval = bootstrap95(difference)
    return {
        'first': float(first[both].mean()),
        'second': float(second[both].mean()),
        'difference': float(difference.mean()),
        'ci95': None if interval is None else list(interval),
    }


def comparison_table(found: Mapping[str, Any]) -> str:
    """Return a comparison as a short table for people."""
    head = ''.join(f'{name:>12}' for name in ('first', 'second', 'difference'))
    lines = [f'{"":<14}{head}  95 % interval', _row('mean score', found['score'])]
    success = found['success']
    cells = ''.join(f'{success[key]:>12.1%}' for key in ('first', 'second', 'difference'))
    alone = f'{success["only_first"]} and {success["only_second"]} alone'
    lines.append(f'{"success rate":<14}{cells}  McNemar p = {success["mcnemar_p"]:.3f} ({alone})')
    lines += [_row(name.replace('_', ' '), values) for name, values in found.get('seams', {}).items()]
    lines.append(f'{found["pairs"]} pairs of episodes on the same seeds; the difference is the second less the first')
    return '\n'.join(lines)


def _row(name: str, values: Mapping[str, Any]) -> str:
    if values['difference'] is None:
        return f'{name:<14}  nothing measured in both'
    cells = ''.join(f'{values[key]:>12.4g}' for key in ('first', 'second', 'difference'))
    interval = 'one pair' if values['ci95'] is None else '{:.4g} to {:.4g}'.format(*values['ci95'])
    return f'{name:<14}{cells}  {interval}'


def _column(values: list[float | None], rows: np.ndarray) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)[rows]


def _range(summary: Mapping[str, Any]) -> str:
    return f'{min(summary["seeds"])} to {max(summary["seeds"])}'
