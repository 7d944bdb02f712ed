"""`dp_ros init` of a LeRobot dataset: what its columns show is written, what they cannot know is marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pyarrow = pytest.importorskip('pyarrow', reason='pyarrow is not installed (extra: datasets)')
parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed (extra: datasets)')

from dp_ros.cli.main import main
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.readers import read_recordings
from dp_ros.task.spec import ImageStream
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.training.settings import TrainSettings
from test.training.arm_bags import parameters
from test.training.bag_maker import path_at
from test.training.test_sources import lerobot

PATH = 'data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet'
ROWS = 120


def dataset(folder: Path, *, rate: int = 30, state: Any = ('a', 'b'), action: Any = ('a', 'b'), scale: float = 1.0
            ) -> Path:  # fmt: skip
    """Write a dataset of format 2.1 without pictures: an arm of two joints, that follows its commands."""
    times = np.arange(ROWS) / rate
    numbers = {
        name: [scale * path_at(t, lag) for t in times] for name, lag in (('observation.state', 0.2), ('action', 0.0))
    }
    names = {'observation.state': state, 'action': action}
    features = {
        n: {'dtype': 'float32', 'shape': [2], 'names': None if n_ is None else list(n_)} for n, n_ in names.items()
    }
    features |= {n: {'dtype': 'float32', 'shape': [1], 'names': None} for n in ('timestamp', 'observation.effort')}
    features['episode_index'] = {'dtype': 'int64', 'shape': [1], 'names': None}
    info = {'codebase_version': 'v2.1', 'fps': rate, 'total_episodes': 2, 'features': features, 'data_path': PATH}
    for part in ('meta', 'data/chunk-000'):
        (folder / part).mkdir(parents=True)
    (folder / 'meta/info.json').write_text(json.dumps(info))
    for number in range(2):
        columns = {n: np.array(rows, np.float32).tolist() for n, rows in numbers.items()}
        columns |= {'timestamp': times.tolist(), 'observation.effort': times.tolist(), 'episode_index': [number] * ROWS}
        parquet.write_table(pyarrow.table(columns), folder / PATH.format(episode_chunk=0, episode_index=number))
    return folder


def written(data: Path, folder: Path) -> tuple[TrainSettings, str, str]:
    """Run init; return the training file, read and as text, and the parameter file."""
    assert main(['init', str(data), '--output', str(folder)]) == 0
    train = folder / 'train.yaml'
    return read_yaml(train, TrainSettings), train.read_text(), (folder / 'params.yaml').read_text()


def read(data: Path, settings: TrainSettings) -> list[Episode]:
    return list(read_recordings(data, settings.task, columns=settings.columns))


def checked(text: str) -> list[str]:
    return [
        line.split('#')[0].strip().removeprefix('- ').strip() for line in text.splitlines() if line.endswith('# check')
    ]


def test_what_is_written_is_read_back_and_what_a_dataset_cannot_know_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = lerobot(tmp_path / 'set', 'v3.0')
    settings, train, params = written(data, tmp_path / 'robot')
    said = capsys.readouterr().out
    assert 'observation.images.top as /top/image_raw: Image 64 x 64 rgb8, 20/s' in said
    assert f'next: dp_ros check-bag {data} --config' in said
    camera = settings.task.streams[1]
    assert isinstance(camera, ImageStream) and (camera.name, camera.height) == ('top', 64)
    episodes = read(data, settings)
    assert [len(episode.stamps) for episode in episodes] == [15, 22]
    assert episodes[0].streams['joint_states'].shape == (15, 3) and episodes[0].streams['top'].shape == (15, 64, 64, 3)
    np.testing.assert_allclose(episodes[0].actions[:, 0], episodes[0].streams['joint_states'][:, 0] + 0.5, atol=1e-6)
    marked = checked(train)
    assert [line for line in marked if 'topic' in line] == [
        'topic: /joint_states', 'topic: /top/image_raw', 'topic: /arm_controller/joint_trajectory',
    ]  # fmt: skip
    assert 'max_age: 0.2' in marked and '0 ms late' not in train
    marked = checked(params)
    for line in (
        'joint_states: joint_states',
        'command: arm_controller/joint_trajectory',
        'controller: arm_controller',
    ):
        assert line in marked
    assert sum(line.startswith(('a: {', 'b: {', 'gripper: {')) for line in marked) == 3
    assert 'max_frozen' not in params, 'nobody looked for how long pictures stand still'
    assert parameters(params, 'trajectory_publisher')['limits.b.upper'] == pytest.approx(0.977)
    assert main(['check-bag', str(data), '--config', str(tmp_path / 'robot/train.yaml')]) == 0
    assert '0 errors' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('rate', 'control_dt', 'ticks'), [(30, 0.1, 40), (15, 0.133333, 60), (50, 0.1, 24), (4, 0.25, 120)]
)
def test_control_ticks_fall_on_rows(tmp_path: Path, rate: int, control_dt: float, ticks: int) -> None:
    data = dataset(tmp_path / 'set', rate=rate)
    settings, _, params = written(data, tmp_path / 'robot')
    assert settings.task.control_dt == control_dt == parameters(params, 'trajectory_publisher')['control_dt']
    assert [len(episode.stamps) for episode in read(data, settings)] == [ticks, ticks]


def test_joints_without_names_are_numbered_and_marked(tmp_path: Path) -> None:
    settings, train, _ = written(dataset(tmp_path / 'set', state=None, action=None), tmp_path / 'robot')
    assert settings.task.action.joints == ('joint_1', 'joint_2') == settings.task.streams[0].joints
    assert checked(train).count('joints: [joint_1, joint_2]') == 2
    assert len(read(tmp_path / 'set', settings)) == 2
    settings, train, _ = written(dataset(tmp_path / 'named', action=None), tmp_path / 'other')
    assert settings.task.action.joints == ('a', 'b') and checked(train).count('joints: [a, b]') == 1


def test_an_action_that_is_no_joints_is_not_learnt(tmp_path: Path) -> None:
    data = dataset(tmp_path / 'set', action=('delta_x', 'delta_y'))
    settings, train, params = written(data, tmp_path / 'robot')
    assert settings.task.action.source == 'next_state' and settings.columns == {'joint_states': 'observation.state'}
    assert 'commands delta_x, delta_y, which no joint states have' in train
    episode = read(data, settings)[0]
    np.testing.assert_array_equal(episode.actions[:-1], episode.streams['joint_states'][1:])
    assert 'command: joint_trajectory_controller/joint_trajectory' in checked(params)


def test_other_columns_are_named_and_degrees_are_marked(tmp_path: Path) -> None:
    _, train, _ = written(dataset(tmp_path / 'set', scale=57.3), tmp_path / 'robot')
    assert 'left out: observation.effort: a column of 1 numbers' in train
    assert [line for line in checked(train) if line == 'deg'] == ['deg', 'deg']


def test_what_is_no_lerobot_dataset_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'demo.hdf5').write_bytes(b'')
    assert main(['init', str(tmp_path / 'demo.hdf5'), '--output', str(tmp_path)]) == 1
    assert 'got hdf5, allowed rosbag2 recordings or a LeRobot dataset' in capsys.readouterr().err
    both = [str(dataset(tmp_path / name)) for name in ('one', 'two')]
    assert main(['init', *both, '--output', str(tmp_path)]) == 1
    assert 'allowed recordings, or one dataset alone' in capsys.readouterr().err
    info = tmp_path / 'one/meta/info.json'
    info.write_text(info.read_text().replace('observation.state', 'observation.other'))
    assert main(['init', both[0], '--output', str(tmp_path)]) == 1
    assert 'lacks column observation.state' in capsys.readouterr().err
