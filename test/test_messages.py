from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dp_ros.data import MOST_ALTERNATIVES, Chunk
from dp_ros.errors import ConfigError, DataError
from dp_ros.messages import encoding as messages
from dp_ros.messages import images
from dp_ros.motion.trajectory import Trajectory
from dp_ros.recordings.rosbag.types import deserialize, rosbags_types, typestore
from dp_ros.task.spec import ImageStream, JointStream, PoseStream, Stream

STAMP = 1_700_000_000_123_456_789
ARM = JointStream(name='arm', topic='/joint_states', joints=('b', 'a'), units=('rad', 'rad'))
POSE = PoseStream(
    name='block', topic='/block_pose', features=('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw', 'sin_yaw', 'cos_yaw')
)
CAMERA = ImageStream(name='camera', topic='/camera', height=8, width=12)
FINITE = st.floats(-1e6, 1e6)


@pytest.fixture(params=['rclpy', 'rosbags'])
def types(request: pytest.FixtureRequest) -> messages.MessageTypes:
    if request.param == 'rosbags':
        return rosbags_types()
    pytest.importorskip('sensor_msgs.msg', reason="ROS's message classes are not installed")
    return messages.ros_types()


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)


def joint_state(**changes: Any) -> Any:
    fields: dict[str, Any] = {'name': ['a', 'x', 'b'], 'position': [1.0, 2.0, 3.0], 'velocity': [4.0, 5.0, 6.0]}
    return messages.to_joint_state(stamp=STAMP, **{**fields, **changes}, types=rosbags_types())


def image(pixels: np.ndarray, encoding: str = 'rgb8', **changes: Any) -> Any:
    fields: dict[str, Any] = {
        'height': pixels.shape[0],
        'width': pixels.shape[1],
        'encoding': encoding,
        'is_bigendian': 0,
        'step': pixels[0].nbytes,
        'data': pixels.tobytes(),
    }
    return SimpleNamespace(**{**fields, **changes})


# Joint states.


def test_joints_come_in_the_order_of_the_stream_field_by_field(types: messages.MessageTypes) -> None:
    stream = replace(ARM, fields=('velocity', 'position'))
    msg = messages.to_joint_state(
        stamp=STAMP, name=['a', 'x', 'b'], position=[1, 2, 3], velocity=[4, 5, 6], types=types
    )
    assert messages.decode(stream, msg).tolist() == [6.0, 4.0, 3.0, 1.0]
    assert messages.decode(stream, msg).dtype == np.float64
    assert messages.stamp_of(msg) == STAMP


@given(values=arrays(np.float64, 3, elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_any_finite_joint_value_is_taken_unchanged(values: np.ndarray) -> None:
    decoded = messages.joint_vector(ARM, ['a', 'x', 'b'], values, (), ())
    assert decoded.tobytes() == values[[2, 0]].tobytes()


@pytest.mark.parametrize(
    ('names', 'frame', 'expected'),
    [
        (['b', 'x'], '', True),
        (['finger', 'thumb'], '', False),
        ([], '', False),
        (['a_mimic', 'ab'], '', False),
        (['finger'], 'a', False),
        (['finger', 'a'], 'base', True),
    ],
)
def test_a_joint_state_is_a_streams_if_it_names_one_of_its_joints(names: list[str], frame: str, expected: bool) -> None:
    msg = messages.to_joint_state(stamp=7, name=names, position=[0.0] * len(names), types=rosbags_types())
    msg.header.frame_id = frame
    assert messages.belongs(ARM, msg) == expected
    for little in (True, False):
        data = bytes(typestore().serialize_cdr(msg, msg.__msgtype__, little_endian=little))
        assert messages.names_any(data, ARM.joints) == expected
        assert not any(messages.names_any(data[:end], ('no such',)) for end in range(len(data)))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'name': []}, ['no names', 'b, a']),
        ({'name': ['a', 'x', 'c']}, ['wanted b', 'it has a, x, c']),
        ({'name': ['a', 'b', 'b']}, ['got b more than once']),
        ({'position': [1.0, 2.0]}, ['position: got 2 values for 3 names']),
        ({'position': [1.0, 2.0, 3.0, 4.0]}, ['position: got 4 values for 3 names']),
        ({'position': []}, ['position: got 0 values for 3 names']),
        ({'position': [1.0, 2.0, math.nan]}, ['position of b: got nan', 'finite']),
        ({'position': [math.inf, 2.0, 0.0]}, ['position of a: got inf', 'finite']),
        ({'position': [math.inf, 2.0, -math.inf]}, ['position of b: got -inf', 'finite']),
    ],
)
def test_a_bad_joint_state_is_refused(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        messages.decode(ARM, joint_state(**changes))
    for word in ["stream 'arm'", *words]:
        assert word in str(caught.value)


def test_nan_in_a_joint_that_nobody_chose_does_no_harm() -> None:
    assert messages.decode(ARM, joint_state(position=[1.0, math.nan, 3.0])).tolist() == [3.0, 1.0]


def test_a_field_that_the_robot_leaves_empty_is_refused() -> None:
    with pytest.raises(DataError, match='effort: got 0 values for 3 names'):
        messages.decode(replace(ARM, fields=('effort',)), joint_state())


# Poses.


@given(yaw=st.floats(-math.pi, math.pi), scale=st.floats(0.01, 100.0))
def test_yaw_features_are_those_of_the_angle_whatever_the_length_of_the_quaternion(yaw: float, scale: float) -> None:
    quaternion = scale * np.array([0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)])
    features = dict(zip(POSE.features, messages.pose_features(POSE, (1.0, 2.0, 3.0), quaternion), strict=True))
    assert features['sin_yaw'] == pytest.approx(math.sin(yaw), abs=1e-12)
    assert features['cos_yaw'] == pytest.approx(math.cos(yaw), abs=1e-12)
    assert (features['x'], features['y'], features['z']) == (1.0, 2.0, 3.0)


def test_a_pose_in_another_frame_is_refused_where_one_is_asked_for(types: messages.MessageTypes) -> None:
    msg = messages.to_pose(stamp=STAMP, position=(1, 2, 3), orientation=(0, 0, 0, 1), frame_id='map', types=types)
    for frame in ('', 'map'):
        assert messages.decode(dataclasses.replace(POSE, frame=frame), msg)[0] == 1.0
    with pytest.raises(DataError, match="stream 'block' frame: got 'map', allowed 'base_link' only"):
        messages.decode(dataclasses.replace(POSE, frame='base_link'), msg)


def test_yaw_of_a_tilted_pose_is_the_heading_of_its_x_axis(types: messages.MessageTypes) -> None:
    q = np.array([0.1, -0.2, 0.5, 0.8])
    x, y, z, w = q / np.linalg.norm(q)
    heading = np.array([2 * (x * y + w * z), 1 - 2 * (y * y + z * z)])  # sin, cos of the rotation matrix's first column
    stream = replace(POSE, features=('sin_yaw', 'cos_yaw'))
    msg = messages.to_pose(stamp=STAMP, position=(0, 0, 0), orientation=q, frame_id='pusht', types=types)
    assert messages.decode(stream, msg) == pytest.approx(heading)
    assert msg.header.frame_id == 'pusht'


@pytest.mark.parametrize('near', [(0.0, 0.0, 0.0, 1.0), (1.0, 0.0, 0.0, 0.0)])
@pytest.mark.parametrize('quaternion', [(0.1, 0.2, 0.3, -0.4), (-0.9, 0.1, 0.0, 1e-3), (0.0, 0.0, -1.0, 0.0)])
def test_both_quaternions_of_an_orientation_are_one(near: Any, quaternion: Any) -> None:
    stream = replace(POSE, near=near)
    given, other = (messages.pose_features(stream, (0, 0, 0), sign * np.array(quaternion)) for sign in (1.0, -1.0))
    assert given.tobytes() == other.tobytes()
    assert given[3:7] @ np.array(near) >= 0.0


def test_a_tool_that_points_down_keeps_its_sign_near_that() -> None:
    down = replace(POSE, near=(1.0, 0.0, 0.0, 0.0))
    signs = {messages.pose_features(down, (0, 0, 0), (1.0, 0.0, 0.0, w))[3] > 0 for w in (-0.01, 0.01)}
    assert signs == {True}
    assert {messages.pose_features(POSE, (0, 0, 0), (1.0, 0.0, 0.0, w))[3] > 0 for w in (-0.01, 0.01)} == {True, False}


@pytest.mark.parametrize('near', [(0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 0.0)])
def test_an_orientation_to_be_near_is_one(near: Any) -> None:
    with pytest.raises(ConfigError, match="stream 'block' near: got"):
        replace(POSE, near=near)


@pytest.mark.parametrize(
    ('position', 'orientation', 'word'),
    [
        ((0, 0, 0), (0, 0, 0, 0), 'norm 0'),
        ((0, 0, 0), (0, 0, 0, math.nan), 'norm nan'),
        ((0, 0, 0), (0, 0, 0, math.inf), 'norm inf'),
        ((math.nan, 0, 0), (0, 0, 0, 1), 'got nan'),
    ],
)
def test_a_bad_pose_is_refused(position: tuple[float, ...], orientation: tuple[float, ...], word: str) -> None:
    with pytest.raises(DataError, match=word):
        messages.pose_features(POSE, position, orientation)


# Images.


def test_an_image_of_the_right_size_comes_back_pixel_for_pixel(
    types: messages.MessageTypes, pixels: np.ndarray
) -> None:
    msg = messages.to_image(stamp=STAMP, pixels=pixels, frame_id='camera', types=types)
    assert np.array_equal(messages.decode(CAMERA, msg), pixels)


@pytest.mark.parametrize(
    ('encoding', 'convert'),
    [
        ('bgr8', lambda p: p[..., ::-1]),
        ('rgba8', lambda p: np.concatenate([p, p[..., :1]], axis=2)),
        ('bgra8', lambda p: np.concatenate([p[..., ::-1], p[..., :1]], axis=2)),
    ],
)
@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('big_endian', [0, 1])
def test_encodings_and_padded_rows_give_the_same_rgb(
    pixels: np.ndarray, encoding: str, convert: Any, padding: int, big_endian: int
) -> None:
    rows = np.ascontiguousarray(convert(pixels)).reshape(8, -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    msg = image(pixels, encoding, step=padded.shape[1], data=padded.tobytes(), is_bigendian=big_endian)
    assert np.array_equal(messages.decode(CAMERA, msg), pixels)


def test_resizing_averages_areas() -> None:
    stream = replace(CAMERA, height=8, width=8)
    large = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    means = large.reshape(8, 4, 8, 4, 3).mean(axis=(1, 3))
    assert np.abs(messages.decode(stream, image(large)) - means).max() <= 0.5


def test_a_decoded_image_is_no_view_of_the_message(pixels: np.ndarray) -> None:
    msg = image(pixels, data=bytearray(pixels.tobytes()))
    decoded = messages.decode(CAMERA, msg)
    msg.data[:] = bytes(len(msg.data))
    assert np.array_equal(decoded, pixels)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'encoding': '16UC1'}, ["encoding: got '16UC1' (depth), allowed rgb", 'content: depth']),
        ({'encoding': 'mono8'}, ["encoding: got 'mono8' (mono), allowed rgb", 'content: mono']),
        ({'encoding': 'nv21'}, ["encoding: got 'nv21'", 'rgb8, bgr8, rgba8, bgra8, yuv422']),
        ({'width': 13}, ['step: got 36', '39 or more']),
        ({'step': 35}, ['step: got 35', '36 or more']),
        ({'step': 40}, ['data: got 288 bytes', '320']),
        ({'height': 9}, ['data: got 288 bytes', '324']),
        ({'height': 7}, ['data: got 288 bytes', '252']),
        ({'data': b''}, ['data: got 0 bytes', '288']),
        ({'height': 0, 'data': b''}, ['size: got 12 x 0']),
    ],
)
def test_a_bad_image_is_refused(pixels: np.ndarray, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        messages.decode(CAMERA, image(pixels, **changes))
    for word in ["stream 'camera'", *words]:
        assert word in str(caught.value)


def compressed(data: bytes, form: str) -> Any:
    return SimpleNamespace(format=form, data=data)


def test_png_loses_nothing(types: messages.MessageTypes, pixels: np.ndarray) -> None:
    msg = messages.to_compressed_image(stamp=STAMP, pixels=pixels, frame_id='camera', types=types)
    assert np.array_equal(messages.decode(replace(CAMERA, compressed=True), msg), pixels)


@pytest.mark.parametrize(('shape', 'content'), [((8, 12, 3), 'rgb'), ((8, 12), 'mono')])
def test_jpeg_is_close_in_colour_and_in_grey(shape: tuple[int, ...], content: Any) -> None:
    smooth = np.broadcast_to(np.linspace(0, 200, 12, dtype=np.uint8)[None, :, None], (8, 12, 3))[..., : len(shape)]
    smooth = smooth.copy() if len(shape) == 3 else smooth[..., 0].copy()
    if smooth.ndim == 3:
        smooth[..., 0] = 250
    data = cv2.imencode('.jpg', smooth if smooth.ndim == 2 else smooth[..., ::-1])[1].tobytes()
    camera = replace(CAMERA, compressed=True, content=content)
    decoded = messages.decode(camera, compressed(data + bytes(16), 'rgb8; jpeg compressed bgr8'))
    expected = np.repeat(smooth[..., None], 3, axis=2) if smooth.ndim == 2 else smooth
    assert np.abs(decoded.astype(int) - expected).max() < 12


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize(
    'damage',
    [lambda d: b'', lambda d: d[: len(d) // 2], lambda d: b'nonsense' + d, lambda d: d[:12] + d[-16:]],
    ids=['empty', 'cut', 'other', 'hollow'],
)
def test_a_compressed_image_that_cannot_be_decoded_is_refused(pixels: np.ndarray, extension: str, damage: Any) -> None:
    data = cv2.imencode(extension, pixels)[1].tobytes()
    with pytest.raises(DataError, match=r"stream 'camera'.*allowed"):
        messages.decode(replace(CAMERA, compressed=True), compressed(damage(data), 'jpeg'))


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize('lost', [2, 10, 400])
def test_a_compressed_image_without_its_end_is_refused(extension: str, lost: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = cv2.imencode(extension, noise)[1].tobytes()
    # A PNG's last 8 bytes are the end marker's name and checksum.
    cut = data[: -max(lost, 8)] if extension == '.png' else data[:-lost]
    with pytest.raises(DataError, match='without an end marker, allowed whole files only'):
        messages.decode(replace(CAMERA, compressed=True), compressed(cut, 'jpeg'))


def a_jpeg(shape: tuple[int, ...] = (120, 161, 3), *flags: int) -> bytes:
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), (5, 5), 2)
    return bytes(cv2.imencode('.jpg', noise, flags)[1].tobytes())


def with_restarts(filler: bytes = b'') -> bytes:
    data = a_jpeg((120, 161, 3), cv2.IMWRITE_JPEG_RST_INTERVAL, 4)
    for marker in range(0xD0, 0xD8):
        data = data.replace(bytes([0xFF, marker]), filler + bytes([0xFF, marker]))
    return data


def turned(data: bytes) -> bytes:
    """Say in Exif that the camera was held on its side."""
    tiff = b'MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0'
    exif = b'Exif\0\0' + tiff
    return data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:]


def decoded_jpeg(data: bytes) -> np.ndarray:
    return images.decode_compressed('picture', compressed(data, 'jpeg'))


def without_tables(data: bytes) -> bytes:
    """Leave out the Huffman tables, as cameras' MJPEG does: then the standard's count."""
    kept, at = data[:2], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
        kept += b'' if data[at + 1] == 0xC4 else data[at:end]
        at = end
    return kept + data[at:]


@pytest.mark.parametrize(
    'data',
    [
        a_jpeg(),
        a_jpeg((64, 48)),
        a_jpeg((120, 161, 3), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        without_tables(a_jpeg()),
        turned(a_jpeg()),
        with_restarts(),
        a_jpeg().replace(b'JFIF\0\1', b'JFIF\0\2'),
        a_jpeg().replace(b'\xff\xc4', bytes(7) + b'\xff\xc4', 1),
    ],
    ids=['colour', 'grey', 'progressive', 'mjpeg', 'turned', 'restarts', 'odd version', 'filled head'],
)
def test_a_jpeg_has_the_same_pixels_with_and_without_simplejpeg(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    pytest.importorskip('simplejpeg', reason='simplejpeg is not installed')
    pixels = decoded_jpeg(data)
    assert pixels.dtype == np.uint8
    monkeypatch.setattr(images, '_simplejpeg', lambda: None)
    assert np.array_equal(decoded_jpeg(data), pixels)


@pytest.mark.parametrize(
    'damage',
    [
        lambda d: d[: len(d) // 2] + d[len(d) // 2 + 300 :],
        lambda d: d[: len(d) // 2] + b'\xff\xd9',
        lambda d: d[: len(d) // 2] + bytes(200) + d[len(d) // 2 + 200 :],
        lambda d: with_restarts(b'\1\2\3'),
        lambda d: d[: len(d) // 2] + d[len(d) // 2 + 300 : -2] + bytes(20) + d[-2:],
    ],
    ids=['lost', 'cut', 'zeros', 'restarts filled up', 'lost and filled up'],
)
def test_a_jpeg_with_something_missing_inside_is_refused(damage: Any) -> None:
    pytest.importorskip('simplejpeg', reason='simplejpeg is not installed: OpenCV fills in grey')
    with pytest.raises(DataError, match=r'jpeg of .* Corrupt JPEG data: .*; allowed whole, valid files only'):
        decoded_jpeg(damage(a_jpeg()))


@pytest.mark.parametrize(
    'filled',
    [
        lambda d: d[:-2] + bytes(500) + d[-2:],
        lambda d: d[:-2] + bytes(500) + 2 * d[-2:],
        lambda d: d + bytes(100),
        lambda d: d[:-2] + b'\1\2\3' + d[-2:],
    ],
)
def test_a_jpeg_that_is_filled_up_is_whole(filled: Any) -> None:
    assert np.array_equal(decoded_jpeg(filled(a_jpeg())), decoded_jpeg(a_jpeg()))


def test_a_jpeg_that_claims_to_be_huge_is_refused_before_it_is_decoded() -> None:
    data = a_jpeg()
    at = data.index(b'\xff\xc0') + 5
    with pytest.raises(DataError, match='got a jpeg of 65000 x 65000 pixels, allowed up to'):
        decoded_jpeg(data[:at] + 2 * (65000).to_bytes(2, 'big') + data[at + 4 :])


def test_compressed_depth_is_refused(pixels: np.ndarray) -> None:
    data = cv2.imencode('.png', pixels)[1].tobytes()
    with pytest.raises(DataError, match='compressedDepth'):
        messages.decode(replace(CAMERA, compressed=True), compressed(data, '16UC1; compressedDepth png'))


def test_a_png_of_depths_is_refused() -> None:
    data = cv2.imencode('.png', np.full((8, 12), 40_000, dtype=np.uint16))[1].tobytes()
    with pytest.raises(DataError, match='got a png of 16 bit a channel, allowed 8'):
        messages.decode(replace(CAMERA, compressed=True), compressed(data, '16UC1; png compressed 16UC1'))


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize('shape', [(8, 300, 3), (65, 12)])
def test_the_size_of_a_compressed_picture_is_in_its_head(extension: str, shape: tuple[int, ...]) -> None:
    data = cv2.imencode(extension, np.zeros(shape, dtype=np.uint8))[1].tobytes()
    assert images.compressed_size(data) == (shape[1], shape[0])
    assert images.size_of(compressed(np.frombuffer(data, dtype=np.uint8), '')) == (shape[1], shape[0])
    if extension == '.jpg':
        assert images.compressed_size(data[:2] + b'\xff\xff\xe1\x00\x04ab' + data[2:]) == (shape[1], shape[0])


@given(st.sampled_from([b'', b'\xff\xd8', b'\x89PNG\r\n\x1a\n']), st.binary(max_size=40))
def test_what_is_no_picture_has_no_size(start: bytes, rest: bytes) -> None:
    found = images.compressed_size(start + rest)
    assert found is None or all(0 <= n < 2**32 for n in found)


# Trajectories and chunks.


def test_a_trajectory_survives_the_message(types: messages.MessageTypes) -> None:
    rng = np.random.default_rng(1)
    positions, velocities, accelerations = rng.normal(size=(3, 4, 2))
    plan = Trajectory(
        stamp=STAMP,
        joints=('a', 'b'),
        times=np.array([0, 1, 1_500_000_000, 2_000_000_001]),
        positions=positions,
        velocities=velocities,
        accelerations=accelerations,
    )
    back = messages.trajectory_value(messages.to_joint_trajectory(plan, types=types))
    assert (back.stamp, back.joints, back.times.tolist()) == (plan.stamp, plan.joints, plan.times.tolist())
    for name in ('positions', 'velocities', 'accelerations'):
        assert getattr(back, name).tobytes() == getattr(plan, name).tobytes()
    assert back.effort is None


def test_fields_that_no_point_has_are_none(types: messages.MessageTypes) -> None:
    plan = Trajectory(stamp=0, joints=('a',), times=np.array([0]), positions=np.array([[1.0]]))
    back = messages.trajectory_value(messages.to_joint_trajectory(plan, types=types))
    assert back.velocities is None
    assert back.accelerations is None


def test_a_point_with_a_field_of_another_length_is_refused() -> None:
    plan = Trajectory(stamp=0, joints=('a',), times=np.array([0, 1]), positions=np.array([[1.0], [2.0]]))
    msg = messages.to_joint_trajectory(plan, types=rosbags_types())
    msg.points[1].velocities = np.array([1.0])
    with pytest.raises(DataError, match='velocities: got 0, 1 values on its points, allowed 1 on each'):
        messages.trajectory_value(msg)


def test_a_message_without_points_has_no_rows() -> None:
    msg = messages.to_joint_trajectory(
        Trajectory(stamp=0, joints=('a',), times=np.array([0]), positions=np.array([[1.0]])), types=rosbags_types()
    )
    msg.points.clear()
    assert messages.trajectory_value(msg).positions.shape == (0, 1)


@given(actions=arrays(np.float64, (3, 2), elements=FINITE), control_dt=st.integers(1_000_000, 10_000_000_000))
def test_a_chunk_survives_the_message(actions: np.ndarray, control_dt: int) -> None:
    chunk = Chunk(stamp=STAMP, control_dt=control_dt, joints=('a', 'b'), actions=actions)
    msg = messages.chunk_to_message(chunk, types=rosbags_types())
    for back in (messages.chunk_from_message(msg), messages.chunk_from_message(msg, control_dt)):
        assert (back.stamp, back.control_dt, back.joints) == (STAMP, control_dt, ('a', 'b'))
        assert back.actions.tobytes() == actions.tobytes()
        assert back.velocities is None


def test_a_chunk_s_velocities_survive_the_message() -> None:
    velocities = np.array([[0.1, -0.2], [0.3, 0.4]])
    chunk = Chunk(
        stamp=STAMP, control_dt=50_000_000, joints=('a', 'b'), actions=np.zeros((2, 2)), velocities=velocities
    )
    back = messages.chunk_from_message(messages.chunk_to_message(chunk, types=rosbags_types()))
    np.testing.assert_array_equal(back.velocities, velocities)
    for wrong in (np.zeros((2, 1)), np.array([[0.1, np.nan], [0.0, 0.0]])):
        with pytest.raises(DataError, match='chunk velocities'):
            replace(chunk, velocities=wrong)


def chosen(count: int, *, velocities: bool = False) -> Chunk:
    """Return a chunk of two joints with so many alternatives, all different."""
    rng = np.random.default_rng(count)

    def one() -> Chunk:
        moving = rng.normal(size=(3, 2)) if velocities else None
        actions = rng.normal(size=(3, 2))
        return Chunk(stamp=STAMP, control_dt=50_000_000, joints=('a', 'b'), actions=actions, velocities=moving)

    return replace(one(), alternatives=tuple(one() for _ in range(count)))


@pytest.mark.parametrize('velocities', [False, True])
@pytest.mark.parametrize('count', [0, 1, MOST_ALTERNATIVES])
def test_alternatives_survive_the_message_in_their_order(count: int, velocities: bool) -> None:
    chunk = chosen(count, velocities=velocities)
    msg = messages.chunk_to_message(chunk, types=rosbags_types())
    assert len(msg.points[0].positions) == 2 * (1 + count)
    back = messages.chunk_from_message(msg)
    assert (back.joints, len(back.alternatives)) == (('a', 'b'), count)
    for number in range(1 + count):
        assert back.choice(number).actions.tobytes() == chunk.choice(number).actions.tobytes()
        moving = back.choice(number).velocities
        assert (moving is not None) == velocities
        if moving is not None:
            np.testing.assert_array_equal(moving, chunk.choice(number).velocities)


def test_without_alternatives_the_message_is_what_it_was() -> None:
    msg = messages.chunk_to_message(chosen(0), types=rosbags_types())
    assert list(msg.joint_names) == ['a', 'b']
    assert [len(point.positions) for point in msg.points] == [2, 2, 2]


@pytest.mark.parametrize(
    ('names', 'columns', 'reason'),
    [
        (['a', 'b'] * (2 + MOST_ALTERNATIVES), None, 'alternatives: got 8, allowed up to 7'),
        (['a', 'b', 'b', 'a'], None, 'chunk joints: got a, b, b, a, allowed each once, or all again'),
        (['a', 'b', 'a'], None, 'chunk joints: got a, b, a'),
        (['a'] * 100_000, None, 'alternatives: got 99999, allowed up to 7'),
        (['a', 'b', 'a', 'b'], 3, 'trajectory positions: got 3 values on its points, allowed 4'),
    ],
)
def test_alternatives_that_cannot_be_meant_are_refused(names: list[str], columns: int | None, reason: str) -> None:
    msg = messages.chunk_to_message(chosen(1), types=rosbags_types())
    msg.joint_names = names
    for point in msg.points:
        point.positions = np.zeros(columns or len(names))
    with pytest.raises(DataError) as caught:
        messages.chunk_from_message(msg)
    assert reason in str(caught.value)


def test_too_many_alternatives_are_refused_before_any_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    msg = messages.chunk_to_message(chosen(1), types=rosbags_types())
    msg.joint_names = ['a', 'b'] * (2 + MOST_ALTERNATIVES)
    for point in msg.points:
        point.positions = np.zeros(len(msg.joint_names))
    monkeypatch.setattr('dp_ros.messages.decoding.Chunk', lambda **_: pytest.fail('a chunk was made'))
    with pytest.raises(DataError, match='alternatives: got 8, allowed up to 7'):
        messages.chunk_from_message(msg)


def test_an_alternative_that_is_not_finite_is_refused_with_its_chunk() -> None:
    msg = messages.chunk_to_message(chosen(2), types=rosbags_types())
    msg.points[1].positions[5] = np.nan
    with pytest.raises(DataError, match='chunk actions'):
        messages.chunk_from_message(msg)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'stamp': STAMP + 1}, 'stamp: got'),
        ({'control_dt': 1}, 'control_dt: got 1, allowed 50000000'),
        ({'joints': ('b', 'a')}, 'joints: got'),
        ({'actions': np.zeros((2, 2))}, 'actions'),
        ({'velocities': np.zeros((3, 2))}, 'with velocities if the chunk has them'),
        ({'alternatives': (chosen(0),)}, 'and no alternatives'),
    ],
)
def test_an_alternative_is_for_the_chunk_s_own_steps(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=f'alternative.*{reason}'):
        replace(chosen(0), alternatives=(replace(chosen(0), **change),))


def test_a_chunk_s_first_actions_have_no_alternatives() -> None:
    assert chosen(2).first(2).alternatives == ()


def test_a_chunk_of_another_rate_is_refused() -> None:
    chunk = Chunk(stamp=STAMP, control_dt=50_000_000, joints=('a',), actions=np.zeros((3, 1)))
    msg = messages.chunk_to_message(chunk, types=rosbags_types())
    with pytest.raises(DataError, match=r'point 1: got 0.050000 s, allowed 0.100000 s'):
        messages.chunk_from_message(msg, 100_000_000)


def test_a_chunk_of_one_point_needs_its_rate_given() -> None:
    chunk = Chunk(stamp=STAMP, control_dt=50_000_000, joints=('a',), actions=np.zeros((1, 1)))
    msg = messages.chunk_to_message(chunk, types=rosbags_types())
    assert messages.chunk_from_message(msg, 50_000_000).control_dt == 50_000_000
    with pytest.raises(DataError, match='got 1 points, allowed 2 or more'):
        messages.chunk_from_message(msg)


def test_both_libraries_decode_the_same_bytes_to_the_same_arrays(pixels: np.ndarray) -> None:
    serialization = pytest.importorskip('rclpy.serialization', reason='rclpy is not installed')
    ros = messages.ros_types()
    made: list[tuple[Stream, Any]] = [
        (replace(ARM, fields=('position', 'velocity')),
         messages.to_joint_state(stamp=STAMP, name=['a', 'b'], position=[0.1, 0.2], velocity=[1 / 3, 2 / 3])),
        (POSE, messages.to_pose(stamp=STAMP, position=(0.1, 0.2, 0.3), orientation=(0.1, 0.2, 0.3, 0.9), frame_id='f')),
        (CAMERA, messages.to_image(stamp=STAMP, pixels=pixels, frame_id='camera')),
        (replace(CAMERA, compressed=True),
         messages.to_compressed_image(stamp=STAMP, pixels=pixels, frame_id='camera', encoding='jpeg', types=ros)),
    ]  # fmt: skip
    for stream, msg in made:
        other = deserialize(serialization.serialize_message(msg), messages.type_of(stream))
        assert messages.decode(stream, msg).tobytes() == messages.decode(stream, other).tobytes()
        assert messages.stamp_of(msg) == messages.stamp_of(other) == STAMP
