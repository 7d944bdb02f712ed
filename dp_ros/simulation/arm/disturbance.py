"""What disturbs an arm, for demonstrations of how to recover."""

from __future__ import annotations

import numpy as np

CORRELATION = 0.5  # of a disturbance [s]
SHIFT = np.array([0.006, 0.006, 0.06])  # standard deviation of a disturbance: x, y [m], yaw [rad]


class Disturbance:
    """A random shift of where the drives take the tool: noise through two first-order filters, so it is smooth."""

    def __init__(self, draw: np.random.Generator, strength: float, dt: float) -> None:
        self._draw = draw
        self._keep = float(np.exp(-dt / CORRELATION))
        # The second filter's output then has the standard deviation SHIFT: sum of (n + 1)^2 q^n = (1 + q) / (1 - q)^3.
        square = self._keep**2
        self._scale = strength * SHIFT * np.sqrt((1.0 - square) ** 3 / (1.0 + square))
        self._first: np.ndarray = np.zeros(3)
        self._second: np.ndarray = np.zeros(3)

    def next(self) -> np.ndarray:
        """Return the shift (3,) of the next step: x, y [m], yaw [rad]."""
        self._first = self._keep * self._first + self._scale * self._draw.standard_normal(3)
        self._second = self._keep * self._second + self._first
        return self._second
