"""Joint limits, and the check of a whole trajectory against them: every instant, not only the points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, LimitError, listed
from dp_ros.motion.extrema import Extremes, Hull, extremes
from dp_ros.motion.trajectory import Trajectory

Quantity = Literal['position', 'velocity', 'acceleration', 'deceleration', 'jerk', 'workspace']

ROUNDING = 1e-9
"""What floating point may add to a value exactly at its limit: absolute for positions, relative for the others."""
JERK_ROUNDING = 1e-6
"""The same for jerk, which is a difference of positions divided by the third power of a short time."""
MAGNITUDES = ('velocity', 'acceleration', 'deceleration', 'jerk')


@dataclass(frozen=True, kw_only=True)
class JointLimits:
    """Limits by joint: positions [rad or m] and magnitudes of derivatives [/s, /s^2, /s^3]. Infinite means none.

    ``deceleration`` holds where velocity and acceleration have opposite signs, and is that of ``acceleration`` where
    it is left out. ``jerk`` is none where it is left out. It bounds the third derivative between points; the steps of
    acceleration that a cubic makes where it joins another are not counted, and quintics have none.
    """

    joints: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    velocity: tuple[float, ...]
    acceleration: tuple[float, ...]
    deceleration: tuple[float, ...] = ()
    jerk: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.joints or len(set(self.joints)) != len(self.joints):
            raise ConfigError(f'joint limits: got joints {listed(self.joints)}, allowed one or more different names')
        for name in ('lower', 'upper', *MAGNITUDES):
            count = len(self.column(name))
            if count != len(self.joints):
                raise ConfigError(
                    f'joint limits {name}: got {count} for {len(self.joints)} joints, allowed one for each'
                )
        for joint, lower, upper in zip(self.joints, self.lower, self.upper, strict=True):
            if not (lower < upper and lower < np.inf and upper > -np.inf):
                raise ConfigError(f'joint limits of {joint!r}: got positions {lower} to {upper}, allowed lower < upper')
        for name in MAGNITUDES:
            for joint, value in zip(self.joints, self.column(name), strict=True):
                if not value > 0.0:
                    raise ConfigError(f'joint limits of {joint!r}: got {name} {value}, allowed more than 0')

    def column(self, quantity: str) -> tuple[float, ...]:
        """Return the limits of a quantity (`lower`, `upper` or one of `MAGNITUDES`), by joint."""
        given: tuple[float, ...] = getattr(self, quantity)
        if given or quantity not in ('deceleration', 'jerk'):
            return given
        return self.acceleration if quantity == 'deceleration' else (np.inf,) * len(self.joints)

    def stricter(self, other: JointLimits) -> JointLimits:
        """Return limits that keep both these and ``other``, which are of the same joints."""
        if other.joints != self.joints:
            raise ConfigError(f'joint limits: got joints {listed(other.joints)}, allowed {listed(self.joints)}')
        columns = {
            name: tuple(map(max if name == 'lower' else min, self.column(name), other.column(name)))
            for name in ('lower', 'upper', *MAGNITUDES)
        }
        return JointLimits(joints=self.joints, **columns)

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

    @cached_property
    def top_deceleration(self) -> np.ndarray:
        """Deceleration limits, shape (A,)."""
        return np.array(self.column('deceleration'), dtype=np.float64)

    @cached_property
    def brakes_alike(self) -> bool:
        """Whether deceleration has the limits of acceleration."""
        return self.column('deceleration') == self.acceleration

    @cached_property
    def any_jerk(self) -> bool:
        """Whether any joint has a jerk limit."""
        return bool(np.isfinite(self.top_jerk).any())

    @cached_property
    def weakest(self) -> np.ndarray:
        """The smaller of acceleration and deceleration limits, shape (A,)."""
        return np.minimum(self.top_acceleration, self.top_deceleration)

    @cached_property
    def hull(self) -> Hull:
        """What `extremes` may leave unsolved: where a polynomial's hull is within these, so is the polynomial."""
        return Hull(
            lowest=self.lowest,
            highest=self.highest,
            speed=self.top_speed,
            acceleration=self.weakest,
            alike=self.brakes_alike,
        )

    @cached_property
    def top_jerk(self) -> np.ndarray:
        """Jerk limits, shape (A,)."""
        return np.array(self.column('jerk'), dtype=np.float64)


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
        bounded_below = self.quantity in ('position', 'workspace') and self.value <= self.limit
        return (
            f'{self.joint} {self.quantity}: got {self.value:.6g} at {self.time / 1e9:.3f} s, '
            f'allowed {"from" if bounded_below else "up to"} {self.limit:.6g}'
        )


def outside(found: Extremes, limits: JointLimits) -> np.ndarray:
    """How far each candidate position is outside its limits [rad or m], shape (K, S, A); 0 or less is inside."""
    values = found.position[0]
    return np.maximum(values - limits.highest, limits.lowest - values)


def speed_ratio(found: Extremes, limits: JointLimits) -> np.ndarray:
    """Speed over its limit, shape (K, S, A)."""
    return np.abs(found.velocity[0]) / limits.top_speed


def acceleration_ratio(found: Extremes, limits: JointLimits) -> np.ndarray:
    """Acceleration over its limit, or deceleration over its own, shape (K, S, A)."""
    values, top = np.abs(found.acceleration[0]), limits.top_acceleration
    # A corner of a positions-only trajectory is infinite, which is no excess where nothing is limited.
    if limits.brakes_alike:
        return np.where(np.isinf(top), 0.0, values) / top
    top = np.where(found.power > 0, top, np.where(found.power < 0, limits.top_deceleration, limits.weakest))
    return np.where(np.isinf(top), 0.0, values) / top


def jerk_ratio(found: Extremes, limits: JointLimits) -> np.ndarray:
    """Jerk over its limit, shape (K, S, A)."""
    return np.abs(found.jerk[0]) / limits.top_jerk


def pace(found: Extremes, limits: JointLimits) -> np.ndarray:
    """Return how many times too fast each segment is, (S,): speed grows with it, acceleration squared, jerk cubed."""
    speed = speed_ratio(found, limits).max(axis=(0, 2))
    acceleration = np.sqrt(acceleration_ratio(found, limits).max(axis=(0, 2)))
    fastest = np.maximum(speed, acceleration)
    if not limits.any_jerk:
        return np.asarray(fastest)
    return np.asarray(np.maximum(fastest, np.cbrt(jerk_ratio(found, limits).max(axis=(0, 2)))))


def check(trajectory: Trajectory, limits: JointLimits) -> Within | Exceeded:
    """Compare every instant of a trajectory with the limits of the same joints."""
    return verdict(trajectory, extremes(trajectory, limits.hull), limits)


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
    if limits.any_jerk:
        jerk = jerk_ratio(found, limits)
        if not jerk.max() <= 1.0 + JERK_ROUNDING:
            return _worst(trajectory, limits, 'jerk', found.jerk, jerk)
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
        limit = value / float(excess[k, s, a])
        if quantity == 'acceleration' and not limits.brakes_alike and np.isclose(limit, limits.top_deceleration[a]):
            quantity = 'deceleration'
        limit = limits.column(quantity)[a]
    time = int(trajectory.times[s]) + to_nanoseconds(instant)
    return Exceeded(joint=trajectory.joints[a], quantity=quantity, value=value, limit=limit, time=time)
