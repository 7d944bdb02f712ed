"""Joints that follow their set points late, so that what is measured differs from what is commanded."""

from __future__ import annotations

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import ConfigError, check_shape
from dp_ros.simulation.controller.controller import JointTrajectoryController


class LaggingPlant:
    """One or two first-order lags in a row for each joint; of the second order it is critically damped.

    Each lag is solved exactly for a set point that is constant over a step.

    Parameters
    ----------
    positions
        Where the joints rest at first [rad or m], (A,).
    time_constant
        Of each lag [s], above 0: one number, or one for each joint.
    order
        1 or 2.

    Attributes
    ----------
    positions, velocities
        (A,) [rad or m], per second; the velocity is the last step's mean, as an encoder tells it.

    """

    def __init__(self, positions: np.ndarray, *, time_constant: float | np.ndarray, order: int = 1) -> None:
        self.positions = np.array(positions, dtype=np.float64)
        check_shape('plant positions', self.positions, (None,))
        self._constant = np.broadcast_to(np.asarray(time_constant, dtype=np.float64), self.positions.shape)
        if not (np.isfinite(self._constant) & (self._constant > 0.0)).all():
            raise ConfigError(f'plant time_constant: got {time_constant}, allowed finite numbers above 0 s')
        if order not in (1, 2):
            raise ConfigError(f'plant order: got {order}, allowed 1, 2')
        self._stages = [self.positions.copy() for _ in range(order)]
        self.velocities = np.zeros_like(self.positions)

    def step(self, set_point: np.ndarray, duration: float) -> None:
        """Let the joints follow ``set_point`` (A,) for ``duration`` [s], above 0."""
        if not duration > 0.0:
            raise ConfigError(f'plant duration: got {duration}, allowed numbers above 0 s')
        left = np.exp(-duration / self._constant)
        goal = np.asarray(set_point, dtype=np.float64)
        before = [stage.copy() for stage in self._stages]
        self._stages[0] = goal + (before[0] - goal) * left
        if len(self._stages) == 2:
            # Its exact answer to the first one's exponential: (1 + t / T) e^(-t / T).
            drift = (before[0] - goal) * duration / self._constant
            self._stages[1] = goal + (before[1] - goal + drift) * left
        self.velocities = (self._stages[-1] - self.positions) / duration
        self.positions = self._stages[-1].copy()


def run_cycles(
    controller: JointTrajectoryController, begin: int, end: int, positions: np.ndarray, velocities: np.ndarray
) -> np.ndarray:
    """Run the cycles due from ``begin`` to before ``end`` [ns]; return the set point (A,) for that time.

    Cycles fall on whole multiples of the controller's period. ``positions`` and ``velocities`` (A,) are measured at
    ``begin``, and carried on from there: the physics stands still meanwhile. The physics takes one set point, the last
    cycle's; where that cycle ends with the step, this is what is due at the step's end.
    """
    period = controller.period
    set_point = controller.set_point
    for now in range(-(-begin // period) * period, end, period):
        measured = positions + velocities * ((now - begin) / NANOSECONDS)
        set_point = controller.update(now, measured, velocities)
    return set_point
