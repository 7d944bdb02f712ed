"""The two kinds of file that rosbag2 stores recordings in, mcap and sqlite3, under one roof.

Definitions of message types are not needed here (see `dp_ros.recordings.rosbag.reader`), and are not looked at: of a
type that it lacks, rosbag2 writes the definition's encoding as 'unknown' or as nothing at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from dp_ros.errors import DataError, one_line
from dp_ros.recordings.rosbag.metadata import Topic

Raw = tuple[str, int, str, bytes]
"""A topic, when its message was received [ns], its ROS type, and its bytes."""
STORAGE_OF: Mapping[str, str] = {'.mcap': 'mcap', '.db3': 'sqlite3'}
"""Storages by the files' suffix."""
LATEST = 2**63 - 1
"""The latest time that ROS can tell [ns]."""


class Storage(Protocol):
    """One file, open. Topics are told apart by name and type."""

    topics: Sequence[Topic]

    def receive_times(self) -> Iterator[tuple[str, Sequence[int]]]:
        """Yield topics with receive times [ns], in parts; those of one topic in the order of the file."""

    def messages(self, wanted: Collection[tuple[str, str]]) -> Iterator[Raw]:
        """Yield the messages of the ``wanted`` topics (name and type), in order of receive time."""

    def close(self) -> None:
        """Close the file."""


@contextmanager
def of_file(name: str) -> Iterator[None]:
    """Make any error within a :class:`DataError` that names the file, unless that is what the bag is called.

    A damaged file fails in as many ways as there are bytes.
    """
    where = name and f'{name}: '
    try:
        yield
    except DataError as error:
        raise DataError(f'{where}{error}') from error
    except Exception as error:
        reason = f'{type(error).__name__}: {one_line(str(error))}'
        raise DataError(f'{where}damaged, cut short or of no known format ({reason}); allowed a whole bag') from error


def late(topic: str, received: object) -> DataError:
    """Return the error of a receive time that is none."""
    return DataError(f'topic {topic}: got receive time {received!r} ns, allowed 0 to {LATEST}')
