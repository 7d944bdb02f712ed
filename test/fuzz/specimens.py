"""A small valid specimen of each kind of file that is read from outside, and what reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.paths import share_folder
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.robot.limits_file import read_joint_limits
from dp_ros.robot.urdf import read_urdf
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, TaskSpec
from dp_ros.task.yaml_reader import read_yaml

JOINTS = ('a', 'b')
ARM = JointStream(name='arm', topic='observation.state', joints=JOINTS, units=('rad', 'rad'), max_age=0.2)
ACTION = ActionSpec(topic='/command', source='joint_state', source_topic='action', joints=JOINTS, units=('rad', 'rad'))
TASK = TaskSpec(streams=(ARM,), action=ACTION, control_dt=0.1)
SEEING = replace(TASK, streams=(ARM, ImageStream(name='top', topic='top', height=16, width=16, compressed=True)))
COUNT = 12
LIMITS = """joint_limits:
  a: {has_position_limits: true, min_position: -1.5, max_position: 1.5, has_velocity_limits: true, max_velocity: 2.0}
  b: {has_velocity_limits: true, max_velocity: 1.0, has_acceleration_limits: true, max_acceleration: 5.0}
"""
URDF = """<robot name="arm">
  <joint name="a" type="revolute"><parent link="base"/><child link="l1"/><origin xyz="0 0 0.1" rpy="0 0 0"/>
    <axis xyz="0 0 1"/><limit lower="-1.5" upper="1.5" velocity="2.0" effort="1"/></joint>
  <joint name="b" type="continuous"><parent link="l1"/><child link="tool"/><axis xyz="0 1 0"/>
    <limit velocity="1.0" effort="1"/><mimic joint="c" multiplier="2"/></joint>
  <joint name="c" type="prismatic"><parent link="base"/><child link="l3"/><axis xyz="1 0 0"/>
    <limit lower="0" upper="1" velocity="1.0" effort="1"/></joint>
</robot>
"""


def _bundle(folder: Path) -> None:
    shutil.copytree(share_folder() / 'models/pusht_goal', folder, ignore=shutil.ignore_patterns('results'))


def _text(name: str, text: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / name).write_text(text)

    return make


def _training(folder: Path) -> None:
    _text('train.yaml', (share_folder() / 'config/train/pusht_state.yaml').read_text())(folder)


def _bag(storage: str, packed: str = '') -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from dp_ros.messages.encoding import to_compressed_image, to_joint_state
        from dp_ros.recordings.rosbag.reader import BagWriter
        from dp_ros.recordings.rosbag.types import rosbags_types

        types = rosbags_types()
        with BagWriter(folder, storage) as bag:
            for i in range(2 * COUNT):
                t = 1_700_000_000_000_000_000 + i * 50_000_000
                state = to_joint_state(stamp=t, name=JOINTS, position=[0.1, 0.01 * i], velocity=[], types=types)
                bag.write('observation.state', t, state)
                bag.write('action', t, state)
                picture = np.full((16, 16, 3), i, np.uint8)
                bag.write(
                    'top', t, to_compressed_image(stamp=t, pixels=picture, frame_id='', encoding='png', types=types)
                )
        if packed:
            _pack(folder)

    return make


def _pack(folder: Path) -> None:
    """Make the bag one whose file is compressed."""
    from rosbags.rosbag2.reader import zstd  # type: ignore[attr-defined]

    (file,) = (path for path in folder.iterdir() if path.suffix != '.yaml')
    (folder / f'{file.name}.zstd').write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()
    about = (folder / 'metadata.yaml').read_text().replace(file.name, f'{file.name}.zstd')
    about = about.replace("compression_format: ''", 'compression_format: zstd')
    (folder / 'metadata.yaml').write_text(about.replace("compression_mode: ''", 'compression_mode: FILE'))


def _lerobot(folder: Path) -> None:
    import cv2
    import pyarrow
    from pyarrow import parquet

    (folder / 'meta').mkdir(parents=True)
    (folder / 'data').mkdir()
    kinds = {'observation.state': 'float32', 'action': 'float32', 'episode_index': 'int64', 'task_index': 'int64'}
    info = {
        'codebase_version': 'v2.1', 'fps': 10, 'total_episodes': 2, 'data_path': 'data/{episode_index:03d}.parquet',
        'features': {
            **{name: {'dtype': kind, 'names': list(JOINTS)} for name, kind in kinds.items()}, 'top': {'dtype': 'image'},
        },
    }  # fmt: skip
    (folder / 'meta/info.json').write_text(json.dumps(info, indent=2))
    (folder / 'meta/tasks.jsonl').write_text(json.dumps({'task_index': 0, 'task': 'push'}) + '\n')
    png = cv2.imencode('.png', np.full((16, 16, 3), 7, np.uint8))[1].tobytes()
    for episode in range(2):
        rows = {
            'observation.state': [[0.1, 0.01 * i] for i in range(COUNT)],
            'action': [[0.1, 0.01 * i] for i in range(COUNT)],
            'episode_index': [episode] * COUNT,
            'task_index': [0] * COUNT,
            'top': [{'bytes': png, 'path': None}] * COUNT,
        }
        parquet.write_table(pyarrow.table(rows), folder / f'data/{episode:03d}.parquet')


def _film(folder: Path) -> None:
    import av

    _lerobot(folder)
    info = json.loads((folder / 'meta/info.json').read_text())
    info['features']['top'] = {'dtype': 'video'}
    info['video_path'] = 'videos/{video_key}/{episode_index:03d}.mp4'
    (folder / 'meta/info.json').write_text(json.dumps(info))
    (folder / 'videos/top').mkdir(parents=True)
    for episode in range(2):
        with av.open(str(folder / f'videos/top/{episode:03d}.mp4'), 'w') as container:
            stream: Any = container.add_stream('mpeg4', rate=10)
            stream.width = stream.height = 32
            for i in range(COUNT):
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 9 * i, np.uint8), format='rgb24')
                container.mux(stream.encode(frame))
            container.mux(stream.encode())


def _hdf5(folder: Path) -> None:
    import h5py

    folder.mkdir()
    with h5py.File(folder / 'low_dim.hdf5', 'w') as file:
        data = file.create_group('data')
        data.attrs['env_args'] = json.dumps({'env_kwargs': {'control_freq': 10}})
        for number in range(2):
            demo = data.create_group(f'demo_{number}')
            demo['actions'] = demo['obs/action'] = demo['obs/observation.state'] = np.full((COUNT, 2), 0.1)
            pictures = np.full((COUNT, 16, 16, 3), number, np.uint8)
            demo.create_dataset('obs/top', data=pictures, chunks=(4, 16, 16, 3), compression='gzip')


def _zarr(folder: Path) -> None:
    import numcodecs
    import zarr

    root = zarr.open_group(str(folder), mode='w', zarr_format=2)
    rng = np.random.default_rng(0)
    arrays = {
        'data/state': rng.uniform(1, 500, (COUNT, 5)).astype(np.float32),
        'data/action': rng.uniform(1, 500, (COUNT, 2)).astype(np.float32),
        'meta/episode_ends': np.array([5, COUNT]),
    }
    for name, values in arrays.items():
        root.create_array(name, data=values, compressors=numcodecs.Blosc('zstd'))


def _read_bundle(folder: Path) -> object:
    return open_backend(load_bundle(folder))


def _read_training(folder: Path) -> object:
    from dp_ros.training.settings import TrainSettings

    return read_yaml(folder / 'train.yaml', TrainSettings)


def _read_urdf(folder: Path) -> object:
    robot = read_urdf(folder / 'arm.urdf')
    return robot.limits(('a', 'c')), robot.chain(('a', 'c'), 'tool')


def _read_any(path: Path) -> object:
    """Read as `dp_ros train` does, which tells kinds apart by what is there."""
    from dp_ros.recordings.episodes.readers import read_recordings

    return list(read_recordings(path, SEEING))


def _read_hdf5(folder: Path) -> object:
    from dp_ros.recordings.episodes.readers import read_dataset

    return list(read_dataset(folder / 'low_dim.hdf5', SEEING))


def _read_zarr(folder: Path) -> object:
    from dp_ros.recordings.datasets.zarr import BLOCK_POSE, COMMAND, JOINT_STATES, read_pusht_zarr
    from dp_ros.recordings.datasets.zarr import JOINTS as PUSHER

    assert BLOCK_POSE
    stream = JointStream(name='pusher', topic=JOINT_STATES, joints=PUSHER, units=('m', 'm'))
    action = ActionSpec(topic=COMMAND, joints=PUSHER, units=('m', 'm'))
    return list(read_pusht_zarr(folder, TaskSpec(streams=(stream,), action=action)))


SPECIMENS: Mapping[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
    'bundle': (_bundle, _read_bundle),
    'training': (_training, _read_training),
    'limits': (_text('limits.yaml', LIMITS), lambda folder: read_joint_limits(folder / 'limits.yaml', JOINTS)),
    'urdf': (_text('arm.urdf', URDF), _read_urdf),
    'mcap': (_bag('mcap'), _read_any),
    'sqlite3': (_bag('sqlite3'), _read_any),
    'zstd': (_bag('mcap', 'file'), _read_any),
    'lerobot': (_lerobot, _read_any),
    'film': (_film, _read_any),
    'hdf5': (_hdf5, _read_hdf5),
    'zarr': (_zarr, _read_zarr),
}
"""By kind: what makes the specimen in a new folder, and what reads that folder, all of it."""
