"""Joint limits from a ``joint_limits.yaml`` file, as MoveIt and ros2_control users have it. Strict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dp_ros.bounded_files import from_yaml, read_text, reading, shown
from dp_ros.errors import ConfigError, listed
from dp_ros.robot.joint_limits import MAGNITUDES, JointLimits

KNOWN_KEYS = tuple(
    f'{prefix}{quantity}'
    for prefix, quantity in (
        *(('has_', f'{q}_limits') for q in ('position', 'velocity', 'acceleration', 'deceleration', 'jerk', 'effort')),
        *(('max_', q) for q in ('position', 'velocity', 'acceleration', 'deceleration', 'jerk', 'effort')),
        ('min_', 'position'),
        ('', 'angle_wraparound'),
    )
)
_SCALING_KEYS = ('default_velocity_scaling_factor', 'default_acceleration_scaling_factor')


def read_joint_limits(path: Path | str, joints: Sequence[str]) -> JointLimits:
    """Read the limits of ``joints`` from a ``joint_limits.yaml`` file."""
    with reading(f'joint limits {path}'):
        raw = from_yaml(read_text(path))
    return parse_joint_limits(raw, joints, str(path))


def parse_joint_limits(raw: object, joints: Sequence[str], where: str = 'joint limits') -> JointLimits:
    """Build the limits of ``joints`` from the mapping ``{joint_limits: {joint: {has_velocity_limits: ...}}}``.

    Joints that the policy does not move may be there too. Effort limits do not bear on position commands. MoveIt's
    default scaling factors are its planner's, not the robot's, and are not applied. A joint without deceleration
    limits decelerates as it may accelerate.
    """
    top = _mapping(raw, where, ('joint_limits', *_SCALING_KEYS))
    if 'joint_limits' not in top:
        raise ConfigError(f"{where}: missing key 'joint_limits'")
    table = _mapping(top['joint_limits'], f'{where}.joint_limits', None)
    missing = [joint for joint in joints if joint not in table]
    if missing:
        raise ConfigError(f'{where}.joint_limits: missing joint {listed(missing)}; got {listed(table)}')
    found = [_one_joint(table[joint], f'{where}.joint_limits.{joint}') for joint in joints]
    columns = {quantity: tuple(limit[quantity] for limit in found) for quantity in ('lower', 'upper', *MAGNITUDES)}
    return JointLimits(joints=tuple(joints), **columns)


def _mapping(raw: object, where: str, known: Sequence[str] | None) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise ConfigError(f'{where}: got {type(raw).__name__}, allowed a mapping')
    unknown = [key for key in raw if known is not None and key not in known]
    if unknown:
        raise ConfigError(f'{where}: got unknown key {listed(map(repr, unknown))}, allowed {listed(known or ())}')
    return raw


def _one_joint(raw: object, where: str) -> dict[str, float]:
    entry = _mapping(raw, where, KNOWN_KEYS)
    found = {'lower': -np.inf, 'upper': np.inf}
    if _switched_on(entry, 'position', where):
        found = {'lower': _number(entry, 'min_position', where), 'upper': _number(entry, 'max_position', where)}
    for quantity in MAGNITUDES:
        on = _switched_on(entry, quantity, where)
        found[quantity] = _number(entry, f'max_{quantity}', where) if on else np.inf
    if not entry.get('has_deceleration_limits'):
        found['deceleration'] = found['acceleration']
    return found


def _switched_on(entry: Mapping[str, object], quantity: str, where: str) -> bool:
    key = f'has_{quantity}_limits'
    given = [name for name in (f'min_{quantity}', f'max_{quantity}') if name in entry]
    if key not in entry:
        if given:
            raise ConfigError(f'{where}: got {listed(given)} without {key}, allowed {key}: true or false')
        return False
    if not isinstance(entry[key], bool):
        raise ConfigError(f'{where}.{key}: got {shown(entry[key])}, allowed true or false')
    return bool(entry[key])


def _number(entry: Mapping[str, object], key: str, where: str) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        got = shown(value) if key in entry else 'nothing'
        raise ConfigError(f'{where}.{key}: got {got}, allowed a finite number')
    return float(value)
