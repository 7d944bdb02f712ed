"""One plan for several controllers: an arm's and a gripper's, say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dp_ros.errors import ConfigError, listed
from dp_ros.motion.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class Output:
    """A controller: its name, the topic it listens on, and its joints in order."""

    name: str
    topic: str
    joints: tuple[str, ...]


def check_outputs(outputs: Sequence[Output], joints: Sequence[str]) -> None:
    """Raise ConfigError unless each of ``joints`` has one output, and each topic is used once."""
    given = [joint for output in outputs for joint in output.joints]
    if sorted(given) != sorted(joints):
        raise ConfigError(f'outputs joints: got {listed(given)}, allowed each of {listed(joints)} once')
    topics = [output.topic for output in outputs]
    if len(set(topics)) != len(topics) or not all(topics):
        raise ConfigError(f'outputs topic: got {listed(map(repr, topics))}, allowed a different one for each')
    for output in outputs:
        if not output.joints:
            raise ConfigError(f'outputs {output.name} joints: got none, allowed one or more of {listed(joints)}')


def split(trajectory: Trajectory, outputs: Sequence[Output]) -> tuple[Trajectory, ...]:
    """Return each output's part of a trajectory: all points and times, its own joints."""
    if len(outputs) == 1 and outputs[0].joints == trajectory.joints:
        return (trajectory,)
    return tuple(_part(trajectory, output.joints) for output in outputs)


def _part(trajectory: Trajectory, joints: tuple[str, ...]) -> Trajectory:
    columns = [trajectory.joints.index(joint) for joint in joints]
    parts = (trajectory.positions, trajectory.velocities, trajectory.accelerations)
    positions, velocities, accelerations = (None if part is None else part[:, columns] for part in parts)
    assert positions is not None
    return Trajectory(
        stamp=trajectory.stamp,
        joints=joints,
        times=trajectory.times,
        positions=positions,
        velocities=velocities,
        accelerations=accelerations,
    )
