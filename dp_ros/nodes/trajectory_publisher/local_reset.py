"""Release a latch at the machine only: a socket in place of the service, which the whole network can call.

The publisher listens at a Unix socket below ``$ROS_HOME`` while it is active, in a folder that nobody but its user can
open, and `dp_ros reset` knocks there. So no network reaches it, a knock is answered at once or not at all, and none is
left over for a later latch. Nothing here needs ROS.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.motion.settings.publisher import RESET_COMMAND
from dp_ros.paths import ros_home

FOLDER = Path('dp_ros') / 'reset'
SUFFIX = '.sock'
LONGEST_PATH = 107  # bytes, of a Unix socket on Linux
LONGEST = 20_000  # bytes of a request or an answer
SHOWN = 1000  # characters of a reason that are shown, and compared
PATIENCE = 1.0  # [s] for which whoever knocks and says nothing keeps others waiting
ANSWER_WITHIN = 10.0  # [s]
ROOT = 0  # may do anything anyway
CREDENTIALS = struct.Struct('3i')  # process, user and group of a peer


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a publisher answers.

    Attributes
    ----------
    success
        Whether the latch was released; to the question for its reason, whether there is one.
    message
        Why, or why not; to that question, the reason.

    """

    success: bool
    message: str


ONLY_HERE = Answer(
    success=False,
    message="not reset: allow_reset is 'local', so it is done by a person at the publisher's machine, by "
    f'`{RESET_COMMAND}`',
)


class ResetSocket:
    """The publisher's side. Nothing here waits, so that a timer may call `serve`.

    Parameters
    ----------
    path
        Where to listen, see `socket_path`.

    Raises
    ------
    ConfigError
        If the folder is not the user's alone, or another publisher of this name listens there.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._caller: tuple[socket.socket, float] | None = None
        make_private(path.parent)
        self._lock = _lock(path)
        path.unlink(missing_ok=True)  # of one that was killed: whoever lives has the lock
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.setblocking(False)
            self._socket.bind(str(path))
            self._socket.listen(4)
        except OSError as error:
            self.close()
            raise ConfigError(f'allow_reset: got no socket at {path} ({error}), allowed one there') from error

    def serve(self, latched: str, reset: Callable[[], Answer]) -> None:
        """Answer one request, if one has come.

        Parameters
        ----------
        latched
            The reason of the latch, or ''.
        reset
            Releases it, or says why not.

        """
        self._caller = self._caller or self._accepted()
        if self._caller is None:
            return
        connection, since = self._caller
        try:
            request = connection.recv(LONGEST)
        except BlockingIOError:
            if time.monotonic() - since < PATIENCE:
                return
            request = b''
        except OSError:
            request = b''
        self._caller = None
        with connection:
            if request and not _gone(connection):
                answer = _answer(request, latched[:SHOWN], reset)
                with suppress(OSError):
                    connection.send(json.dumps(asdict(answer)).encode())

    def close(self) -> None:
        """Listen no more; who still waits for an answer gets none."""
        if self._caller is not None:
            self._caller[0].close()
            self._caller = None
        self._socket.close()
        self._path.unlink(missing_ok=True)
        os.close(self._lock)

    def _accepted(self) -> tuple[socket.socket, float] | None:
        try:
            connection, _ = self._socket.accept()
        except OSError:  # nobody there, or gone again
            return None
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        if CREDENTIALS.unpack(peer)[1] not in (os.geteuid(), ROOT):
            connection.close()
            return None
        connection.setblocking(False)
        return connection, time.monotonic()


def _answer(request: bytes, latched: str, reset: Callable[[], Answer]) -> Answer:
    try:
        seen = json.loads(request)['seen']
    except (ValueError, TypeError, KeyError, RecursionError):
        return Answer(success=False, message='request: got something else, allowed what `dp_ros reset` sends')
    if seen is None:
        return Answer(success=bool(latched), message=latched or 'it is not stopped')
    if seen != latched:  # it was released and has latched again, while the person was reading
        return Answer(success=False, message=f'not reset: by now it is stopped for another reason: {latched or "none"}')
    return reset()


def _gone(connection: socket.socket) -> bool:
    """Return whether the other side has hung up: a reset that was not waited for must not happen later."""
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False


def _lock(path: Path) -> int:
    lock = os.open(path.with_suffix('.lock'), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ConfigError(
            f'allow_reset: got another publisher of this name at {path}, allowed one in a ROS domain'
        ) from None
    return lock


# Where.


def reset_folder() -> Path:
    """Return the folder of the sockets, below ``$ROS_HOME`` or ``~/.ros``."""
    return ros_home() / FOLDER


def socket_path(domain: int, name: str) -> Path:
    """Return where the publisher of a fully qualified name in a ROS domain listens."""
    path = reset_folder() / f'{domain}{name.replace("/", ".")}{SUFFIX}'
    length = len(os.fsencode(path))
    if length > LONGEST_PATH:
        raise ConfigError(
            f'allow_reset: got a socket path of {length} bytes, {path}, allowed {LONGEST_PATH}: set ROS_HOME to a '
            'shorter one'
        )
    return path


def make_private(folder: Path) -> None:
    """Make a folder that only this user can open, or check that it is one."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(f'allow_reset: got {folder} ({error}), allowed a folder that can be made there') from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        got = f'owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o}'
        raise ConfigError(
            f'allow_reset: got {folder} with {got}, allowed a folder of user {os.geteuid()} with mode 700: whoever '
            'else could open it could release a latch'
        )


# The person's side.


def listening(*, node: str | None = None, domain: int | None = None) -> list[Path]:
    """Return the sockets of all publishers that listen, or of those with this name and in this ROS domain."""
    found = []
    for path in sorted(reset_folder().glob(f'*{SUFFIX}')):
        number, name = _parts(path)
        fits = node in (None, name) and domain in (None, number)
        if fits and _listens(path):
            found.append(path)
    return found


def choose(*, node: str | None = None, domain: int | None = None) -> Path:
    """Return the socket of the one publisher that fits.

    Raises
    ------
    DataError
        If none or several do.

    """
    found = listening(node=node, domain=domain)
    if len(found) != 1:
        everyone = listed(describe(path) for path in listening()) if not found else listed(map(describe, found))
        raise DataError(
            f'reset: got {everyone} in {reset_folder()}, allowed one active trajectory_publisher of this user with '
            'allow_reset: local; --node and --domain choose'
        )
    return found[0]


def describe(path: Path) -> str:
    """Return whose socket this is, for people."""
    number, name = _parts(path)
    return f'{name} in ROS domain {number}'


def ask(path: Path, *, seen: str | None = None) -> Answer:
    """Ask a publisher for the reason of its latch, or, with the reason that a person has seen, to release it.

    Raises
    ------
    DataError
        If it does not answer.

    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(ANSWER_WITHIN)
        try:
            connection.connect(str(path))
            connection.send(json.dumps({'seen': seen}).encode())
            return Answer(**json.loads(connection.recv(LONGEST)))
        except (OSError, ValueError, TypeError) as error:
            text = f'{describe(path)}: got no answer ({error}), allowed one within {ANSWER_WITHIN} s'
            raise DataError(text) from error


def _parts(path: Path) -> tuple[int, str]:
    number, *names = path.name.removesuffix(SUFFIX).split('.')
    return int(number) if number.isdecimal() else -1, '/' + '/'.join(names)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(ANSWER_WITHIN)
        try:
            connection.connect(str(path))
        except OSError:  # a publisher that was killed leaves the file
            return False
    return True
