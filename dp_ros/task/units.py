"""Define units of what is observed and commanded: conversion, an arm's reach, what sensors tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from dp_ros.errors import ConfigError, DataError, listed

Unit = Literal['m', 'rad', 'deg', 'mm']
UNITS = 'The unit of each joint: `m` or `rad`, or what the source counts in, `deg` or `mm`, which is converted.'
QUATERNION = ('qx', 'qy', 'qz', 'qw')
SI: tuple[Unit, ...] = ('m', 'rad')
"""What a policy, a bundle and a robot have; the other units are those of a source, and are converted."""
MOST = {'m': 5.0, 'rad': 25.0}
"""Largest position of a joint: an arm's rail or gripper is shorter than 5 m, and no joint turns four times."""
FLOORS = {
    'm': 1e-3, 'rad': 5e-3, 'm/s': 1e-2, 'rad/s': 5e-2, 'effort': 0.1, 'quaternion': 2.5e-3, '': 5e-3,
}  # fmt: skip
"""The smallest range that means anything, by unit: ten times what encoders and drives tremble by at rest (0.5 mrad and
0.1 mm), that much in a tenth of a second for velocities, 0.1 N m or N of a torque sensor; half an angle in a
quaternion, and a sine or cosine as its angle."""
_CONVERTED: dict[str, tuple[Unit, float]] = {'deg': ('rad', math.pi / 180.0), 'mm': ('m', 1e-3)}


class Channel(NamedTuple):
    """One number of a vector: what it is called, its unit (a key of `FLOORS`)."""

    name: str
    unit: str

    @property
    def floor(self) -> float:
        """The smallest range of it that means anything."""
        return FLOORS[self.unit]

    @property
    def turns(self) -> bool:
        """Tell whether the number is part of a direction, and so between -1 and 1."""
        return self.unit in ('quaternion', '')

    @property
    def suffix(self) -> str:
        """The unit as it stands behind a number."""
        return f' {self.unit}' if self.unit in ('m', 'rad', 'm/s', 'rad/s') else ''


def joint_channels(joints: Sequence[str], units: Sequence[str], fields: Sequence[str]) -> tuple[Channel, ...]:
    """Return what a joint stream's vector holds: for each field in order, each joint in order."""
    made = {
        'position': lambda joint, unit: Channel(joint, unit),
        'velocity': lambda joint, unit: Channel(f'velocity of {joint}', f'{unit}/s'),
        'effort': lambda joint, unit: Channel(f'effort of {joint}', 'effort'),
    }
    return tuple(made[field](joint, unit) for field in fields for joint, unit in zip(joints, units, strict=True))


def pose_channels(features: Sequence[str]) -> tuple[Channel, ...]:
    """Return what a pose stream's vector holds."""
    units = {**dict.fromkeys(('x', 'y', 'z'), 'm'), **dict.fromkeys(QUATERNION, 'quaternion')}
    return tuple(Channel(feature, units.get(feature, '')) for feature in features)


def converted(
    what: str, joints: Sequence[str], units: Sequence[Unit], scale: Sequence[float]
) -> tuple[tuple[Unit, ...], tuple[float, ...]]:
    """Return units in SI and what a source's numbers are multiplied by; without a factor other than 1, none.

    Raises
    ------
    ConfigError
        If there is not one unit for each joint, or not one scale, or a unit that has a scale of its own is given one.

    """
    if len(units) != len(joints):
        raise ConfigError(
            f'{what} units: got {len(units)} for {len(joints)} joints, allowed one (m or rad, or of a source that '
            'counts otherwise deg or mm) for each joint'
        )
    if scale and len(scale) != len(joints):
        raise ConfigError(f'{what} scale: got {len(scale)} for {len(joints)} joints, allowed one for each, or none')
    if scale and not set(units) <= set(SI):
        raise ConfigError(f'{what} scale: got one with units {listed(units)}, allowed with m and rad only')
    if not all(math.isfinite(factor) and factor != 0.0 for factor in scale):
        raise ConfigError(f'{what} scale: got {listed(scale)}, allowed finite numbers other than 0')
    pairs = [_CONVERTED.get(unit, (unit, 1.0)) for unit in units]
    factors = tuple(scale) or tuple(factor for _, factor in pairs)
    return tuple(unit for unit, _ in pairs), factors if any(factor != 1.0 for factor in factors) else ()


def check_reach(what: str, joint: str, unit: str, got: float) -> None:
    """Raise DataError for a joint's farthest position that no arm has in its unit, saying what it looks like."""
    if got <= MOST[unit]:
        return
    other, most = ('degrees', 360.0) if unit == 'rad' else ('millimetres', 2000.0)
    looks = f'{other} or percent' if got <= 101.0 else other if got <= most else f'neither {other} nor percent'
    raise DataError(
        f'{what}: got up to {got:.4g} for {joint}, allowed {MOST[unit]:g} {unit}; that looks like {looks}: give units '
        f'{"deg" if unit == "rad" else "mm"}, or a scale to {"radians" if unit == "rad" else "metres"}'
    )
