"""Pictures as cameras send them: encodings, grey, depth, shapes; alike in topics, bags and datasets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dp_ros.errors import ConfigError, DataError
from dp_ros.messages import encoding as messages
from dp_ros.messages.images import decode_file
from dp_ros.messages.raw_images import decode_image
from dp_ros.recordings.datasets.lerobot_files import picture as dataset_picture
from dp_ros.recordings.datasets.tables import Table, episode_from_table
from dp_ros.recordings.episodes.episode import read_episode
from dp_ros.recordings.rosbag.types import rosbags_types
from dp_ros.task.goals import GoalImage
from dp_ros.task.spec import ImageStream, TaskSpec
from test.test_messages import CAMERA, compressed, image
from test.training.bag_maker import MS, T0, TASK, arm, save

DEPTH = replace(CAMERA, content='depth', depth_range=(0.5, 3.04))
COLOURS = np.zeros((8, 12, 3), np.uint8)
COLOURS[:, :4], COLOURS[:, 4:8], COLOURS[:, 8:] = (200, 30, 40), (20, 180, 60), (90, 90, 90)


def yuv(rgb: np.ndarray, order: str) -> np.ndarray:
    """Return ITU-R BT.601 with half the colours, (H, 2 W), by its definition; ``order`` of the four bytes."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u, v = 128 - 0.148 * r - 0.291 * g + 0.439 * b, 128 + 0.439 * r - 0.368 * g - 0.071 * b
    parts = {'y': y[:, ::2], 'Y': y[:, 1::2], 'u': u[:, ::2], 'v': v[:, ::2]}
    return np.stack([parts[c] for c in order], axis=-1).round().astype(np.uint8).reshape(len(rgb), -1)


@pytest.mark.parametrize(
    ('encoding', 'order'), [('yuv422', 'uyvY'), ('uyvy', 'uyvY'), ('yuv422_yuy2', 'yuYv'), ('yuyv', 'yuYv')]
)
def test_yuv_is_close_to_the_colours_it_was_made_of(encoding: str, order: str):
    found = messages.decode(CAMERA, image(yuv(COLOURS, order), encoding, width=12, step=24))
    assert np.abs(found.astype(int) - COLOURS).max() <= 4


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_a_bayer_pattern_gives_back_even_colours(pattern: str):
    rgb = np.broadcast_to(np.array([200, 120, 40], np.uint8), (8, 12, 3))
    mosaic = np.zeros((8, 12), np.uint8)
    for place, colour in enumerate(pattern):
        mosaic[place // 2 :: 2, place % 2 :: 2] = rgb[0, 0, 'rgb'.index(colour)]
    found = messages.decode(CAMERA, image(mosaic, f'bayer_{pattern}8'))
    assert np.array_equal(found, rgb)


@pytest.mark.parametrize(('encoding', 'width', 'height'), [('yuv422', 11, 8), ('bayer_rggb8', 12, 7)])
def test_half_a_pattern_is_refused(encoding: str, width: int, height: int):
    with pytest.raises(DataError, match=f'size: got {width} x {height} pixels of {encoding}, allowed multiples of 2'):
        messages.decode(CAMERA, image(np.zeros((height, width * 2), np.uint8), encoding, width=width))


def test_grey_is_taken_by_a_stream_of_grey_only():
    grey = COLOURS[..., 0]
    mono = replace(CAMERA, content='mono')
    assert np.array_equal(messages.decode(mono, image(grey, 'mono8')), np.repeat(grey[..., None], 3, axis=2))
    with pytest.raises(DataError, match=r'encoding: got \'mono8\' \(mono\), allowed rgb; content: mono in the config'):
        messages.decode(CAMERA, image(grey, 'mono8'))
    with pytest.raises(DataError, match=r'encoding: got \'rgb8\' \(rgb\), allowed mono'):
        messages.decode(mono, image(COLOURS))
    png = cv2.imencode('.png', grey)[1].tobytes()
    assert np.array_equal(messages.decode(replace(mono, compressed=True), compressed(png, 'png'))[..., 2], grey)
    with pytest.raises(DataError, match=r'encoding: got \'png\' \(mono\), allowed rgb'):
        messages.decode(replace(CAMERA, compressed=True), compressed(png, 'png'))


@pytest.mark.parametrize('big_endian', [0, 1])
def test_depth_is_metres_in_shades_of_its_range(big_endian: int):
    millimetres = np.array([[0, 400, 500, 510, 1770, 3040, 9000]], dtype='>u2' if big_endian else '<u2')
    small = replace(DEPTH, height=8, width=8)
    wide = np.repeat(np.pad(millimetres, ((0, 0), (0, 1))), 8, axis=0)
    message = image(wide, '16UC1', is_bigendian=big_endian)
    assert decode_image('d', message)[0].tolist() == pytest.approx([0, 0.4, 0.5, 0.51, 1.77, 3.04, 9, 0])
    shades = messages.decode(small, message)
    assert shades[0, :, 0].tolist() == [0, 1, 1, 2, 128, 255, 255, 0]
    assert np.array_equal(shades[..., 0], shades[..., 2])
    metres = (wide / 1000).astype('>f4' if big_endian else '<f4')
    metres[:, 0] = np.nan
    assert np.array_equal(messages.decode(small, image(metres, '32FC1', is_bigendian=big_endian)), shades)


def test_depths_are_not_averaged_over_an_edge():
    edge = np.where(np.arange(24) < 12, 600, 3000).astype('<u2')
    found = messages.decode(DEPTH, image(np.repeat(edge[None], 16, axis=0), '16UC1'))
    assert set(np.unique(found)) == {11, 251}


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'depth_range': (0.1, 1.0)}, 'depth_range: got one, allowed with content: depth'),
        ({'content': 'depth'}, r'depth_range: got \(none\), allowed the nearest and the farthest'),
        ({'content': 'depth', 'depth_range': (2.0, 1.0)}, 'depth_range: got 2.0, 1.0'),
        ({'content': 'depth', 'depth_range': (0.1, 1.0), 'compressed': True}, 'got depth of compressed pictures'),
    ],
)
def test_a_depth_without_a_range_is_refused(changes: Any, reason: str):
    with pytest.raises(ConfigError, match=reason):
        replace(CAMERA, **changes)


def ball(height: int, width: int) -> np.ndarray:
    """Return a red ball of half the height in the middle."""
    y, x = np.mgrid[:height, :width]
    found = np.zeros((height, width, 3), np.uint8)
    found[(y - height / 2 + 0.5) ** 2 + (x - width / 2 + 0.5) ** 2 < (height / 4) ** 2] = (255, 0, 0)
    return found


@pytest.mark.parametrize(('height', 'width'), [(48, 64), (72, 128), (64, 48), (24, 32), (12, 16)])
def test_a_letterbox_keeps_a_ball_round_and_shows_all(height: int, width: int):
    stream = ImageStream(name='camera', topic='/c', height=24, width=32, fit='letterbox')
    found = messages.decode(stream, image(ball(height, width)))
    rows, columns = np.nonzero(found[..., 0] > 127)
    assert found.shape == stream.shape
    assert abs(int(np.ptp(rows)) - int(np.ptp(columns))) <= 1
    assert abs(rows.mean() - 11.5) <= 0.6 and abs(columns.mean() - 15.5) <= 0.6


@pytest.mark.parametrize(('height', 'width'), [(48, 64), (24, 96), (96, 24), (48, 128)])
def test_a_crop_is_the_middle_of_a_picture_in_the_shape_asked_for(height: int, width: int):
    stream = ImageStream(name='camera', topic='/c', height=12, width=16)
    picture = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    found = messages.decode(stream, image(picture), (24, 32), crop=True)
    size = min(height // 3, width // 4)
    top, left = (height - 3 * size) // 2, (width - 4 * size) // 2
    middle = picture[top : top + 3 * size, left : left + 4 * size]
    np.testing.assert_array_equal(found, messages.decode(stream, image(middle)))


def test_a_picture_that_is_learnt_from_later_is_of_the_goal_s_kind():
    stream = replace(CAMERA, content='mono')
    with pytest.raises(ConfigError, match="goal 'goal_image' stream: got 'camera'"):
        replace(TASK, streams=(stream,), goals=(GoalImage(height=8, width=12, stream='camera'),))


def turned(data: bytes, orientation: int) -> bytes:
    """Say in Exif how the camera was held."""
    tiff = b'II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0' + bytes([orientation, 0, 0, 0]) + b'\0\0\0\0'
    exif = b'Exif\0\0' + tiff
    return data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:]


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_an_orientation_tag_turns_no_picture_anywhere(tmp_path: Path, orientation: int):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :8] = (250, 0, 0)
    plain = cv2.imencode('.jpg', pixels[..., ::-1])[1].tobytes()
    tagged = turned(plain, orientation)
    camera = ImageStream(name='camera', topic='/c', height=16, width=32, compressed=True)
    live = messages.decode(camera, compressed(tagged, 'jpeg'))
    assert np.array_equal(live, decode_file('plain', plain)) and live[4, 4, 0] > 200
    assert np.array_equal(dataset_picture(tmp_path, {'bytes': tagged}), live)
    (tmp_path / 'a.jpg').write_bytes(tagged)
    assert np.array_equal(dataset_picture(tmp_path, {'bytes': None, 'path': 'a.jpg'}), live)


def test_a_dataset_s_picture_with_a_hole_is_refused(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = cv2.imencode('.jpg', noise)[1].tobytes()
    with pytest.raises(DataError, match='without an end marker'):
        dataset_picture(tmp_path, {'bytes': data[: len(data) // 2]})


STREAMS: dict[str, tuple[ImageStream, str]] = {
    'yuv422_yuy2': (CAMERA, 'yuv422_yuy2'),
    'bayer': (CAMERA, 'bayer_rggb8'),
    'grey': (replace(CAMERA, content='mono'), 'mono8'),
    'depth': (DEPTH, '16UC1'),
    'letterbox': (replace(CAMERA, fit='letterbox'), 'rgb8'),
}


def sent(number: int, encoding: str) -> Any:
    """Return a picture of twice the stream's size, another one for each number."""
    rng = np.random.default_rng(number)
    size = {'yuv422_yuy2': 2, 'rgb8': 3, '16UC1': 2}.get(encoding, 1)
    data = rng.integers(0, 256, (20, 24 * size), dtype=np.uint8)
    if encoding == '16UC1':
        data = rng.integers(0, 4000, (20, 24)).astype('<u2').view(np.uint8)
    types = rosbags_types()
    stamp = T0 + number * 100 * MS
    made = messages.to_image(stamp=stamp, pixels=np.zeros((20, 24, 3), np.uint8), frame_id='c', types=types)
    made.encoding, made.step, made.data = encoding, data.shape[1], data.reshape(-1)
    return made


@pytest.mark.parametrize('name', STREAMS)
def test_bags_datasets_and_topics_give_the_same_bits(tmp_path: Path, name: str):
    camera, encoding = STREAMS[name]
    task: TaskSpec = replace(TASK, streams=(TASK.streams[0], camera))
    made = [(camera.topic, T0 + i * 100 * MS, sent(i, encoding)) for i in range(80)]
    (episode,) = read_episode(save(tmp_path / 'bag', arm() + made), task)
    live = np.stack([messages.decode(camera, m) for _, _, m in made])
    assert len(episode.stamps) == 80 and np.array_equal(episode.streams['camera'], live)
    # What the observation_buffer publishes, and the policy_executor takes.
    again = [messages.to_image(stamp=1, pixels=p, frame_id='', types=rosbags_types()) for p in live]
    assert np.array_equal(np.stack([messages.decode_aligned(camera, m) for m in again]), live)
    columns = {'/joint_states': episode.streams['arm'], '/command': episode.actions}
    table = Table(
        name='t', rate=10.0, columns=columns, labels={}, cameras=(camera.topic,),
        pictures=lambda _, rows: (decode_image('p', made[i][2]) for i in rows.tolist()),
    )  # fmt: skip
    assert np.array_equal(episode_from_table(table, task).streams['camera'], live)
