"""Recordings that cannot be read: each refuses the training, or, where that was asked for, is left out by name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from tqdm import tqdm

from dp_ros.errors import DataError, check_choice

BrokenRecordings = Literal['refuse', 'skip']
SHOWN = 3  # reasons, where nothing is left
MACHINE = ('SQLITE_CANTOPEN', 'SQLITE_FULL', 'SQLITE_IOERR', 'SQLITE_NOMEM', 'SQLITE_PERM')


def is_broken(error: DataError) -> bool:
    """Whether it is the recording that is wrong, and not the machine that reads it: its memory, disk or packages."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError | MemoryError | ImportError):
            return False
        if isinstance(cause, sqlite3.Error) and getattr(cause, 'sqlite_errorname', '').startswith(MACHINE):
            return False
        cause = cause.__cause__
    return True


class Broken:
    """What happens to recordings that cannot be read, and which they were.

    ``refuse`` raises the first one's error; ``skip`` goes on without each, with a line to ``report``, and ``skipped``
    says why, by its path.
    """

    def __init__(self, recordings: BrokenRecordings = 'refuse', report: Callable[[str], object] = tqdm.write) -> None:
        check_choice('broken_recordings', recordings, get_args(BrokenRecordings))
        self._report = report
        self._refuse = recordings == 'refuse'
        self.skipped: dict[str, str] = {}

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Deal with the DataError of a recording that is read inside; of any other error not."""
        try:
            yield
        except DataError as error:
            if self._refuse or not is_broken(error):
                raise
            self.skipped[str(path)] = str(error)
            self._report(f'skipped: {error}')

    def check(self, found: int) -> None:
        """Raise DataError if none of the ``found`` recordings could be read."""
        if found and len(self.skipped) == found:
            some = '; '.join(list(self.skipped.values())[:SHOWN])
            raise DataError(f'recordings: got {found}, all broken, allowed one or more that can be read: {some}')
