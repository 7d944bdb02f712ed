"""What one publisher leaves behind for the next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.errors import ConfigError
from dp_ros.nodes.trajectory_publisher.latch_store import LatchStore, mark_of

ANOTHER = """
import sys
from pathlib import Path
from dp_ros.nodes.trajectory_publisher.latch_store import LatchStore
store = LatchStore(Path(sys.argv[1]), say=print)
store.begin()
for call in sys.argv[2:]:
    name, _, reason = call.partition(':')
    getattr(store, name)(*([reason] if reason else []))
print('begun', flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'dp_ros' / 'latch' / '1.left.trajectory_publisher.json'


def store(path: Path, *, keep: bool = False) -> LatchStore:
    return LatchStore(path, keep=keep, say=pytest.fail)


def another(path: Path, *calls: str) -> subprocess.Popen[str]:
    """Start a process with a store that has begun, and has been told this."""
    process = subprocess.Popen(
        [sys.executable, '-c', ANOTHER, str(path), *calls], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and 'begun' in process.stdout.readline()
    return process


def killed(path: Path, *calls: str) -> int:
    process = another(path, *calls)
    process.kill()
    process.wait()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    return process.pid


def test_the_first_one_starts_free(path):
    assert store(path).begin() == ''


def test_after_an_orderly_end_the_next_starts_free(path):
    first = store(path)
    first.begin()
    first.latched('~/hold was called')
    first.end()
    assert store(path).begin() == ''


def test_a_latch_that_is_kept_outlives_an_orderly_end(path):
    first = store(path, keep=True)
    first.begin()
    first.latched('~/hold was called')
    first.end()
    second = store(path, keep=True)
    assert second.begin() == 'before this start: ~/hold was called'
    second.released()
    second.end()
    assert store(path, keep=True).begin() == ''


def test_who_follows_one_that_was_killed_starts_stopped_until_it_is_released(path):
    pid = killed(path)
    second = store(path)
    assert second.begin() == f'before this start: the publisher that ran then (process {pid}) ended abnormally'
    assert second.begin() != '', 'it is still stopped when it is activated again'
    second.released()
    assert second.begin() == ''


def test_the_reason_of_one_that_was_killed_is_told_once_however_often_they_are(path):
    killed(path, 'latched:far off')
    pid = killed(path)
    said = store(path).begin()
    assert said.startswith(f'before this start: the publisher that ran then (process {pid}) ended abnormally; it was')
    assert said.endswith('far off')
    assert said.count('before this start') == 1


def test_one_killed_while_it_was_deactivated_leaves_its_latch_and_no_more(path):
    killed(path, 'latched:far off', 'rest')
    assert store(path).begin() == 'before this start: far off'
    path.unlink()
    killed(path, 'rest')
    assert store(path).begin() == ''


def test_another_of_the_name_that_lives_has_not_ended_abnormally_and_its_end_is_noticed_later(path):
    process = another(path)
    first = store(path)
    assert first.begin() == ''
    first.end()
    process.kill()
    process.communicate()
    assert f'process {process.pid}' in store(path).begin()


def test_another_process_with_the_number_of_the_one_that_ran_is_not_it(path):
    store(path).begin()
    content = json.loads(path.read_text())
    content['running'][0]['started'] -= 1
    path.write_text(json.dumps(content))
    assert f'process {os.getpid()}' in store(path).begin()


def test_a_process_of_another_boot_has_ended(path):
    store(path).begin()
    content = json.loads(path.read_text())
    content['running'][0]['boot'] = 'another'
    path.write_text(json.dumps(content))
    assert 'ended abnormally' in store(path).begin()


def test_deactivated_and_activated_a_latch_stays(path):
    one = store(path)
    one.begin()
    one.latched('far off')
    one.rest()
    assert one.begin() == 'far off'
    path.unlink()
    assert one.begin() == 'far off', 'the process knows it without the file'


@pytest.mark.parametrize(
    'content',
    [
        b'', b'{', b'[]', b'null', b'{"latched": ""}', b'{"latched": 1, "running": []}', b'\xff\xfe', b'[' * 50_000,
        b'{"latched": "", "running": [1]}', b'{"latched": "", "running": [{"pid": 1}]}',
        b'{"latched": "", "running": 5}',
        b'{"latched": "", "running": [{"pid": "x", "started": 1, "boot": ""}]}', b' ' * 200_000,
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_counts_as_stopped(path, content):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    one = store(path)
    assert f'{path} cannot be read, so it counts as stopped' in one.begin()
    one.released()
    assert store(path).begin() == ''


def test_a_folder_where_nothing_can_be_written_is_refused_with_what_to_set(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match=r'state_folder: got .* allowed a folder that this user may write to'):
        store(tmp_path / 'file' / 'dp_ros' / 'x.json').begin()


def test_a_folder_that_is_gone_later_is_said_and_raises_nothing(path):
    said: list[str] = []
    one = LatchStore(path, say=said.append)
    one.begin()
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text('')
    one.latched('far off')
    assert 'cannot be written' in said[0]


def test_no_half_written_file_is_left(path):
    one = store(path)
    one.begin()
    one.latched('x' * 100_000)
    one.rest()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert store(path).begin().endswith('xxx')


def test_a_process_that_never_was_has_no_mark():
    assert mark_of(2**31 - 1) is None
    mark = mark_of(os.getpid())
    assert mark is not None and mark.alive
