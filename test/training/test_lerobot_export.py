"""Episodes as a LeRobot dataset, read back: the importer gives what was written, and LeRobot's own tables hold it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_ros.cli.main import main
from dp_ros.errors import ConfigError, DataError
from dp_ros.policy.language import embed
from dp_ros.recordings.datasets.lerobot_export import LerobotSettings, at_recorded_size, export_lerobot
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.readers import read_recordings
from dp_ros.task.spec import ActionSpec, GoalPose, ImageStream, Instruction, JointStream, PoseStream, TaskSpec
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.training.settings import TrainSettings
from test.training.arm_bags import ArmBag

parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed (extra: datasets)')

JOINTS = ('a', 'b')
TASK = TaskSpec(
    streams=(
        JointStream(name='arm', topic='/joint_states', joints=JOINTS, units=('rad', 'm')),
        JointStream(name='speed', topic='/joint_states', joints=('b',), units=('m',), fields=('velocity',)),
        PoseStream(name='block', topic='/block_pose', features=('x', 'sin_yaw')),
        ImageStream(name='top', topic='/camera', height=16, width=24),
    ),
    action=ActionSpec(topic='/command', joints=JOINTS, units=('rad', 'm')),
    control_dt=0.05,
)
COLUMNS = {
    'arm': 'observation.state',
    'speed': 'observation.state',
    'block': 'observation.environment_state',
    'top': 'observation.images.top',
    'action': 'action',
}


def episode(number: int, length: int) -> Episode:
    rng = np.random.default_rng(number)
    return Episode(
        name=f'episode_{number:06d}',
        stamps=50_000_000 * np.arange(1, length + 1),
        streams={
            'arm': rng.uniform(-1, 1, (length, 2)),
            'speed': rng.uniform(-1, 1, (length, 1)),
            'block': rng.uniform(-1, 1, (length, 2)),
            'top': rng.integers(0, 256, (length, 16, 24, 3)).astype(np.uint8),
        },
        actions=rng.uniform(-1, 1, (length, 2)),
    )


@pytest.mark.parametrize('file_megabytes', [100, 0.001])
def test_what_was_written_is_read_back(tmp_path: Path, file_megabytes: float) -> None:
    written = [episode(0, 7), episode(1, 12), episode(2, 5)]
    asked = LerobotSettings(instruction='push the block', pictures='png', file_megabytes=file_megabytes)
    made = export_lerobot(iter(written), TASK, tmp_path / 'set', asked)
    assert made == (3, 24)
    assert len(list((tmp_path / 'set/data').rglob('*.parquet'))) == (1 if file_megabytes == 100 else 3)
    found = list(read_recordings(tmp_path / 'set', TASK, columns=COLUMNS))
    assert [e.name for e in found] == [e.name for e in written]
    for one, other in zip(found, written, strict=True):
        assert np.array_equal(one.streams['top'], other.streams['top'])
        for name in ('arm', 'speed', 'block'):
            assert np.array_equal(one.streams[name], other.streams[name].astype(np.float32)), name
        assert np.array_equal(one.actions, other.actions.astype(np.float32))
        assert np.diff(one.stamps).tolist() == [50_000_000] * (len(other.stamps) - 1)


def smooth(number: int, length: int) -> Episode:
    """Give an episode whose pictures a video can hold: a shade that moves."""
    across = np.linspace(0, 120, 24)[None, None, :, None]
    shades = across + 40 + 3.0 * np.arange(length)[:, None, None, None] + np.zeros((length, 16, 24, 3))
    made = episode(number, length)
    return replace(made, streams=made.streams | {'top': shades.astype(np.uint8)})


def test_a_video_of_each_episode_is_read_back_nearly(tmp_path: Path) -> None:
    pytest.importorskip('av', reason='PyAV is not installed (extra: datasets)')
    written, scheduled = [smooth(0, 7), smooth(1, 12)], os.sched_getscheduler(0)
    export_lerobot(iter(written), TASK, tmp_path / 'set', LerobotSettings(instruction='push the block'))
    assert os.sched_getscheduler(0) == scheduled
    assert len(list((tmp_path / 'set/videos/observation.images.top/chunk-000').glob('*.mp4'))) == 2
    info = json.loads((tmp_path / 'set/meta/info.json').read_text())
    assert info['features']['observation.images.top']['dtype'] == 'video'
    card = (tmp_path / 'set/README.md').read_text()
    assert card.startswith('---\n') and '2 demonstrations of "push the block"' in card and '| `action` |' in card
    for one, other in zip(read_recordings(tmp_path / 'set', TASK, columns=COLUMNS), written, strict=True):
        assert np.abs(one.streams['top'].astype(float) - other.streams['top']).mean() < 4.0
        assert np.array_equal(one.actions, other.actions.astype(np.float32))


def test_a_video_needs_even_sizes(tmp_path: Path) -> None:
    pytest.importorskip('av', reason='PyAV is not installed (extra: datasets)')
    odd = at_recorded_size(TASK, {'top': (17, 24)})
    with pytest.raises(ConfigError, match=r'pictures of top: got 24 x 17 pixels, allowed even numbers in a video; or'):
        export_lerobot([smooth(0, 7)], odd, tmp_path / 'set', LerobotSettings(instruction='push the block'))
    assert not (tmp_path / 'set').exists()


def test_recordings_are_exported_with_the_size_of_their_cameras(tmp_path: Path) -> None:
    pytest.importorskip('av', reason='PyAV is not installed (extra: datasets)')
    bag = replace(ArmBag(), seconds=3.0).save(tmp_path / 'bag')
    assert main(['init', str(bag), '--output', str(tmp_path / 'robot')]) == 0
    config = str(tmp_path / 'robot' / 'train.yaml')
    sizes = {}
    for size in ('recorded', 'task'):
        out = tmp_path / size
        assert main(['export-lerobot', str(bag), str(out), '--config', config, '--task', 'go', '--size', size]) == 0
        features = json.loads((out / 'meta/info.json').read_text())['features']
        sizes[size] = next(f['shape'] for name, f in features.items() if f['dtype'] == 'video')
    shape = read_yaml(Path(config), TrainSettings).task.streams[1]
    assert isinstance(shape, ImageStream)
    assert sizes['task'] == [shape.height, shape.width, 3] and sizes['recorded'][0] > shape.height


def test_tasks_in_words_are_instructions(tmp_path: Path) -> None:
    pytest.importorskip('wordllama', reason='wordllama is not installed (extra: language)')
    export_lerobot([episode(0, 7)], TASK, tmp_path / 'set', LerobotSettings(instruction='push the block'))
    asked = replace(TASK, goals=(Instruction(),))
    (found,) = read_recordings(tmp_path / 'set', asked, columns=COLUMNS)
    assert np.array_equal(found.streams['instruction'], np.tile(embed('push the block'), (7, 1)))
    (tmp_path / 'set/meta/tasks.parquet').rename(tmp_path / 'tasks.parquet')
    with pytest.raises(DataError, match="goal 'instruction': the dataset has no tasks in words"):
        list(read_recordings(tmp_path / 'set', asked, columns=COLUMNS))
    lines = tmp_path / 'set/meta/tasks.jsonl'
    lines.write_text('{"task_index": 0, "task": "lift it"}\n')
    (found,) = read_recordings(tmp_path / 'set', asked, columns=COLUMNS)
    assert np.array_equal(found.streams['instruction'][0], embed('lift it'))
    lines.write_text('{"task_index": 3, "task": "lift it"}\n')
    with pytest.raises(DataError, match='got task_index 0, allowed those in meta/tasks'):
        list(read_recordings(tmp_path / 'set', asked, columns=COLUMNS))


def test_the_tables_are_those_of_the_format(tmp_path: Path) -> None:
    written = [episode(0, 7), episode(1, 12)]
    asked = LerobotSettings(instruction='push the block', robot='arm', pictures='png')
    export_lerobot(written, TASK, tmp_path / 'set', asked)
    info = json.loads((tmp_path / 'set/meta/info.json').read_text())
    assert {k: info[k] for k in ('codebase_version', 'robot_type', 'fps', 'total_frames', 'splits')} == {
        'codebase_version': 'v3.0', 'robot_type': 'arm', 'fps': 20, 'total_frames': 19, 'splits': {'train': '0:2'},
    }  # fmt: skip
    assert info['features']['observation.state']['names'] == ['a', 'b', 'b.velocity']
    assert info['features']['observation.environment_state']['names'] == ['block.x', 'block.sin_yaw']
    rows = parquet.read_table(tmp_path / 'set/data/chunk-000/file-000.parquet').to_pydict()
    assert list(rows) == list(info['features'])
    assert rows['index'] == list(range(19))
    assert rows['frame_index'][:8] == [0, 1, 2, 3, 4, 5, 6, 0]
    assert np.allclose(rows['timestamp'][:8], [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0])
    places = parquet.read_table(tmp_path / 'set/meta/episodes/chunk-000/file-000.parquet').to_pylist()
    assert [(p['dataset_from_index'], p['dataset_to_index'], p['length']) for p in places] == [(0, 7, 7), (7, 19, 12)]
    assert places[0]['tasks'] == ['push the block']
    tasks = parquet.read_table(tmp_path / 'set/meta/tasks.parquet')
    assert tasks.to_pydict() == {'task_index': [0], '__index_level_0__': ['push the block']}


def test_statistics_are_those_of_all_rows(tmp_path: Path) -> None:
    written = [episode(0, 7), episode(1, 12)]
    export_lerobot(written, TASK, tmp_path / 'set', LerobotSettings(instruction='push the block'))
    stats = json.loads((tmp_path / 'set/meta/stats.json').read_text())
    actions = np.concatenate([e.actions for e in written]).astype(np.float32)
    for name, expected in (('min', actions.min(0)), ('mean', actions.mean(0)), ('std', actions.std(0))):
        assert np.allclose(stats['action'][name], expected, atol=1e-6), name
    assert stats['action']['count'] == [19]
    pixels = np.concatenate([e.streams['top'] for e in written]) / 255.0
    every = (0, 1, 2)
    for name, expected in (('max', pixels.max(every)), ('mean', pixels.mean(every)), ('std', pixels.std(every))):
        assert np.allclose(np.ravel(stats['observation.images.top'][name]), expected, atol=1e-6), name


@pytest.mark.parametrize(
    ('task', 'words', 'message'),
    [
        (replace(TASK, control_dt=0.03), 'x', 'control_dt: got 0.03 s, allowed a whole number of frames a second'),
        (replace(TASK, streams=(TASK.streams[0], replace(TASK.streams[0], name='c'))), 'x', 'allowed no name twice'),
        (TASK, ' ', "instruction: got '', allowed the task in words"),
        (
            replace(TASK, goals=(GoalPose(features=('x', 'y'), source='topic'), Instruction())),
            'x',
            r'goals: got goal_pose \(/goal_pose\), instruction \(/instruction\) from recordings, .* allowed goals in',
        ),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, task: TaskSpec, words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export_lerobot([], task, tmp_path / 'set', LerobotSettings(instruction=words))
    assert list(tmp_path.iterdir()) == []


def test_no_episodes_make_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='got 0 episodes to write'):
        export_lerobot([], TASK, tmp_path / 'set', LerobotSettings(instruction='x'))
    assert list(tmp_path.iterdir()) == []


def test_a_pose_without_its_channels_names_is_refused(tmp_path: Path) -> None:
    export_lerobot([episode(0, 4)], TASK, tmp_path / 'set', LerobotSettings(instruction='x'))
    streams: tuple[Any, ...] = (*TASK.streams[:2], replace(TASK.streams[2], features=('x', 'y')), TASK.streams[3])
    with pytest.raises(DataError, match=r'allowed 7 for a pose .* or channels called block\.x, block\.y'):
        list(read_recordings(tmp_path / 'set', replace(TASK, streams=streams), columns=COLUMNS))
