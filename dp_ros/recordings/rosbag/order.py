"""The order of messages in recordings: which clocks were set back, and several files read as one."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from operator import itemgetter

from dp_ros.data import NANOSECONDS
from dp_ros.errors import DataError
from dp_ros.recordings.rosbag.storages import Raw, Storage, of_file

SLACK = NANOSECONDS
"""By how much receive times may run backwards in the order of a file [ns].

rosbag2 writes from caches that several threads fill, and when a file is split the new one may begin before the old one
is full, so messages come some milliseconds out of order. A clock that was set back, or a simulated world that was
reset, goes back by seconds; sorted by time, two stretches of the recording would then be mixed up.
"""

APART = 10 * NANOSECONDS
"""By how much a file may begin after the one before ended and still be a piece of the same recording [ns].

Pieces abut: a recorder closes one and opens the next between two messages.
"""


def check_order(files: Iterable[tuple[str, Storage]], *, listed: bool = True) -> list[int]:
    """Return the first receive time of each file [ns]; refuse clocks that were set back, in the order of the files.

    Each topic is looked at by itself: whether one was written after another tells nothing of the clock. ``listed`` says
    whether anything but their names makes the files pieces of one recording.

    Raises
    ------
    DataError
        If receive times run backwards, or files that are not listed lie apart.

    """
    newest: dict[str, tuple[int, str]] = {}
    starts: list[int] = []
    for name, storage in files:
        start = None
        ended = max((last for last, _ in newest.values()), default=None)
        with of_file(name):
            for topic, times in storage.receive_times():
                if not times:
                    continue  # recorders index channels that a part of the file has nothing of
                last, where = newest.get(topic, (0, name))
                for received in times:
                    if received > last:
                        last, where = received, name
                    elif received < last - SLACK:
                        raise _set_back(topic, last, received, '' if where == name else where)
                newest[topic] = last, where
                start = min(times) if start is None else min(start, min(times))
        if not listed and ended is not None and start is not None and start > ended + APART:
            raise DataError(
                f'{name} begins {(start - ended) / NANOSECONDS:.1f} s after the file before it ended, and no '
                f'metadata.yaml says that they are one recording; allowed {APART / NANOSECONDS:g} s: '
                'give recordings of their own folders of their own'
            )
        starts.append(start or 0)
    return starts


def _set_back(topic: str, last: int, received: int, before: str) -> DataError:
    seconds = (last - received) / NANOSECONDS
    if before:
        return DataError(
            f'receive times of {topic} begin {seconds:.1f} s before those of {before} end, at {received} ns after '
            f'{last} ns; allowed the pieces of one recording, one after another: others belong in folders of their own'
        )
    return DataError(
        f'receive times of {topic} run backwards by {seconds:.1f} s in the order of the file, at {last} ns: then comes '
        f'{received} ns; allowed one clock that is not set back: cut the recording there'
    )


def in_order(messages: Iterable[Raw]) -> Iterator[Raw]:
    """Yield messages that are out of order by no more than `SLACK` in order of receive time."""
    waiting: list[tuple[int, int, Raw]] = []
    given = newest = 0
    for number, message in enumerate(messages):
        received = message[1]
        newest = max(newest, received)
        if received < given:
            raise DataError(
                f'topic {message[0]} at {received} ns: out of order by {(newest - received) / NANOSECONDS:.1f} s in a '
                f'file without an index; allowed {SLACK / NANOSECONDS:g} s: sort it (mcap sort, ros2 bag convert)'
            )
        heapq.heappush(waiting, (received, number, message))
        while waiting[0][0] < newest - SLACK:
            given, _, message = heapq.heappop(waiting)
            yield message
    yield from (heapq.heappop(waiting)[2] for _ in range(len(waiting)))


def merged(streams: Iterable[tuple[int, Iterator[Raw]]]) -> Iterator[Raw]:
    """Merge streams, each with the time that it starts at, or before; none is asked before it is its turn."""
    yield from (m for m in heapq.merge(*(_late(*s) for s in streams), key=itemgetter(1)) if m[0])


def _late(start: int, stream: Iterator[Raw]) -> Iterator[Raw]:
    yield '', start, '', b''
    yield from stream
