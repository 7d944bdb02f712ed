"""Joint limits of a robot: positions, speeds, accelerations, decelerations and jerks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dp_ros.errors import ConfigError, listed

MAGNITUDES = ('velocity', 'acceleration', 'deceleration', 'jerk')


def _array(quantity: str) -> cached_property[np.ndarray]:
    return cached_property(lambda limits: np.array(limits.column(quantity), dtype=np.float64))


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

    def without_speed(self, joints: Sequence[str]) -> JointLimits:
        """Return the same without velocity limits of some joints."""
        velocity = tuple(np.inf if j in joints else v for j, v in zip(self.joints, self.velocity, strict=True))
        return replace(self, velocity=velocity)

    # The same as arrays (A,).
    lowest, highest = _array('lower'), _array('upper')
    top_speed, top_jerk = _array('velocity'), _array('jerk')
    top_acceleration, top_deceleration = _array('acceleration'), _array('deceleration')

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
