"""A scripted demonstrator: watches the simulated robot and commands it, for recordings that need no person.

The expert of the world decides; what its commands look like is said there. It is paced by the robot's stamps, so it
keeps step with a robot of any speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError, DataError
from dp_ros.messages import encoding
from dp_ros.motion.outputs import split
from dp_ros.nodes.simulated_robot.robot_outputs import WORLD_FILE, renamed
from dp_ros.options import Option
from dp_ros.ros.diagnostics import ERROR, OK
from dp_ros.ros.lifecycle import WARN_PERIOD, ManagedNode, reliable, run
from dp_ros.simulation.registry import FROM_FILE, chosen_world, make_expert, world_names, world_spec
from dp_ros.simulation.world import Expert, Pose
from dp_ros.simulation.worlds import DEFAULT_WORLD
from dp_ros.task.spec import JointStream, PoseStream
from dp_ros.task.streams import PoseFeature

JOINTS = 'joint_states'
FEATURES: tuple[PoseFeature, ...] = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
PARAMETERS = [
    Option(
        name='world', default=DEFAULT_WORLD, choices=(*world_names(), FROM_FILE),
        description='The world whose task is demonstrated.',
    ),
    WORLD_FILE,
    Option(name='control_dt', default=0.1, low=0.01, high=1.0, description='Time between commands [s].'),
    Option(
        name='seed', default=0, low=0, high=2**31 - 1,
        description="Decides, with the episode's own seed, which way is taken where several are as good.",
    ),
    Option(name='topics.joint_states', default='joint_states', description='Joint states of the robot.'),
    Option(
        name='topics.pose', default='',
        description="The pose of what the world tracks (the first of several); empty: the world's own topic.",
    ),
    Option(name='topics.episode', default='simulated_robot/episode', description='Says when an episode begins.'),
    Option(
        name='topics.command', default='',
        description="Commands go out here (those for the first of several controllers); empty: the world's own topic.",
    ),
]  # fmt: skip
STATUS = 'demonstration'


class Demonstrator(ManagedNode):
    """The node `demonstrator`.

    Attributes
    ----------
    newest
        By stream, stamp [ns] and value of its newest message, since `activate`.
    expert
        Chooses the targets of this episode; None before the first.
    elapsed
        Time of the episode [s].

    """

    def __init__(self, **options: Any) -> None:
        self._inputs: list[Any] = []
        self._publishers: list[Any] = []
        super().__init__('demonstrator', PARAMETERS, **options)

    def configure(self) -> None:
        """Load what the demonstrator needs, and make the outputs."""
        self._world = chosen_world(self.value('world'), self.value('world_file'))
        spec = world_spec(self._world)
        # What it imports and loads takes its time: that must not be an episode's.
        make_expert(self._world, np.random.default_rng(0), control_dt=self.value('control_dt'))
        topics = renamed(spec.pose_topics, [self.value('topics.pose')])
        self._robot = JointStream(name=JOINTS, topic=JOINTS, joints=spec.joints, units=spec.units)
        self._poses = [PoseStream(name=name, topic=topic, features=FEATURES) for name, topic in topics.items()]
        self._control_dt = to_nanoseconds(self.value('control_dt'))
        self._controllers = spec.outputs
        commands = renamed({output.name: output.topic for output in spec.outputs}, [self.value('topics.command')])
        self._publishers = [
            self.create_lifecycle_publisher(JointTrajectory, topic, reliable(1)) for topic in commands.values()
        ]

    def activate(self) -> None:
        """Begin to watch, and to command from the next episode message on."""
        self.newest: dict[str, tuple[int, np.ndarray]] = {}
        self.expert: Expert | None = None
        self.elapsed = 0.0
        self._tick = -1
        self._commands = 0
        sensor = qos_profile_sensor_data
        self._inputs = [
            self.create_subscription(
                JointState, self.value('topics.joint_states'), partial(self._see, self._robot), sensor
            ),
            *(self.create_subscription(PoseStamped, s.topic, partial(self._see, s), sensor) for s in self._poses),
            self.create_subscription(DiagnosticStatus, self.value('topics.episode'), self._on_episode, reliable(10)),
        ]

    def deactivate(self) -> None:
        """Stop watching. The robot stays at its last set point."""
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        self.diagnostics.forget(STATUS)

    def cleanup(self) -> None:
        """Remove the outputs."""
        for publisher in self._publishers:
            self.destroy_lifecycle_publisher(publisher)
        self._publishers = []

    def restart(self, reason: str) -> None:
        """Forget what was seen before the clock jumped."""
        self.newest, self.expert, self._tick = {}, None, -1

    def refresh(self) -> None:
        """Say how many commands went out."""
        if self.active:
            text = 'demonstrating' if self.expert else 'waiting for an episode'
            self.diagnostics.report(STATUS, OK, text, {'commands': self._commands})

    def _on_episode(self, message: DiagnosticStatus) -> None:
        values = {v.key: v.value for v in message.values}
        try:
            elapsed, seed = float(values['elapsed']), int(values['seed'])
            rng = np.random.default_rng([self.value('seed'), seed])  # refuses a negative one
        except (KeyError, ValueError) as error:
            self._refuse(f'{self.value("topics.episode")}: got {error}, allowed numbers for elapsed and seed')
            return
        if self.expert is None or elapsed < self.elapsed:
            try:
                self.expert = make_expert(
                    self._world, rng, control_dt=self.value('control_dt'), meaning=values.get('meaning', '')
                )
            except ConfigError as error:
                self._refuse(f'{self.value("topics.episode")}: {error}')
                return
        self.elapsed = elapsed

    def _refuse(self, text: str) -> None:
        self.get_logger().error(text, throttle_duration_sec=WARN_PERIOD)
        self.diagnostics.report(STATUS, ERROR, text)

    def _see(self, stream: JointStream | PoseStream, message: Any) -> None:
        if isinstance(stream, JointStream) and not encoding.belongs(stream, message):
            return
        try:
            self.newest[stream.name] = encoding.stamp_of(message), encoding.decode(stream, message)
        except DataError as error:
            self._refuse(str(error))
            return
        if len(self.newest) <= len(self._poses) or self.expert is None:
            return
        tick = min(stamp for stamp, _ in self.newest.values()) // self._control_dt
        if tick == self._tick:
            return
        self._tick = tick
        poses = {stream.name: _pose(self.newest[stream.name][1]) for stream in self._poses}
        command = self.expert.trajectory(tick * self._control_dt, self.newest[JOINTS][1], poses)
        for publisher, part in zip(self._publishers, split(command, self._controllers), strict=True):
            publisher.publish(encoding.to_joint_trajectory(part))
        self._commands += 1


def _pose(features: np.ndarray) -> Pose:
    x, y, z, *orientation = features.tolist()
    return Pose(position=(x, y, z), orientation=tuple(orientation))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `demonstrator`."""
    return run(Demonstrator, args)


if __name__ == '__main__':
    raise SystemExit(main())
