"""rosbag2 recordings, read and written with rosbags: no ROS needed.

Only the topics asked for are decoded, with the message types of ROS 2 Jazzy. What else a bag holds, vendors' types
without a definition included, is known by name alone.
"""

from __future__ import annotations

import heapq
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.rosbag2 import StoragePlugin, Writer

from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.training.bag_types import deserialize, typestore
from dp_ros.training.bag_types import rosbags_types as rosbags_types
from dp_ros.training.storages import TolerantReader

STORAGES: Mapping[str, StoragePlugin] = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
_SUFFIXES = ('.mcap', '.db3')

Stamped = tuple[str, int, Any]
"""A topic, when its message was received [ns], and the message."""


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic in a bag: its ROS type and how many messages it has."""

    type: str
    count: int


def find_bags(path: Path | str) -> list[Path]:
    """Return every bag at or under ``path``, in order of name: folders, or single storage files. Hidden ones are not.

    A folder is a bag if it holds metadata.yaml, or storage files without one (a recorder that was killed).
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f'bag {path}: does not exist; allowed a rosbag2 folder, a file (.mcap, .db3), or a tree of them'
        )
    if path.is_file() or _is_bag(path):
        return [path]
    inner = [p for p in sorted(path.rglob('*')) if p.is_dir() and _is_bag(p)]
    bags = [p for p in inner if not any(part.startswith('.') for part in p.relative_to(path).parts)]
    if not bags:
        raise DataError(f'bag {path}: got a folder with no rosbag2 recording in it, allowed one or more')
    return bags


def _is_bag(folder: Path) -> bool:
    return (folder / 'metadata.yaml').exists() or bool(_storage_files(folder))


def _storage_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES)


class BagReader:
    """One bag, open for reading; a context manager.

    Anything that cannot be read is a :class:`DataError` that names the bag.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.topics: dict[str, Topic] = {}
        self._stack = ExitStack()
        self._readers: list[TolerantReader] = []

    def __enter__(self) -> BagReader:
        """Open the bag and list its topics."""
        if not self.path.exists():
            raise DataError(f'bag {self.path}: does not exist; allowed a rosbag2 folder or file (.mcap, .db3)')
        plain = self.path.is_dir() and not (self.path / 'metadata.yaml').exists()
        paths = _storage_files(self.path) if plain else [self.path]
        if not paths:
            raise DataError(f'bag {self.path}: got a folder without metadata.yaml, .mcap or .db3, allowed one of them')
        try:
            self._readers = [self._stack.enter_context(TolerantReader(path)) for path in paths]
        except Exception as error:  # A damaged file fails in as many ways as there are bytes.
            self._stack.close()
            raise self._unreadable(error) from error
        for reader in self._readers:
            for c in reader.connections:
                self._add(c.topic, c.msgtype, c.msgcount)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bag."""
        self._stack.close()

    def _add(self, topic: str, kind: str, count: int) -> None:
        known = self.topics.get(topic)
        if known and known.type != kind:
            raise DataError(f'bag {self.path} topic {topic}: got types {known.type} and {kind}, allowed one')
        self.topics[topic] = Topic(type=kind, count=count + (known.count if known else 0))

    def _unreadable(self, error: Exception) -> DataError:
        reason = f'{type(error).__name__}: {error}'
        return DataError(f'bag {self.path}: damaged, cut short or of no known format ({reason}); allowed a whole bag')

    def messages(self, wanted: Mapping[str, Collection[str]]) -> Iterator[Stamped]:
        """Yield the messages of the ``wanted`` topics (each with the types it may have), in order of receive time.

        Events of services stay serialized: their definitions come with the service's package, which is not here.
        """
        self.check(wanted)
        return self._decoded(wanted)

    def check(self, wanted: Mapping[str, Collection[str]]) -> None:
        """Raise :class:`DataError` unless the bag has every wanted topic, with messages, of an allowed type."""
        if not sum(topic.count for topic in self.topics.values()):
            raise DataError(f'bag {self.path}: got 0 messages, allowed 1 or more')
        for name, allowed in wanted.items():
            topic = self.topics.get(name)
            if topic is None:
                raise DataError(f'bag {self.path}: lacks topic {name}; it has {listed(sorted(self.topics))}')
            if topic.type not in allowed:
                raise DataError(f'bag {self.path} topic {name}: got type {topic.type}, allowed {listed(allowed)}')
            if not topic.count:
                raise DataError(f'bag {self.path} topic {name}: got 0 messages, allowed 1 or more')

    def _decoded(self, wanted: Collection[str]) -> Iterator[Stamped]:
        read = 0
        for topic, received, kind, data in self.raw(wanted):
            try:
                message = data if kind.endswith('_Event') else deserialize(data, kind)
            except Exception as error:  # Whatever the generated decoder meets in damaged bytes.
                raise DataError(
                    f'bag {self.path} topic {topic} at {received} ns: {len(data)} bytes are no {kind} '
                    f'({type(error).__name__}: {error}); allowed whole CDR messages'
                ) from error
            read += 1
            yield topic, received, message
        announced = sum(self.topics[topic].count for topic in wanted)
        if read < announced:
            raise DataError(
                f'bag {self.path}: got {read} messages of {announced} that it announces on {listed(wanted)}; '
                'allowed a whole bag (without metadata.yaml, what the files hold counts)'
            )

    def raw(self, wanted: Collection[str]) -> Iterator[tuple[str, int, str, bytes]]:
        """Yield topic, receive time [ns], ROS type and bytes of what the ``wanted`` topics have, in order of time."""
        streams = []
        for reader in self._readers:
            connections = [c for c in reader.connections if c.topic in wanted]
            if connections:
                streams.append(reader.messages(connections))
        ordered = streams[0] if len(streams) == 1 else heapq.merge(*streams, key=lambda item: item[1])
        try:
            for connection, received, data in ordered:
                yield connection.topic, received, connection.msgtype, data
        except Exception as error:  # As above. What the caller of this generator raises does not come by here.
            raise self._unreadable(error) from error


class BagWriter:
    """One new bag folder; a context manager.

    The bag appears under its name only when it is whole: until then it grows in a hidden folder beside it, which is
    removed if anything fails.
    """

    def __init__(self, path: Path | str, storage: str = 'mcap') -> None:
        self.path = Path(path)
        if storage not in STORAGES:
            raise ConfigError(f'bag storage: got {storage!r}, allowed {listed(STORAGES)}')
        refuse_existing(self.path)
        self._storage = STORAGES[storage]
        self._connections: dict[str, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> BagWriter:
        """Start writing."""
        self._folder = self._stack.enter_context(folder_beside(self.path))
        self._writer = Writer(self._folder / self.path.name, version=9, storage_plugin=self._storage)
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the bag, or remove it if there was an error."""
        with self._stack:
            self._writer.__exit__(kind, error, trace)
            if kind is None:
                refuse_existing(self.path)
                (self._folder / self.path.name).rename(self.path)

    def write(self, topic: str, received: int, message: Any) -> None:
        """Write a message made of rosbags' classes."""
        kind = message.__msgtype__
        self.write_raw(topic, kind, received, typestore().serialize_cdr(message, kind))

    def write_raw(self, topic: str, kind: str, received: int, data: bytes | memoryview) -> None:
        """Write a message that is serialized already (CDR), of the ROS type ``kind``."""
        connection = self._connections.get(topic)
        if connection is None:
            if kind not in typestore().fielddefs:
                raise ConfigError(f'topic {topic}: got type {kind}, allowed the types of ROS 2 Jazzy')
            connection = self._writer.add_connection(topic, kind, typestore=typestore())
            self._connections[topic] = connection
        self._writer.write(connection, received, data)


def refuse_existing(path: Path) -> None:
    """Raise :class:`ConfigError` if there is something at ``path``: recordings are never overwritten."""
    if path.exists():
        raise ConfigError(f'output {path}: exists already; allowed a new folder')


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Give a hidden folder beside ``path``, to make something in that is then renamed; what stays in it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
