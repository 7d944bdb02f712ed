"""What the controller checks in a message before it takes it: its checks, in its order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import DpRosError, listed
from dp_ros.simulation.controller.spec import ControllerSpec

STILL = float(np.finfo(np.float32).eps)
"""What the controller takes for a velocity of 0."""
FIELDS = ('positions', 'velocities', 'accelerations')
Rows = Sequence[Sequence[float] | np.ndarray] | np.ndarray


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The trajectory will be followed from the next cycle."""


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """The trajectory passed the checks of a controller that is not active, and is forgotten."""


class ControllerDied(DpRosError):
    """A message at which the real controller throws what nobody catches: its whole process ends."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrajectoryCommand:
    """A trajectory as it arrives, not yet judged.

    Attributes
    ----------
    stamp
        When ``times`` are counted from [ns]; 0 from the first cycle.
    joints
        Names of the columns.
    times
        Time from start of each point [ns], (N,).
    positions, velocities, accelerations, effort
        One row of A numbers for each of N points: an array (N, A), or rows of which those are empty whose point does
        not have the field. None where no point has it.

    """

    stamp: int
    joints: tuple[str, ...]
    times: np.ndarray | Sequence[int]
    positions: Rows | None
    velocities: Rows | None = None
    accelerations: Rows | None = None
    effort: Rows | None = None


def fault(command: Any, now: int, joints: tuple[str, ...], spec: ControllerSpec) -> str:
    """Return why a controller of ``joints`` rejects a command that arrives at ``now`` [ns], or nothing.

    Raises :class:`ControllerDied` for what ends the real one.
    """
    return (
        _fault_of_joints(command, joints, spec)
        or _fault_of_end(command, spec)
        or _fault_of_stamp(command, now)
        or _fault_of_points(command)
        or (_fault_of_numbers(command) if spec.reject_non_finite else '')
    )


def _fault_of_joints(command: Any, joints: tuple[str, ...], spec: ControllerSpec) -> str:
    given = tuple(command.joints)
    if len(given) != len(joints) and not spec.allow_partial_joints_goal:
        return f'joints: got {len(given)}, allowed {len(joints)} (allow_partial_joints_goal is false)'
    if not given:
        return 'joints: got none, allowed one or more'
    if len(command.times) == 0:
        return 'points: got none, allowed one or more (to stop, send one point to hold)'
    # A name may stand there twice: `dp_ros.simulation.controller.joint_order` has what comes of it.
    if not set(given) <= set(joints):
        return f'joints: got {listed(given)}, allowed {listed(joints)}'
    return ''


def _fault_of_end(command: Any, spec: ControllerSpec) -> str:
    rows = command.velocities
    if spec.allow_nonzero_velocity_at_trajectory_end or rows is None or len(rows) == 0:
        return ''
    last = [float(value) for value in rows[-1]]
    moving = next((i for i, value in enumerate(last) if abs(value) > STILL), None)
    if moving is None:
        return ''
    if moving >= len(command.joints):
        # It looks for the name of the joint that moves: std::out_of_range.
        raise ControllerDied(
            f'velocities of the last point: got {last} for {len(command.joints)} joints, allowed one for each; '
            'this ends the real controller'
        )
    return f'velocities of the last point: got {last}, allowed 0'


def _fault_of_stamp(command: Any, now: int) -> str:
    if command.stamp < 0:
        # rclcpp::Time: std::runtime_error, "cannot store a negative time point".
        raise ControllerDied(f'stamp: got {command.stamp} ns, allowed 0 or more; this ends the real controller')
    end = int(command.stamp) + int(command.times[-1])
    if command.stamp != 0 and end < now:
        return f'ends in the past: at {end} ns, {(now - end) / NANOSECONDS:.3f} s before now'
    return ''


def _fault_of_points(command: Any) -> str:
    width, count = len(command.joints), len(command.times)
    effort = getattr(command, 'effort', None)
    columns = {name: getattr(command, name) for name in FIELDS}
    for name, rows in columns.items():
        if rows is not None and len(rows) != count:
            return f'{name}: got {len(rows)} points, allowed {count}'
    for i in range(count):
        if i > 0 and command.times[i] <= command.times[i - 1]:
            return (
                f'time_from_start: got {int(command.times[i - 1])} ns and then {int(command.times[i])} ns at points '
                f'{i - 1} and {i}, allowed times that increase strictly'
            )
        for name, rows in columns.items():
            length = 0 if rows is None else len(rows[i])
            if length != width and (name == 'positions' or length):
                allowed = f'{width}' if name == 'positions' else f'{width} or none'
                return f'{name}: got {length} values at point {i}, allowed {allowed}'
        if effort is not None and len(effort[i]):
            return 'effort: got some, allowed none without an effort interface'
    return ''


def _fault_of_numbers(command: Any) -> str:
    for name in FIELDS:
        rows = getattr(command, name)
        values = rows if isinstance(rows, np.ndarray) else [v for row in rows or () for v in row]
        if not np.isfinite(np.asarray(values, dtype=np.float64)).all():
            return f'{name}: got NaN or infinity, allowed finite numbers'
    return ''
