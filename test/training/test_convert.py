from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from dp_ros.errors import ConfigError, DataError
from dp_ros.recordings.datasets import zarr as pusht
from dp_ros.recordings.datasets.zarr import (
    BLOCK_POSE,
    CAMERA,
    CAMERA_COMPRESSED,
    COMMAND,
    JOINT_STATES,
    JOINTS,
    ConvertSettings,
    PushtZarr,
    convert_pusht,
    read_pusht_zarr,
)
from dp_ros.recordings.episodes.episode import Episode, read_episodes
from dp_ros.recordings.rosbag.reader import BagReader, BagWriter
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, PoseStream, TaskSpec, Unit

REAL = Path(
    os.environ.get('DP_ROS_PUSHT_ZARR') or Path(__file__).resolve().parents[3] / 'shared/data/pusht_cchi_v7_replay.zarr'
)
real = pytest.mark.skipif(not REAL.is_dir(), reason='the PushT demonstrations are not here (DP_ROS_PUSHT_ZARR)')
LENGTHS = (5, 3)
UNITS: tuple[Unit, Unit] = ('m', 'm')
PUSHER = JointStream(name='pusher', topic=JOINT_STATES, joints=JOINTS, units=UNITS)
BLOCK = PoseStream(name='block', topic=BLOCK_POSE, features=('x', 'y', 'sin_yaw', 'cos_yaw'))
RAW = ImageStream(name='camera', topic=CAMERA, height=48, width=48)
COMPRESSED = ImageStream(name='camera', topic=CAMERA_COMPRESSED, height=48, width=48, compressed=True)
TOPICS = {
    JOINT_STATES: 'sensor_msgs/msg/JointState',
    BLOCK_POSE: 'geometry_msgs/msg/PoseStamped',
    COMMAND: 'trajectory_msgs/msg/JointTrajectory',
    '/reward': 'std_msgs/msg/Float64',
}


def task(*cameras: ImageStream) -> TaskSpec:
    return TaskSpec(streams=(PUSHER, BLOCK, *cameras), action=ActionSpec(topic=COMMAND, joints=JOINTS, units=UNITS))


def make_store(path: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    count = sum(LENGTHS)
    arrays = {
        'data/state': (rng.uniform(0, 512, (count, 5))).astype(np.float32),
        'data/action': (rng.uniform(0, 512, (count, 2))).astype(np.float32),
        'data/img': rng.integers(0, 256, (count, 96, 96, 3)).astype(np.float32),
        'meta/episode_ends': np.cumsum(LENGTHS),
        **changes,
    }
    root = zarr.open_group(str(path), mode='w', zarr_format=2)
    for name, values in arrays.items():
        if values is not None:
            root.create_array(name, data=values)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / 'store.zarr')


def equal(left: list[Episode], right: list[Episode]) -> bool:
    return len(left) == len(right) and all(
        a.name == b.name
        and a.stamps.tobytes() == b.stamps.tobytes()
        and a.actions.tobytes() == b.actions.tobytes()
        and a.streams.keys() == b.streams.keys()
        and all(a.streams[k].dtype == b.streams[k].dtype for k in a.streams)
        and all(a.streams[k].tobytes() == b.streams[k].tobytes() for k in a.streams)
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize(
    ('camera', 'cameras'), [('none', ()), ('raw', (RAW,)), ('png', (COMPRESSED,))], ids=['none', 'raw', 'png']
)
def test_bags_and_zarr_give_the_same_episodes_bit_for_bit(
    tmp_path: Path, store: Path, storage: str, camera: str, cameras: tuple[ImageStream, ...]
) -> None:
    convert_pusht(ConvertSettings(source=store, out=tmp_path / 'bags', storage=storage, camera=camera))
    from_bags = list(read_episodes(tmp_path / 'bags', task(*cameras)))
    assert [len(e.stamps) for e in from_bags] == list(LENGTHS)
    assert equal(from_bags, list(read_pusht_zarr(store, task(*cameras))))


def test_pixels_become_millimetres_and_the_angle_a_yaw(store: Path) -> None:
    root: Any = zarr.open_group(str(store), mode='r')
    state = np.asarray(root['data/state'][:], dtype=np.float64)
    action = np.asarray(root['data/action'][:], dtype=np.float64)
    first, second = read_pusht_zarr(store, task())
    for episode, rows in ((first, slice(0, 5)), (second, slice(5, 8))):
        assert np.array_equal(episode.streams['pusher'], state[rows, :2] / 1000)
        assert np.array_equal(episode.streams['block'][:, :2], state[rows, 2:4] / 1000)
        assert episode.streams['block'][:, 2] == pytest.approx(np.sin(state[rows, 4]), abs=1e-12)
        assert episode.streams['block'][:, 3] == pytest.approx(np.cos(state[rows, 4]), abs=1e-12)
        assert np.array_equal(episode.actions, action[rows] / 1000)
        assert np.all(episode.stamps % 100_000_000 == 0)


@pytest.mark.parametrize(
    ('camera', 'topic', 'kind'),
    [
        ('raw', CAMERA, 'sensor_msgs/msg/Image'),
        ('jpeg', CAMERA_COMPRESSED, 'sensor_msgs/msg/CompressedImage'),
        ('none', None, None),
    ],
)
def test_a_bag_has_the_topics_of_the_live_robot(
    tmp_path: Path, store: Path, camera: str, topic: str | None, kind: str | None
) -> None:
    paths = convert_pusht(ConvertSettings(source=store, out=tmp_path / 'bags', camera=camera, episodes=1))
    with BagReader(paths[0]) as bag:
        assert {name: t.type for name, t in bag.topics.items()} == {**TOPICS, **({topic: kind} if topic else {})}
        assert {t.count for t in bag.topics.values()} == {LENGTHS[0]}


def test_messages_are_as_the_robot_would_send_them(store: Path) -> None:
    by_topic = {topic: msg for topic, t, msg in list(PushtZarr(store).messages(1, 'raw'))[:4]}
    assert by_topic[JOINT_STATES].name == list(JOINTS)
    assert len(by_topic[JOINT_STATES].velocity) == len(by_topic[JOINT_STATES].effort) == 0
    assert by_topic[BLOCK_POSE].header.frame_id == 'pusht'
    assert (by_topic[CAMERA].encoding, by_topic[CAMERA].step, by_topic[CAMERA].width) == ('rgb8', 288, 96)
    command = by_topic[COMMAND]
    assert (command.header.stamp.sec, command.header.stamp.nanosec, len(command.points)) == (0, 0, 1)
    assert (command.points[0].time_from_start.sec, command.points[0].time_from_start.nanosec) == (0, 0)


def test_quaternions_are_of_length_one_with_w_not_negative(tmp_path: Path) -> None:
    state = np.zeros((8, 5), np.float32)
    state[:, 4] = np.linspace(0.0, 6.2, 8)
    store = PushtZarr(make_store(tmp_path / 'turning.zarr', **{'data/state': state}))
    poses = [m.pose.orientation for i in range(2) for topic, _, m in store.messages(i) if topic == BLOCK_POSE]
    for q, yaw in zip(poses, state[:, 4], strict=True):
        assert q.w >= 0.0
        assert q.w**2 + q.z**2 == pytest.approx(1.0)
        assert np.cos(2 * np.arctan2(q.z, q.w) - yaw) == pytest.approx(1.0)


def test_nothing_is_overwritten(tmp_path: Path, store: Path) -> None:
    (tmp_path / 'bags').mkdir()
    with pytest.raises(ConfigError, match='bags: exists already; allowed a new folder'):
        convert_pusht(ConvertSettings(source=store, out=tmp_path / 'bags'))


def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(BagWriter):
        def write(self, topic: str, received: int, message: Any) -> None:
            if 'episode_0001' in str(self.path):
                raise KeyboardInterrupt
            super().write(topic, received, message)

    monkeypatch.setattr(pusht, 'BagWriter', Interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert_pusht(ConvertSettings(source=store, out=tmp_path / 'bags'))
    assert list(tmp_path.iterdir()) == [store]


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'storage': 'rosbag1'}, "storage: got 'rosbag1', allowed mcap, sqlite3"),
        ({'camera': 'bmp'}, "camera: got 'bmp', allowed raw, png, jpeg, none"),
        ({'episodes': 3}, 'episodes: got 3, allowed 1 to 2'),
        ({'episodes': 0}, 'episodes: got 0, allowed 1 to 1000000'),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, store: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        convert_pusht(ConvertSettings(source=store, out=tmp_path / 'bags', **options))
    assert not (tmp_path / 'bags').exists()


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'data/state': None}, 'allowed a store with data/state, data/action and meta/episode_ends'),
        ({'data/state': np.zeros((8, 4), np.float32)}, r'data/state: got shape \(8, 4\), allowed \(any, 5\)'),
        ({'data/action': np.zeros((7, 2), np.float32)}, r'data/action: got shape \(7, 2\), allowed \(8, 2\)'),
        ({'meta/episode_ends': np.array([5, 9])}, 'got 2 ends up to 9, allowed 1 or more, increasing, up to 8'),
        ({'meta/episode_ends': np.array([5, 5])}, 'episode_ends'),
        ({'data/action': np.full((8, 2), np.nan, np.float32)}, 'data/action of episode 0: got nan'),
    ],
)
def test_a_bad_store_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = make_store(tmp_path / 'bad.zarr', **changes)
    with pytest.raises(DataError, match=f'zarr {path}.*{words}'):
        list(read_pusht_zarr(path, task()))


def test_a_store_without_images_serves_tasks_without_cameras(tmp_path: Path) -> None:
    path = make_store(tmp_path / 'small.zarr', **{'data/img': None})
    assert len(list(read_pusht_zarr(path, task()))) == 2
    with pytest.raises(DataError, match='lacks data/img'):
        list(read_pusht_zarr(path, task(RAW)))


def test_a_store_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='does not exist; allowed the folder pusht_cchi'):
        PushtZarr(tmp_path / 'nothing.zarr')


@real
def test_the_real_demonstrations_convert_without_a_difference(tmp_path: Path) -> None:
    convert_pusht(ConvertSettings(source=REAL, out=tmp_path / 'bags', camera='raw', episodes=2))
    from_bags = list(read_episodes(tmp_path / 'bags', task(RAW)))
    from_zarr = [episode for _, episode in zip(range(2), read_pusht_zarr(REAL, task(RAW)), strict=False)]
    assert [len(e.stamps) for e in from_bags] == [161, 118]
    assert equal(from_bags, from_zarr)


@real
def test_the_real_store_has_206_demonstrations() -> None:
    assert len(PushtZarr(REAL)) == 206
