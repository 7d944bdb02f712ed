from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from std_msgs.msg import String

from dp_ros.errors import ConfigError
from dp_ros.evaluation.world_planner import NODE, planner_from
from dp_ros.motion.options import PlanOptions
from dp_ros.motion.outputs import Output, check_outputs, driven_apart
from dp_ros.motion.settings.plan import make_planner
from dp_ros.nodes.trajectory_publisher.settings.plan import make_outputs, read_robot, read_settings, recorded_outputs
from dp_ros.nodes.trajectory_publisher.settings.publisher import PARAMETERS, PATTERNS, make_grippers
from dp_ros.paths import locate, share_folder
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.ros.lifecycle import ManagedNode
from dp_ros.simulation.registry import make_world
from dp_ros.task.spec import ActionSource, ActionSpec, PoseStream, TaskSpec

JOINTS = ('a', 'b')
URDF = """<robot name="planar">
  <joint name="a" type="continuous"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/>
    <limit velocity="2" effort="1"/></joint>
  <joint name="b" type="revolute"><parent link="upper"/><child link="fore"/><origin xyz="0.4 0 0"/><axis xyz="0 0 1"/>
    <limit lower="-2" upper="2" velocity="1" effort="1"/></joint>
</robot>"""
BUNDLE = SimpleNamespace(
    task=TaskSpec(
        streams=(PoseStream(name='block', topic='block_pose', features=('x',)),),
        action=ActionSpec(topic='arm_controller/joint_trajectory', joints=JOINTS, units=('rad', 'rad')),
    )
)
INF = float('inf')


def publisher(ros, **parameters):
    def create(**options):
        return ManagedNode('trajectory_publisher', PARAMETERS, patterns=PATTERNS, **options)

    return ros.create(create, **parameters)


def planner_of(node):
    return make_planner(read_settings(node, JOINTS), BUNDLE.task, read_robot(node))


@pytest.fixture
def urdf(tmp_path):
    path = tmp_path / 'planar.urdf'
    path.write_text(URDF)
    return str(path)


def test_limits_come_from_the_urdf_and_from_parameters_and_the_stricter_counts(ros, urdf):
    node = publisher(
        ros, urdf_file=urdf, limits__b__velocity=3.0, limits__b__upper=1.5, limits__b__jerk=40.0, accelerations=True
    )
    assert planner_of(node).limits == JointLimits(
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
    with pytest.raises(ConfigError, match=r'got none for a \(.* allowed .*: set limits\.a\.velocity$'):
        planner_of(node)


def test_deceleration_is_that_of_acceleration_unless_it_is_given(ros):
    node = publisher(ros, limits__a__acceleration=3.0, limits__b__acceleration=4.0, limits__b__deceleration=6.0)
    limits = planner_of(node).limits
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
    options = planner_of(node).options
    assert options.continuous == (True, False)
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
        planner_of(node)


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


def test_a_gripper_takes_goals_and_is_not_compared_with_the_plan(ros):
    node = publisher(
        ros, outputs__arm__topic='arm/t', outputs__arm__joints=['b'], outputs__hand__topic='hand/gripper_cmd',
        outputs__hand__joints=['a'], outputs__hand__type='gripper_command', outputs__hand__max_effort=20.0,
        limits__a__velocity=1.0, limits__b__velocity=1.0,
    )  # fmt: skip
    outputs = make_outputs(node, BUNDLE)
    hand = Output(name='hand', topic='hand/gripper_cmd', joints=('a',), type='gripper_command', max_effort=20.0)
    assert outputs == (Output(name='arm', topic='arm/t', joints=('b',)), hand)
    planner = make_planner(read_settings(node, JOINTS, driven_apart(outputs)), BUNDLE.task, None)
    assert planner.follow_tolerance.tolist() == [INF, 0.004]
    limits = planner.limits
    assert limits.without_speed(('a',)).velocity == (INF, 1.0) and limits.velocity == (1.0, 1.0)
    with pytest.raises(ConfigError, match='hand step: got 0, allowed more for a joint without position limits'):
        make_grippers(node, outputs, limits)


@pytest.mark.parametrize(
    ('hand', 'reason'),
    [
        ({'type': 'gripper'}, 'type'),
        ({'max_effort': -1.0}, 'max_effort'),
        ({'step': 2.0}, 'step'),
    ],
)
def test_options_of_a_gripper_out_of_their_range_are_refused_by_name(ros, hand, reason):
    node = publisher(ros, **{f'outputs__hand__{key}': value for key, value in hand.items()})
    with pytest.raises(ConfigError, match=rf'outputs\.hand\.{reason}: got '):
        make_outputs(node, BUNDLE)


def test_an_output_without_joints_is_refused_by_name(ros):
    node = publisher(ros, outputs__arm__topic='arm/t', outputs__arm__joints=['a', 'b'], outputs__hand__topic='hand/t')
    with pytest.raises(ConfigError, match='outputs hand joints: got none, allowed one or more of a, b'):
        make_outputs(node, BUNDLE)


ARM, HAND, LEADER = (
    ActionSource(topic=topic, joints=joints)
    for topic, joints in [('/arm/joint_trajectory', ('b',)), ('/hand/joint_trajectory', ('a',)), ('/leader', ('a',))]
)


@pytest.mark.parametrize(
    ('sources', 'command', 'topics'),
    [
        ((ARM, HAND), '', {'arm/joint_trajectory': ('b',), 'hand/joint_trajectory': ('a',)}),
        ((ARM, HAND), 'both', {'both': JOINTS}),
        ((ARM, LEADER), '', {'arm_controller/joint_trajectory': JOINTS}),
    ],
)
def test_the_controllers_are_those_that_the_recordings_commanded(sources, command, topics):
    outputs = recorded_outputs(replace(BUNDLE.task.action, sources=sources), command)
    assert {output.topic: output.joints for output in outputs} == topics
    check_outputs(outputs, JOINTS)


EVERYTHING = {
    'autostart': False, 'bundle': 'models/pusht_mirror', 'policy_speed': 1.0, 'joints': ['a', 'b'],
    'units': ['rad', 'rad'], 'continuous': ['a'], 'topics': {'joint_states': 'states', 'command': 'command'},
    'max_joint_age': 0.3, 'position_tolerance': 0.004, 'history_steps': 5, 'splice_margin': 0.04, 'blend_steps': 7,
    'accelerations': True, 'lead_in': 0.6, 'follow_tolerance': 0.03, 'expected_lag': 0.06, 'max_lag': 0.2,
    'joint_state_error': 0.1, 'tail': 0.7, 'stop_on_path': False, 'keep_steps': 9, 'deadline': 0.2,
    'workspace': {
        'link': 'fore', 'frame': 'base', 'point_x': 0.3, 'point_y': 0.1, 'point_z': 0.2, 'x_min': -1.0, 'x_max': 1.0,
        'y_min': -0.9, 'y_max': 0.9, 'z_min': -0.8, 'z_max': 0.8,
    },
    'limits': {
        'a': {'velocity': 1.5, 'acceleration': 3.0, 'deceleration': 4.0, 'jerk': 50.0},
        'b': {'lower': -1.5, 'upper': 1.0, 'velocity': 3.0, 'acceleration': 5.0, 'jerk': 60.0},
    },
    'controller': 'arm_controller', 'fallback': 'home', 'home': {'a': 0.0, 'b': 0.5},
    'outputs': {'arm': {'topic': 'arm/t', 'joints': ['a', 'b']}},
}  # fmt: skip


def flat(values, prefix=''):
    pairs: dict[str, object] = {}
    for key, value in values.items():
        pairs |= flat(value, f'{prefix}{key}__') if isinstance(value, dict) else {prefix + key: value}
    return pairs


def assert_same_planner(ros, parameters, path, task, robot_description=''):
    """Compare the planner that the node makes of its parameters with the one that the evaluation makes of a file."""
    node = publisher(ros, **flat(parameters))
    if robot_description:
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        ros.tester.create_publisher(String, 'robot_description', latched).publish(String(data=robot_description))
    driven = make_planner(read_settings(node, task.action.joints), task, read_robot(node))
    scored = planner_from(path, robot_description, task)
    assert (scored.joints, scored.control_dt, scored.limits) == (driven.joints, driven.control_dt, driven.limits)
    boxes = [planner.options.workspace for planner in (scored, driven)]
    assert replace(scored.options, workspace=None) == replace(driven.options, workspace=None)
    if boxes[1] is None:
        assert boxes[0] is None
        return driven.options
    assert (boxes[0].lower, boxes[0].upper, boxes[0].joints) == (boxes[1].lower, boxes[1].upper, boxes[1].joints)
    places = np.linspace(-1.0, 1.0, 3 * len(task.action.joints)).reshape(3, -1)
    np.testing.assert_array_equal(boxes[0].chain.points(places), boxes[1].chain.points(places))
    return driven.options


@pytest.mark.parametrize(
    ('world', 'bundle'),
    [('pusht', 'pusht_mirror'), ('push_block', 'push_block_state'), ('pick_place', 'pick_place_image')],
)
def test_the_evaluation_scores_the_planner_that_drives(ros, world, bundle):
    path = share_folder() / 'config' / f'{world}.yaml'
    parameters = yaml.safe_load(path.read_text())[NODE]['ros__parameters']
    description = make_world(world).robot_description
    assert_same_planner(ros, parameters, path, load_bundle(locate(f'models/{bundle}')).task, description)


@pytest.mark.parametrize('limits', ['limits', 'limits_file'])
def test_the_evaluation_scores_the_planner_that_drives_with_everything_set(ros, urdf, tmp_path, limits):
    parameters = {**EVERYTHING, 'urdf_file': urdf}
    if limits == 'limits_file':
        del parameters['limits']
        limits_file = tmp_path / 'limits.yaml'
        entry = {'has_velocity_limits': True, 'max_velocity': 0.7}
        limits_file.write_text(yaml.safe_dump({'joint_limits': {'a': entry, 'b': entry}}))
        parameters['limits_file'] = str(limits_file)
    path = tmp_path / 'all.yaml'
    path.write_text(yaml.safe_dump({NODE: {'ros__parameters': parameters}}))
    options = assert_same_planner(ros, parameters, path, BUNDLE.task)
    unchanged = PlanOptions()
    same = [f.name for f in fields(PlanOptions) if getattr(options, f.name) == getattr(unchanged, f.name)]
    assert same == ['driven_apart'], 'each is set to another value; a simulated gripper follows trajectories'


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'splice_margn': 0.03}, r"got unknown parameter 'splice_margn'; nearest: splice_margin, allowed acc"),
        ({'splice_margin': 2.0}, r'splice_margin: got 2\.0, allowed a number with a decimal point from 0\.0 to 1\.0'),
        ({'tail': 1}, r'tail: got 1, allowed a number with a decimal point'),
        ({'limits': {'a': {'lower': float('nan')}}}, r'lower: got nan, allowed a number with a decimal point, not nan'),
        ({'limits': {'c': {'velocity': 1.0}}}, r"unknown parameter 'limits\.c\.velocity'"),
        ({'joints': ['b', 'a']}, r"joints: got b, a, allowed a, b, the policy's"),
        ({'joints': ['a', 'b'], 'units': ['m', 'rad']}, r"units: got m, rad, allowed .*, the policy's"),
    ],
)
def test_the_evaluation_refuses_what_the_node_refuses(tmp_path, parameters, message):
    path = tmp_path / 'wrong.yaml'
    path.write_text(yaml.safe_dump({NODE: {'ros__parameters': parameters}}))
    with pytest.raises(ConfigError, match=message):
        planner_from(path, '', BUNDLE.task)


@pytest.mark.parametrize(
    'text',
    ['', '- a', '{"/**/observation_buffer": {ros__parameters: {}}}', f'"{NODE}": {{parameters: {{}}}}', f'"{NODE}":'],
)
def test_a_parameter_file_without_the_publisher_is_one_clear_error(tmp_path, text):
    path = tmp_path / 'other.yaml'
    path.write_text(text)
    message = r'other\.yaml: got no /\*\*/trajectory_publisher with ros__parameters, allowed'
    with pytest.raises(ConfigError, match=message):
        planner_from(path, '', BUNDLE.task)
    with pytest.raises(ConfigError, match=r'gone\.yaml: cannot be read \(No such file'):
        planner_from(tmp_path / 'gone.yaml', '', BUNDLE.task)
