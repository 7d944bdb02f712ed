"""Parameters `controller.*` of simulated_robot, what it makes of them, and messages as the controller takes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from trajectory_msgs.msg import JointTrajectory

from dp_ros.data import NANOSECONDS
from dp_ros.messages.encoding import stamp_of
from dp_ros.nodes.simulated_robot.controller_parameters import ControllerParameters, parameters_of
from dp_ros.options import Option, build, options_of
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.simulation.controller.controller import JointTrajectoryController
from dp_ros.simulation.controller.spec import ControllerSpec
from dp_ros.simulation.controller.validation import Rows, TrajectoryCommand

PREFIX = 'controller.'
SCALING = 'controller.speed_scaling'
LOSS = 'controller.loss'
ACTIVE = 'controller.active'
NAME = 'controller.name'
QOS = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
"""How the real controller subscribes: by the system's defaults, which are these with Fast DDS."""
PARAMETERS = [
    Option(
        name=NAME, default='arm_controller',
        description="A node of this name serves the simulated controller's parameters as the real one does; empty: "
        'none.',
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

    def __init__(self, seed: int) -> None:
        self._draws = np.random.default_rng(seed)

    def loses(self, share: float) -> bool:
        """Return whether the next message gets lost where this share does, 0 to 1."""
        return bool(self._draws.random() < share)


def make_controller(node: ManagedNode, joints: tuple[str, ...]) -> JointTrajectoryController:
    """Return the controller of ``joints`` with a node's parameters."""
    spec = replace(build(ControllerSpec, node.values(), PREFIX), initial_scaling_factor=node.value(SCALING))
    controller = JointTrajectoryController(joints, spec=spec)
    if not node.value(ACTIVE):
        controller.deactivate()
    return controller


def serve(node: ManagedNode, joints: tuple[str, ...]) -> ControllerParameters | None:
    """Start the node that serves the parameters of the controller of ``joints``, if it has a name."""
    if not node.value(NAME):
        return None
    parameters = parameters_of(joints, make_controller(node, joints).spec)
    # With a clock of its own, the robot and its controller are in simulated time.
    return ControllerParameters(node, node.value(NAME), parameters, use_sim_time=node.value('publish_clock'))


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
