from __future__ import annotations

import shutil
import sqlite3
import struct
from pathlib import Path

import pytest

from dp_ros.audit.audit import audit_bags
from dp_ros.errors import DataError
from dp_ros.recordings.episodes.episode import read_episode
from dp_ros.recordings.rosbag.reader import STORAGES, BagReader, Stamped
from test.training.bag_maker import T0, TASK, arm, change_metadata, file_of, path_at, save, state
from test.training.mcap_maker import mcap_file

NAMES = ('bag #3', 'take 50%25', 'what?', 'a?mode=rw&x', '100%', 'trial%201', 'ünï 日本')


def refused(path: Path, words: str) -> None:
    """Both training and check-bag refuse a recording, and say which."""
    with pytest.raises(DataError, match=words) as caught:
        read_episode(path, TASK)
    assert str(caught.value).startswith(f'bag {path}: ')
    assert list(audit_bags(path, TASK).broken.values()) == [str(caught.value)]


def change(file: Path, statement: str) -> None:
    with sqlite3.connect(file) as base:
        base.execute(statement)
    base.close()


# Names.


@pytest.mark.parametrize('storage', STORAGES)
@pytest.mark.parametrize('name', NAMES)
def test_any_name_can_be_written_and_read(tmp_path: Path, storage: str, name: str) -> None:
    bag = save(tmp_path / name / name, arm(1.0), storage)
    assert sorted(p.suffix for p in bag.iterdir()) == sorted([file_of(bag).suffix, '.yaml'])
    assert [p.name for p in bag.parent.iterdir()] == [name]
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert [(e.name, len(e.stamps)) for e in read_episode(bag, TASK)] == [(name, 10)]
    assert len(read_episode(file_of(bag), TASK)) == 1


def test_no_other_recording_is_read_for_one_with_a_percent_sign(tmp_path: Path) -> None:
    other = [state(t, path_at(0) + 10) if topic == '/joint_states' else (topic, t, msg) for topic, t, msg in arm(1.0)]
    for name, made in (('trial 1', other), ('trial%201', arm(1.0))):
        bag = save(tmp_path / name, made, 'sqlite3')
        file_of(bag).rename(bag / 'x.db3')
        change_metadata(bag, relative_file_paths=['x.db3'])
    (got,) = read_episode(tmp_path / 'trial%201', TASK)
    assert got.streams['arm'][:, 0].max() < 2.0


# Recorders that were killed.


def left_open(folder: Path, mode: str) -> Path:
    """Copy a database of which the latter half is in its log still."""
    made = file_of(save(folder / 'whole', arm(1.0), 'sqlite3'))
    base = sqlite3.connect(made, isolation_level=None)
    base.execute(f'PRAGMA journal_mode={mode}')
    base.execute('BEGIN')
    base.execute('DELETE FROM messages WHERE id <= 40')
    if mode == 'wal':
        base.execute('COMMIT')
    else:
        # A cache that overflows is written to the file before the end of the transaction.
        base.execute('PRAGMA cache_size=1')
        base.execute('PRAGMA cache_spill=1')
        base.execute('UPDATE messages SET data = zeroblob(2000)')
    bag = folder / 'bag'
    bag.mkdir()
    for file in made.parent.glob('*.db3*'):
        shutil.copy(file, bag)
    base.close()
    return bag


@pytest.mark.parametrize(('mode', 'suffix'), [('wal', '-wal'), ('delete', '-journal')])
def test_a_database_with_a_part_in_its_log_is_refused_until_it_was_opened(
    tmp_path: Path, mode: str, suffix: str
) -> None:
    bag = left_open(tmp_path, mode)
    refused(bag, rf'whole\.db3: got whole\.db3{suffix} beside it, .* open it once, with sqlite3 whole\.db3')
    base = sqlite3.connect(bag / 'whole.db3')
    left = 80 - 40 if mode == 'wal' else 80
    assert base.execute('SELECT count(*) FROM messages').fetchone() == (left,)
    base.close()
    with BagReader(bag) as reader:
        assert len(list(reader.raw(list(reader.topics)))) == left


def test_an_empty_log_does_no_harm(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', arm(1.0), 'sqlite3')
    for suffix in ('-wal', '-journal'):
        Path(f'{file_of(bag)}{suffix}').write_bytes(b'')
    assert len(read_episode(bag, TASK)) == 1
    Path(f'{file_of(bag)}-journal').write_bytes(bytes(512))
    assert len(read_episode(bag, TASK)) == 1


def test_reading_leaves_no_file(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', arm(1.0), 'sqlite3')
    change(file_of(bag), 'PRAGMA journal_mode=wal')
    before = sorted(p.name for p in bag.iterdir())
    assert len(read_episode(bag, TASK)) == 1
    assert sorted(p.name for p in bag.iterdir()) == before


# Times.


@pytest.mark.parametrize('value', ["'abc'", '1.5', '-5', "x'00'"])
def test_a_receive_time_that_is_none_is_refused_by_topic(tmp_path: Path, value: str) -> None:
    bag = save(tmp_path / 'bag', arm(1.0), 'sqlite3')
    change(file_of(bag), f'UPDATE messages SET timestamp = {value} WHERE id = 1')
    refused(bag, r'bag\.db3: topic /joint_states: got receive time .* ns, allowed 0 to 9223372036854775807')


@pytest.mark.parametrize('received', [2**63, 2**64 - 1])
@pytest.mark.parametrize('summary', [False, True])
def test_a_receive_time_beyond_those_of_ros_is_refused_by_topic(tmp_path: Path, received: int, summary: bool) -> None:
    made: list[Stamped] = sorted(arm(1.0), key=lambda m: m[1])
    topic, _, message = made[-1]
    file = mcap_file(tmp_path / 'x.mcap', [*made[:-1], (topic, received, message)], summary=summary)
    refused(file, f'topic {topic}: got receive time {received} ns, allowed 0 to 9223372036854775807')


def test_such_a_time_is_refused_by_the_index_too(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', arm(1.0))
    data, last = file_of(bag).read_bytes(), max(t for _, t, _ in arm(1.0))
    file_of(bag).write_bytes(data.replace(struct.pack('<Q', last), struct.pack('<Q', 2**63 + 5)))
    refused(bag, f'topic /joint_states: got receive time {2**63 + 5} ns')


def test_rows_that_hold_no_bytes_are_refused(tmp_path: Path) -> None:
    bag = save(tmp_path / 'bag', arm(1.0), 'sqlite3')
    change(file_of(bag), "UPDATE messages SET data = 'text' WHERE id = 1")
    refused(bag, rf'bag\.db3: topic /joint_states at {T0} ns: got str, allowed bytes')
