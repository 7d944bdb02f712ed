"""Keep what became of episodes in a small SQLite file.

The file holds one table, and says by SQLite's `application_id` whose it is; any other is refused, and left as it is.
Times are seconds since 1970, as the computer's clock had them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from dp_ros.bounded_files import open_regular
from dp_ros.errors import DataError, check_choice

Outcome = Literal['success', 'failure', 'unknown']
Source = Literal['world', 'person', 'none']
APPLICATION = 0x64704F43  # 'dpOC'
VERSION = 1
MOST_EPISODES = 100_000
"""Of which the oldest are removed."""
MOST_BYTES = 2**28
MOST_TEXT = 500
PATIENCE = 5.0  # [s] for somebody else who writes
_TABLE = (
    'CREATE TABLE episodes (began REAL NOT NULL, ended REAL NOT NULL, outcome TEXT NOT NULL, source TEXT NOT NULL, '
    'bundle TEXT NOT NULL, foretold INTEGER NOT NULL, note TEXT NOT NULL)'
)


@dataclass(frozen=True, kw_only=True)
class EpisodeOutcome:
    """What became of one episode.

    Attributes
    ----------
    outcome
        ``unknown`` where nobody knows: it was cut off, say.
    source
        Who knows it: the simulated world, or a person.
    bundle
        The policy's name.
    foretold
        Whether the monitor foretold a failure in it.

    """

    began: float
    ended: float
    outcome: Outcome
    source: Source = 'none'
    bundle: str = ''
    foretold: bool = False
    note: str = ''

    def __post_init__(self) -> None:
        check_choice('outcome', self.outcome, get_args(Outcome))
        check_choice('source', self.source, get_args(Source))
        if not 0.0 <= self.began <= self.ended < 1e11:
            raise DataError(f'episode: got began {self.began} and ended {self.ended}, allowed times, in this order')
        for name in ('bundle', 'note'):
            if len(getattr(self, name)) > MOST_TEXT:
                raise DataError(f'{name}: got {len(getattr(self, name))} characters, allowed up to {MOST_TEXT}')


_NAMES = tuple(f.name for f in fields(EpisodeOutcome))


class OutcomeStore:
    """The file, with its folder made if it is not there and ``make`` says so; a context manager that closes it.

    Raises
    ------
    DataError
        If it is another file than one of these, damaged, or too large.

    """

    def __init__(self, path: Path, *, make: bool = True) -> None:
        self.path = path
        if path.exists() or path.is_symlink():
            with open_regular(path) as file:  # refuses what is no file: SQLite would wait for a pipe
                size = file.seek(0, 2)
            if size > MOST_BYTES:
                raise DataError(f'{path}: got {size} bytes, allowed up to {MOST_BYTES}')
        elif not make:
            raise DataError(f'{path}: got no such file, allowed one that outcomes were counted in')
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            self._open(make)
        except sqlite3.Error as error:
            self._base.close()
            raise DataError(f'{path}: cannot be read ({error}), allowed a file of outcomes') from error
        except BaseException:
            self._base.close()
            raise

    def _open(self, make: bool) -> None:
        self._base.execute('PRAGMA trusted_schema = OFF')
        self._base.execute('PRAGMA cell_size_check = ON')
        tables = self._base.execute('SELECT type, name, sql FROM sqlite_master').fetchall()
        if not tables and make:
            self._base.execute(f'PRAGMA application_id = {APPLICATION}')
            self._base.execute(f'PRAGMA user_version = {VERSION}')
            self._base.execute(_TABLE)
            return
        ((application,),) = self._base.execute('PRAGMA application_id').fetchall()
        ((version,),) = self._base.execute('PRAGMA user_version').fetchall()
        if application != APPLICATION or version != VERSION or tables != [('table', 'episodes', _TABLE)]:
            raise DataError(f'{self.path}: got another SQLite file, allowed one of outcomes, version {VERSION}')

    def __enter__(self) -> OutcomeStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def add(self, episode: EpisodeOutcome) -> None:
        """Add an episode; DataError if the file can't be written."""
        marks = ', '.join('?' * len(_NAMES))
        try:
            self._base.execute('BEGIN IMMEDIATE')
            self._base.execute(f'INSERT INTO episodes ({", ".join(_NAMES)}) VALUES ({marks})', astuple(episode))
            self._base.execute(
                'DELETE FROM episodes WHERE rowid <= (SELECT max(rowid) FROM episodes) - ?', (MOST_EPISODES,)
            )
            self._base.execute('COMMIT')
        except sqlite3.Error as error:
            if self._base.in_transaction:
                self._base.execute('ROLLBACK')
            raise DataError(f'{self.path}: cannot be written ({error}), allowed a file that can') from error

    def episodes(self, newest: int = MOST_EPISODES, since: float = 0.0) -> Sequence[EpisodeOutcome]:
        """Return the ``newest`` episodes that ended at ``since`` or later, the oldest of them first."""
        asked = f'SELECT {", ".join(_NAMES)} FROM episodes WHERE ended >= ? ORDER BY rowid DESC LIMIT ?'
        try:
            rows = self._base.execute(asked, (since, newest)).fetchall()
            return [_episode(row) for row in reversed(rows)]
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise DataError(f'{self.path}: damaged ({error}), allowed what was written') from error


def _episode(row: Sequence[object]) -> EpisodeOutcome:
    values = dict(zip(_NAMES, row, strict=True))
    return EpisodeOutcome(**{**values, 'foretold': bool(values['foretold'])})  # type: ignore[arg-type]
