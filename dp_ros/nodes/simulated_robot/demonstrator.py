"""A scripted demonstrator: watches the simulated robot and commands it, for recordings that need no person.

The expert of the world decides; what its commands look like is said there. It is paced by the robot's stamps, so it
keeps step with a robot of any speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dp_ros.data import to_nanoseconds
from dp_ros.errors import DataError
from dp_ros.messages import encoding
from dp_ros.options import Option
from dp_ros.ros.diagnostics import ERROR, OK
from dp_ros.ros.lifecycle import WARN_PERIOD, ManagedNode, reliable, run
from dp_ros.simulation.registry import JOINTS, WORLDS, make_expert
from dp_ros.simulation.world import Expert, Pose
from dp_ros.task.spec import JointStream, PoseStream, Unit

BLOCK = PoseStream(name='block', topic='block_pose', features=('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw'))
PARAMETERS = [
    Option(name='world', default='pusht', choices=WORLDS, description='The world whose task is demonstrated.'),
    Option(name='control_dt', default=0.1, low=0.01, high=1.0, description='Time between commands [s].'),
    Option(
        name='seed', default=0, low=0, high=2**31 - 1,
        description="Decides, with the episode's own seed, which way is taken where several are as good.",
    ),
    Option(name='topics.joint_states', default='joint_states', description='Joint states of the robot.'),
    Option(name='topics.pose', default='block_pose', description="The block's pose."),
    Option(name='topics.episode', default='simulated_robot/episode', description='Says when an episode begins.'),
    Option(name='topics.command', default='arm_controller/joint_trajectory', description='Commands go out here.'),
]  # fmt: skip
STATUS = 'demonstration'


class Demonstrator(ManagedNode):
    """The node `demonstrator`."""

    def __init__(self, **options: Any) -> None:
        self._inputs: list[Any] = []
        self._publisher: Any = None
        super().__init__('demonstrator', PARAMETERS, **options)

    def configure(self) -> None:
        """Make the output."""
        self._world = self.value('world')
        joints = JOINTS[self._world]
        unit: Unit = 'rad' if self._world == 'push_block' else 'm'
        self._robot = JointStream(name='robot', topic='joint_states', joints=joints, units=(unit,) * len(joints))
        self._control_dt = to_nanoseconds(self.value('control_dt'))
        self._publisher = self.create_lifecycle_publisher(JointTrajectory, self.value('topics.command'), reliable(1))

    def activate(self) -> None:
        """Begin to watch, and to command from the next episode message on."""
        self._newest: dict[str, tuple[int, np.ndarray]] = {}
        self._expert: Expert | None = None
        self._elapsed = 0.0
        self._tick = -1
        self._commands = 0
        sensor = qos_profile_sensor_data
        self._inputs = [
            self.create_subscription(JointState, self.value('topics.joint_states'), self._on_joints, sensor),
            self.create_subscription(PoseStamped, self.value('topics.pose'), self._on_pose, sensor),
            self.create_subscription(DiagnosticStatus, self.value('topics.episode'), self._on_episode, reliable(10)),
        ]

    def deactivate(self) -> None:
        """Stop watching. The robot stays at its last set point."""
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        self.diagnostics.forget(STATUS)

    def cleanup(self) -> None:
        """Remove the output."""
        if self._publisher is not None:
            self.destroy_lifecycle_publisher(self._publisher)
            self._publisher = None

    def restart(self, reason: str) -> None:
        """Forget what was seen before the clock jumped."""
        self._newest, self._expert, self._tick = {}, None, -1

    def refresh(self) -> None:
        """Say how many commands went out."""
        if self.active:
            text = 'demonstrating' if self._expert else 'waiting for an episode'
            self.diagnostics.report(STATUS, OK, text, {'commands': self._commands})

    def _on_joints(self, message: JointState) -> None:
        self._see(self._robot, message)

    def _on_pose(self, message: PoseStamped) -> None:
        self._see(BLOCK, message)

    def _on_episode(self, message: DiagnosticStatus) -> None:
        values = {v.key: v.value for v in message.values}
        try:
            elapsed, seed = float(values['elapsed']), int(values['seed'])
            rng = np.random.default_rng([self.value('seed'), seed])  # refuses a negative one
        except (KeyError, ValueError) as error:
            self._refuse(f'{self.value("topics.episode")}: got {error}, allowed numbers for elapsed and seed')
            return
        if self._expert is None or elapsed < self._elapsed:
            self._expert = make_expert(self._world, rng, control_dt=self.value('control_dt'))
        self._elapsed = elapsed

    def _refuse(self, text: str) -> None:
        self.get_logger().error(text, throttle_duration_sec=WARN_PERIOD)
        self.diagnostics.report(STATUS, ERROR, text)

    def _see(self, stream: JointStream | PoseStream, message: Any) -> None:
        try:
            self._newest[stream.name] = encoding.stamp_of(message), encoding.decode(stream, message)
        except DataError as error:
            self._refuse(str(error))
            return
        if len(self._newest) < 2 or self._expert is None:
            return
        tick = min(stamp for stamp, _ in self._newest.values()) // self._control_dt
        if tick == self._tick:
            return
        self._tick = tick
        joints = self._newest['robot'][1]
        block = self._newest['block'][1].tolist()
        pose = Pose(position=tuple(block[:3]), orientation=tuple(block[3:]))
        command = self._expert.trajectory(tick * self._control_dt, joints, {'block': pose})
        self._publisher.publish(encoding.to_joint_trajectory(command))
        self._commands += 1


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `demonstrator`."""
    return run(Demonstrator, args)


if __name__ == '__main__':
    raise SystemExit(main())
