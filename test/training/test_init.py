"""`dp_ros init`: what recordings show is written, what they don't is marked, and what is written can be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_ros.audit.audit import guess_task
from dp_ros.audit.proposal.alike import merged
from dp_ros.audit.proposal.init import InitSettings, run_init, survey_bags
from dp_ros.audit.proposal.parameter_file import parameter_text
from dp_ros.audit.proposal.propose import Proposal, picture_size, pose_features, propose
from dp_ros.audit.proposal.survey import Motion, TopicSurvey
from dp_ros.audit.proposal.training_file import training_text
from dp_ros.audit.proposal.units import guess_unit
from dp_ros.audit.proposal.yaml_text import scalar
from dp_ros.cli.main import main
from dp_ros.errors import ConfigError, DataError
from dp_ros.motion.settings.plan import PlanSettings
from dp_ros.recordings.rosbag.reader import BagReader, BagWriter
from dp_ros.recordings.rosbag.types import typestore
from dp_ros.robot.urdf import parse_urdf
from dp_ros.task.spec import ImageStream, TaskSpec
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.training.settings import TrainSettings
from test.training.arm_bags import (
    ARM,
    CAMERA,
    COMMANDS,
    FINGER,
    GRIPPER,
    STATES,
    WRIST,
    ArmBag,
    description,
    parameters,
)
from test.training.bag_maker import JOINTS, MS, T0, arm, changed, path_at, plain, pose, save, state

ALL = (*ARM, FINGER)
SHORT = ArmBag(seconds=2.0, rest=0.0, camera_hz=10.0)


def proposed(*bags: Path) -> Proposal:
    return propose(merged(survey_bags(bags)))


def lines(text: str, word: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if word in line]


def read_task(proposal: Proposal, folder: Path) -> TaskSpec:
    """Write the training file, and read it as training does."""
    file = folder / 'train.yaml'
    file.write_text(training_text(proposal, 'arm', file=str(file), data='bags'))
    return read_yaml(file, TrainSettings).task


@pytest.fixture(scope='module')
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SHORT.save(tmp_path_factory.mktemp('bags') / 'one')


def test_a_first_recording_becomes_a_training_file_that_checks_without_errors(
    one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['init', str(one), '--output', str(tmp_path / 'robot')]) == 0
    said = capsys.readouterr().out
    assert f'actions: joint_trajectory of {GRIPPER}, {FINGER}' in said
    train = tmp_path / 'robot/train.yaml'
    assert f'next: dp_ros check-bag {one} --config {train}' in said
    task = read_yaml(train, TrainSettings).task
    assert [s.topic for s in task.streams] == [STATES, CAMERA, WRIST]
    assert (task.action.topic, task.action.joints, task.action.units) == (COMMANDS, ALL, ('rad',) * 6 + ('m',))
    assert [(s.topic, s.joints) for s in task.action.sources] == [(COMMANDS, ARM), (GRIPPER, (FINGER,))]
    assert task.streams[0].joints == ALL  # by name, not in the alphabetical order of the joint states
    cameras = [s for s in task.streams if isinstance(s, ImageStream)]
    assert [(s.name, s.width, s.height, s.compressed) for s in cameras] == [
        ('camera', 128, 96, False), ('wrist_camera', 128, 96, True)
    ]  # fmt: skip
    assert (task.control_dt, [s.max_age for s in task.streams]) == (0.1, [0.1, 0.3, 0.3])
    assert read_yaml(train, TrainSettings).validation_share == 0.0  # a single recording
    assert main(['check-bag', str(one), '--config', str(train)]) == 0


def test_what_a_recording_cannot_show_is_marked_at_the_end_of_its_line(one: Path) -> None:
    proposal = proposed(one)
    text = parameter_text(proposal, 'arm')
    marked = [line.strip().split(':')[0] for line in text.splitlines() if line.endswith('# check')]
    assert marked == ['units', *ALL, 'follow_tolerance', 'joint_state_error', *ALL]  # and limits, home
    values = parameters(text, 'trajectory_publisher')
    assert (values['joints'], values['units'], values['control_dt']) == (list(ALL), ['rad'] * 6 + ['m'], 0.1)
    assert {name: value for name, value in values.items() if name.startswith('outputs')} == {
        'outputs.arm_controller.topic': 'arm_controller/joint_trajectory', 'outputs.arm_controller.joints': list(ARM),
        'outputs.gripper_controller.topic': 'gripper_controller/joint_trajectory',
        'outputs.gripper_controller.joints': [FINGER],
    }  # fmt: skip
    assert values['dry_run'] is True
    assert values['home.elbow_joint'] == 1.6
    limits = PlanSettings.of(values).limits(ALL, None)
    low, high = np.array(limits.lower), np.array(limits.upper)
    path = np.stack([[*SHORT.arm(t), SHORT.finger(t)] for t in np.linspace(0.0, 2.0, 200)])
    assert low[6] == pytest.approx(-0.002)  # a gripper that is closed is not asked to close much farther
    assert (low < path.min(axis=0)).all() and (high > path.max(axis=0)).all()
    speed = np.abs(np.gradient(path, 2.0 / 199, axis=0)).max(axis=0)
    assert limits.top_speed[:6] == pytest.approx(np.maximum(1.5 * speed[:6], 0.5), rel=0.05)
    assert (limits.top_acceleration[:6] >= 2.0).all()  # also of the joint that hardly moves
    assert 'limits.elbow_joint.jerk' not in values
    assert parameters(text, 'observation_buffer')['max_frozen'] == 0.5


def test_a_camera_that_repeats_its_pictures_is_not_watched_for_that(tmp_path: Path) -> None:
    made = list(SHORT.messages())
    still = next(m for m in made if m[0] == CAMERA)[2]
    for topic, _, message in made:
        if topic == CAMERA:
            message.data = still.data
    text = parameter_text(proposed(save(tmp_path / 'bag', made)), 'arm')
    assert 'max_frozen' not in parameters(text, 'observation_buffer')


def test_a_recorded_robot_description_says_units_and_limits(tmp_path: Path) -> None:
    bag = replace(SHORT, more=(description(),)).save(tmp_path / 'bag')
    text = parameter_text(proposed(bag), 'arm')
    values = parameters(text, 'trajectory_publisher')
    assert values['topics.robot_description'] == 'robot_description'
    assert 'limits.elbow_joint.lower' not in values and values['limits.elbow_joint.velocity'] > 0.0
    training = training_text(proposed(bag), 'arm', file='t', data='b')
    assert len(lines(training, 'revolute in the URDF')) == 6
    bad = replace(SHORT, more=(description('lower="1" upper="0"'),)).save(tmp_path / 'bad')
    text = parameter_text(proposed(bad), 'arm')
    assert 'topics.robot_description' not in parameters(text, 'trajectory_publisher')
    assert lines(text, 'robot_description cannot be used')


@pytest.mark.parametrize(
    ('joint', 'low', 'high', 'unit', 'sure', 'why'),
    [
        ('elbow_joint', -0.2, 0.3, 'rad', True, 'named as a joint that turns'),
        ('joint_1', -2.0, 0.3, 'rad', True, 'farther than an arm slides'),
        ('joint_1', -0.2, 0.3, 'rad', False, 'would do for m too'),
        ('joint_1', -170.0, 120.0, 'deg', False, 'degrees'),
        ('gripper', 0.0, 100.0, 'm', False, 'percent'),
        ('left_finger_joint', 0.0, 0.04, 'm', False, 'a finger that opens so far'),
        ('jaw_left', -0.035, -0.005, 'm', False, 'a finger that opens so far'),
        ('robotiq_85_left_knuckle_joint', 0.0, 0.8, 'rad', False, 'more than a finger slides'),
        ('linear_axis', 0.1, 0.9, 'm', False, 'named as a joint that slides'),
        ('joint_1', -4000.0, 0.0, 'rad', False, 'more than a turn'),
    ],
)
def test_units_are_guessed_with_their_reason(
    joint: str, low: float, high: float, unit: str, sure: bool, why: str
) -> None:
    guess = guess_unit(joint, Motion(low=low, high=high, start=low))
    assert (guess.unit, guess.sure) == (unit, sure)
    assert why in guess.why


def test_the_urdf_knows_a_joint_that_slides() -> None:
    text = (
        '<robot name="r"><link name="a"/><link name="b"/><joint name="joint_1" type="prismatic"><parent link="a"/>'
        '<child link="b"/><limit lower="0" upper="2"/></joint></robot>'
    )
    guess = guess_unit('joint_1', Motion(low=0.0, high=1.9, start=0.0), parse_urdf(text))
    assert (guess.unit, guess.sure) == ('m', True)


def test_degrees_are_said_and_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = replace(SHORT, scale=57.3).save(tmp_path / 'bag')
    assert main(['init', str(bag), '--output', str(tmp_path)]) == 0
    assert 'attention: wrist_1_joint -166.2 to -91.68: looks like degrees' in capsys.readouterr().out
    (line,) = lines((tmp_path / 'train.yaml').read_text(), 'wrist_1_joint, -166')
    assert line.startswith('- deg') and line.endswith('# check')
    task = read_yaml(tmp_path / 'train.yaml', TrainSettings).task
    assert set(task.action.units) == {'rad', 'm'} and task.action.scale[0] == pytest.approx(np.pi / 180)
    values = parameters((tmp_path / 'params.yaml').read_text(), 'trajectory_publisher')
    assert values['home.elbow_joint'] == pytest.approx(1.6, abs=0.01)  # the robot gets radians
    assert main(['check-bag', str(bag), '--config', str(tmp_path / 'train.yaml')]) == 0


def test_files_that_are_there_are_not_replaced_unless_asked(one: Path, tmp_path: Path) -> None:
    (tmp_path / 'params.yaml').write_text('mine')
    settings = InitSettings(bags=[one], output=tmp_path)
    with pytest.raises(ConfigError, match=r'params.yaml exists already; allowed new files, or --force'):
        run_init(settings, print)
    assert (tmp_path / 'params.yaml').read_text() == 'mine' and not (tmp_path / 'train.yaml').exists()
    assert run_init(replace(settings, force=True), lambda _: None) == 0
    assert 'trajectory_publisher' in (tmp_path / 'params.yaml').read_text()


@pytest.mark.parametrize(
    ('change', 'what'),
    [
        ({'without': (WRIST,)}, f'topic {WRIST}: got nothing in .*other, sensor_msgs/msg/CompressedImage in .*one'),
        ({'encoding': 'bgr8'}, f'topic {CAMERA}: got encoding bgr8, rgb8 in the other'),
        ({'size': (80, 60)}, f'topic {CAMERA}: got size 80 x 60, 160 x 120 in the other'),
        ({'more': (plain('Float64MultiArray', '/extra', T0, [1.0]),)}, 'topic /extra: got nothing in .*one'),
    ],
)
def test_recordings_that_differ_are_refused_by_name(one: Path, tmp_path: Path, change: Any, what: str) -> None:
    other = replace(SHORT, **change).save(tmp_path / 'other')
    with pytest.raises(DataError, match=f'other differs from .*one: .*{what}'):
        proposed(one, other)


def test_recordings_of_other_joints_are_refused_and_alike_ones_count_together(tmp_path: Path) -> None:
    first = save(tmp_path / 'first', arm(seconds=3.0))
    renamed = changed(arm(seconds=3.0), STATES, lambda i, m: state(m[1], m[2].position, name=('a', 'c')))
    with pytest.raises(DataError, match='topic /joint_states: got joints a, c, a, b in the other'):
        proposed(first, save(tmp_path / 'other', renamed))
    second = save(tmp_path / 'second', changed(
        arm(seconds=3.0), STATES, lambda i, m: state(m[1], m[2].position + 1.0)))  # fmt: skip
    found = proposed(first, second)
    assert found.survey.seconds == pytest.approx(5.96)
    assert found.motions['b'].high == pytest.approx(1.5, abs=0.1)
    assert found.action.observed[0].count == 300


def test_without_joint_states_the_error_says_what_is_there(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', changed(arm(), STATES, lambda i, m: None))
    with pytest.raises(DataError, match=r'got no joint states .*/block_pose, /command.*record /joint_states'):
        proposed(bag)


def test_joint_states_that_cannot_be_used_are_named_with_their_reason(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', changed(arm(), STATES, lambda i, m: m if i else state(m[1], m[2].position[:1])))
    with pytest.raises(DataError, match=r'/joint_states \(got 1 positions for 2 names'):
        proposed(bag)


def test_without_commands_the_next_state_is_proposed(tmp_path: Path) -> None:
    made = changed(arm(), '/command', lambda i, m: None)
    proposal = proposed(save(tmp_path / 'bag', made))
    task = read_task(proposal, tmp_path)
    assert (task.action.source, task.action.joints) == ('next_state', JOINTS)
    text = training_text(proposal, 'arm', file='t', data='b')
    assert lines(text, 'not recorded: where a controller listens')[0].endswith('# check')
    assert lines(text, 'no commands were recorded')
    assert main(['check-bag', str(tmp_path / 'bag'), '--config', str(tmp_path / 'train.yaml')]) == 0
    still = changed(made, STATES, lambda i, m: state(m[1], [0.0, 0.0]))
    with pytest.raises(DataError, match='got no commands, and no joint of /joint_states that moves'):
        proposed(save(tmp_path / 'still', still))


def forwarded(order: slice, change: Any = lambda position: position) -> list[Any]:
    made = changed(arm(), '/command', lambda i, m: None)
    numbers = [change(path_at(i * 0.1, 0.0)[order]) for i in range(80)]
    topic = '/forward_controller/commands'
    return made + [plain('Float64MultiArray', topic, T0 + i * 100 * MS, row) for i, row in enumerate(numbers)]


def test_forwarded_numbers_are_matched_with_the_joints_that_follow_them(tmp_path: Path) -> None:
    for name, order, joints in (('same', slice(None), ('a', 'b')), ('turned', slice(None, None, -1), ('b', 'a'))):
        task = read_task(proposed(save(tmp_path / name, forwarded(order))), tmp_path)
        assert (task.action.source, task.action.joints) == ('float64_multi_array', joints)
        assert task.action.source_topic == '/forward_controller/commands'


def test_a_grippers_commands_are_matched_with_the_joint_that_follows_them(tmp_path: Path) -> None:
    kind = typestore().types['control_msgs/msg/GripperCommand']
    bag = replace(SHORT, without=(GRIPPER,), more=tuple(
        ('/gripper/command', T0 + i * 50 * MS, kind(position=SHORT.finger(0.05 * i), max_effort=1.0)) for i in range(40)
    )).save(tmp_path / 'bag')  # fmt: skip
    proposal = proposed(bag)
    action = read_task(proposal, tmp_path).action
    assert [(s.topic, s.joints) for s in action.sources] == [(COMMANDS, ARM), ('/gripper/command', (FINGER,))]
    text = parameter_text(proposal, 'arm')
    assert parameters(text, 'trajectory_publisher')['outputs.gripper.joints'] == [FINGER]
    assert lines(text, 'topic: gripper/joint_trajectory')[0].endswith('# check')
    assert main(['check-bag', str(bag), '--config', str(tmp_path / 'train.yaml')]) == 0


def test_a_topic_that_commands_the_same_joints_is_not_used(tmp_path: Path) -> None:
    twice = tuple(('/other/joint_trajectory', t, m) for topic, t, m in SHORT.messages() if topic == GRIPPER)
    proposal = proposed(replace(SHORT, more=twice).save(tmp_path / 'bag'))
    assert proposal.action.others == (f'/other/joint_trajectory: commands {FINGER}, as others do',)
    assert lines(parameter_text(proposal, 'arm'), '/other/joint_trajectory')


def test_velocities_are_no_set_points(tmp_path: Path) -> None:
    proposal = proposed(save(tmp_path / 'bag', forwarded(slice(None), lambda position: 5.0 + 0.1 * position)))
    assert proposal.task.action.source == 'next_state'
    assert 'velocities or efforts, not set points' in proposal.action.others[0]


def test_a_leader_arm_is_the_source_where_nothing_else_commands(tmp_path: Path) -> None:
    made = changed(arm(), '/command', lambda i, m: None)
    for i in range(400):
        made.append(state(T0 + i * 20 * MS, path_at(i * 0.02, 0.0), topic='/leader/joint_states', name=('x', 'y')))
    proposal = proposed(save(tmp_path / 'bag', made))
    action = read_task(proposal, tmp_path).action
    assert (action.source, action.joints, action.source_joints) == ('joint_state', ('a', 'b'), ('x', 'y'))
    assert lines(training_text(proposal, 'arm', file='t', data='b'), 'source_joints')[0].endswith('# check')


@pytest.mark.parametrize(('hz', 'control_dt', 'max_age'), [(30.0, 0.1, 0.2), (5.0, 0.2, 0.75), (2.1, 0.5, 1.5)])
def test_rates_decide_control_rate_and_ages(tmp_path: Path, hz: float, control_dt: float, max_age: float) -> None:
    task = proposed(replace(SHORT, camera_hz=hz).save(tmp_path / 'bag')).task
    assert (task.control_dt, task.stream('camera').max_age) == (control_dt, max_age)


def test_one_camera_recorded_twice_is_one_stream_and_depth_is_said(tmp_path: Path) -> None:
    images = {topic: [m for m in SHORT.messages() if m[0] == topic] for topic in (CAMERA, WRIST)}
    twice = tuple((f'{CAMERA}/compressed', t, msg) for _, t, msg in images[WRIST])
    depth = tuple(('/camera/depth/image_raw', t, msg) for _, t, msg in [m for m in SHORT.messages() if m[0] == CAMERA])
    for _, _, message in depth:
        millimetres = np.full((message.height, message.width), 730, dtype=np.uint16)
        millimetres[0, 0], millimetres[0, 1] = 0, 1200  # not measured, and the farthest
        message.encoding, message.step = '16UC1', 2 * message.width
        message.data = millimetres.view(np.uint8).reshape(-1)
    proposal = proposed(replace(SHORT, more=(*twice, *depth)).save(tmp_path / 'bag'))
    task = read_task(proposal, tmp_path)
    assert [s.topic for s in task.streams] == [STATES, CAMERA, WRIST, '/camera/depth/image_raw']
    assert [(s.content, s.depth_range) for s in task.streams[1:]] == [('rgb', ()), ('rgb', ()), ('depth', (0.7, 1.3))]
    assert f'{CAMERA}/compressed: the pictures of {CAMERA}, compressed' in proposal.left_out


def test_pictures_keep_their_aspect_and_are_not_enlarged() -> None:
    sizes = {(640, 480): (128, 96), (1280, 720): (168, 96), (480, 640): (96, 128), (64, 48): (64, 48)}
    assert {size: picture_size(*size) for size in sizes} == sizes


def test_poses_are_observed_unless_they_ask_for_something(tmp_path: Path) -> None:
    made = [*arm(), *((f'/goal{m[0]}', *m[1:]) for m in [pose(T0 + i * 100 * MS, 0.1, 0.2) for i in range(40)])]
    proposal = proposed(save(tmp_path / 'bag', made))
    task = read_task(proposal, tmp_path)
    assert [(s.name, s.topic) for s in task.streams] == [('joint_states', STATES), ('block_pose', '/block_pose')]
    block = task.stream('block_pose')
    assert (block.frame, block.features) == ('w', ('x', 'y'))  # z, and how it is turned, never change
    assert proposal.left_out == ('/goal/block_pose: asks for something; it may be a goal',)


@pytest.mark.parametrize(
    ('turned', 'features'),
    [
        ((0.0, 0.0, 1.0, 1.0), ('x', 'sin_yaw', 'cos_yaw')),
        ((1.0, 0.0, 0.0, 1.0), ('x', 'qx', 'qy', 'qz', 'qw')),
        ((0.0, 0.0, 0.0, 0.0), ('x',)),
    ],
)
def test_what_moves_of_a_pose_is_observed(turned: tuple[float, ...], features: tuple[str, ...]) -> None:
    low = dict.fromkeys(('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw'), 0.0)
    high = {**low, 'x': 0.3, 'y': 1e-6, **dict(zip(('qx', 'qy', 'qz', 'qw'), turned, strict=True))}
    motions = {name: Motion(low=low[name], high=high[name], start=0.0) for name in low}
    topic = TopicSurvey(name='/p', topic='/p', type='geometry_msgs/msg/PoseStamped', count=9, motions=motions)
    assert pose_features(topic) == features


def test_names_of_any_kind_are_read_back_as_they_were(tmp_path: Path) -> None:
    names = ('yes', '1')
    made = [state(T0 + i * 20 * MS, path_at(i * 0.02), name=names) for i in range(100)]
    proposal = proposed(save(tmp_path / 'bag', made))
    assert read_task(proposal, tmp_path).action.joints == names
    values = parameters(parameter_text(proposal, 'arm'), 'trajectory_publisher')
    assert values['joints'] == list(names) and 'limits.yes.lower' in values
    assert [scalar(word) for word in ('on', '~/x', 'a b')] == ['"on"', '~/x', '"a b"']


def test_names_cannot_break_out_of_a_comment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ('a\nsteps: 1', 'b\x85device: cuda\x1b[31m')
    bag = save(tmp_path / 'bag', [state(T0 + i * 20 * MS, path_at(i * 0.02), name=names) for i in range(100)])
    assert main(['init', str(bag), '--output', str(tmp_path)]) == 0
    settings = read_yaml(tmp_path / 'train.yaml', TrainSettings)
    assert settings.task.action.joints == names and settings.steps > 1
    assert '\x1b' not in capsys.readouterr().out


def test_sqlite3_is_read_alike(one: Path, tmp_path: Path) -> None:
    other = SHORT.save(tmp_path / 'other', 'sqlite3')
    assert proposed(other).task == proposed(one).task


def test_an_audit_without_a_configuration_says_what_it_guessed(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with BagReader(one) as reader:
        task = guess_task(reader)
    assert task and [s.max_age for s in task.streams] == [1.0] * 3  # a slow topic is to be said, not to be waited for
    assert main(['check-bag', str(one)]) == 0
    said = ' '.join(capsys.readouterr().out.split())
    assert f'observes {WRIST}: compressed pictures' in said
    assert f'actions: on {COMMANDS}, {", ".join(ARM)} actions: on {GRIPPER}, {FINGER}' in said
    assert f'dp_ros init {one} writes this as a training file' in said


def test_damaged_messages_leave_their_topic_out(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write_raw('/broken', 'sensor_msgs/msg/Image', T0, b'\0\1\0\0\1')
        for topic, received, message in sorted(arm(seconds=2.0), key=lambda m: m[1]):
            bag.write(topic, received, message)
    (text,) = proposed(tmp_path / 'bag').left_out
    assert text.startswith('/broken: 5 bytes are no sensor_msgs/msg/Image')


def test_devices_that_share_a_topic_are_told_apart(tmp_path: Path) -> None:
    """Grippers publish beside the joint_state_broadcaster, on the same topic."""
    made = [state(T0 + i * 31 * MS, [0.01, 0.02], name=('l', 'r', 's')[:2]) for i in range(200)]
    made += [*arm(), state(T0 + 5 * MS, [0.5], name=('s',)), state(T0 + 6 * MS, (), name=())]
    proposal = proposed(save(tmp_path / 'bag', made))
    (states,) = proposal.action.observed
    assert states.rate == pytest.approx(50.0, rel=0.02)
    assert states.joints == JOINTS and states.whole
    shared = {name: t.joints for name, t in proposal.survey.topics.items() if t.topic == STATES}
    assert shared == {STATES: JOINTS, f'{STATES} (l, r)': ('l', 'r'), f'{STATES} (s)': ('s',)}
    assert read_task(proposal, tmp_path).streams[0].topic == STATES
    assert f'{STATES} (l, r): other joint states' in proposal.left_out


def test_joints_that_a_device_leaves_out_at_times_are_marked(tmp_path: Path) -> None:
    made = changed(arm(), STATES, lambda i, m: m if i % 2 else state(m[1], m[2].position[:1], name=('a',)))
    text = training_text(proposed(save(tmp_path / 'bag', made)), 'arm', file='t', data='b')
    assert lines(text, 'Not every message names all of them')[0].endswith('# check')


@pytest.mark.parametrize('turn', [2.0 * np.pi, 360.0], ids=['rad', 'degrees'])
def test_a_joint_whose_positions_wrap_has_the_speed_that_it_had_and_no_range(
    tmp_path: Path, turn: float
) -> None:
    made = []
    for tick in range(800):
        seconds, now = tick / 100, T0 + tick * 10 * MS
        turned = 0.4 + 0.2 * np.sin(0.9 * seconds)  # of a whole turn; passes a half
        places = np.array([np.sin(1.3 * seconds) * turn / 7, ((turned + 0.5) % 1.0 - 0.5) * turn])
        made.append(state(now, places))
    proposal = proposed(save(tmp_path / 'bag', made))
    found = parameters(parameter_text(proposal, 'arm'), 'trajectory_publisher')
    speed = 0.2 * 0.9 * 2.0 * np.pi
    assert speed < found['limits.b.velocity'] < 2.0 * speed
    assert 'limits.b.upper' not in found and 'limits.a.upper' in found
    assert read_task(proposal, tmp_path).continuous == proposal.task.continuous == ('b',)
