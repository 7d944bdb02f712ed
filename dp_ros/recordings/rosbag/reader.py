"""rosbag2 recordings, read and written with rosbags: no ROS needed.

Only the topics asked for are decoded, with the message types of ROS 2 Jazzy. What else a bag holds, vendors' types
without a definition included, is known by name alone.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionMode
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer

from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.recordings.rosbag.folder import files_of
from dp_ros.recordings.rosbag.folder import find_bags as find_bags
from dp_ros.recordings.rosbag.metadata import Metadata, Topic
from dp_ros.recordings.rosbag.order import check_order, merged
from dp_ros.recordings.rosbag.storage_mcap import McapStorage
from dp_ros.recordings.rosbag.storage_sqlite3 import Sqlite3Storage
from dp_ros.recordings.rosbag.storages import LATEST, STORAGE_OF, Raw, Storage, late, of_file
from dp_ros.recordings.rosbag.types import deserialize, typestore
from dp_ros.recordings.rosbag.types import rosbags_types as rosbags_types
from dp_ros.recordings.rosbag.unpacking import Allowance, unpack, unpack_file
from dp_ros.task.streams import picture_advice

MOST_NAME = 255
STORAGES: Mapping[str, StoragePlugin] = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
_OPEN: Mapping[str, Callable[[Path], Storage]] = {'mcap': McapStorage, 'sqlite3': Sqlite3Storage}

Stamped = tuple[str, int, Any]
"""A topic, when its message was received [ns], and the message."""


class BagReader:
    """One bag, open for reading; a context manager.

    Anything that cannot be read is a :class:`DataError` that names the bag.

    Attributes
    ----------
    topics, labels
        What its metadata.yaml says; see `Metadata`.

    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.topics: dict[str, Topic] = {}
        self.labels: Mapping[str, str] = {}
        self._stack = ExitStack()
        self._files: list[tuple[str, Storage]] = []
        self._sizes: list[int] = []
        self._starts: list[int] | None = None
        self._packed = False

    @property
    def name(self) -> str:
        """What the bag is called: the whole name of a folder, a file's without its suffix."""
        path = self.path.absolute()
        return path.stem if path.is_file() else path.name

    def __enter__(self) -> BagReader:
        """Open the bag and list its topics."""
        with self._of_bag():
            try:
                self._open(*files_of(self.path))
            except BaseException:
                self._stack.close()
                raise
        return self

    def __exit__(self, *error: Any) -> None:
        """Close the bag."""
        self._stack.close()

    @contextmanager
    def _of_bag(self) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            raise DataError(f'bag {self.path}: {error}') from error

    def _open(self, files: Sequence[Path], metadata: Metadata | None) -> None:
        self._listed = metadata is not None
        self.labels = metadata.labels if metadata is not None else {}
        whole = metadata is not None and metadata.compression == 'file'
        self._packed = metadata is not None and metadata.compression == 'message'
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory())) if whole else None
        for path in files:
            # Of a bag that is a file, the path has been said.
            name = '' if path == self.path else path.name
            with of_file(name):
                file = _unpacked(path, folder) if folder else path
                storage = _OPEN[metadata.storage if metadata else STORAGE_OF[path.suffix]](file)
            self._stack.enter_context(closing(storage))
            self._files.append((name, storage))
            self._sizes.append(path.stat().st_size)
        topics = metadata.topics if metadata else [t for _, storage in self._files for t in storage.topics]
        self._kinds = {(t.name, t.type) for t in topics}
        for topic in topics:
            self._add(topic)

    def _add(self, topic: Topic) -> None:
        for what, text in (('topic', topic.name), ('type', topic.type), ('serialization format', topic.encoding)):
            if len(text) > MOST_NAME:
                raise DataError(f'{what}: got a name of {len(text)} characters, allowed up to {MOST_NAME}')
        known = self.topics.get(topic.name)
        if known:
            # Of two types, or two encodings, neither is what is wanted: `check` says so if the topic is wanted at all.
            topic = replace(
                topic,
                type=_both(known.type, topic.type),
                encoding=_both(known.encoding, topic.encoding),
                count=known.count + topic.count,
            )
        self.topics[topic.name] = topic

    def messages(self, wanted: Mapping[str, Collection[str]]) -> Iterator[Stamped]:
        """Yield the messages of the ``wanted`` topics (each with the types it may have), in order of receive time.

        Events of services stay serialized: their definitions come with the service's package, which is not here.
        """
        self.check(wanted)
        return self._decoded(wanted)

    def check(self, wanted: Mapping[str, Collection[str]]) -> None:
        """Raise :class:`DataError` unless the bag has every wanted topic, with messages, of an allowed type."""
        if not sum(topic.count for topic in self.topics.values()):
            more = self.unannounced()
            raise DataError(f'bag {self.path}: got 0 messages{more and f", while {more}"}, allowed 1 or more')
        for name, allowed in wanted.items():
            topic = self.topics.get(name)
            if topic is None:
                raise DataError(f'bag {self.path}: lacks topic {name}; it has {listed(sorted(self.topics))}')
            if topic.type not in allowed:
                advice = picture_advice(topic.type, allowed)
                raise DataError(
                    f'bag {self.path} topic {name}: got type {topic.type}, allowed {listed(allowed)}'
                    f'{advice and f"; {advice}"}'
                )
            if topic.encoding != 'cdr':
                raise DataError(f'bag {self.path} topic {name}: got serialization format {topic.encoding}, allowed cdr')
            if not topic.count:
                raise DataError(f'bag {self.path} topic {name}: got 0 messages, allowed 1 or more')

    def unannounced(self) -> str:
        """Return what the files hold more than metadata.yaml tells of, as a stopped tool leaves it; '' for nothing."""
        if not self._listed:
            return ''
        held = Counter[str]()
        for _, storage in self._files:
            held.update({topic.name: topic.count for topic in storage.topics})
        known = {name: topic.count for name, topic in self.topics.items()}
        more = [f'{count} on {name}' for name, count in held.items() if count > known.get(name, 0)]
        if not more:
            return ''
        listed_there = sum(known.values())
        return f'the files hold {held.total()} messages of which metadata.yaml lists {listed_there} ({listed(more)})'

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

    def raw(self, wanted: Collection[str]) -> Iterator[Raw]:
        """Yield topic, receive time [ns], ROS type and bytes of what the ``wanted`` topics have, in order of time.

        Raises
        ------
        DataError
            If a file is damaged, or if receive times, of any topic, run backwards in the order of the files.

        """
        kinds = {(name, kind) for name, kind in self._kinds if name in wanted}
        with self._of_bag():
            if self._starts is None:
                self._starts = check_order(self._files, listed=self._listed)
            streams = [
                self._stream(name, storage, kinds, Allowance(size))
                for (name, storage), size in zip(self._files, self._sizes, strict=True)
            ]
            # What the caller of this generator raises does not come by here.
            yield from merged(zip(self._starts, streams, strict=True))

    def _stream(
        self, name: str, storage: Storage, kinds: Collection[tuple[str, str]], allowance: Allowance
    ) -> Iterator[Raw]:
        with of_file(name):
            for topic, received, kind, data in storage.messages(kinds):
                if received > LATEST:
                    raise late(topic, received)
                yield topic, received, kind, unpack(data, allowance) if self._packed else data


def _both(one: str, other: str) -> str:
    return one if other in one.split(' and ') else f'{one} and {other}'


def _unpacked(path: Path, folder: Path) -> Path:
    target = folder / path.stem
    with target.open('wb') as file:
        unpack_file(path, file)
    return target


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
        folder = self._stack.enter_context(new_folder(self.path))
        self._writer = _Writer(folder, version=9, storage_plugin=self._storage)
        self._writer.open()
        self._stack.push(self._writer)
        return self

    def __exit__(self, *error: Any) -> None:
        """Finish the bag, or remove it if there was an error."""
        self._stack.__exit__(*error)

    def note(self, **labels: object) -> None:
        """Say something of the whole recording, such as ``success``: it stands in metadata.yaml, as custom_data."""
        for name, label in labels.items():
            self._writer.set_custom_data(name, str(label).lower() if isinstance(label, bool) else str(label))

    def write(self, topic: str, received: int, message: Any) -> None:
        """Write a message made of rosbags' classes."""
        topic, received, kind, data = serialized((topic, received, message))
        self.write_raw(topic, kind, received, data)

    def write_raw(self, topic: str, kind: str, received: int, data: bytes | memoryview) -> None:
        """Write a message that is serialized already (CDR), of the ROS type ``kind``."""
        connection = self._connections.get(topic)
        if connection is None:
            check_type(topic, kind)
            connection = self._writer.add_connection(topic, kind, typestore=typestore())
            self._connections[topic] = connection
        self._writer.write(connection, received, data)


class _Sqlite3Writer(Sqlite3Writer):
    """rosbags' writer, which takes %, # and ? in a path for those of a URI, made to take it as it is."""

    def __init__(self, path: Path, compression: CompressionMode) -> None:
        assert compression is CompressionMode.NONE
        self.path = path / f'{path.name}.db3'
        self.conn = sqlite3.connect(self.path)
        self.conn.executescript(self.SQLITE_SCHEMA)
        self.cursor = self.conn.cursor()


class _Writer(Writer):
    STORAGE_PLUGINS: Mapping[StoragePlugin, Any] = {**Writer.STORAGE_PLUGINS, StoragePlugin.SQLITE3: _Sqlite3Writer}


def serialized(stamped: Stamped) -> Raw:
    """Return a message made of rosbags' classes as a bag holds it."""
    topic, received, message = stamped
    kind = message.__msgtype__
    return topic, received, kind, bytes(typestore().serialize_cdr(message, kind))


def check_type(topic: str, kind: str) -> None:
    """Raise :class:`ConfigError` for a message type whose definition is not known."""
    if kind not in typestore().fielddefs:
        raise ConfigError(f'topic {topic}: got type {kind}, allowed the types of ROS 2 Jazzy')


def refuse_existing(path: Path) -> None:
    """Raise :class:`ConfigError` if there is something at ``path``: recordings are never overwritten."""
    if path.exists():
        raise ConfigError(f'output {path}: exists already; allowed a new folder')


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a path of a folder to make, which becomes ``path`` when it is whole: at the end, without an error."""
    with folder_beside(path) as beside:
        yield beside / path.name
        refuse_existing(path)
        (beside / path.name).rename(path)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Give a hidden folder beside ``path``, to make something in that is then renamed; what stays in it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
