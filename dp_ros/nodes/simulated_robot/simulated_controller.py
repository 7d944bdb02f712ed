"""Parameters `controller.*` of simulated_robot, what it makes of them, and messages as the controllers take them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from dp_ros.data import NANOSECONDS
from dp_ros.errors import ConfigError, listed
from dp_ros.messages.encoding import stamp_of
from dp_ros.motion.outputs import Output
from dp_ros.nodes.simulated_robot.controller_parameters import ControllerParameters, parameters_of
from dp_ros.options import Option, build, options_of
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.simulation.controller.controller import JointTrajectoryController
from dp_ros.simulation.controller.spec import ControllerSpec
from dp_ros.simulation.controller.validation import Rows, TrajectoryCommand
from dp_ros.simulation.world import CONTROLLER, WorldSpec

PREFIX = 'controller.'
SCALING = 'controller.speed_scaling'
LOSS = 'controller.loss'
ACTIVE = 'controller.active'
NAME = 'controller.name'
QOS = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
"""How the real controller subscribes: by the system's defaults, which are these with Fast DDS."""
PARAMETERS = [
    Option(
        name=NAME, default=CONTROLLER,
        description="A node of this name serves the simulated controller's parameters as the real one does; the "
        "default stands for the world's own name. Further controllers have the world's names. Empty: no such nodes.",
    ),
    *options_of(ControllerSpec, PREFIX),
    Option(
        name=ACTIVE, default=True,
        description='Start active; false: it takes and commands nothing until ~/controller_active says so.',
    ),
    Option(
        name=LOSS, default=0.0, low=0.0, high=1.0, live=True,
        description='Share of the trajectories that get lost on their way; which ones, `seed` decides.',
    ),
    Option(
        name=SCALING, default=1.0, low=0.0, high=100.0, live=True,
        description='Factor on the speed of trajectories; each message starts on the true time again.',
    ),
]  # fmt: skip


class LossyLink:
    """Loses messages at random: its draw for each decides, so that of two shares the larger one loses more of the same.

    Parameters
    ----------
    seed
        Of the draws, one for each message.

    """

    def __init__(self, seed: int | list[int]) -> None:
        self._draws = np.random.default_rng(seed)

    def loses(self, share: float) -> bool:
        """Return whether the next message gets lost where this share does, 0 to 1."""
        return bool(self._draws.random() < share)


def lossy_links(seed: int, count: int) -> list[LossyLink]:
    """Return a link to each of ``count`` controllers, with draws of its own."""
    return [LossyLink([seed, number] if number else seed) for number in range(count)]


def outputs_of(node: ManagedNode, spec: WorldSpec) -> tuple[Output, ...]:
    """Return a world's controllers, the first with the name and the topic that a node's parameters give it."""
    first, *others = spec.outputs
    name = node.value(NAME) if node.value(NAME) not in ('', CONTROLLER) else first.name
    topic = node.value('topics.command') or first.topic
    outputs = (replace(first, name=name, topic=topic), *others)
    for what in ('name', 'topic'):
        given = [getattr(output, what) for output in outputs]
        if len(set(given)) != len(given):
            raise ConfigError(f'controllers: {what}: got {listed(given)}, allowed a different one for each')
    return outputs


def make_controllers(node: ManagedNode, outputs: Sequence[Output]) -> list[JointTrajectoryController]:
    """Return the controllers with a node's parameters, which are those of each."""
    spec = replace(build(ControllerSpec, node.values(), PREFIX), initial_scaling_factor=node.value(SCALING))
    joints = tuple(joint for output in outputs for joint in output.joints)
    spec.check_joints(joints)
    controllers = []
    for output in outputs:
        turning = tuple(joint for joint in spec.continuous if joint in output.joints)
        controllers.append(JointTrajectoryController(output.joints, spec=replace(spec, continuous=turning)))
    if not node.value(ACTIVE):
        for controller in controllers:
            controller.deactivate()
    return controllers


def serve(node: ManagedNode, outputs: Sequence[Output]) -> list[ControllerParameters]:
    """Start a node for each controller, under its name, that serves its parameters; none where none has a name."""
    if not node.value(NAME):
        return []
    # With a clock of its own, the robot and its controllers are in simulated time.
    simulated = node.value('publish_clock')
    return [
        ControllerParameters(node, output.name, parameters_of(output.joints, controller.spec), use_sim_time=simulated)
        for output, controller in zip(outputs, make_controllers(node, outputs), strict=True)
    ]


class CommandInputs:
    """The topics that the controllers take trajectories from.

    A controller's node is who listens, as with ros2_control: it is known by its name.

    Parameters
    ----------
    node
        Who listens where a controller has no node of its own.
    outputs
        Names, topics and joints of the controllers.
    served
        Their nodes, in the same order, or none.
    take
        Is called with the number of the controller and what it got.

    """

    def __init__(
        self,
        node: ManagedNode,
        outputs: Sequence[Output],
        served: Sequence[ControllerParameters],
        take: Callable[[int, TrajectoryCommand], None],
    ) -> None:
        self._take = take
        self._decoded: dict[int, tuple[bytes, TrajectoryCommand]] = {}
        self._subscriptions: list[tuple[Node, Any]] = []
        for number, output in enumerate(outputs):
            listener = served[number].node if served else node
            receive: Any = partial(self._receive, number)
            topic = str(node.resolve_topic_name(output.topic))
            subscription = listener.create_subscription(JointTrajectory, topic, receive, QOS, raw=True)
            self._subscriptions.append((listener, subscription))

    def close(self) -> None:
        """Listen no longer."""
        for listener, subscription in self._subscriptions:
            listener.destroy_subscription(subscription)
        self._subscriptions = []

    def _receive(self, number: int, data: bytes) -> None:
        """Decode a trajectory, once of those that are sent again as they are."""
        last = self._decoded.get(number)
        if last is None or last[0] != data:
            last = self._decoded[number] = data, command_of(deserialize_message(data, JointTrajectory))
        self._take(number, last[1])


def command_of(message: JointTrajectory) -> TrajectoryCommand:
    """Return a message as the controller takes it: nothing is judged yet, and points may differ in what they have."""
    points = message.points

    def rows(field: str) -> Rows | None:
        values = [getattr(point, field) for point in points]
        if not any(map(len, values)):
            return None
        even = len({len(value) for value in values}) == 1
        return np.array(values, dtype=np.float64) if even else [np.asarray(value) for value in values]

    fields: dict[str, Any] = {name: rows(name) for name in ('positions', 'velocities', 'accelerations', 'effort')}
    times = [p.time_from_start.sec * NANOSECONDS + p.time_from_start.nanosec for p in points]
    return TrajectoryCommand(stamp=stamp_of(message), joints=tuple(message.joint_names), times=times, **fields)
