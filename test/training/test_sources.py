"""Datasets of others as episodes: LeRobot's in both formats, robomimic's, and what tells them apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_ros.errors import ConfigError, DataError
from dp_ros.recordings.datasets import lerobot_files
from dp_ros.recordings.datasets.lerobot_video import scheduling_kept
from dp_ros.recordings.datasets.tables import in_columns
from dp_ros.recordings.episodes.readers import read_dataset, read_recordings
from dp_ros.recordings.episodes.segmentation import CutSettings
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, PoseStream, TaskSpec
from test.training.bag_maker import TASK as BAG_TASK
from test.training.bag_maker import arm, save

RATE = 20
LENGTHS = (30, 44)
JOINTS = ('a', 'b')
NAMES = ['b', 'gripper', 'a']
TASK = TaskSpec(
    streams=(
        JointStream(name='arm', topic='observation.state', joints=JOINTS, units=('rad', 'rad')),
        ImageStream(name='top', topic='observation.images.top', height=32, width=32),
    ),
    action=ActionSpec(topic='/command', source_topic='action', joints=JOINTS, units=('rad', 'rad')),
)


def rows(episode: int) -> dict[str, np.ndarray]:
    """Give joints b, gripper, a: numbers that tell the episode and the row."""
    index = np.arange(LENGTHS[episode])
    state = np.stack([index / 100, 0 * index, episode + index / 10], axis=1)
    return {'observation.state': state, 'action': state + 0.5}


def shade(episode: int, row: int) -> int:
    """Give how bright a picture is."""
    return 40 + 8 * (row % 20) + 20 * episode


def write_video(path: Path, shades: list[int], codec: str) -> None:
    av = pytest.importorskip('av', reason='PyAV is not installed (extra: datasets)')
    path.parent.mkdir(parents=True, exist_ok=True)
    with scheduling_kept(), av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 64, 'yuv420p', 8_000_000
        for value in shades:
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), value, np.uint8), format='rgb24')
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def table(episodes: list[int]) -> Any:
    pyarrow = pytest.importorskip('pyarrow', reason='pyarrow is not installed (extra: datasets)')
    made: dict[str, list[Any]] = {'observation.state': [], 'action': [], 'episode_index': [], 'timestamp': []}
    for episode in episodes:
        for name, values in rows(episode).items():
            made[name] += values.astype(np.float32).tolist()
        made['episode_index'] += [episode] * LENGTHS[episode]
        made['timestamp'] += (np.arange(LENGTHS[episode]) / RATE).tolist()
    return pyarrow.table(made)


def lerobot(path: Path, version: str, codec: str = 'mpeg4') -> Path:
    parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed (extra: datasets)')
    new = version == 'v3.0'
    names: Any = NAMES if new else {'motors': NAMES}
    info = {
        'codebase_version': version,
        'fps': RATE,
        'total_episodes': 2,
        'chunks_size': 1000,
        'features': {
            'observation.state': {'dtype': 'float32', 'shape': [3], 'names': names},
            'action': {'dtype': 'float32', 'shape': [3], 'names': names},
            'observation.images.top': {'dtype': 'video', 'shape': [64, 64, 3], 'names': ['height', 'width', 'channel']},
            'episode_index': {'dtype': 'int64', 'shape': [1], 'names': None},
            'timestamp': {'dtype': 'float32', 'shape': [1], 'names': None},
        },
        'data_path': 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet' if new
        else 'data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet',
        'video_path': 'videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4' if new
        else 'videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4',
    }  # fmt: skip
    shades = [[shade(e, i) for i in range(n)] for e, n in enumerate(LENGTHS)]
    (path / 'meta').mkdir(parents=True)
    (path / 'meta/info.json').write_text(json.dumps(info))
    (path / 'data/chunk-000').mkdir(parents=True)
    key = 'observation.images.top'
    if new:
        parquet.write_table(table([0, 1]), path / 'data/chunk-000/file-000.parquet')
        write_video(path / f'videos/{key}/chunk-000/file-000.mp4', shades[0] + shades[1], codec)
        places = [
            {
                'episode_index': e, 'length': LENGTHS[e], 'data/chunk_index': 0, 'data/file_index': 0,
                f'videos/{key}/chunk_index': 0,
                f'videos/{key}/file_index': 0, f'videos/{key}/from_timestamp': e * LENGTHS[0] / RATE,
            }
            for e in (0, 1)
        ]  # fmt: skip
        (path / 'meta/episodes/chunk-000').mkdir(parents=True)
        pyarrow = pytest.importorskip('pyarrow')
        parquet.write_table(pyarrow.Table.from_pylist(places), path / 'meta/episodes/chunk-000/file-000.parquet')
    else:
        for e in (0, 1):
            parquet.write_table(table([e]), path / f'data/chunk-000/episode_{e:06d}.parquet')
            write_video(path / f'videos/chunk-000/{key}/episode_{e:06d}.mp4', shades[e], codec)
    return path


@pytest.mark.parametrize('version', ['v2.0', 'v2.1', 'v3.0'])
def test_a_lerobot_dataset_gives_its_episodes(tmp_path: Path, version: str) -> None:
    found = list(read_dataset(lerobot(tmp_path / 'set', version), TASK))
    assert [e.name for e in found] == ['episode_000000', 'episode_000001']
    for number, episode in enumerate(found):
        chosen = np.arange(0, LENGTHS[number], 2)
        expected = rows(number)['observation.state'][chosen][:, [2, 0]].astype(np.float32)
        assert np.array_equal(episode.streams['arm'], expected)
        assert np.allclose(episode.actions, expected + 0.5, atol=1e-6)
        assert np.diff(episode.stamps).tolist() == [100_000_000] * (len(chosen) - 1)
        pictures = episode.streams['top']
        assert pictures.shape == (len(chosen), 32, 32, 3)
        wanted = np.array([shade(number, int(row)) for row in chosen])
        assert np.abs(pictures.mean(axis=(1, 2, 3)) - wanted).max() < 4.0


def test_a_table_is_searched_once_for_the_rows_of_all_its_episodes(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip('pyarrow'), pytest.importorskip('pyarrow.parquet')
    episodes = np.repeat(np.arange(500), 40)
    mixed = np.concatenate([episodes, np.arange(500)])  # each episode's last row is far from the others
    file = tmp_path / 'many.parquet'
    parquet.write_table(pyarrow.table({'episode_index': mixed, 'row': np.arange(len(mixed))}), file)
    lerobot_files.episode_runs.cache_clear()
    for episode in range(500):
        found = lerobot_files.episode_rows(file, ('episode_index', 'row'), episode)
        assert found['row'].to_pylist() == np.flatnonzero(mixed == episode).tolist()
    assert lerobot_files.episode_runs.cache_info().misses == 1
    with pytest.raises(DataError, match=r'many\.parquet: lacks episode 500'):
        lerobot_files.episode_rows(file, ('episode_index', 'row'), 500)


def test_av1_as_lerobot_writes_it_is_read(tmp_path: Path) -> None:
    av = pytest.importorskip('av', reason='PyAV is not installed (extra: datasets)')
    if 'libsvtav1' not in av.codecs_available:
        pytest.skip('this PyAV cannot write AV1')
    (first, _) = read_dataset(lerobot(tmp_path / 'set', 'v3.0', 'libsvtav1'), TASK)
    assert np.abs(first.streams['top'][:, 5, 5, 0] - [shade(0, i) for i in range(0, 30, 2)]).max() < 4.0


def test_topics_of_a_live_task_are_put_in_place_of_columns(tmp_path: Path) -> None:
    live = replace(
        TASK,
        streams=(replace(TASK.streams[0], topic='/joint_states'),),
        action=replace(TASK.action, source_topic=''),
    )
    columns = {'arm': 'observation.state', 'action': 'action'}
    found = list(read_recordings(lerobot(tmp_path / 'set', 'v2.1'), live, columns=columns))
    assert found[0].actions[0].tolist() == [0.5, 0.5]
    with pytest.raises(ConfigError, match='columns: got legs, allowed arm, action'):
        in_columns(live, {'legs': 'x'})


def test_topics_of_a_robot_are_looked_for_in_the_usual_columns_and_joints_by_their_motors(tmp_path: Path) -> None:
    path = lerobot(tmp_path / 'set', 'v3.0')
    about = path / 'meta/info.json'
    info = json.loads(about.read_text())
    for name in ('observation.state', 'action'):
        info['features'][name]['names'] = [f'{joint}.pos' for joint in NAMES]
    about.write_text(json.dumps(info))
    streams = (replace(TASK.streams[0], topic='/joint_states'), replace(TASK.streams[1], topic='/camera/image_raw'))
    live = replace(TASK, streams=streams, action=replace(TASK.action, source_topic=''))
    found = list(read_recordings(path, live))
    expected = list(read_recordings(lerobot(tmp_path / 'other', 'v3.0'), TASK))
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.actions, other.actions)
        assert all(np.array_equal(one.streams[name], other.streams[name]) for name in ('arm', 'top'))


def rewrite(path: Path, file: str, change: Callable[[dict[str, list[Any]]], None]) -> None:
    pyarrow, parquet = pytest.importorskip('pyarrow'), pytest.importorskip('pyarrow.parquet')
    (found,) = path.glob(file)
    values = parquet.read_table(found).to_pydict()
    change(values)
    parquet.write_table(pyarrow.table(values), found)


def late(values: dict[str, list[Any]]) -> None:
    values['timestamp'][7] += 0.02


def short(values: dict[str, list[Any]]) -> None:
    for column in values.values():
        del column[3]


def longer(values: dict[str, list[Any]]) -> None:
    values['length'][1] += 1


def cut(values: dict[str, list[Any]]) -> None:
    values['videos/observation.images.top/to_timestamp'] = [1.0, 2.0]


@pytest.mark.parametrize(
    ('file', 'change', 'words'),
    [
        ('data/*/*.parquet', late, r'episode_000000: timestamp at row 7: got 0.37, allowed 7 / 20 s, the row by fps'),
        ('data/*/*.parquet', short, r'episode_000000: got 29 rows, allowed 30, the length'),
        ('meta/episodes/*/*.parquet', longer, r'episode_000001: got 44 rows, allowed 45, the length in meta/episodes'),
        ('meta/episodes/*/*.parquet', cut, r'top: got 0.0 to 1.0 s in its video, allowed the 1.5 s of 30 rows'),
    ],
)
def test_bookkeeping_that_disagrees_is_refused(
    tmp_path: Path, file: str, change: Callable[[dict[str, list[Any]]], None], words: str
) -> None:
    path = lerobot(tmp_path / 'set', 'v3.0')
    rewrite(path, file, change)
    with pytest.raises(DataError, match=words):
        list(read_dataset(path, TASK))


@pytest.mark.parametrize('version', ['v2.1', 'v3.0'])
def test_totals_that_disagree_are_refused(tmp_path: Path, version: str) -> None:
    path = lerobot(tmp_path / 'set', version)
    about = path / 'meta/info.json'
    about.write_text(json.dumps({**json.loads(about.read_text()), 'total_frames': 75}))
    if version == 'v2.1':
        lines = ''.join(json.dumps({'episode_index': e, 'length': n}) + '\n' for e, n in enumerate(LENGTHS))
        (path / 'meta/episodes.jsonl').write_text(lines)
    with pytest.raises(DataError, match=r'meta/info.json total_frames: got 75, allowed 74, what meta/episodes has'):
        list(read_dataset(path, TASK))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda t: replace(t, control_dt=0.07), r'got 20 rows/s for a control_dt of 0.07 s, allowed a whole number'),
        (lambda t: joints(t, topic='state'), "stream 'arm': lacks column state; it has observation.state, action"),
        (lambda t: joints(t, joints=('a', 'x')), 'wanted x, which it lacks; it has b, gripper, a'),
        (lambda t: joints(t, fields=('velocity',)), 'wanted velocity, allowed position'),
        (lambda t: replace(t, streams=(replace(t.streams[1], topic='side'),)), 'lacks pictures side; it has observ'),
        (
            lambda t: replace(t, streams=(PoseStream(name='p', topic='action', features=('x',)),)),
            'column action: got 3 numbers, allowed 7 for a pose',
        ),
    ],
)
def test_what_a_dataset_lacks_is_named(tmp_path: Path, change: Callable[[TaskSpec], TaskSpec], words: str) -> None:
    with pytest.raises(DataError, match=words):
        list(read_dataset(lerobot(tmp_path / 'set', 'v2.1'), change(TASK)))


def joints(task: TaskSpec, **changes: Any) -> TaskSpec:
    return replace(task, streams=(replace(task.streams[0], **changes),))


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (lambda p: (p / 'meta/info.json').write_text('{}'), 'info.json cannot be used'),
        (lambda p: edit(p, 'v1.6'), 'got format v1.6, allowed 2.0, 2.1 or 3.0'),
        (lambda p: next(p.glob('data/*/*')).write_bytes(b'PAR1'), 'cannot be read'),
        (lambda p: next(p.glob('videos/*/*/*.mp4')).write_bytes(b'no'), 'cannot be decoded'),
        (lambda p: next(p.glob('videos/*/*/*.mp4')).unlink(), 'cannot be decoded'),
    ],
)
def test_a_damaged_dataset_is_refused(tmp_path: Path, spoil: Callable[[Path], Any], words: str) -> None:
    path = lerobot(tmp_path / 'set', 'v2.1')
    spoil(path)
    with pytest.raises(DataError, match=words):
        list(read_dataset(path, TASK))


def edit(path: Path, version: str) -> None:
    info = json.loads((path / 'meta/info.json').read_text())
    (path / 'meta/info.json').write_text(json.dumps({**info, 'codebase_version': version}))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'data_path': '../outside.parquet'}, "got the path '../outside.parquet', allowed one within the folder"),
        ({'data_path': '{episode_index:>3000000000}'}, r'allowed \{name\} and \{name:03d\} in it'),
        ({'data_path': '{episode_index.__class__}'}, r'allowed \{name\}'),
        ({'data_path': '{nope}'}, r'got \{nope\}, allowed episode_index, episode_chunk'),
        ({'total_episodes': 10**10}, 'total_episodes: got 10000000000, allowed a whole number up to 1000000'),
        ({'fps': 0}, 'got 0 rows/s, allowed more than 0'),
        ({'features': []}, r'features: got \[\], allowed a mapping of mappings'),
        ({'features': {'action': {'dtype': []}}}, r'dtype: got \[\], allowed text'),
        ({'video_path': '/etc/{episode_index}.mp4'}, 'allowed one within the folder'),
    ],
)
def test_a_dataset_reaches_nothing_else(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = lerobot(tmp_path / 'set', 'v2.1')
    about = path / 'meta/info.json'
    about.write_text(json.dumps({**json.loads(about.read_text()), **change}))
    with pytest.raises(DataError, match=words):
        list(read_dataset(path, TASK))


def test_a_playlist_is_no_video(tmp_path: Path) -> None:
    path = lerobot(tmp_path / 'set', 'v2.1')
    film = next(path.glob('videos/*/*/*.mp4'))
    film.rename(tmp_path / 'other.mp4')
    film.write_text(f'ffconcat version 1.0\nfile {tmp_path}/other.mp4\n')
    with pytest.raises(DataError, match='cannot be decoded'):
        list(read_dataset(path, TASK))


# robomimic.

SIM = TaskSpec(
    streams=(
        JointStream(name='arm', topic='robot0_joint_pos', joints=JOINTS, units=('rad', 'rad')),
        PoseStream(name='cube', topic='object', features=('x', 'qw')),
        ImageStream(name='front', topic='agentview_image', height=16, width=16),
    ),
    action=ActionSpec(
        topic='/command', source='next_state', source_topic='robot0_joint_pos', joints=JOINTS, units=('rad', 'rad')
    ),
    control_dt=0.05,
)


def robomimic(path: Path, scale: float = 0.01) -> Path:
    h5py = pytest.importorskip('h5py', reason='h5py is not installed (extra: datasets)')
    with h5py.File(path, 'w') as file:
        data = file.create_group('data')
        data.attrs['env_args'] = json.dumps({'env_name': 'Lift', 'env_kwargs': {'control_freq': RATE}})
        for number in (0, 10, 2):
            demo, count = data.create_group(f'demo_{number}'), 10 + number
            demo['actions'] = np.zeros((count, 7))
            demo['obs/robot0_joint_pos'] = scale * np.arange(2 * count).reshape(count, 2)
            demo['obs/object'] = np.tile([0.5, 0, 0, 0, 0, 0, 1.0], (count, 1))
            demo['obs/agentview_image'] = np.full((count, 24, 24, 3), number, np.uint8)
    return path


def test_robomimic_s_demonstrations_come_in_order_of_number(tmp_path: Path) -> None:
    found = list(read_recordings(robomimic(tmp_path / 'low_dim.hdf5'), SIM))
    assert [(e.name, len(e.stamps)) for e in found] == [('demo_0', 9), ('demo_2', 11), ('demo_10', 19)]
    assert found[1].streams['arm'][1].tolist() == [0.02, 0.03]
    assert found[1].actions[0].tolist() == [0.02, 0.03]
    assert found[1].streams['cube'][0].tolist() == [0.5, 1.0]
    assert found[1].streams['front'].shape == (11, 16, 16, 3)
    assert int(found[2].streams['front'].max()) == 10


def test_steps_of_a_gripper_are_no_joint_positions(tmp_path: Path) -> None:
    steps = replace(SIM, action=replace(SIM.action, source='joint_trajectory', source_topic='actions'))
    with pytest.raises(DataError, match='demo_0 column actions: got 7 numbers without names for 2 joints'):
        list(read_dataset(robomimic(tmp_path / 'a.hdf5'), steps))


def test_degrees_are_not_taken_for_radians(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='got up to 36 for a, allowed 25 rad; that looks like degrees or percent'):
        list(read_dataset(robomimic(tmp_path / 'a.hdf5', scale=2.0), SIM))


def test_a_rate_is_needed(tmp_path: Path) -> None:
    h5py = pytest.importorskip('h5py', reason='h5py is not installed (extra: datasets)')
    with h5py.File(robomimic(tmp_path / 'a.hdf5'), 'a') as file:
        del file['data'].attrs['env_args']
    with pytest.raises(DataError, match='env_args names no control_freq'):
        list(read_dataset(tmp_path / 'a.hdf5', SIM))


@pytest.mark.parametrize('content', [b'no', None])
def test_a_file_that_is_no_robomimic_is_refused(tmp_path: Path, content: bytes | None) -> None:
    h5py = pytest.importorskip('h5py', reason='h5py is not installed (extra: datasets)')
    path = tmp_path / 'a.hdf5'
    if content is None:
        with h5py.File(path, 'w') as file:
            file['other'] = 1
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r'cannot be opened|lacks data/demo_0; it has other'):
        list(read_dataset(path, SIM))


def test_only_what_is_in_the_file_itself_is_read(tmp_path: Path) -> None:
    h5py = pytest.importorskip('h5py', reason='h5py is not installed (extra: datasets)')
    robomimic(tmp_path / 'other.hdf5')
    place = 'data/demo_0/obs/robot0_joint_pos'
    raw = tmp_path / 'raw'
    raw.write_bytes(bytes(160))
    layout = h5py.VirtualLayout((10, 2), 'f8')
    layout[:] = h5py.VirtualSource(str(tmp_path / 'other.hdf5'), place, (10, 2))
    for spoil, words in (
        (lambda f: f.__setitem__(place, h5py.ExternalLink(str(tmp_path / 'other.hdf5'), place)), 'got a ExternalLink'),
        (lambda f: f.__setitem__(place, h5py.SoftLink('/nope')), 'got a SoftLink'),
        (lambda f: f.create_virtual_dataset(place, layout), 'stored in other files'),
        (lambda f: f.create_dataset(place, (10, 2), 'f8', external=[(str(raw), 0, 160)]), 'stored in other files'),
        (lambda f: f.create_dataset(place, (10**9, 2), 'f8', chunks=(10, 2)), 'to read at once, allowed up to'),
    ):
        with h5py.File(robomimic(tmp_path / 'a.hdf5'), 'a') as file:
            del file[place]
            spoil(file)
        with pytest.raises(DataError, match=words):
            list(read_dataset(tmp_path / 'a.hdf5', SIM))


# Telling them apart.


def test_bags_are_read_with_and_without_a_cache(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', arm(3.0))
    (plain,) = read_recordings(bag, BAG_TASK)
    (cached,) = read_recordings(bag, BAG_TASK, cache=tmp_path / 'store', workers=1)
    assert plain.actions.tobytes() == cached.actions.tobytes()


def test_a_cut_is_refused_where_it_would_do_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'cut and cache: got them for .*, allowed for rosbag2 recordings'):
        list(read_recordings(robomimic(tmp_path / 'a.hdf5'), SIM, cut=CutSettings(by='idle')))
