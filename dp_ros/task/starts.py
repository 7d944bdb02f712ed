"""Where demonstrations began: positions of the joints at the first observation of each, as a bundle keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dp_ros.errors import ConfigError, check_finite, listed
from dp_ros.task.units import Unit

MARGIN = 0.1
"""Of the range of a joint's starts, beyond it on each side, that still counts as one."""
SLACK: dict[str, float] = {'rad': 0.05, 'm': 0.005}
"""Beyond that, for starts that were all the same [rad or m]."""


@dataclass(frozen=True, kw_only=True)
class DemonstratedStarts:
    """Measured positions of joints where demonstrations began, in [rad or m].

    Attributes
    ----------
    joints
        Names, in the order of the action.
    lower, upper, mean
        Least, greatest and mean of each joint.

    """

    joints: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    mean: tuple[float, ...]

    def __post_init__(self) -> None:
        rows = (self.lower, self.mean, self.upper)
        if not self.joints or any(len(row) != len(self.joints) for row in rows):
            raise ConfigError(
                f'starts: got {listed(map(len, rows))} numbers, allowed one for each of {listed(self.joints)}'
            )
        values = np.array(rows)
        check_finite('starts', values)
        if not (np.diff(values, axis=0) >= -1e-9).all():
            raise ConfigError('starts: got a mean outside of its range, allowed lower, mean and upper in order')

    @classmethod
    def of(cls, joints: Sequence[str], positions: np.ndarray) -> DemonstratedStarts:
        """Return those of ``positions`` (N, A), one row for each demonstration."""
        rows = [
            tuple(map(float, row)) for row in (positions.min(axis=0), positions.max(axis=0), positions.mean(axis=0))
        ]
        return cls(joints=tuple(joints), lower=rows[0], upper=rows[1], mean=rows[2])

    def excess(self, positions: np.ndarray, units: Sequence[Unit], continuous: np.ndarray) -> np.ndarray:
        """Return by how much positions (A,) are outside of where demonstrations began (A,) [rad or m], 0 inside.

        Whole turns of ``continuous`` joints (A,) bool do not count.
        """
        lower, upper, mean = np.array(self.lower), np.array(self.upper), np.array(self.mean)
        turns = np.round((positions - mean) / (2.0 * np.pi)) * 2.0 * np.pi
        positions = np.where(continuous, positions - turns, positions)
        room = MARGIN * (upper - lower) + [SLACK[unit] for unit in units]
        outside: np.ndarray = np.maximum(np.maximum(lower - positions, positions - upper), 0.0)
        return np.where(outside > room, outside, 0.0)
