"""Datasets of others are audited as bags are: the same faults, in the same words, row by row."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_ros.audit.audit import Audit, Finding
from dp_ros.audit.checks import findings
from dp_ros.audit.dataset import audit_dataset
from dp_ros.cli.main import main
from dp_ros.data import NANOSECONDS
from dp_ros.recordings.episodes.readers import read_dataset
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, TaskSpec
from test.training.bag_maker import path_at
from test.training.test_sources import LENGTHS, lerobot

RATE = 20
TASK = TaskSpec(
    streams=(JointStream(name='arm', topic='joints', joints=('a', 'b'), units=('rad', 'rad')),),
    action=ActionSpec(topic='/command', source_topic='commands', joints=('a', 'b'), units=('rad', 'rad')),
)
Change = Callable[[np.ndarray], Any]


def hdf5(path: Path, state: Change = np.copy, commands: Change = np.copy, episodes: int = 3) -> Path:
    """Write demonstrations of an arm that follows its commands, changed."""
    h5py = pytest.importorskip('h5py', reason='h5py is not installed (extra: datasets)')
    with h5py.File(path, 'w') as file:
        data = file.create_group('data')
        data.attrs['env_args'] = json.dumps({'env_kwargs': {'control_freq': RATE}})
        for number in range(episodes):
            times = np.arange(8 * RATE) / RATE + number
            demo = data.create_group(f'demo_{number}')
            demo['actions'] = np.zeros((len(times), 7))
            demo['obs/joints'] = state(np.stack([path_at(t) for t in times]))
            demo['obs/commands'] = commands(np.stack([path_at(t, 0.0) for t in times]))
            demo['obs/front'] = np.zeros((len(times), 24, 32, 3), np.uint8)
    return path


def audited(path: Path, task: TaskSpec | None = TASK) -> tuple[Audit, list[Finding]]:
    audit = audit_dataset(path, task, 0.01)
    return audit, findings(audit)


def wrong(found: list[Finding]) -> list[str]:
    return [f'{f.level} {f.where}: {f.what}: {f.got}' for f in found if f.level != 'ok']


def second(change: Change) -> Change:
    """Give a change of the second joint alone."""
    return lambda rows: np.stack([rows[:, 0], change(rows[:, 1])], axis=1)


def test_a_good_dataset_passes_and_its_ticks_are_those_of_the_training(tmp_path: Path) -> None:
    audit, found = audited(hdf5(tmp_path / 'good.hdf5'))
    assert wrong(found) == []
    assert audit.ticks is not None
    assert audit.ticks.lengths == [len(episode.stamps) for episode in read_dataset(audit.path, TASK)] == [80, 80, 80]
    assert audit.ticks.lag == pytest.approx(2.0, abs=0.1)
    assert audit.seconds == 24.0
    assert audit.topics['joints'].intervals.mean == pytest.approx(1 / RATE)
    assert audit.topics.keys() == {'joints', 'commands'}, 'what the task does not read is left alone'


FAULTS: dict[str, tuple[dict[str, Change], str]] = {
    'degrees': ({'state': lambda rows: 57.3 * rows}, 'error joints a: too far for its unit: 57.'),
    'trembling': ({'state': second(lambda b: 1e-4 * b)}, 'warning joints b: only trembles: '),
    'dead': ({'state': second(np.zeros_like)}, 'warning joints b: never changes: 0'),
    'clipped': (
        {'state': lambda rows: np.minimum(rows, 0.4)}, 'warning joints a: saturated: often at its highest value',
    ),
    'wraps': (
        {'state': second(lambda b: (b + 2 * np.pi) % (2 * np.pi))},
        "error demo_0: training refuses the episode: stream 'arm': b wraps: got a step of 6.2",
    ),
    'idle': (
        {part: lambda rows: rows[np.minimum(np.arange(160), 60)] for part in ('state', 'commands')},
        'warning ticks: idle: neither commanded nor observed joints move: 6',
    ),
    'not a number': ({'state': second(lambda b: np.where(b > 0.49, np.nan, b))}, 'error joints b: not finite: '),
}  # fmt: skip


@pytest.mark.parametrize('fault', FAULTS)
def test_a_fault_is_found(tmp_path: Path, fault: str) -> None:
    changes, expected = FAULTS[fault]
    _, found = audited(hdf5(tmp_path / 'a.hdf5', **changes))
    assert any(line.startswith(expected) for line in wrong(found)), wrong(found)


def test_short_episodes_are_named_with_their_edges(tmp_path: Path) -> None:
    _, found = audited(hdf5(tmp_path / 'a.hdf5', *[lambda rows: rows[:20]] * 2))
    assert any(line.startswith('error demo_0, demo_1, demo_2') for line in wrong(found)) is False
    assert 'warning windows: episodes shorter than pred_horizon: 3 of 3' in wrong(found)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'topic': 'joint'}, "stream 'arm': lacks column joint; it has actions, commands, joints"),
        ({'joints': ('a', 'b', 'c'), 'units': ('rad',) * 3}, 'column joints: got 2 numbers without names for 3 joints'),
    ],
)
def test_what_many_episodes_lack_is_named_once(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    task = replace(TASK, streams=(replace(TASK.streams[0], **change),))
    _, found = audited(hdf5(tmp_path / 'a.hdf5'), task)
    assert [line for line in wrong(found) if words in line and 'training refuses 3 episodes' in line] != []


def test_a_camera_that_is_not_there_is_named(tmp_path: Path) -> None:
    camera = ImageStream(name='top', topic='agentview', height=16, width=16)
    _, found = audited(hdf5(tmp_path / 'a.hdf5'), replace(TASK, streams=(*TASK.streams, camera)))
    assert any('lacks pictures agentview; it has front' in line for line in wrong(found))


def test_a_demonstration_that_cannot_be_read_is_named_and_the_others_are_audited(tmp_path: Path) -> None:
    h5py = pytest.importorskip('h5py', reason='h5py is not installed (extra: datasets)')
    with h5py.File(hdf5(tmp_path / 'a.hdf5'), 'r+') as file:
        del file['data/demo_1/actions']
    audit, found = audited(tmp_path / 'a.hdf5')
    assert wrong(found)[0].startswith('error episode 1: cannot be read whole: HDF5')
    assert audit.ticks is not None and len(audit.ticks.lengths) == 2


CONFIG = """
name: x
steps: 10
columns: {arm: joints, action: commands}
task:
  streams:
  - {kind: joint_state, name: arm, topic: /joint_states, joints: [a, b], units: [rad, rad]}
  action: {topic: /command, joints: [a, b], units: [rad, rad]}
"""


def test_the_command_takes_the_columns_of_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'c.yaml').write_text(CONFIG)
    path = hdf5(tmp_path / 'a.hdf5')
    asked = ['check-bag', str(path), '--config', str(tmp_path / 'c.yaml'), '--out', str(tmp_path / 'report')]
    assert main([*asked, '--strict']) == 0
    assert 'a.hdf5: 3 episodes, 0 min 24 s' in capsys.readouterr().out
    assert {file.name for file in (tmp_path / 'report').iterdir()} == {
        'report.txt', 'times.png', 'channels.png', 'ticks.png',
    }  # fmt: skip
    (tmp_path / 'c.yaml').write_text(f'{CONFIG}\ncut: {{by: idle}}\n')
    assert main(asked) == 1
    assert 'cut and cache: got them for' in capsys.readouterr().err


@pytest.mark.parametrize('version', ['v2.1', 'v3.0'])
def test_a_lerobot_dataset_is_audited_and_described(
    tmp_path: Path, capsys: pytest.CaptureFixture, version: str
) -> None:
    path = lerobot(tmp_path / 'set', version)
    usual = replace(TASK, streams=(replace(TASK.streams[0], topic='/joint_states'),))
    usual = replace(usual, action=replace(usual.action, source_topic=''))
    audit, _ = audited(path, usual)
    assert audit.ticks is not None and audit.ticks.lengths == [length // 2 for length in LENGTHS]
    assert audit.seconds == pytest.approx(sum(LENGTHS) / RATE)
    assert audit.topics['action'].intervals.largest == pytest.approx(0.05, abs=1 / NANOSECONDS)
    assert main(['inspect', str(path)]) == 0
    said = capsys.readouterr().out
    assert '2 episodes, 74 rows at 20 rows/s' in said and 'an episode: 30 to 44 rows' in said
    assert '  observation.state: 3 numbers: b, gripper, a\n' in said
    assert '  observation.images.top: 64 x 64 pixels' in said


def test_a_robomimic_file_is_described(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(['inspect', str(hdf5(tmp_path / 'a.hdf5'))]) == 0
    said = capsys.readouterr().out
    assert '3 episodes, 480 rows at 20 rows/s' in said
    assert '  joints: 2 numbers, without names' in said and '  front: 32 x 24 pixels' in said
