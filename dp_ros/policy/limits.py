"""Joint limits, and the check of a whole trajectory against them: every instant, not only the points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, LimitError, listed
from dp_ros.policy.extremes import Extremes, extremes
from dp_ros.policy.trajectory import Trajectory

Quantity = Literal['position', 'velocity', 'acceleration']

ROUNDING = 1e-9
"""What floating point may add to a value exactly at its limit: absolute for positions, relative for the others."""


@dataclass(frozen=True, kw_only=True)
class JointLimits:
    """Limits by joint: positions [rad or m], velocity and acceleration magnitudes [/s, /s^2]. Infinite means none."""

    joints: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    velocity: tuple[float, ...]
    acceleration: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.joints or len(set(self.joints)) != len(self.joints):
            raise ConfigError(f'joint limits: got joints {listed(self.joints)}, allowed one or more different names')
        for name in ('lower', 'upper', 'velocity', 'acceleration'):
            count = len(getattr(self, name))
            if count != len(self.joints):
                raise ConfigError(
                    f'joint limits {name}: got {count} for {len(self.joints)} joints, allowed one for each'
                )
        for joint, lower, upper in zip(self.joints, self.lower, self.upper, strict=True):
            if not (lower < upper and lower < np.inf and upper > -np.inf):
                raise ConfigError(f'joint limits of {joint!r}: got positions {lower} to {upper}, allowed lower < upper')
        for name in ('velocity', 'acceleration'):
            for joint, value in zip(self.joints, getattr(self, name), strict=True):
                if not value > 0.0:
                    raise ConfigError(f'joint limits of {joint!r}: got {name} {value}, allowed more than 0')

    @cached_property
    def lowest(self) -> np.ndarray:
        """Lower position limits, shape (A,)."""
        return np.array(self.lower, dtype=np.float64)

    @cached_property
    def highest(self) -> np.ndarray:
        """Upper position limits, shape (A,)."""
        return np.array(self.upper, dtype=np.float64)

    @cached_property
    def top_speed(self) -> np.ndarray:
        """Velocity limits, shape (A,)."""
        return np.array(self.velocity, dtype=np.float64)

    @cached_property
    def top_acceleration(self) -> np.ndarray:
        """Acceleration limits, shape (A,)."""
        return np.array(self.acceleration, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Within:
    """The trajectory keeps to every limit at every instant."""


@dataclass(frozen=True, kw_only=True)
class Exceeded:
    """The worst excess: ``value`` of a joint's ``quantity`` against its ``limit``, at ``time`` from the start [ns]."""

    joint: str
    quantity: Quantity
    value: float
    limit: float
    time: int

    def __str__(self) -> str:
        allowed = 'up to' if self.quantity != 'position' or self.value > self.limit else 'from'
        return (
            f'{self.joint} {self.quantity}: got {self.value:.6g} at {self.time / 1e9:.3f} s, '
            f'allowed {allowed} {self.limit:.6g}'
        )


def outside(found: Extremes, limits: JointLimits) -> np.ndarray:
    """How far each candidate position is outside its limits [rad or m], shape (K, S, A); 0 or less is inside."""
    values = found.position[0]
    return np.maximum(values - limits.highest, limits.lowest - values)


def speed_ratio(found: Extremes, limits: JointLimits) -> np.ndarray:
    """Speed over its limit, shape (K, S, A)."""
    return np.abs(found.velocity[0]) / limits.top_speed


def acceleration_ratio(found: Extremes, limits: JointLimits) -> np.ndarray:
    """Acceleration over its limit, shape (K, S, A)."""
    # A corner of a positions-only trajectory is infinite, which is no excess where nothing is limited.
    values = np.where(np.isinf(limits.top_acceleration), 0.0, np.abs(found.acceleration[0]))
    return values / limits.top_acceleration


def check(trajectory: Trajectory, limits: JointLimits) -> Within | Exceeded:
    """Compare every instant of a trajectory with the limits of the same joints."""
    return verdict(trajectory, extremes(trajectory), limits)


def verdict(trajectory: Trajectory, found: Extremes, limits: JointLimits) -> Within | Exceeded:
    """Compare the extremes found in a trajectory with the limits; the worst excess counts, positions first."""
    if trajectory.joints != limits.joints:
        raise LimitError(f'limits: got joints {listed(trajectory.joints)}, allowed {listed(limits.joints)}')
    excess = outside(found, limits)
    # Asked as "not at most", so that a NaN out of an overflow is an excess too.
    if not excess.max() <= ROUNDING:
        return _worst(trajectory, limits, 'position', found.position, excess)
    speed, acceleration = speed_ratio(found, limits), acceleration_ratio(found, limits)
    if not speed.max() <= max(1.0 + ROUNDING, acceleration.max()):
        return _worst(trajectory, limits, 'velocity', found.velocity, speed)
    if not acceleration.max() <= 1.0 + ROUNDING:
        return _worst(trajectory, limits, 'acceleration', found.acceleration, acceleration)
    return Within()


def _worst(
    trajectory: Trajectory,
    limits: JointLimits,
    quantity: Quantity,
    candidates: tuple[np.ndarray, np.ndarray],
    excess: np.ndarray,
) -> Exceeded:
    k, s, a = (int(i) for i in np.unravel_index(excess.argmax(), excess.shape))
    value, instant = float(candidates[0][k, s, a]), float(candidates[1][k, s, a])
    if quantity == 'position':
        limit = limits.upper[a] if value > limits.upper[a] else limits.lower[a]
    else:
        value = abs(value)
        limit = limits.velocity[a] if quantity == 'velocity' else limits.acceleration[a]
    time = int(trajectory.times[s]) + to_nanoseconds(instant)
    return Exceeded(joint=trajectory.joints[a], quantity=quantity, value=value, limit=limit, time=time)
