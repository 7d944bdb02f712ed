"""What a trajectory_publisher leaves behind for the next: whether it was stopped until `~/reset`, and whether it runs.

One small file for each publisher, below ``$ROS_HOME``. Who finds there that the one before was killed or has crashed
while it was active starts stopped, and so does who finds a file that cannot be read. An orderly end clears it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rclpy.node import Node

from dp_ros.errors import ConfigError
from dp_ros.paths import ros_home

FOLDER = Path('dp_ros') / 'latch'
LARGEST = 100_000  # bytes; a file of ours has a few hundred
LONGEST = 1000  # characters of a reason that are kept
AGAIN = 'before this start: '  # what a reason begins with that an earlier process left
UNREADABLE = (OSError, ValueError, TypeError, KeyError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A process that runs a publisher. The number alone may be another's by now, after a restart of the machine too."""

    pid: int
    started: int
    boot: str

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return self == mark_of(self.pid)


def mark_of(pid: int) -> Mark | None:
    """Return the mark of a process, or None if there is none of this number."""
    try:
        # The name in brackets may hold anything; the 22nd field is when it was started, in ticks since the boot.
        fields = Path(f'/proc/{pid}/stat').read_text(errors='replace').rpartition(')')[2].split()
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    except OSError:
        return None
    if fields[0] in 'ZX':
        return None  # it has ended, and its parent has not looked yet
    return Mark(pid=pid, started=int(fields[19]), boot=boot)


class LatchStore:
    """Keeps the latch of one publisher in a file. Written when the node begins, is latched, released, or ends.

    Parameters
    ----------
    path
        The file.
    keep
        Whether a latch outlives an orderly end as well.
    say
        Logs that the file could not be written. It then says what it said: that the publisher runs, or is stopped, so
        that the next one starts stopped rather than not.

    """

    def __init__(self, path: Path, *, keep: bool = False, say: Callable[[str], object]) -> None:
        self.path, self._keep, self._say = path, keep, say
        self._reason = ''
        self._own = mark_of(os.getpid()) or Mark(pid=os.getpid(), started=0, boot='')

    def begin(self) -> str:
        """Note that the publisher runs; return why it must start stopped, or ''.

        Raises
        ------
        ConfigError
            If the file cannot be written: then nothing would be known after an abnormal end.

        """
        self._reason = self._found()
        try:
            self._write(running=True)
        except OSError as error:
            raise ConfigError(
                f'state_folder: got {str(self.path.parent)!r}, where no file can be written ({error}), allowed a '
                'folder that this user may write to; empty: $ROS_HOME, or ~/.ros'
            ) from error
        return self._reason

    def latched(self, reason: str) -> None:
        """Note that the arm is stopped until `released`."""
        self._reason = reason[:LONGEST]
        self._note(running=True)

    def released(self) -> None:
        """Note that the arm may move again."""
        self._reason = ''
        self._note(running=True)

    def rest(self) -> None:
        """Note that the publisher was stopped as somebody wanted; a latch stays."""
        self._note(running=False)

    def end(self) -> None:
        """Note that the process ends in order: a latch goes with it, unless it is to be kept."""
        self._reason = self._reason if self._keep else ''
        self._note(running=False)

    def _found(self) -> str:
        try:
            reason, marks = self._read()
        except FileNotFoundError:
            return self._reason
        except UNREADABLE as error:
            return f'{AGAIN}{self.path} cannot be read, so it counts as stopped: {error}'[:LONGEST]
        dead = [mark for mark in marks if not mark.alive]
        if dead:
            numbers = ', '.join(str(mark.pid) for mark in dead)
            was = f'; it was stopped: {reason.removeprefix(AGAIN)}' if reason else ''
            return f'{AGAIN}the publisher that ran then (process {numbers}) ended abnormally{was}'[:LONGEST]
        if not reason or reason == self._reason or reason.startswith(AGAIN):
            return reason or self._reason
        return f'{AGAIN}{reason}'[:LONGEST]

    def _note(self, *, running: bool) -> None:
        try:
            self._write(running=running)
        except OSError as error:
            self._say(f'{self.path} cannot be written: {error}')

    def _read(self) -> tuple[str, list[Mark]]:
        with self.path.open('rb') as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f'got more than {LARGEST} bytes')
        content = json.loads(data)
        reason, marks = content['latched'], [Mark(**mark) for mark in content['running']]
        if not isinstance(reason, str) or not all(isinstance(mark.pid, int) for mark in marks):
            raise ValueError('got values of other types than it is written with')
        return reason, marks

    def _write(self, *, running: bool) -> None:
        marks = []
        with suppress(*UNREADABLE):
            marks = [mark for mark in self._read()[1] if mark != self._own and mark.alive]
        marks += [self._own] if running else []
        content = {'latched': self._reason, 'running': [asdict(mark) for mark in marks]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f'{self.path.name}.{os.getpid()}.new')
        with new.open('w') as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)


def latch_file(node: Node, folder: str) -> Path:
    """Return the file of a node's latch: by its ROS domain and its full name, below ``folder`` or ``$ROS_HOME``."""
    name = node.get_fully_qualified_name().strip('/').replace('/', '.')
    return ros_home(folder) / FOLDER / f'{node.context.get_domain_id()}.{name}.json'
