"""Draw what a recording's controllers were commanded beside what was measured, and the safety states: `dp_ros plot`.

The trajectories are played by the model of joint_trajectory_controller, from the measured state at the first of them:
between two messages, and on the way to a first point, that is what a robot was commanded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS, Refusal
from dp_ros.errors import DataError, DpRosError, listed
from dp_ros.messages import encoding
from dp_ros.messages.status import Status, decode
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.simulation.controller.controller import JointTrajectoryController
from dp_ros.simulation.controller.spec import ControllerSpec

JOINTS, COMMANDS, STATUS = encoding.JOINT_STATE, encoding.JOINT_TRAJECTORY, 'diagnostic_msgs/msg/DiagnosticStatus'
ALIGNED, INNER = '/observation_buffer/', ('/action_chunk', '/plan')
RATE = 100.0  # [Hz]
COLOURS = {'running': 'white', 'inactive': '0.85', 'latched': '#f4b6b6'}
OTHERWISE = '#fbe3b5'


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """Keep what was commanded and measured of the joints of one controller.

    Attributes
    ----------
    times
        Of the rows, in time since the recording's first message [s], (N,).
    commanded, measured
        Positions [rad or m], (N, A).
    rejected
        Messages that the controller would not have taken.

    """

    topic: str
    joints: tuple[str, ...]
    times: np.ndarray
    commanded: np.ndarray
    measured: np.ndarray
    rejected: int


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Keep what is drawn of a recording: a `Motion` for each controller, and states since (time [s], state, reason)."""

    motions: tuple[Motion, ...]
    states: tuple[tuple[float, str, str], ...]


def read_motion(path: Path) -> Recorded:
    """Read a recording, as the node `black_box` writes it.

    Raises
    ------
    DataError
        If it has no commands, or no joint states of what is commanded.

    """
    with BagReader(path) as bag:
        kinds = {name: topic.type for name, topic in bag.topics.items() if topic.count}
        joint_states = [n for n, kind in kinds.items() if kind == JOINTS and ALIGNED not in n]
        commands = [n for n, kind in kinds.items() if kind == COMMANDS and not n.endswith(INNER)]
        status = [n for n in kinds if n.endswith('/status') and kinds[n] == STATUS]
        if not commands or not joint_states:
            raise DataError(
                f'{path}: got {listed(sorted(kinds)) or "no topics"}, allowed a recording with joint states '
                f'({JOINTS}) and commands ({COMMANDS})'
            )
        wanted = {name: [kinds[name]] for name in (*joint_states, *commands, *status)}
        messages = list(bag.messages(wanted))
    start = messages[0][1]
    measured = _measured([message for topic, _, message in messages if topic in joint_states])
    motions = [
        _motion(topic, [(at, message) for name, at, message in messages if name == topic], measured, start)
        for topic in commands
    ]
    return Recorded(motions=tuple(motions), states=_states(messages, status, start))


def _measured(messages: Sequence[Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return stamps [ns] and positions of each joint."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for message in messages:
        for name, position in zip(message.name, message.position, strict=False):
            stamps, positions = found.setdefault(name, ([], []))
            if not stamps or encoding.stamp_of(message) > stamps[-1]:
                stamps.append(encoding.stamp_of(message))
                positions.append(float(position))
    return {name: (np.array(stamps), np.array(positions)) for name, (stamps, positions) in found.items()}


def _motion(
    topic: str, commands: Sequence[tuple[int, Any]], measured: Mapping[str, tuple[np.ndarray, np.ndarray]], start: int
) -> Motion:
    joints = tuple(commands[0][1].joint_names)
    lacking = [joint for joint in joints if joint not in measured]
    if lacking:
        raise DataError(f'{topic}: got commands for {listed(lacking)}, allowed joints with states: {listed(measured)}')
    spec = ControllerSpec(rate=RATE, allow_nonzero_velocity_at_trajectory_end=True, allow_partial_joints_goal=True)
    controller = JointTrajectoryController(joints, spec=spec)
    period = controller.period
    last = max(commands[-1][0], *(int(measured[joint][0][-1]) for joint in joints))
    cycles = np.arange(commands[0][0], last + period, period)
    states = np.stack([np.interp(cycles, *measured[joint]) for joint in joints], axis=1)
    controller.reset(states[0])
    waiting, rejected, rows = list(reversed(commands)), 0, []
    for now, state in zip(cycles.tolist(), states, strict=True):
        while waiting and waiting[-1][0] <= now:
            _, message = waiting.pop()
            try:
                rejected += isinstance(controller.command(encoding.trajectory_value(message), now), Refusal)
            except DpRosError:  # uneven points, or what ends a controller
                rejected += 1
        rows.append(controller.update(now, state))
    times = (cycles - start) / NANOSECONDS
    return Motion(
        topic=topic, joints=joints, times=times, commanded=np.array(rows), measured=states, rejected=rejected
    )  # fmt: skip


def _states(
    messages: Sequence[tuple[str, int, Any]], topics: Sequence[str], start: int
) -> tuple[tuple[float, str, str], ...]:
    found: list[tuple[float, str, str]] = []
    for topic, received, message in messages:
        if topic in topics:
            status = decode(Status, message.values)
            if not found or found[-1][1] != status.state:
                found.append(((received - start) / NANOSECONDS, status.state, status.reason))
    return tuple(found)


def plot_motion(recorded: Recorded, path: Path, title: str) -> None:
    """Draw each joint: commanded and measured, and their difference; the background is the safety state."""
    from matplotlib.figure import Figure

    rows = [(motion, column) for motion in recorded.motions for column in range(len(motion.joints))]
    end = max(motion.times[-1] for motion in recorded.motions)
    figure = Figure(figsize=(13, 1.2 + 1.5 * len(rows)), layout='constrained')
    axes = figure.subplots(len(rows), 2, sharex=True, squeeze=False)
    for (left, right), (motion, column) in zip(axes, rows, strict=True):
        commanded, measured = motion.commanded[:, column], motion.measured[:, column]
        left.plot(motion.times, commanded, 'C0', lw=1.4, label='commanded')
        left.plot(motion.times, measured, 'C1', lw=1.0, label='measured')
        right.plot(motion.times, commanded - measured, 'C3', lw=1.0)
        left.set_ylabel(motion.joints[column])
        for panel in (left, right):
            panel.grid(alpha=0.3)
            ends = [time for time, _, _ in recorded.states[1:]] + [end]
            for (begin, state, _), until in zip(recorded.states, ends, strict=False):
                panel.axvspan(begin, until, color=COLOURS.get(state, OTHERWISE), lw=0, zorder=0)
    axes[0, 0].legend(loc='upper left', fontsize='small')
    axes[0, 0].set_title(f'{title}: position [rad or m]')
    axes[0, 1].set_title('commanded - measured')
    for panel in axes[-1]:
        panel.set_xlabel('time [s]; white: running, yellow: coming to rest or waiting, red: latched')
    figure.savefig(path, dpi=100)


def summary(recorded: Recorded) -> str:
    """Return for people what was drawn."""
    lines = []
    for motion in recorded.motions:
        off = np.abs(motion.commanded - motion.measured).max(axis=0)
        lines.append(f'{motion.topic}: {motion.times[-1] - motion.times[0]:.1f} s, rejected {motion.rejected} messages')
        lines += [
            f'  {joint:<24} farthest from its command {away:.4g}'
            for joint, away in zip(motion.joints, off, strict=True)
        ]
    lines += [f'  {time:7.2f} s  {state:<10} {reason}' for time, state, reason in recorded.states]
    return '\n'.join(lines)
