from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, JointState

from dp_ros.data import Observation
from dp_ros.messages import encoding as messages
from dp_ros.nodes.observation_buffer.node import ObservationBuffer
from dp_ros.policy.alignment import AS_LEARNT, AlignmentLimits, WindowBuffer
from dp_ros.recordings.episodes.episode import read_episode, wanted_topics
from dp_ros.recordings.rosbag.reader import BagReader, BagWriter
from dp_ros.recordings.rosbag.types import rosbags_types
from dp_ros.ros.bundles import message_type
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, PoseStream, TaskSpec

pytestmark = pytest.mark.ros

DT = 100_000_000
MS = 1_000_000
T0 = 1_700_000_000_000_000_000
ARM = JointStream(
    name='arm', topic='/joint_states', joints=('a', 'b'), units=('rad', 'm'), fields=('position', 'velocity')
)
BLOCK = PoseStream(name='block', topic='/block_pose', features=('x', 'y', 'sin_yaw', 'cos_yaw'))
CAMERA = ImageStream(name='camera', topic='/camera/color/image_raw', height=12, width=16)
COMMAND = ActionSpec(topic='/arm_controller/joint_trajectory', joints=('a', 'b'), units=('rad', 'm'))
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def task(*streams: Any) -> TaskSpec:
    return TaskSpec(streams=streams, action=COMMAND)


def joints(stamp: int, a: float = 1.0, b: float = 2.0, types: Any = None) -> Any:
    # One joint more than the policy wants, and in another order.
    return messages.to_joint_state(
        stamp=stamp, name=['b', 'other', 'a'], position=[b, 9.0, a], velocity=[b / 3, 9.0, a / 3], types=types
    )


def pose(stamp: int, x: float = 0.1, types: Any = None) -> Any:
    angle = x * 7
    quaternion = (0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2))
    return messages.to_pose(stamp=stamp, position=(x, 2 * x, 0.0), orientation=quaternion, frame_id='t', types=types)


def picture(stamp: int, seed: int = 0, size: tuple[int, int] = (24, 32), types: Any = None) -> Any:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return messages.to_image(stamp=stamp, pixels=pixels, frame_id='camera', types=types)


class Live:
    """An active observation_buffer on a simulated clock, what it is told and what it says."""

    def __init__(self, ros: Any, bundle: str, task: TaskSpec, now: int = T0, **parameters: Any) -> None:
        self.ros, self.task = ros, task
        self.node = ros.create(ObservationBuffer, bundle=bundle, use_sim_time=True, **parameters)
        assert self.node.start()
        kinds = {s.name: Image if isinstance(s, ImageStream) else message_type(s) for s in task.streams}
        self.heard = {name: ros.listen(kind, f'/observation_buffer/{name}') for name, kind in kinds.items()}
        self.inputs = {s.topic: ros.talk(message_type(s), s.topic) for s in task.streams}
        for name in kinds:
            ros.connected(f'/observation_buffer/{name}')
        self.sent = 0
        self.time(now)

    def time(self, now: int) -> None:
        self.ros.set_clock(now, self.node)

    def send(self, topic: str, message: Any) -> None:
        """Send a message and wait until the node has handled it."""
        counts = self.handled()
        self.inputs[topic].publish(message)
        expected = sum(s.topic == topic for s in self.task.streams)
        self.ros.wait(lambda: self.handled() >= counts + expected, f'{topic} to be handled')

    def handled(self) -> int:
        return int(self.node.counts['received']) + self.others()

    def others(self) -> int:
        return sum(buffer.others for buffer in self.node._aligner.buffers.values())

    def ticks(self, name: str) -> list[int]:
        return [messages.stamp_of(m) for m in self.heard[name]]


def test_an_observation_is_published_when_nothing_can_change_it_any_more(ros, described):
    live = Live(ros, described(task(ARM, BLOCK)), task(ARM, BLOCK))
    live.time(T0 + 95 * MS)
    live.send('/joint_states', joints(T0 + 95 * MS))
    live.send('/block_pose', pose(T0 + 95 * MS))
    live.time(T0 + 101 * MS)
    assert live.ticks('arm') == []
    live.send('/joint_states', joints(T0 + 100 * MS, 3.0))
    assert live.ticks('arm') == []
    live.send('/block_pose', pose(T0 + 101 * MS))
    ros.wait(lambda: live.heard['arm'] and live.heard['block'], 'the observation')
    assert live.ticks('arm') == live.ticks('block') == [T0 + DT]
    assert messages.decode(ARM, live.heard['arm'][0]).tolist() == [3.0, 2.0, 1.0, 2.0 / 3]


def test_without_newer_messages_an_observation_is_published_when_the_wait_is_over(ros, described):
    live = Live(ros, described(task(ARM)), task(ARM))
    live.time(T0 + 95 * MS)
    live.send('/joint_states', joints(T0 + 95 * MS))
    live.time(T0 + 120 * MS)
    assert live.ticks('arm') == []
    live.time(T0 + 121 * MS)
    ros.wait(lambda: live.heard['arm'], 'the observation')
    assert live.ticks('arm') == [T0 + DT]


def test_a_message_later_than_the_wait_does_not_count(ros, described):
    live = Live(ros, described(task(ARM)), task(ARM))
    live.time(T0 + 50 * MS)
    live.send('/joint_states', joints(T0 + 50 * MS, 5.0))
    live.time(T0 + 125 * MS)
    live.send('/joint_states', joints(T0 + 99 * MS, 6.0))
    ros.wait(lambda: live.heard['arm'], 'the observation')
    assert messages.decode(ARM, live.heard['arm'][0])[0] == 5.0


def test_a_missing_topic_gives_no_observation_but_the_reason(ros, described):
    live = Live(ros, described(task(ARM, BLOCK)), task(ARM, BLOCK))
    for step in range(5):
        live.time(T0 + step * DT)
        live.send('/joint_states', joints(T0 + step * DT))
    live.time(T0 + 5 * DT)
    ros.status('observation_buffer: observations', WARN, 'block: no message yet')
    assert live.ticks('arm') == []
    ros.tester.destroy_publisher(live.inputs['/block_pose'])
    nobody = 'no message yet: nobody publishes /block_pose'
    ros.status('observation_buffer: stream block', WARN, nobody)
    live.time(T0 + 6 * DT)
    ros.status('observation_buffer: observations', WARN, f'block: {nobody}')
    assert live.node.counts['observations'] == 0


def test_a_source_that_stopped_ages_out(ros, described):
    live = Live(ros, described(task(ARM)), task(ARM))
    live.send('/joint_states', joints(T0))
    for step in range(1, 4):
        live.time(T0 + step * DT + 30 * MS)
    ros.status('observation_buffer: observations', WARN, 'arm: newest message is')
    assert live.ticks('arm') == [T0, T0 + DT]


def test_streams_too_far_apart_give_no_observation_but_the_reason(ros, described):
    live = Live(ros, described(task(ARM, BLOCK)), task(ARM, BLOCK), max_skew=0.03)
    live.time(T0 + 60 * MS)
    live.send('/block_pose', pose(T0 + 60 * MS))
    live.time(T0 + 100 * MS)
    live.send('/joint_states', joints(T0 + 100 * MS))
    live.time(T0 + 130 * MS)
    ros.status('observation_buffer: observations', WARN, 'block: stamped 0.040 s before arm, allowed 0.030 s')
    ros.status('observation_buffer: stream block', WARN, 'stamped 0.040 s before arm')
    assert live.ticks('arm') == []


def test_a_frozen_camera_gives_no_observation_but_the_reason(ros, described):
    live = Live(ros, described(task(CAMERA)), task(CAMERA), max_frozen=0.15)
    for step, seed in enumerate((0, 1, 1, 1, 2)):
        live.time(T0 + step * DT)
        live.send(CAMERA.topic, picture(T0 + step * DT, seed))
    ros.wait(lambda: len(live.heard['camera']) == 4, 'the observations')
    status = ros.status('observation_buffer: stream camera', WARN, 'frozen: one picture for 0.200 s, allowed 0.150 s')
    assert live.ticks('camera') == [T0, T0 + DT, T0 + 2 * DT, T0 + 4 * DT]
    assert {v.key: v.value for v in status.values}['frozen_ms'] == '200.0'


def test_each_stream_s_rate_age_and_drops_are_said(ros, described):
    live = Live(ros, described(task(ARM, BLOCK)), task(ARM, BLOCK), max_age__arm=0.05)
    for step in range(1, 101):
        live.time(T0 + step * 10 * MS)
        live.send('/joint_states', joints(T0 + step * 10 * MS))
        if step % 10 == 0:
            live.send('/block_pose', pose(T0 + step * 10 * MS))
            live.send('/block_pose', pose(T0 + step * 10 * MS - 30 * MS))
    live.send('/block_pose', pose(T0 + 7000 * MS))
    live.time(T0 + 1030 * MS)
    live.node.refresh()
    said = {name: live.node.diagnostics.statuses[f'stream {name}'] for name in ('arm', 'block')}
    values = {name: {v.key: v.value for v in status.values} for name, status in said.items()}
    assert said['arm'].message == said['block'].message == 'arriving'
    assert values['arm']['topic'] == '/joint_states'
    assert 90.0 < float(values['arm']['rate_hz']) < 105.0
    assert 15.0 < float(values['block']['rate_hz']) < 25.0
    assert values['arm']['gap_ms_max'] == '30.0' and values['block']['gap_ms_max'] == '100.0'
    assert values['arm']['age_ms'] == values['block']['age_ms'] == '30.0'
    assert values['arm']['max_age_ms'] == '50.0' and values['block']['max_age_ms'] == '100.0'
    assert values['arm']['out_of_order'] == '0' and values['block']['out_of_order'] == '10'
    assert values['block']['ahead'] == '1' and values['block']['received'] == '21'
    live.time(T0 + 1200 * MS)
    ros.status('observation_buffer: stream arm', WARN, 'newest message is')


def bad_joints(**changes: Any) -> Any:
    message = joints(T0 + 90 * MS)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def bad_picture(**changes: Any) -> Any:
    message = picture(T0 + 90 * MS)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ('stream', 'good', 'bad', 'reason'),
    [
        (ARM, joints, lambda: joints(T0 + 90 * MS, float('nan')), 'position of a: got nan'),
        (ARM, joints, lambda: joints(T0 + 90 * MS, float('inf')), 'position of a: got inf'),
        (ARM, joints, lambda: bad_joints(name=['b', 'x', 'y']), 'wanted a, which the message lacks'),
        (ARM, joints, lambda: bad_joints(velocity=[1.0]), 'got 1 values for 3 names'),
        (BLOCK, pose, lambda: pose(T0 + 90 * MS, float('nan')), 'got'),
        (CAMERA, picture, lambda: bad_picture(encoding='16UC1'), "encoding: got '16UC1' (depth), allowed rgb"),
        (CAMERA, picture, lambda: bad_picture(height=25), 'data: got'),
        (CAMERA, picture, lambda: bad_picture(step=10), 'step: got 10'),
    ],
)
def test_a_message_that_cannot_be_decoded_is_never_an_observation(ros, described, stream, good, bad, reason):
    live = Live(ros, described(task(stream)), task(stream))
    live.time(T0 + 80 * MS)
    live.send(stream.topic, good(T0 + 80 * MS))
    live.time(T0 + 90 * MS)
    live.send(stream.topic, bad())
    live.time(T0 + 130 * MS)
    status = ros.status('observation_buffer: observations', ERROR, reason)
    assert stream.topic in status.message
    assert live.ticks(stream.name) == []
    live.time(T0 + 170 * MS)
    live.send(stream.topic, good(T0 + 170 * MS))
    live.time(T0 + 230 * MS)
    ros.wait(lambda: live.heard[stream.name], 'an observation after a good message')
    assert live.ticks(stream.name) == [T0 + 2 * DT]


def test_images_are_published_decoded_and_resized(ros, described):
    compressed = replace(CAMERA, name='small', topic='/compressed', compressed=True)
    live = Live(ros, described(task(CAMERA, compressed)), task(CAMERA, compressed))
    raw = picture(T0, 3)
    pixels = np.random.default_rng(4).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    png = messages.to_compressed_image(stamp=T0, pixels=pixels, frame_id='')
    assert isinstance(png, CompressedImage)
    live.send(CAMERA.topic, raw)
    live.send('/compressed', png)
    ros.wait(lambda: live.heard['camera'] and live.heard['small'], 'the observation')
    for stream, source in ((CAMERA, raw), (compressed, png)):
        out = live.heard[stream.name][0]
        assert (out.height, out.width, out.encoding) == (12, 16, 'rgb8')
        assert np.array_equal(messages.decode(CAMERA, out), messages.decode(stream, source))


def test_a_clock_that_jumps_back_clears_everything(ros, described):
    live = Live(ros, described(task(ARM)), task(ARM))
    live.send('/joint_states', joints(T0))
    ros.wait(lambda: live.heard['arm'], 'the first observation')
    live.time(T0 - 1000 * MS)
    live.time(T0 - 995 * MS)
    live.send('/joint_states', joints(T0 - 995 * MS, 7.0))
    live.time(T0 - 870 * MS)
    ros.wait(lambda: len(live.heard['arm']) > 1, 'an observation after the jump')
    assert live.ticks('arm')[1] == T0 - 900 * MS
    assert messages.decode(ARM, live.heard['arm'][1])[0] == 7.0


def test_after_a_long_gap_of_the_clock_the_ticks_in_between_are_given_up(ros, described):
    live = Live(ros, described(task(ARM)), task(ARM))
    live.send('/joint_states', joints(T0))
    later = T0 + 3_600_000 * MS
    live.time(later)
    live.send('/joint_states', joints(later))
    ros.wait(lambda: len(live.heard['arm']) == 2, 'the observation after the gap')
    assert live.ticks('arm') == [T0, later]


def test_deactivated_it_says_nothing_and_activated_it_starts_fresh(ros, described):
    live = Live(ros, described(task(ARM)), task(ARM))
    live.send('/joint_states', joints(T0))
    ros.wait(lambda: live.heard['arm'], 'the first observation')
    live.time(T0 + 90 * MS)
    live.send('/joint_states', joints(T0 + 90 * MS))
    live.node.trigger_deactivate()
    live.time(T0 + 150 * MS)
    live.node.trigger_activate()
    ros.wait(live.inputs['/joint_states'].get_subscription_count, 'the new subscription')
    live.time(T0 + 230 * MS)
    live.send('/joint_states', joints(T0 + 230 * MS))
    live.time(T0 + 330 * MS)
    ros.wait(lambda: len(live.heard['arm']) > 1, 'an observation')
    assert live.ticks('arm') == [T0, T0 + 3 * DT]


def test_a_topic_can_be_given(ros, described):
    node = ros.create(ObservationBuffer, bundle=described(task(ARM)), topics__arm='/robot/joints')
    assert node.start()
    ros.talk(JointState, '/robot/joints', qos_profile_sensor_data)


def test_the_bundle_s_topics_lie_below_the_namespace(ros, described):
    from rclpy.parameter import Parameter

    overrides = [Parameter('bundle', value=described(task(BLOCK)))]
    node = ros.add(ObservationBuffer(context=ros.context, namespace='/left', parameter_overrides=overrides))
    assert node.start()
    ros.talk(PoseStamped, '/left/block_pose')


@pytest.mark.parametrize(
    ('parameters', 'reason'),
    [
        ({}, "bundle: got '', allowed the path of a bundle folder"),
        ({'bundle': '/nowhere'}, '/nowhere'),
        ({'topics__elbow': '/x'}, 'topics.elbow: got a stream that the bundle lacks, allowed arm'),
        ({'max_age__elbow': 0.1}, 'max_age.elbow: got a stream that the bundle lacks, allowed arm'),
        ({'max_age__arm': 0.2}, 'max_age.arm: got 0.2 s, allowed up to 0.1 s, as the policy learnt'),
    ],
)
def test_configure_is_refused(ros, described, parameters, reason):
    bundle = {} if 'bundle' in parameters or not parameters else {'bundle': described(task(ARM))}
    node = ros.create(ObservationBuffer, **bundle, **parameters)
    assert not node.start()
    ros.status('observation_buffer: lifecycle', ERROR, reason)


def test_a_topic_of_another_type_is_refused_at_configure_by_the_stream_s_name(ros, described):
    ros.tester.create_publisher(Image, '/joint_states', 1)
    node = ros.create(ObservationBuffer, bundle=described(task(ARM)))
    ros.wait(lambda: node.count_publishers('/joint_states'), 'the publisher to be known')
    assert not node.start()
    reason = "stream 'arm' topic type: got sensor_msgs/msg/JointState in the bundle, allowed sensor_msgs/msg/Image"
    ros.status('observation_buffer: lifecycle', ERROR, reason)


def test_a_topic_that_is_of_another_type_later_is_reported_by_the_stream_s_name(ros, described):
    node = ros.create(ObservationBuffer, bundle=described(task(ARM)))
    assert node.start()
    other = Context()  # one process can't have a topic of two types
    rclpy.init(context=other)
    camera = Node('camera', context=other)
    camera.create_publisher(Image, '/joint_states', 1)
    reason = '/joint_states: published as sensor_msgs/msg/Image, allowed sensor_msgs/msg/JointState'
    ros.status('observation_buffer: stream arm', ERROR, reason)
    camera.destroy_node()
    other.try_shutdown()
    ros.statuses.clear()
    ros.status('observation_buffer: stream arm', WARN)


@pytest.mark.parametrize(('compressed', 'do'), [(False, 'set'), (True, 'remove')])
def test_pictures_of_the_other_type_are_refused_with_what_to_do(ros, described, compressed, do):
    camera = replace(CAMERA, compressed=compressed)
    ros.tester.create_publisher(Image if compressed else CompressedImage, CAMERA.topic, 1)
    node = ros.create(ObservationBuffer, bundle=described(task(camera)))
    ros.wait(lambda: node.count_publishers(CAMERA.topic), 'the publisher to be known')
    assert not node.start()
    ros.status('observation_buffer: lifecycle', ERROR, f'train anew: {do} compressed: true on its stream')


def fingers(stamp: int, types: Any = None) -> Any:
    return messages.to_joint_state(stamp=stamp, name=['finger'], position=[0.02], velocity=[0.0], types=types)


def test_joint_states_of_another_device_neither_count_nor_hide_the_arms(ros, described):
    live = Live(ros, described(task(ARM)), task(ARM))
    live.time(T0 + 80 * MS)
    live.send('/joint_states', fingers(T0 + 80 * MS))
    live.send('/joint_states', messages.to_joint_state(stamp=T0 + 80 * MS, name=[], position=[]))
    live.time(T0 + 130 * MS)
    ros.status('observation_buffer: observations', WARN, 'arm: no message yet that names a, b; there came finger')
    live.time(T0 + 180 * MS)
    live.send('/joint_states', joints(T0 + 180 * MS))
    live.time(T0 + 190 * MS)
    live.send('/joint_states', fingers(T0 + 190 * MS))
    live.time(T0 + 230 * MS)
    ros.wait(lambda: live.heard['arm'], 'the observation')
    assert live.ticks('arm') == [T0 + 2 * DT]
    assert live.others() == 3 and live.node.counts['received'] == 1 and live.node.counts['undecodable'] == 0


def encoded(stamp: int, seed: int, encoding: str, types: Any) -> Any:
    """Make a picture of 24 x 32 pixels of whatever the encoding has for random bytes."""
    made = picture(stamp, seed, types=types)
    if encoding != 'rgb8':
        size = {'bayer_rggb8': 1, 'mono8': 1}.get(encoding, 2)
        made.encoding, made.step, made.data = encoding, 32 * size, made.data[: 24 * 32 * size]
    return made


def write_bag(path: Path, encoding: str = 'rgb8') -> None:
    """A demonstration with what live has too: latency, jitter, dropped messages, messages out of order, a gap."""
    rng = np.random.default_rng(5)
    types = rosbags_types()
    events: list[tuple[int, str, Callable[[], Any]]] = []
    for i in range(240):
        stamp = T0 + 3 * MS + i * 10 * MS + int(rng.integers(-2 * MS, 2 * MS))
        delay = int(rng.integers(0, 15 * MS)) if i % 17 else 60 * MS
        if not (90 < i < 125) and i % 11:
            events.append((stamp + delay, ARM.topic, lambda s=stamp, i=i: joints(s, i / 7, i / 3, types)))
        if i % 4 == 0:  # another device on the topic
            events.append((stamp + delay + MS, ARM.topic, lambda s=stamp: fingers(s + MS, types)))
        if i % 3:
            events.append((stamp + delay // 2, BLOCK.topic, lambda s=stamp, i=i: pose(s, i / 900, types)))
        if i % 10 == 0:
            seed = i if i < 180 else 180  # frozen towards the end
            events.append((stamp + delay, CAMERA.topic, lambda s=stamp, i=seed: encoded(s, i, encoding, types)))
        if i % 80 == 0:
            command = messages.TrajectoryFields(
                stamp=0, joints=('a', 'b'), times=np.array([DT]), positions=np.array([[i / 7, 1.0]]),
                velocities=None, accelerations=None, effort=None,
            )  # fmt: skip
            # The first one before all, so that every observation has an action.
            message = messages.to_joint_trajectory(command, types=types)
            events.append((stamp - 500 * MS, COMMAND.topic, lambda m=message: m))
    with BagWriter(path) as bag:
        for received, topic, make in sorted(events, key=lambda event: event[0]):
            bag.write(topic, received, make())


def live_message(message: Any) -> Any:
    """Turn a message as rosbags has it into ROS's own."""
    stamp = messages.stamp_of(message)
    if hasattr(message, 'pose'):
        p, q = message.pose.position, message.pose.orientation
        return messages.to_pose(stamp=stamp, position=(p.x, p.y, p.z), orientation=(q.x, q.y, q.z, q.w), frame_id='t')
    if hasattr(message, 'encoding'):
        made = messages.to_image(
            stamp=stamp, pixels=np.zeros((message.height, message.width, 3), np.uint8), frame_id='c'
        )
        made.encoding, made.step = message.encoding, message.step
        made.data = np.asarray(message.data).tobytes()
        return made
    return messages.to_joint_state(
        stamp=stamp, name=message.name, position=message.position, velocity=message.velocity, effort=message.effort
    )


def windows_of(stamps: np.ndarray, streams: dict[str, np.ndarray], horizon: int) -> list[Any]:
    buffer = WindowBuffer(horizon, DT)
    found = []
    for i, stamp in enumerate(stamps):
        window = buffer.push(Observation(stamp=int(stamp), streams={name: v[i] for name, v in streams.items()}))
        found += [] if window is None else [window]
    return found


STRICT = {'max_skew': 0.098, 'max_frozen': 0.35, 'max_age__arm': 0.03}
STRICTNESS = AlignmentLimits(max_skew=98 * MS, max_frozen=350 * MS, max_age={'arm': 30 * MS})


@pytest.mark.parametrize(('parameters', 'strictness'), [({}, AS_LEARNT), (STRICT, STRICTNESS)], ids=['own', 'strict'])
def test_replaying_a_bag_live_gives_the_same_windows_as_reading_it(ros, described, tmp_path, parameters, strictness):
    spec = task(ARM, BLOCK, CAMERA)
    write_bag(tmp_path / 'bag')
    compare_windows(ros, described(spec), spec, tmp_path / 'bag', parameters, strictness)


@pytest.mark.parametrize(
    ('encoding', 'changes'),
    [
        ('yuv422_yuy2', {}),
        ('bayer_rggb8', {'fit': 'letterbox', 'width': 20}),
        ('mono8', {'content': 'mono'}),
        ('16UC1', {'content': 'depth', 'depth_range': (0.3, 40.0)}),
    ],
)
def test_so_it_does_for_what_is_converted(ros, described, tmp_path, encoding, changes):
    arm = replace(ARM, units=('deg', 'mm'))
    turning = replace(BLOCK, features=('x', 'qx', 'qy', 'qz', 'qw'))
    spec = task(arm, turning, replace(CAMERA, **changes))
    write_bag(tmp_path / 'bag', encoding)
    compare_windows(ros, described(spec), spec, tmp_path / 'bag', {'max_frozen': 0.0}, AS_LEARNT)


def compare_windows(
    ros: Any, bundle: str, spec: TaskSpec, bag_path: Path, parameters: dict[str, Any], strictness: AlignmentLimits
) -> None:
    """Replay a bag live, and read it: the windows must be the same bit for bit."""
    episodes = read_episode(bag_path, spec, strictness)
    assert len(episodes) > 1, 'the gap must split the bag'
    learnt = sum(len(e.stamps) for e in read_episode(bag_path, spec))
    assert (sum(len(e.stamps) for e in episodes) < learnt) == (strictness is not AS_LEARNT)
    offline = [w for e in episodes for w in windows_of(e.stamps, e.streams, spec.obs_horizon)]

    live = Live(ros, bundle, spec, now=T0 - 600 * MS, **parameters)
    observations: dict[str, list[Any]] = live.heard
    with BagReader(bag_path) as bag:
        last = 0
        for topic, received, message in bag.messages(wanted_topics(spec)):
            live.time(received)
            if topic in live.inputs:
                live.send(topic, live_message(message))
            last = received
    live.time(last + 100 * MS)
    ros.wait(lambda: all(len(v) == live.node.counts['observations'] for v in observations.values()), 'all observations')

    ends = {int(e.stamps[-1]) for e in episodes}
    live_stamps = np.array(live.ticks('arm'))
    assert all(live.ticks(s.name) == live.ticks('arm') for s in spec.streams)
    # After the last message, live goes on for max_age; the reader ends there.
    keep = live_stamps <= max(ends)
    streams = {
        s.name: np.stack([messages.decode_aligned(s, m) for m in observations[s.name]])[keep] for s in spec.streams
    }
    found = windows_of(live_stamps[keep], streams, spec.obs_horizon)
    assert [w.stamp for w in found] == [w.stamp for w in offline]
    for mine, theirs in zip(found, offline, strict=True):
        assert np.array_equal(mine.stamps, theirs.stamps)
        for name in theirs.streams:
            assert mine.streams[name].dtype == theirs.streams[name].dtype
            assert np.array_equal(mine.streams[name], theirs.streams[name])


def test_what_is_far_from_training_is_named_and_still_observed(ros, described):
    live = Live(ros, described(task(ARM)), task(ARM))
    live.send('/joint_states', joints(T0, 0.5, 0.9))
    ros.status('observation_buffer: observations', OK, 'observing')
    live.time(T0 + 95 * MS)
    live.send('/joint_states', joints(T0 + 95 * MS, 0.5, 2.5))
    live.time(T0 + 130 * MS)
    text = 'b: got 2.5 m, far from the -1 to 1 of the training'
    ros.status('observation_buffer: observations', WARN, f'observing arm: {text}')
    ros.status('observation_buffer: stream arm', WARN, text)
    ros.wait(lambda: len(live.heard['arm']) == 2, 'both observations')


def show(live: Live, at: int, *size: int) -> None:
    """Send a picture of a size, a little before the tick ``at`` [ms], and go on until after that."""
    live.time(T0 + (at - 10) * MS)
    live.send(CAMERA.topic, picture(T0 + (at - 10) * MS, at, size=size))
    live.time(T0 + (at + 30) * MS)


def test_a_picture_of_another_size_than_recorded_is_a_fault_that_names_both(ros, described):
    live = Live(ros, described(task(CAMERA), camera_shapes={'camera': (24, 32)}), task(CAMERA))
    show(live, 100, 36, 64)
    reason = "stream 'camera' size: got a picture of 64 x 36 pixels, allowed 32 x 24, as in the recordings"
    ros.status('observation_buffer: observations', ERROR, reason)
    ros.status('observation_buffer: stream camera', ERROR, reason)
    show(live, 200, 24, 32)
    ros.wait(lambda: live.heard['camera'], 'the observation of the right size')
    assert live.ticks('camera') == [T0 + 200 * MS]


@pytest.mark.parametrize('fit', ['stretch', 'letterbox'])
def test_without_a_recorded_size_the_first_one_holds(ros, described, fit, capfd):
    camera = replace(CAMERA, fit=fit)
    live = Live(ros, described(task(camera)), task(camera))
    show(live, 100, 36, 64)
    ros.wait(lambda: live.heard['camera'], 'the observation')
    show(live, 200, 24, 32)
    reason = 'size: got a picture of 32 x 24 pixels, allowed 64 x 36, as before'
    ros.status('observation_buffer: observations', ERROR, reason)
    assert live.ticks('camera') == [T0 + 100 * MS]
    warned = "stream 'camera': pictures of 64 x 36 pixels are stretched to 16 x 12, and the bundle has not which size"
    assert capfd.readouterr().err.count(warned) == (fit == 'stretch')


SMALL = replace(CAMERA, height=12, width=16)


def seen_of_another_size(ros: Any, described: Any, way: str, size: tuple[int, int]) -> tuple[Live, Any]:
    """Show a picture of ``size`` to a policy of another, that takes it in a ``way``; return node and picture."""
    live = Live(ros, described(task(SMALL), camera_shapes={'camera': (24, 32)}), task(SMALL), other_size__camera=way)
    live.time(T0 + 90 * MS)
    wide = picture(T0 + 90 * MS, seed=3, size=size)
    live.send(CAMERA.topic, wide)
    live.time(T0 + 130 * MS)
    ros.wait(lambda: live.heard['camera'], 'the observation')
    return live, wide


def test_a_picture_of_another_size_is_letterboxed_into_the_shape_of_the_training(ros, described):
    live, _ = seen_of_another_size(ros, described, 'letterbox', (12, 64))
    # Whole in 32 x 24 the picture is 32 x 6, with 9 rows above and below; then half of it.
    got = messages.decode_aligned(SMALL, live.heard['camera'][0])
    assert not got[:4].any() and not got[-5:].any() and got[4:7].any(axis=(1, 2)).all()
    # A whole picture in the shape of the training: as if it had been recorded with black above and below.
    pixels = np.zeros((24, 32, 3), np.uint8)
    half = picture(1, seed=4, size=(12, 32))
    pixels[6:18] = np.frombuffer(bytes(half.data), np.uint8).reshape(12, 32, 3)
    framed = messages.to_image(stamp=1, pixels=pixels, frame_id='camera')
    assert np.array_equal(messages.decode(SMALL, half, (24, 32)), messages.decode(SMALL, framed))
    show(live, 200, 24, 32)
    reason = 'size: got a picture of 32 x 24 pixels, allowed 64 x 12, as before'
    ros.status('observation_buffer: observations', ERROR, reason)


@pytest.mark.parametrize('resent', [True, False])
def test_lost_packets_of_pictures_are_sent_again_where_who_publishes_them_does_so(ros, described, resent):
    """A picture of a megabyte is some fifteen packets: without that, one that is lost costs all of it."""
    node = ros.create(ObservationBuffer, bundle=described(task(CAMERA)))
    assert node.start()
    offered = 5 if resent else qos_profile_sensor_data
    camera = ros.tester.create_publisher(Image, CAMERA.topic, offered)
    ros.wait(lambda: node.count_publishers(CAMERA.topic) == 1, 'the camera')
    node.refresh()
    asked = {QoSReliabilityPolicy.RELIABLE if resent else QoSReliabilityPolicy.BEST_EFFORT}
    ros.wait(lambda: {i.qos_profile.reliability for i in ros.tester.get_subscriptions_info_by_topic(CAMERA.topic)}
             == asked, 'the subscription')  # fmt: skip
    ros.wait(lambda: camera.get_subscription_count() == 1, 'the camera to be connected')
    camera.publish(picture(T0))
    ros.wait(lambda: node.counts['received'] == 1, 'its picture')
    node.refresh()
    camera.publish(picture(T0 + 100 * MS))
    ros.wait(lambda: node.counts['received'] == 2, 'another')


def test_of_a_picture_of_another_size_the_middle_in_the_shape_of_the_training_is_taken(ros, described):
    live, wide = seen_of_another_size(ros, described, 'crop', (48, 96))
    middle = np.frombuffer(bytes(wide.data), np.uint8).reshape(48, 96, 3)[:, 16:80]
    alone = messages.to_image(stamp=1, pixels=middle, frame_id='camera')
    got = messages.decode_aligned(SMALL, live.heard['camera'][0])
    assert np.array_equal(got, messages.decode(SMALL, alone))


def test_live_pictures_that_are_letterboxed_are_those_of_recordings_that_are(ros, described, tmp_path):
    """A bundle that knows no recorded size, with other_size: as its recordings would be read with fit: letterbox."""
    spec = task(ARM, BLOCK, replace(CAMERA, width=20))
    boxed = task(ARM, BLOCK, replace(CAMERA, width=20, fit='letterbox'))
    write_bag(tmp_path / 'bag')
    compare_windows(ros, described(spec), boxed, tmp_path / 'bag', {'other_size__camera': 'letterbox'}, AS_LEARNT)


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('boxed', 'letterbox', 'no camera of the bundle that learnt with fit: stretch, allowed camera'),
        ('arm', 'letterbox', 'no camera of the bundle'),
        ('camera', 'squeeze', "got 'squeeze', allowed 'refuse', 'letterbox'"),
    ],
)
def test_other_size_is_a_choice_for_a_camera_that_was_stretched(ros, described, name, value, reason):
    boxed = replace(CAMERA, name='boxed', topic='/boxed', fit='letterbox')
    node = ros.create(ObservationBuffer, bundle=described(task(ARM, CAMERA, boxed)), **{f'other_size__{name}': value})
    assert not node.start()
    ros.status('observation_buffer: lifecycle', ERROR, reason)


def test_a_camera_that_freezes_is_named_and_refused_without_being_asked_for(ros, described):
    live = Live(ros, described(task(CAMERA)), task(CAMERA))
    for at in range(0, 1500, 100):
        live.time(T0 + at * MS)
        live.send(CAMERA.topic, picture(T0 + at * MS, seed=1))
        if at == 800:
            reason = 'frozen: one picture for 0.800 s, refused after 1.000 s'
            ros.status('observation_buffer: stream camera', WARN, reason)
            ros.status('observation_buffer: observations', WARN, f'observing camera: {reason}')
    ros.status('observation_buffer: observations', WARN, 'frozen: one picture for 1.400 s, allowed 1.000 s')
    assert live.ticks('camera')[-1] == T0 + 1000 * MS
    live.time(T0 + 1500 * MS)
    live.send(CAMERA.topic, picture(T0 + 1500 * MS, seed=2))
    ros.wait(lambda: live.ticks('camera')[-1] == T0 + 1500 * MS, 'an observation of a new picture')
