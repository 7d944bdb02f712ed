from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from std_msgs.msg import String

from dp_ros.errors import ConfigError
from dp_ros.motion.outputs import Output
from dp_ros.nodes.trajectory_publisher.plan_settings import (
    PARAMETERS,
    PATTERNS,
    make_outputs,
    make_planner,
    read_limits,
    read_robot,
)
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.ros.lifecycle import ManagedNode

JOINTS = ('a', 'b')
URDF = """<robot name="planar">
  <joint name="a" type="continuous"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/>
    <limit velocity="2" effort="1"/></joint>
  <joint name="b" type="revolute"><parent link="upper"/><child link="fore"/><origin xyz="0.4 0 0"/><axis xyz="0 0 1"/>
    <limit lower="-2" upper="2" velocity="1" effort="1"/></joint>
</robot>"""
BUNDLE = SimpleNamespace(
    task=SimpleNamespace(
        control_dt=0.1,
        exec_horizon=8,
        action=SimpleNamespace(joints=JOINTS, topic='arm_controller/joint_trajectory'),
    )
)
INF = float('inf')


def publisher(ros, **parameters):
    def create(**options):
        return ManagedNode('trajectory_publisher', PARAMETERS, patterns=PATTERNS, **options)

    return ros.create(create, **parameters)


@pytest.fixture
def urdf(tmp_path):
    path = tmp_path / 'planar.urdf'
    path.write_text(URDF)
    return str(path)


def test_limits_come_from_the_urdf_and_from_parameters_and_the_stricter_counts(ros, urdf):
    node = publisher(ros, urdf_file=urdf, limits__b__velocity=3.0, limits__b__upper=1.5, limits__b__jerk=40.0)
    assert read_limits(node, JOINTS) == JointLimits(
        joints=JOINTS,
        lower=(-INF, -2.0),
        upper=(INF, 1.5),
        velocity=(2.0, 1.0),
        acceleration=(INF, INF),
        deceleration=(INF, INF),
        jerk=(INF, 40.0),
    )


def test_without_a_urdf_something_must_be_said_of_each_joint(ros):
    node = publisher(ros, limits__b__velocity=3.0)
    assert read_robot(node) is None
    with pytest.raises(ConfigError, match='one or more for each joint, limits_file or a URDF'):
        read_limits(node, JOINTS)


def test_deceleration_is_that_of_acceleration_unless_it_is_given(ros):
    node = publisher(ros, limits__a__acceleration=3.0, limits__b__acceleration=4.0, limits__b__deceleration=6.0)
    limits = read_limits(node, JOINTS)
    assert (limits.acceleration, limits.deceleration) == ((3.0, 4.0), (3.0, 6.0))


def test_the_urdf_is_taken_from_the_topic_where_it_is_latched(ros):
    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    source = ros.tester.create_publisher(String, 'robot_description', latched)
    source.publish(String(data=URDF))
    node = publisher(ros, topics__robot_description='robot_description')
    assert set(read_robot(node).joints) == set(JOINTS)


def test_a_topic_without_a_urdf_is_refused(ros):
    node = publisher(ros, topics__robot_description='nowhere', robot_description_timeout=0.1)
    with pytest.raises(ConfigError, match=r'/nowhere: got no robot description in 0\.1 s'):
        read_robot(node)


def test_one_source_of_the_urdf_is_enough(ros, urdf):
    node = publisher(ros, urdf_file=urdf, topics__robot_description='robot_description')
    with pytest.raises(ConfigError, match='allowed one or the other'):
        read_robot(node)


def test_the_planner_gets_what_the_parameters_say(ros, urdf):
    node = publisher(
        ros, urdf_file=urdf, workspace__link='fore', workspace__point_x=0.3, workspace__x_max=0.65, blend_steps=3,
        accelerations=True,
    )  # fmt: skip
    robot = read_robot(node)
    options = make_planner(node, BUNDLE, read_limits(node, JOINTS, robot), robot).options
    assert options.continuous == [True, False]
    assert (options.blend_steps, options.accelerations) == (3, True)
    assert options.workspace.upper == (0.65, INF, INF)
    np.testing.assert_allclose(options.workspace.chain.points(np.zeros((1, 2))), [[0.7, 0.0, 0.0]])


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'workspace__link': 'fore'}, "got 'fore' without a URDF"),
        ({'workspace__x_max': 1.0}, r'workspace\.link: got nothing, allowed a link'),
        ({'continuous': ['c']}, 'continuous: got c, allowed some of a, b'),
    ],
)
def test_what_does_not_fit_together_is_refused(ros, parameters, message):
    node = publisher(ros, limits__a__velocity=1.0, limits__b__velocity=1.0, **parameters)
    with pytest.raises(ConfigError, match=message):
        make_planner(node, BUNDLE, read_limits(node, JOINTS))


def test_one_controller_gets_all_unless_several_are_named(ros):
    assert make_outputs(publisher(ros), BUNDLE) == (
        Output(name='command', topic='arm_controller/joint_trajectory', joints=JOINTS),
    )


def test_several_controllers_are_named_by_parameters(ros):
    node = publisher(
        ros, outputs__arm__topic='arm/t', outputs__arm__joints=['b'], outputs__hand__topic='hand/t',
        outputs__hand__joints=['a'],
    )  # fmt: skip
    assert make_outputs(node, BUNDLE) == (
        Output(name='arm', topic='arm/t', joints=('b',)),
        Output(name='hand', topic='hand/t', joints=('a',)),
    )
