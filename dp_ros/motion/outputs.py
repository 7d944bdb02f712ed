"""One plan for several controllers: an arm's and a gripper's, say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dp_ros.errors import ConfigError, listed
from dp_ros.motion.trajectory import Trajectory
from dp_ros.options import option, options_of


@dataclass(frozen=True, kw_only=True)
class Output:
    """A controller: its name, and what it is sent."""

    name: str = ''
    # fmt: off
    type: Literal['joint_trajectory', 'gripper_command', 'parallel_gripper_command'] = option(
        'joint_trajectory', 'What the controller takes. joint_trajectory: trajectories; gripper_command and '
        'parallel_gripper_command: goals of the actions control_msgs/GripperCommand and ParallelGripperCommand, for '
        'one joint, where that package is installed.',
        choices=('joint_trajectory', 'gripper_command', 'parallel_gripper_command'),
    )
    topic: str = option('', 'Trajectories go here; the name of the action, for a gripper.')
    joints: tuple[str, ...] = option((), 'Its joints, in order.', example='[joint_1, joint_2]')
    max_effort: float = option(
        0.0, 'Of a gripper: the force in its goals, or a torque; 0 leaves it to drivers that have one of their own.',
        unit='N or Nm', low=0.0, high=1000.0,
    )
    step: float = option(
        0.0, 'Of a gripper: how far its joint goes until the next goal is sent; 0: 1 % of its range.',
        unit='rad or m', low=0.0, high=1.0,
    )
    # fmt: on

    @property
    def gripper(self) -> bool:
        """Tell whether it takes goals of positions, at a speed of its own."""
        return self.type != 'joint_trajectory'


OUTPUTS = 'outputs.'
OUTPUT_OPTIONS = '|'.join(each.name for each in options_of(Output))
"""The names of an output's options, as the end of a regular expression."""


def trajectory_outputs(outputs: Sequence[Output]) -> tuple[Output, ...]:
    """Return those that take trajectories."""
    return tuple(output for output in outputs if not output.gripper)


def driven_apart(outputs: Sequence[Output]) -> tuple[str, ...]:
    """Return the joints whose drivers decide themselves how they get to where the plan is."""
    return tuple(joint for output in outputs if output.gripper for joint in output.joints)


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
        if output.gripper and len(output.joints) > 1:
            raise ConfigError(f'outputs {output.name} joints: got {listed(output.joints)}, allowed one of a gripper')
        if not output.gripper and (output.max_effort or output.step):
            raise ConfigError(f'outputs {output.name}: got max_effort or step, allowed with the type of a gripper')
    if not trajectory_outputs(outputs):
        raise ConfigError(f'outputs type: got {outputs[0].type} alone, allowed beside a joint_trajectory')


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
