"""One bag of several is broken: the training is refused, or goes on without it and says so."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from dp_ros.cli.main import main
from dp_ros.errors import ConfigError, DataError
from dp_ros.recordings.episodes.readers import read_recordings
from dp_ros.recordings.episodes.unreadable import Broken, is_broken
from dp_ros.recordings.rosbag import reader as bags_module
from dp_ros.task.yaml_reader import to_plain
from test.training.bag_maker import TASK, arm, save

NAMES = tuple(f'bag_{number}' for number in range(4))
BAD = 'bag_2'


@pytest.fixture
def bags(tmp_path: Path) -> Path:
    """Four recordings, one of which ends in the middle of a message."""
    folder = tmp_path / 'bags'
    for name in NAMES:
        save(folder / name, arm(3.0))
    (file,) = (folder / BAD).glob('*.mcap')
    file.write_bytes(file.read_bytes()[:-2000])
    return folder


@pytest.fixture(params=['memory', 'cache', 'workers'])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Each way that recordings are read."""
    caches = {'cache': tmp_path / 'cache', 'workers': tmp_path / 'cache'}
    return {'cache': caches.get(request.param), 'workers': 2 if request.param == 'workers' else 1}


def test_it_refuses_all_unless_asked_otherwise(bags: Path, store: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=rf'{BAD}.*(cut short|damaged)'):
        list(read_recordings(bags, TASK, **store))


def test_it_is_skipped_by_name_and_the_others_are_read(
    bags: Path, store: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Broken('skip')
    found = list(read_recordings(bags, TASK, broken=broken, **store))
    assert [episode.name for episode in found] == [name for name in NAMES if name != BAD]
    assert [Path(path).name for path in broken.skipped] == [BAD]
    assert f'skipped: bag {bags / BAD}' in capsys.readouterr().out


def test_where_none_can_be_read_nothing_is_trained_on(bags: Path, store: dict[str, Any]) -> None:
    for name in NAMES:
        (file,) = (bags / name).glob('*.mcap')
        file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match=r'recordings: got 4, all broken, allowed one or more .*bag_0'):
        list(read_recordings(bags, TASK, broken=Broken('skip'), **store))


def test_what_is_wrong_with_the_task_is_no_broken_recording(bags: Path) -> None:
    with pytest.raises(ConfigError, match='allowed'):
        list(read_recordings(bags, TASK, cache=bags / 'cache', workers=-1, broken=Broken('skip')))


@pytest.mark.parametrize('cached', [True, False])
@pytest.mark.parametrize(
    'error',
    [OSError(24, 'Too many open files'), PermissionError(13, 'denied'), MemoryError(), ImportError('zstandard')],
    ids=lambda error: type(error).__name__,
)
def test_what_is_wrong_with_the_machine_is_no_broken_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, cached: bool
) -> None:
    for name in NAMES:
        save(tmp_path / 'bags' / name, arm(3.0))

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(bags_module, '_OPEN', {'mcap': fail, 'sqlite3': fail})
    cache, broken = tmp_path / 'cache' if cached else None, Broken('skip')
    with pytest.raises(DataError, match=type(error).__name__):
        list(read_recordings(tmp_path / 'bags', TASK, cache=cache, workers=1, broken=broken))
    assert broken.skipped == {}


@pytest.mark.parametrize(
    ('name', 'broken'), [('SQLITE_CANTOPEN', False), ('SQLITE_IOERR_READ', False), ('SQLITE_CORRUPT', True)]
)
def test_a_database_may_be_broken_or_the_disk_that_it_lies_on(name: str, broken: bool) -> None:
    cause = sqlite3.OperationalError('what it says')
    cause.sqlite_errorname = name
    error = DataError('bag')
    error.__cause__ = cause
    assert is_broken(error) is broken


def test_only_two_answers_are_known() -> None:
    with pytest.raises(ConfigError, match=r"broken_recordings: got 'ignore', allowed refuse, skip"):
        Broken('ignore')


@pytest.mark.parametrize('answer', ['refuse', 'skip'])
def test_a_training_file_chooses_and_the_run_keeps_the_names(
    bags: Path, tmp_path: Path, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('torch', reason='training needs torch')
    network = {'channels': [8], 'level_width': 8, 'kernel_size': 3, 'groups': 2}
    plain = {'name': 'few', 'task': to_plain(TASK), 'network': network, 'steps': 2, 'batch': 8, 'threads': 1}
    config = tmp_path / 'train.yaml'
    config.write_text(yaml.safe_dump({**plain, 'broken_recordings': answer}))
    code = main(['train', '--config', str(config), '--data', str(bags), '--run', str(tmp_path / 'run')])
    said = capsys.readouterr()
    if answer == 'refuse':
        assert code == 1
        assert BAD in said.err
        assert not (tmp_path / 'run').exists()
        return
    assert code == 0, said.err
    run = json.loads((tmp_path / 'run' / 'run.json').read_text())
    assert [Path(path).name for path in run['skipped_recordings']] == [BAD]
