"""Bound where a moving obstacle can be: everywhere that its speed allows, or near where its velocity leads.

    x, v     place and velocity of a point of it, at its newest pose; V the velocity of its origin
    s, a     bounds of the speed of all of its points, and of their acceleration
    e        what a pose may be wrong by
    B        time between two poses, of which v is taken: (x - x_before) / B

At t after the newest pose every point is within s t of x. With a bound of acceleration, v is known to
a B / 2 + 2 e / B: the point is within e + (|v - V| + a B / 2 + 2 e / B) t + a t^2 / 2 of x + V t as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_BASE, MOST_BASE = 95_000_000, 400_000_000
"""Between two poses of which a velocity is taken [ns]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecast:
    """All places of an obstacle from its newest pose on: where ``velocity`` (3,) [m/s] leads, and a spread around it.

    The spread is ``error`` [m], and ``rate`` [m/s] and ``half`` [m/s^2], times the time and the square of it.
    """

    velocity: np.ndarray
    error: float
    rate: float
    half: float

    @classmethod
    def within(cls, speed: float) -> Forecast:
        """Return what a bound of its speed [m/s] tells."""
        return cls(velocity=np.zeros(3), error=0.0, rate=speed, half=0.0)

    @classmethod
    def seen(
        cls, before: np.ndarray, places: np.ndarray, base: float, *, acceleration: float, error: float
    ) -> Forecast:
        """Return what two poses tell, ``base`` [s] apart: ``places`` (N, 3) [m] of its origin and of its ends."""
        velocities = (places - before) / base
        turning = float(np.linalg.norm(velocities - velocities[0], axis=1).max())
        rate = turning + acceleration * base / 2 + 2 * error / base
        return cls(velocity=velocities[0], error=error, rate=rate, half=acceleration / 2)

    def spread(self, seconds: float) -> float:
        """Return how far from where its velocity leads it can be after so long [m]."""
        return self.error + self.rate * seconds + self.half * seconds**2

    def covering(self, seconds: float) -> float:
        """Return how far from where it was seen it can be within so long [m]."""
        return float(np.linalg.norm(self.velocity)) * seconds + self.spread(seconds)
