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

from dp_ros.errors import BundleError, ConfigError, DataError, check_finite
from dp_ros.options import REQUIRED, check_options, option

Rule = Literal['both', 'either']
SCORES = ('novelty', 'entropy', 'consistency', 'seconds')
"""What has a threshold: the two that decide together, and two to compare them with."""


# fmt: off
@dataclass(frozen=True, kw_only=True)
class MonitorSpec:
    """How the failure monitor of a bundle scores, and from where on a score is out of the ordinary."""

    samples: int = option(REQUIRED, 'Chunks that are drawn at a window, of which the entropy is taken.', low=2, high=64)
    window: int = option(
        REQUIRED, "Chunks over which scores are averaged: FIPER's short time windows.", low=1, high=1000
    )
    bin_width: float = option(
        REQUIRED, 'Width of the bins that samples are counted in, in normalized actions.', low=1e-6, high=2.0
    )
    steps: int = option(REQUIRED, 'Steps of a chunk that count, from its first on.', low=1, high=10_000)
    level: float = option(
        REQUIRED, 'Share of successful episodes without a false alarm, 0 to 1.', low=0.5, high=0.999
    )
    episodes: int = option(REQUIRED, 'Successful episodes that the thresholds come from.', low=1, high=2**31)
    policy_speed: float = option(1.0, 'How fast the policy was played in them.', low=0.1, high=5.0)
    rule: Rule = option(
        'both', 'Whether a failure is foretold where both novelty and entropy exceed their thresholds, as FIPER has '
        'it, or where either does; then each threshold is of a level that leaves half of the false alarms.',
    )
    novelty: float = option(REQUIRED, 'Threshold of the novelty.', low=1e-12, high=1e12)
    entropy: float = option(REQUIRED, 'Threshold of the entropy.', low=1e-12, high=1e12)
    consistency: float = option(REQUIRED, 'Of STAC, for comparison only.', low=1e-12, high=1e12)
    seconds: float = option(
        REQUIRED, 'Of the time since the start, for comparison only.', unit='s', low=1e-12, high=1e12
    )

    def __post_init__(self) -> None:
        try:
            check_options(self, 'monitor ')
        except ConfigError as error:
            raise BundleError(str(error)) from error
        needed = successes_needed(level_of_each(self.level, self.rule))
        if self.episodes < needed:
            raise BundleError(
                f'monitor episodes: got {self.episodes}, allowed {needed} or more for level {self.level:g}'
            )
# fmt: on


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
