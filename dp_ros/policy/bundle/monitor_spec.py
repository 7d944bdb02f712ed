"""Thresholds of a bundle's failure monitor, and how they are found from successful episodes.

A threshold is conformal over whole episodes: each calibration episode counts by its highest score, and of n such
numbers the ceil((n + 1) level)-th smallest is taken. A further successful episode then stays below it throughout with a
probability of ``level`` or more, whatever the scores are like, as long as it comes from where the others did (Vovk et
al. 2005; for a band over time Diquigiovanni et al. 2021). It bounds false alarms. It says nothing about misses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dp_ros.errors import BundleError, ConfigError, DataError, check_finite, check_range

Rule = Literal['both', 'either']
SCORES = ('novelty', 'entropy', 'consistency', 'seconds')
"""What has a threshold: the two that decide together, and two to compare them with."""


@dataclass(frozen=True, kw_only=True)
class MonitorSpec:
    """How the failure monitor of a bundle scores, and from where on a score is out of the ordinary.

    Attributes
    ----------
    samples
        Chunks that are drawn at a window, of which the entropy is taken.
    window
        Chunks over which scores are averaged: FIPER's short time windows.
    bin_width
        Width of the bins that samples are counted in, in normalized actions.
    steps
        Steps of a chunk that count, from its first on.
    level
        Share of successful episodes without a false alarm, 0 to 1.
    rule
        Whether a failure is foretold where both novelty and entropy exceed their thresholds, as FIPER has it, or where
        either does; then each threshold is of a level that leaves half of the false alarms.
    episodes
        Successful episodes that the thresholds come from.
    policy_speed
        How fast the policy was played in them.
    novelty, entropy
        Thresholds of the two scores.
    consistency, seconds
        Of STAC, and of the time since the start [s]: for comparison only.

    """

    samples: int
    window: int
    bin_width: float
    steps: int
    level: float
    episodes: int
    policy_speed: float = 1.0
    rule: Rule = 'both'
    novelty: float
    entropy: float
    consistency: float
    seconds: float

    def __post_init__(self) -> None:
        for name, low, high in (
            ('samples', 2, 64),
            ('window', 1, 1000),
            ('bin_width', 1e-6, 2.0),
            ('steps', 1, 10_000),
            ('level', 0.5, 0.999),
            ('policy_speed', 0.1, 5.0),
            *((score, 1e-12, 1e12) for score in SCORES),
        ):
            try:
                check_range(f'monitor {name}', getattr(self, name), low, high)
            except ConfigError as error:
                raise BundleError(str(error)) from error
        needed = successes_needed(level_of_each(self.level, self.rule))
        if self.episodes < needed:
            raise BundleError(
                f'monitor episodes: got {self.episodes}, allowed {needed} or more for level {self.level:g}'
            )


def level_of_each(level: float, rule: Rule) -> float:
    """Return the level that each of the two thresholds needs, for both together to be of ``level``."""
    return level if rule == 'both' else 1.0 - (1.0 - level) / 2.0


def successes_needed(level: float) -> int:
    """Return how many successful episodes a threshold of this level takes at least."""
    count = 1
    while math.ceil((count + 1) * level - 1e-9) > count:
        count += 1
    return count


def conformal_threshold(highest: Sequence[float] | np.ndarray, level: float) -> float:
    """Return the threshold from the ``highest`` scores (N,) of as many successful episodes.

    Raises
    ------
    DataError
        If they are too few for the level, or not finite.

    """
    values = np.sort(np.asarray(highest, dtype=np.float64))
    needed = successes_needed(level)
    if len(values) < needed:
        raise DataError(f'successful episodes: got {len(values)}, allowed {needed} or more for level {level:g}')
    check_finite('highest scores', values)
    return float(values[math.ceil((len(values) + 1) * level - 1e-9) - 1])
