"""A latch that is released at the machine only: who may, what is left over, and the command."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dp_ros.cli.main import main
from dp_ros.errors import ConfigError, DataError
from dp_ros.nodes.trajectory_publisher import local_reset
from dp_ros.nodes.trajectory_publisher.local_reset import Answer, ResetSocket, ask, choose, listening, socket_path

NAME = '/left/trajectory_publisher'
DONE = Answer(success=True, message='reset after: a fault')


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder of its own for $ROS_HOME; pytest's are too long for a socket."""
    with tempfile.TemporaryDirectory(prefix='dp') as folder:
        monkeypatch.setenv('ROS_HOME', folder)
        yield Path(folder)


class Publisher:
    """Serves a socket as a publisher does, and counts the resets."""

    def __init__(self, name: str = NAME, domain: int = 7, latched: str = 'a fault') -> None:
        self.path, self.latched, self.resets = socket_path(domain, name), latched, 0
        self.socket = ResetSocket(self.path)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def serve(self) -> None:
        self.socket.serve(self.latched, self.reset)

    def reset(self) -> Answer:
        self.resets += 1
        self.latched = ''
        return DONE

    def live(self) -> None:
        def run() -> None:
            while not self._ended.wait(0.005):
                self.serve()

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.socket.close()


@pytest.fixture
def publisher() -> Iterator[Callable[..., Publisher]]:
    """Make publishers that are ended after the test."""
    made: list[Publisher] = []

    def make(*, live: bool = True, **options: Any) -> Publisher:
        made.append(Publisher(**options))
        if live:
            made[-1].live()
        return made[-1]

    yield make
    for one in made:
        one.end()


def knock(path: Path, request: bytes) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(path))
    if request:
        connection.send(request)
    return connection


def test_a_latch_is_released_once_its_reason_has_been_read(publisher):
    one = publisher()
    assert ask(one.path) == Answer(success=True, message='a fault')
    assert one.resets == 0
    assert ask(one.path, seen='a fault') == DONE
    assert one.resets == 1
    assert ask(one.path) == Answer(success=False, message='it is not stopped')


def test_who_has_read_another_reason_resets_nothing(publisher):
    one = publisher(latched='a second fault')
    answer = ask(one.path, seen='a fault')
    assert not answer.success
    assert answer.message == 'not reset: by now it is stopped for another reason: a second fault'
    assert one.resets == 0


def test_a_long_reason_is_cut_and_still_releases(publisher):
    one = publisher(latched='ö' * 50_000)
    assert ask(one.path, seen=ask(one.path).message) == DONE


@pytest.mark.parametrize('request_', [b'reset', b'[]', b'{}', b'\xff\xfe', b'[' * 5000, b'{"sean": null}'])
def test_what_is_no_request_resets_nothing(publisher, request_):
    one = publisher()
    with knock(one.path, request_) as connection:
        connection.settimeout(30.0)
        assert b'got something else' in connection.recv(1000)
    assert one.resets == 0
    assert ask(one.path).success


def test_a_request_that_nobody_waits_for_any_more_resets_nothing(publisher):
    one = publisher(live=False)
    knock(one.path, b'{"seen": "a fault"}').close()
    with knock(one.path, b'{"seen": "a fault"}'):
        one.serve()
        assert one.resets == 0
        one.serve()
        assert one.resets == 1


def test_who_knocks_and_says_nothing_keeps_others_waiting_for_a_while_only(publisher, monkeypatch):
    monkeypatch.setattr(local_reset, 'PATIENCE', 0.05)
    one = publisher()
    with knock(one.path, b''):
        assert ask(one.path, seen='a fault') == DONE


def test_an_error_while_resetting_reaches_the_publisher_and_leaves_nobody_waiting(publisher):
    one = publisher(live=False)

    def fail() -> Answer:
        raise OSError('no graph')

    with knock(one.path, b'{"seen": "a fault"}') as connection:
        with pytest.raises(OSError, match='no graph'):
            one.socket.serve('a fault', fail)
        assert connection.recv(100) == b''


def test_another_user_is_turned_away(publisher, monkeypatch):
    one = publisher(live=False)
    monkeypatch.setattr(os, 'geteuid', lambda: os.getuid() + 1)
    monkeypatch.setattr(local_reset, 'ROOT', -1)
    with knock(one.path, b'{"seen": "a fault"}') as connection:
        one.serve()
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    assert one.resets == 0


@pytest.mark.parametrize('mode', [0o755, 0o770, 0o701])
def test_a_folder_that_others_can_open_is_refused(home, mode):
    folder = home / local_reset.FOLDER
    folder.mkdir(parents=True)
    folder.chmod(mode)
    with pytest.raises(ConfigError, match=rf'allow_reset: got .*reset with owner .*, mode {mode:o}, allowed'):
        ResetSocket(socket_path(7, NAME))


def test_a_folder_that_is_a_link_elsewhere_is_refused(home, tmp_path):
    (home / local_reset.FOLDER).parent.mkdir()
    (home / local_reset.FOLDER).symlink_to(tmp_path)
    with pytest.raises(ConfigError, match=r'allow_reset: got .* allowed a folder of user'):
        ResetSocket(socket_path(7, NAME))


def test_the_folder_that_is_made_is_the_users_alone(publisher):
    assert publisher().path.parent.stat().st_mode & 0o777 == 0o700


def test_a_second_publisher_of_the_name_is_refused_and_the_first_still_heard(publisher):
    one = publisher()
    with pytest.raises(ConfigError, match=r'got another publisher of this name at .*, allowed one in a ROS domain'):
        ResetSocket(one.path)
    assert ask(one.path, seen='a fault') == DONE


def test_after_one_that_was_killed_the_next_one_listens(publisher):
    path = socket_path(7, NAME)
    room = 'dp_ros.nodes.trajectory_publisher.local_reset'
    script = f'import os\nfrom {room} import *\nResetSocket(Path({str(path)!r}))\nos._exit(0)'
    subprocess.run([sys.executable, '-c', script], check=True, timeout=60)
    assert path.exists()
    assert listening() == []
    publisher()
    assert listening() == [path]


def test_a_path_that_is_too_long_for_a_socket_is_refused(home, monkeypatch):
    monkeypatch.setenv('ROS_HOME', str(home / ('x' * 100)))
    with pytest.raises(ConfigError, match=r'got a socket path of 1\d\d bytes, .*, allowed 107: set ROS_HOME'):
        socket_path(7, NAME)


def test_of_several_publishers_one_must_be_named(publisher):
    left, right, same = publisher(), publisher(name='/trajectory_publisher'), publisher(domain=8)
    with pytest.raises(DataError, match=r'got /left/trajectory_publisher in ROS domain 7, /trajectory_publisher in'):
        choose()
    assert choose(node='/trajectory_publisher') == right.path
    assert choose(domain=8) == same.path
    assert choose(node=NAME, domain=7) == left.path
    with pytest.raises(DataError, match=r'got /left/trajectory_publisher in ROS domain 7, .*allowed one active'):
        choose(node='/arm/trajectory_publisher')


def test_without_a_publisher_the_command_says_what_it_looked_for(capsys):
    assert main(['reset', '--yes']) == 1
    assert 'error: reset: got (none) in ' in capsys.readouterr().err


def test_the_command_shows_the_reason_and_asks(publisher, capsys, monkeypatch):
    one = publisher()
    monkeypatch.setattr(sys.stdin, 'isatty', lambda: True, raising=False)
    questions: list[str] = []

    def no(question: str) -> str:
        questions.append(question)
        return 'n'

    monkeypatch.setattr('builtins.input', no)
    assert main(['reset']) == 1
    assert one.resets == 0
    shown = capsys.readouterr().out
    assert f'{NAME} in ROS domain 7 is stopped: a fault\n' in shown
    assert questions == ['May the arm move again? [y/N] ']
    monkeypatch.setattr('builtins.input', lambda _: 'y')
    assert main(['reset']) == 0
    assert one.resets == 1
    assert 'reset after: a fault' in capsys.readouterr().out
    assert main(['reset']) == 0
    assert 'it is not stopped' in capsys.readouterr().out


def test_without_a_terminal_the_command_resets_nothing_unless_told(publisher, capsys, monkeypatch):
    one = publisher()
    monkeypatch.setattr(sys.stdin, 'isatty', lambda: False, raising=False)
    assert main(['reset']) == 1
    assert 'got no terminal to ask at, allowed --yes' in capsys.readouterr().err
    assert one.resets == 0
    assert main(['reset', '--yes']) == 0
    assert one.resets == 1
