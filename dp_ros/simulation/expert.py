"""Step scripted demonstrators within limits of speed and acceleration, and make their commands."""

from __future__ import annotations

import numpy as np

from dp_ros.data import to_nanoseconds
from dp_ros.motion.trajectory import Trajectory


def approach(
    way: np.ndarray, rate: np.ndarray, fastest: float, acceleration: float, dt: float, heading: np.ndarray | None = None
) -> np.ndarray:
    """Return the next velocity towards a point, from which the tool could still stop there.

    Parameters
    ----------
    way
        From here to the point (D,) [m] or [rad].
    rate
        The velocity now (D,) [m/s] or [rad/s].
    fastest, acceleration
        The largest that are allowed, of the vector [m/s, m/s^2] or [rad/s, rad/s^2].
    dt
        From one velocity to the next [s].
    heading
        The direction to go (D,), of length 1, where that is not along the way.

    """
    distance = float(np.linalg.norm(way))
    # v dt + v^2 / (2 a) = distance, as discrete steps make it.
    stopping = acceleration * (np.sqrt((dt / 2) ** 2 + 2.0 * distance / acceleration) - dt / 2)
    speed = min(fastest, stopping, distance / dt)
    target = (way / max(distance, 1e-9) if heading is None else heading) * speed
    change = target - rate
    size = float(np.linalg.norm(change))
    return rate + change * min(1.0, acceleration * dt / max(size, 1e-9))


def wrapped(angle: float) -> float:
    """Return the same angle from -pi up to pi [rad]."""
    return float((angle + np.pi) % (2.0 * np.pi) - np.pi)


def ramp(stamp: int, joints: tuple[str, ...], before: np.ndarray, after: np.ndarray, dt: float) -> Trajectory:
    """Return the command of ``stamp`` [ns] that leads from one set point (A,) to another in ``dt`` [s].

    It is anchored: its first point is due already when it arrives, so the controller is on it from its first cycle.
    """
    times = np.array([0, to_nanoseconds(dt)])
    return Trajectory(stamp=stamp, joints=joints, times=times, positions=np.stack([before, after]))
