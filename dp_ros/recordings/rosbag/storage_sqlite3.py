"""rosbag2's sqlite3 files, of every version of its schema."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from dp_ros.errors import DataError
from dp_ros.recordings.rosbag.metadata import Topic
from dp_ros.recordings.rosbag.storages import Raw, late

_ROWS = 65536
MOST_BYTES = 2**28
"""Of one value."""
_LEAST_WORK, _WORK_A_BYTE, _LOOK_EVERY = 10_000_000, 4, 100_000
"""Instructions of sqlite's that one question may take: honest rows take about one for each byte of the file."""
_HOT_JOURNAL = bytes.fromhex('d9d505f920a163d7')


class Sqlite3Storage:
    """One sqlite3 file, open. Neither it nor its folder is written to."""

    def __init__(self, path: Path) -> None:
        _check_whole(path)
        _check_closed(path)
        # Immutable, or sqlite makes a file beside it; a URI, where %, # and ? mean something.
        uri = f'file:{quote(os.fsencode(path.absolute()))}?immutable=1&mode=ro'
        self._size = path.stat().st_size
        self._work = 0
        self._base = sqlite3.connect(uri, uri=True)
        try:
            self._bound()
            rows = self._ask(
                'SELECT id, name, type, serialization_format, coalesce(count, 0) FROM topics LEFT JOIN '
                '(SELECT topic_id, count(*) AS count FROM messages GROUP BY topic_id) ON topic_id == id ORDER BY id'
            )
            self._ids = {number: _topic(*row) for number, *row in rows}
        except BaseException:
            self._base.close()
            raise
        self.topics: Sequence[Topic] = list(self._ids.values())

    def _bound(self) -> None:
        """Let nothing but the two tables be read, as they are stored: a view or a computed column may never end."""
        self._base.execute('PRAGMA trusted_schema = OFF')
        self._base.execute('PRAGMA cell_size_check = ON')
        self._base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
        self._base.set_progress_handler(self._worked, _LOOK_EVERY)
        for name in ('topics', 'messages'):
            found = self._ask('SELECT type, rootpage FROM sqlite_master WHERE name == ? COLLATE NOCASE', (name,))
            kinds = found.fetchmany(2)
            if len(kinds) != 1 or kinds[0][0] != 'table' or not kinds[0][1]:
                got = kinds[0][0] if kinds else 'nothing'
                raise DataError(f'damaged, or got {got} as {name} where a table belongs; allowed a whole bag')
            columns = self._ask('SELECT name, hidden FROM pragma_table_xinfo(?)', (name,)).fetchall()
            if any(hidden for _, hidden in columns):
                raise DataError(f'got computed columns in table {name}, allowed stored ones')

    def _ask(self, question: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        self._work = 0
        return self._base.execute(question, values)

    def _worked(self) -> bool:
        """Count, and whether it was too much: pages of a damaged file may lead back to themselves."""
        self._work += _LOOK_EVERY
        return self._work > max(_LEAST_WORK, _WORK_A_BYTE * self._size)

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def receive_times(self) -> Iterator[tuple[str, Sequence[int]]]:
        """Yield topics with receive times [ns], in parts; those of one topic in the order of the file."""
        rows = self._ask(
            "SELECT topic_id, timestamp FROM messages WHERE typeof(timestamp) != 'integer' OR timestamp < 0"
        )
        for number, received in rows:
            raise late(self._ids[number].name if number in self._ids else str(number), received)
        rows = self._ask('SELECT topic_id, timestamp FROM messages ORDER BY id')
        for part in iter(lambda: rows.fetchmany(_ROWS), []):
            times: dict[int, list[int]] = {}
            for number, received in part:
                times.setdefault(number, []).append(received)
            yield from ((self._ids[number].name, found) for number, found in times.items() if number in self._ids)

    def messages(self, wanted: Collection[tuple[str, str]]) -> Iterator[Raw]:
        """Yield the messages of the ``wanted`` topics (name and type), in order of receive time."""
        chosen = {number: (t.name, t.type) for number, t in self._ids.items() if (t.name, t.type) in wanted}
        rows = self._ask(
            'SELECT topic_id, timestamp, data FROM messages '
            f'WHERE topic_id IN ({", ".join("?" for _ in chosen)}) ORDER BY timestamp, id',
            list(chosen),
        )
        left = self._size
        for number, received, data in rows:
            topic, kind = chosen[number]
            if not isinstance(data, bytes):
                raise DataError(f'topic {topic} at {received} ns: got {type(data).__name__}, allowed bytes')
            left -= len(data)
            if left < 0:
                raise DataError(f'got messages of more bytes than the file has, {self._size}; allowed each once')
            yield topic, received, kind, data


def _topic(name: object, kind: object, encoding: object, count: int) -> Topic:
    if not isinstance(name, str) or not isinstance(kind, str):
        raise DataError(f'topic {name!r}: got type {kind!r}, allowed text for both')
    return Topic(name=name, type=kind, count=count, encoding=str(encoding))


def _check_whole(path: Path) -> None:
    """Raise :class:`DataError` if the file's end is missing: sqlite reads what is not there as zeros."""
    with path.open('rb') as file:
        header = file.read(100)
        size = file.seek(0, os.SEEK_END)
    page, pages = int.from_bytes(header[16:18], 'big'), int.from_bytes(header[28:32], 'big')
    whole = (65536 if page == 1 else page) * pages
    # The count of pages holds if the file's change counter is the one it was written with (sqlite.org/fileformat2).
    if size < whole and header[24:28] == header[92:96]:
        raise DataError(f'cut short, got {size} bytes of {whole}; allowed a whole bag')


def _check_closed(path: Path) -> None:
    """Raise :class:`DataError` if a log beside the file, of a recorder that was killed, holds a part of it."""
    log, journal = (path.with_name(path.name + suffix) for suffix in ('-wal', '-journal'))
    left = None
    if log.is_file() and log.stat().st_size:
        left = log
    elif journal.is_file():
        with journal.open('rb') as file:
            left = journal if file.read(8) == _HOT_JOURNAL else None
    if left:
        raise DataError(
            f'got {left.name} beside it, which holds what is not in it yet; allowed a database that was closed: open '
            f"it once, with sqlite3 {path.name} 'SELECT count(*) FROM messages'"
        )
