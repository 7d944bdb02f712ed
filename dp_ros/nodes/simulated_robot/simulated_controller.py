"""Parameters `controller.*` of simulated_robot, what it makes of them, and messages as the controller takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from trajectory_msgs.msg import JointTrajectory

from dp_ros.data import NANOSECONDS
from dp_ros.messages.encoding import stamp_of
from dp_ros.nodes.simulated_robot.controller_parameters import ControllerParameters, parameters_of
from dp_ros.options import Option
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.simulation.controller.controller import JointTrajectoryController
from dp_ros.simulation.controller.spec import METHODS, ControllerSpec
from dp_ros.simulation.controller.validation import Rows, TrajectoryCommand

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
    Option(
        name='controller.rate', default=100.0, low=1.0, high=10000.0,
        description='Control cycles a second; the physics stands still between its own steps.',
    ),
    Option(
        name='controller.interpolate_from_desired_state', default=False,
        description='Start the way to the first point at the last command instead of the measured state.',
    ),
    Option(
        name='controller.allow_nonzero_velocity_at_trajectory_end', default=False,
        description='Take messages whose last point is not at rest.',
    ),
    Option(
        name='controller.allow_partial_joints_goal', default=False,
        description='Take messages that leave joints out.',
    ),
    Option(
        name='controller.interpolation_method', default='splines', choices=METHODS,
        description='none: jump from point to point.',
    ),
    Option(name='controller.continuous', default=(), description='Joints that turn without end.'),
    Option(
        name='controller.cmd_timeout', default=0.0, low=0.0, high=1000.0,
        description='Longest time after the last point before the measured position is held [s]; 0: for ever.',
    ),
    Option(
        name='controller.trajectory_tolerance', default=0.0, low=0.0, high=1000.0,
        description='constraints.<joint>.trajectory of every joint [rad or m]; 0: none.',
    ),
    Option(
        name='controller.goal_tolerance', default=0.0, low=0.0, high=1000.0,
        description='constraints.<joint>.goal of every joint [rad or m]; 0: none.',
    ),
    Option(
        name='controller.goal_time', default=0.0, low=0.0, high=1000.0,
        description='Longest time after the last point to come within goal_tolerance [s]; 0: for ever.',
    ),
    Option(
        name='controller.stopped_velocity_tolerance', default=0.01, low=0.0, high=1000.0,
        description='Served, but without meaning for position commands, as in the real controller.',
    ),
    Option(
        name='controller.set_last_command_interface_value_as_state_on_activation', default=True,
        description='Activated, hold what was commanded last instead of what is measured then.',
    ),
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
    Option(
        name='controller.reject_non_finite', default=True,
        description='Reject NaN and infinity; the real controller has no such check, and commands them.',
    ),
]  # fmt: skip
SETTINGS = tuple(p.name.removeprefix('controller.') for p in PARAMETERS if p.name not in (NAME, ACTIVE, LOSS, SCALING))


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
    settings = {name: node.value(f'controller.{name}') for name in SETTINGS}
    controller = JointTrajectoryController(
        joints, spec=ControllerSpec(initial_scaling_factor=node.value(SCALING), **settings)
    )
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
