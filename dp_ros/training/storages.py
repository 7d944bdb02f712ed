"""rosbags' readers, made to bear message types without a definition, and metadata that disagrees with its storage.

Of a type that it lacks, rosbag2 writes the definition's encoding as 'unknown' or as nothing at all, which rosbags 0.11
answers with a KeyError for the whole bag. Definitions are not needed here (see `dp_ros.training.bags`), so these
readers go on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.rosbag2.metadata import ReaderMetadata, parse_qos
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

_ENCODINGS = ('ros2msg', 'ros2idl', 'omgidl', '')


class _Schemas(dict[int, Any]):
    """mcap's schemas by number; what has no known encoding counts as having no definition."""

    def __setitem__(self, key: int, schema: Any) -> None:
        known = schema.encoding in _ENCODINGS
        super().__setitem__(key, schema if known else schema._replace(encoding='', data=''))


class TolerantMcapReader(McapReader):
    """Storage reader for mcap."""

    def __init__(self, path: Any) -> None:
        super().__init__(path)
        self.schemas = _Schemas()


class TolerantSqlite3Reader(Sqlite3Reader):
    """Storage reader for sqlite3."""

    def open(self) -> None:
        """Open the file, unless its end is missing: sqlite reads what is not there as zeros."""
        with self.path.open('rb') as file:
            header = file.read(100)
            size = file.seek(0, os.SEEK_END)
        page, pages = int.from_bytes(header[16:18], 'big'), int.from_bytes(header[28:32], 'big')
        whole = (65536 if page == 1 else page) * pages
        # The count of pages holds if the file's change counter is the one it was written with (sqlite.org/fileformat2).
        if size < whole and header[24:28] == header[92:96]:
            raise ReaderError(f'{size} bytes of {whole}')
        super().open()

    def _open(self) -> None:
        try:
            super()._open()
        except KeyError:
            self._open_without_definitions()

    def _open_without_definitions(self) -> None:
        assert self.dbconn
        rows = self.dbconn.execute(
            'SELECT topics.id, name, type, serialization_format, offered_qos_profiles, count(messages.id) '
            'FROM topics LEFT JOIN messages ON topics.id == messages.topic_id GROUP BY topics.id ORDER BY topics.id'
        )
        self.connections = [
            Connection(
                id=number,
                topic=topic,
                msgtype=kind,
                msgdef=MessageDefinition(MessageDefinitionFormat.NONE, ''),
                digest='',
                msgcount=count,
                ext=ConnectionExtRosbag2(serialization_format=encoding, offered_qos_profiles=parse_qos(qos)),
                owner=self,
            )
            for number, topic, kind, encoding, qos, count in rows
        ]
        first, last, count = next(self.dbconn.execute('SELECT MIN(timestamp), MAX(timestamp), COUNT(*) FROM messages'))
        self.metadata = ReaderMetadata(
            duration=last + 1 - first if count else 0,
            start_time=first if count else 2**63 - 1,
            end_time=last + 1 if count else 0,
            message_count=count,
            compression_format=None,
            compression_mode=None,
            ros_distro=None,
            custom=None,
        )


class _AnyQos(ConnectionExtRosbag2):
    """What metadata.yaml says of a topic beside its name and type: taken to agree with what the storage says."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class TolerantDirectoryReader(DirectoryReader):
    """Reader of a folder with metadata.yaml.

    rosbags gives no message of a topic whose quality of service reads otherwise in metadata.yaml than in the storage,
    as it does in bags of ROS before Humble. Name and type are enough.
    """

    STORAGE_PLUGINS: Mapping[str, Any] = {'mcap': TolerantMcapReader, 'sqlite3': TolerantSqlite3Reader}

    def open(self) -> None:
        """Open the bag."""
        super().open()
        self.connections = [c._replace(ext=_AnyQos(*c.ext), digest='') for c in self.connections]


class TolerantReader(Reader):
    """Reader of a folder or of a storage file."""

    STORAGE_PLUGINS: Mapping[str, Any] = {
        'dir': TolerantDirectoryReader,
        '.mcap': TolerantMcapReader,
        '.db3': TolerantSqlite3Reader,
    }
