"""The controller's cycles within one step of the physics, whose rate need not be the controller's."""

from __future__ import annotations

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.simulation.controller.controller import JointTrajectoryController


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
