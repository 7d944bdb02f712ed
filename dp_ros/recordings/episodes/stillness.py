"""Find the control steps that move, in recordings whose sensors tremble.

Noise moves a joint from tick to tick by more than a slow motion does, and nowhere in the long run. So means of several
ticks are compared: as many as it takes for noise to be less than the slowest motion that counts. Where a step of one
tick is motion beyond doubt no longer means are asked, for they would blur when it began.
"""

from __future__ import annotations

import math

import numpy as np

SIGMAS = 6.0
"""Deviations of noise that no step of a long recording has by chance."""
MOST_NOISE = 2e-3
"""What trembles more than this [rad or m] moves."""
_SPAN = 16  # ticks over which noise is measured; the quietest quarter of such stretches counts
_ORDER = 4  # of the differences by which noise is told from smooth motion, which they all but remove
_LONGEST = 64  # ticks of a mean


def moving_steps(values: np.ndarray, slowest: float) -> np.ndarray:
    """Return for each step (N - 1,) between ticks whether any channel of ``values`` (N, C) moves.

    ``slowest`` is the slowest motion that counts, from one tick to the next; both are in [rad or m].
    """
    moving = np.zeros(max(0, len(values) - 1), dtype=bool)
    for channel in values.T:
        moving |= _channel(channel, slowest)
    return moving


def noise_of(channel: np.ndarray) -> float:
    """Return the standard deviation of what a channel (N,) trembles by where it is quietest; 0 if it is too short."""
    rough = np.diff(channel, n=_ORDER) ** 2 / math.comb(2 * _ORDER, _ORDER)
    if len(rough) < _SPAN:
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(rough)])
    power = (sums[_SPAN:] - sums[:-_SPAN]) / _SPAN
    return float(np.sqrt(max(0.0, np.quantile(power, 0.25))))


def _channel(channel: np.ndarray, slowest: float) -> np.ndarray:
    noise, count, ticks = min(noise_of(channel), MOST_NOISE), len(channel), 1
    sums = np.concatenate([[0.0], np.cumsum(channel - channel[0])])
    moving = np.zeros(count - 1, dtype=bool)
    while 2 * ticks <= count:
        # Step i is from tick i to i + 1, between the means of the ticks up to i and from i + 1 on.
        means = (sums[ticks:] - sums[:-ticks]) / ticks if ticks > 1 else channel
        apart = np.abs(means[ticks:] - means[:-ticks])
        trembles = SIGMAS * noise * math.sqrt(2.0 / ticks)
        known = np.concatenate([[0], np.cumsum(moving)])
        inside = known[2 * ticks - 1 :] - known[: len(known) - 2 * ticks + 1]
        moving[ticks - 1 : count - ticks] |= (apart > max(slowest * ticks, trembles)) & (inside == 0)
        if trembles <= slowest * ticks or ticks >= _LONGEST:
            break
        ticks *= 2
    return moving
