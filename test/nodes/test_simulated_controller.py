"""The controller's side of the simulated robot: its settings, its parameters over ROS, and what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('gym_pusht', reason='gym-pusht is not installed')

from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import SetParameters
from rclpy.qos import QoSReliabilityPolicy
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dp_ros.nodes.simulated_robot import node as simulated_robot
from dp_ros.nodes.simulated_robot.node import SimulatedRobotNode
from dp_ros.nodes.simulated_robot.simulated_controller import (
    LOSS,
    PARAMETERS,
    SCALING,
    LossyLink,
    command_of,
)
from dp_ros.ros.queries import get_parameters
from dp_ros.simulation.controller.spec import ControllerSpec
from dp_ros.simulation.registry import worlds
from dp_ros.simulation.world import controller
from dp_ros.simulation.worlds.point_navigation.spec import POINT_NAVIGATION

pytestmark = pytest.mark.ros

JOINTS = ['pusher_x', 'pusher_y']
WAIT = 30.0


TOPIC = '/arm_controller/joint_trajectory'


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Let no load of this machine count as too slow."""
    monkeypatch.setattr(simulated_robot, 'LOST', 3_600_000_000_000)
    monkeypatch.setattr(simulated_robot, 'LATE', 3_600_000_000_000)


def _robot(ros: Any, **parameters: Any) -> SimulatedRobotNode:
    node: SimulatedRobotNode = ros.create(SimulatedRobotNode, camera=False, **parameters)
    assert node.start()
    return node


def _message(*points: dict[str, Any], joints: list[str] = JOINTS) -> JointTrajectory:
    made = []
    for i, fields in enumerate(points):
        due = Duration(sec=i, nanosec=500_000_000)
        made.append(JointTrajectoryPoint(time_from_start=due, **fields))
    return JointTrajectory(joint_names=joints, points=made)


def _values(status: DiagnosticStatus) -> dict[str, str]:
    return {v.key: v.value for v in status.values}


def test_the_parameters_have_the_real_controllers_defaults() -> None:
    spec = ControllerSpec()
    defaults = {p.name.removeprefix('controller.'): p.default for p in PARAMETERS}
    assert defaults.pop('name') == 'arm_controller'
    assert defaults.pop('speed_scaling') == spec.initial_scaling_factor
    assert (defaults.pop('active'), defaults.pop('loss')) == (True, 0.0)  # of the robot around it
    assert defaults == {name: getattr(spec, name) for name in defaults}


def test_a_message_keeps_what_its_points_have_and_what_they_have_not() -> None:
    command = command_of(_message({'positions': [1.0, 2.0]}, {'positions': [3.0, 4.0], 'velocities': [0.0, 0.0]}))
    assert (command.stamp, command.joints, list(command.times)) == (0, tuple(JOINTS), [500_000_000, 1_500_000_000])
    np.testing.assert_array_equal(command.positions, [[1.0, 2.0], [3.0, 4.0]])
    assert command.velocities is not None
    assert [len(row) for row in command.velocities] == [0, 2]
    assert command.accelerations is None and command.effort is None
    assert command_of(JointTrajectory(joint_names=JOINTS)).positions is None


def test_it_serves_its_settings_under_the_controllers_name(ros):
    node = _robot(ros, controller__cmd_timeout=1.5, controller__rate=500.0, controller__trajectory_tolerance=0.25)
    names = ['joints', 'cmd_timeout', 'update_rate', 'constraints.pusher_y.trajectory', 'use_sim_time']
    assert get_parameters(ros.tester, 'arm_controller', names, WAIT) == {
        'joints': tuple(JOINTS),
        'cmd_timeout': 1.5,
        'update_rate': 500,
        'constraints.pusher_y.trajectory': 0.25,
        'use_sim_time': False,
    }
    assert node.robot.controller.period == 2_000_000
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert get_parameters(ros.tester, 'arm_controller', names, 0.2) is None


def test_with_a_clock_of_its_own_the_controller_is_in_simulated_time(ros):
    _robot(ros, publish_clock=True, controller__name='other_controller')
    answer = get_parameters(ros.tester, 'other_controller', ['use_sim_time'], WAIT)
    assert answer == {'use_sim_time': True}


def test_without_a_name_no_node_is_made(ros):
    node = _robot(ros, controller__name='')
    assert node.controller_nodes == []


def test_each_of_several_controllers_has_its_own_node_topic_and_joints(ros, monkeypatch):
    arm, gripper = controller('arm_controller', ['point_x']), controller('gripper_controller', ['point_y'])
    monkeypatch.setitem(worlds(), 'point_navigation', replace(POINT_NAVIGATION, controllers=(arm, gripper)))
    node = _robot(ros, world='point_navigation', controller__name='scaled_arm', controller__continuous=['point_y'])
    for name, joint in (('scaled_arm', 'point_x'), ('gripper_controller', 'point_y')):
        assert get_parameters(ros.tester, name, ['joints'], WAIT) == {'joints': (joint,)}
    assert [c.spec.continuous for c in node.robot.controllers] == [(), ('point_y',)]
    arm, gripper = (ros.talk(JointTrajectory, f'/{name}_controller/joint_trajectory') for name in ('arm', 'gripper'))
    start = node.robot.set_point
    gripper.publish(_message({'positions': [start[1] + 0.01]}, joints=['point_y']))
    ros.wait(lambda: node.counts['accepted'] == 1, 'the acceptance')
    ros.wait(lambda: abs(node.robot.set_point[1] - start[1] - 0.01) < 1e-6, 'the gripper to move')
    assert node.robot.set_point[0] == start[0]
    arm.publish(_message({'positions': [0.2]}, joints=['point_y']))
    ros.wait(lambda: node.counts['rejected'] == 1, 'the rejection')
    assert node.last_rejection.startswith('scaled_arm: joints: got point_y, allowed point_x')
    (listener,) = ros.tester.get_subscriptions_info_by_topic('/gripper_controller/joint_trajectory')
    assert listener.node_name == 'gripper_controller'


def test_the_last_rejection_is_in_the_diagnostics(ros):
    _robot(ros)
    commands = ros.talk(JointTrajectory, '/arm_controller/joint_trajectory')
    commands.publish(_message({'positions': [0.2]}, joints=['pusher_x']))
    status = ros.wait(
        lambda: next((s for s in ros.statuses if _values(s).get('rejected') == '1'), None), 'the rejection'
    )
    assert _values(status)['last_rejection'] == 'joints: got 1, allowed 2 (allow_partial_joints_goal is false)'


def test_a_partial_goal_is_taken_where_that_is_allowed(ros):
    node = _robot(ros, controller__allow_partial_joints_goal=True)
    commands = ros.talk(JointTrajectory, '/arm_controller/joint_trajectory')
    commands.publish(_message({'positions': [0.2]}, joints=['pusher_x']))
    ros.wait(lambda: node.counts['accepted'], 'the goal')


def test_a_violated_tolerance_is_a_warning_with_its_reason_and_is_counted(ros):
    node = _robot(ros, controller__trajectory_tolerance=0.001)
    start = node.world.joint_positions
    commands = ros.talk(JointTrajectory, '/arm_controller/joint_trajectory')
    message = _message({'positions': [0.45, 0.45]})
    message.points[0].time_from_start.nanosec = 100_000_000
    commands.publish(message)
    status = ros.status('simulated_robot: simulation', DiagnosticStatus.WARN, 'the controller holds, path_tolerance: ')
    assert _values(status)['path_tolerance'] == '1'
    assert np.abs(node.world.joint_positions - start).max() < 0.1  # it did not go there


def test_the_speed_can_be_changed_while_it_runs(ros):
    node = _robot(ros)
    value = rclpy.Parameter(SCALING, value=0.5).to_parameter_msg()
    answer = ros.call(SetParameters, '/simulated_robot/set_parameters', SetParameters.Request(parameters=[value]))
    assert answer.results[0].successful
    assert node.robot.controller.scaling == 0.5


# What the real one does to whoever talks to it.


def _switch(ros: Any, active: bool) -> str:
    answer = ros.call(SetBool, '/simulated_robot/controller_active', SetBool.Request(data=active))
    assert answer.success
    return str(answer.message)


def test_it_subscribes_best_effort_as_the_real_one_does(ros):
    _robot(ros)
    ros.wait(lambda: ros.tester.count_subscribers(TOPIC), 'the subscription')
    (found,) = ros.tester.get_subscriptions_info_by_topic(TOPIC)
    assert found.qos_profile.reliability == QoSReliabilityPolicy.BEST_EFFORT


def test_all_messages_are_lost_until_none_are(ros):
    node = _robot(ros, controller__loss=1.0)
    start = node.world.joint_positions
    commands = ros.talk(JointTrajectory, TOPIC)
    commands.publish(_message({'positions': [0.2, 0.2]}))
    ros.wait(lambda: node.counts['lost'] == 1, 'the loss')
    np.testing.assert_array_equal(node.robot.controller.set_point, start)
    value = rclpy.Parameter(LOSS, value=0.0).to_parameter_msg()
    answer = ros.call(SetParameters, '/simulated_robot/set_parameters', SetParameters.Request(parameters=[value]))
    assert answer.results[0].successful
    commands.publish(_message({'positions': [0.2, 0.2]}))
    ros.wait(lambda: node.counts['accepted'] == 1, 'the message')
    status = ros.status('simulated_robot: simulation', DiagnosticStatus.OK)
    assert _values(status)['lost'] == '1'


def test_a_share_of_the_messages_is_lost_and_the_seed_says_which() -> None:
    def lost(seed: int, share: float) -> list[bool]:
        link = LossyLink(seed)
        return [link.loses(share) for _ in range(2000)]

    assert not any(lost(0, 0.0)) and all(lost(0, 1.0))
    assert 0.08 < np.mean(lost(0, 0.1)) < 0.12
    assert 0.46 < np.mean(lost(0, 0.5)) < 0.54
    assert lost(3, 0.5) == lost(3, 0.5) != lost(4, 0.5)
    assert all(more for less, more in zip(lost(0, 0.1), lost(0, 0.5), strict=True) if less)


def test_inactive_it_listens_takes_nothing_and_goes_on_with_the_next_message_once_active(ros):
    node = _robot(ros, controller__active=False)
    start = node.world.joint_positions
    commands = ros.talk(JointTrajectory, TOPIC)  # its subscription is there
    commands.publish(_message({'positions': [0.2, 0.2]}))
    ros.wait(lambda: node.counts['ignored'] == 1, 'the message')
    ros.status('simulated_robot: simulation', DiagnosticStatus.WARN, 'the controller holds, inactive')
    assert _switch(ros, True) == 'the controller is active'
    steps = node.counts['steps']
    ros.wait(lambda: node.counts['steps'] > steps + 20, 'steps')
    np.testing.assert_array_equal(node.robot.controller.set_point, start)
    commands.publish(_message({'positions': [0.2, 0.2]}))
    ros.wait(lambda: np.allclose(node.world.joint_positions, 0.2, atol=2e-3), 'the goal')


def test_deactivated_on_its_way_it_stays_where_it_was_commanded_last(ros):
    node = _robot(ros)
    start = node.world.joint_positions
    commands = ros.talk(JointTrajectory, TOPIC)
    far = _message({'positions': [0.45, 0.45]})
    far.points[0].time_from_start = Duration(sec=20)
    commands.publish(far)
    ros.wait(lambda: np.abs(node.robot.controller.set_point - start).max() > 0.005, 'motion')
    assert _switch(ros, False) == 'the controller is inactive'
    held = node.robot.controller.set_point
    ros.wait(lambda: np.allclose(node.world.joint_positions, held, atol=1e-4), 'rest')
    assert np.abs(held - 0.45).max() > 0.01  # not arrived
    assert _switch(ros, True) == 'the controller is active'
    steps = node.counts['steps']
    ros.wait(lambda: node.counts['steps'] > steps + 20, 'steps')
    np.testing.assert_array_equal(node.robot.controller.set_point, held)


@pytest.mark.parametrize('active', [True, False])
def test_a_negative_stamp_ends_the_process_as_it_ends_the_real_one(ros, active):
    node = _robot(ros, controller__active=active)
    commands = ros.talk(JointTrajectory, TOPIC)
    message = _message({'positions': [0.2, 0.2]})
    message.header.stamp.sec = -1
    commands.publish(message)
    ros.wait(node.died.done, 'the end')
    assert str(node.died.exception()) == 'stamp: got -1000000000 ns, allowed 0 or more; this ends the real controller'


def test_what_is_not_a_number_is_commanded_where_that_is_let_through_and_no_drive_follows(ros):
    node = _robot(ros, controller__reject_non_finite=False)
    start = node.world.joint_positions
    commands = ros.talk(JointTrajectory, TOPIC)
    commands.publish(_message({'positions': [0.2, float('nan')]}))
    ros.wait(lambda: np.isnan(node.robot.controller.set_point[1]), 'the command')
    ros.wait(lambda: np.isclose(node.world.joint_positions[0], 0.2, atol=2e-3), 'the other joint')
    assert node.world.joint_positions[1] == pytest.approx(start[1])


def test_what_is_not_a_number_is_rejected_by_default(ros):
    node = _robot(ros)
    commands = ros.talk(JointTrajectory, TOPIC)
    commands.publish(_message({'positions': [0.2, float('inf')]}))
    ros.wait(lambda: node.counts['rejected'] == 1, 'the rejection')
    assert node.last_rejection == 'positions: got NaN or infinity, allowed finite numbers'
