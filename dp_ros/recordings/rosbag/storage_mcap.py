"""mcap files, with an index or without."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.storage_mcap import McapReader, read_exact

from dp_ros.bounded_files import open_regular
from dp_ros.recordings.rosbag.mcap_check import check_index, check_records
from dp_ros.recordings.rosbag.metadata import Topic
from dp_ros.recordings.rosbag.order import in_order
from dp_ros.recordings.rosbag.storages import LATEST, Raw, late

_ENCODINGS = ('ros2msg', 'ros2idl', 'omgidl', '')
_INDEX, _INDEX_HEAD = 0x07, struct.Struct('<BQHI')


class McapStorage:
    """One mcap file, open."""

    def __init__(self, path: Path) -> None:
        with open_regular(path) as file:
            self._size = os.fstat(file.fileno()).st_size
            chunks = check_records(file, self._size)
        self._reader = _Reader(path)
        self._reader.open()
        try:
            check_index(self._reader.chunks, chunks)
        except BaseException:
            self._reader.close()
            raise
        channels = self._reader.channels
        self._names = {c.id: c.topic for c in self._reader.connections}
        self.topics: Sequence[Topic] = [
            Topic(name=c.topic, type=c.msgtype, count=c.msgcount, encoding=channels[c.id].message_encoding)
            for c in self._reader.connections
        ]

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def receive_times(self) -> Iterator[tuple[str, Sequence[int]]]:
        """Yield topics with receive times [ns], in parts; those of one topic in the order of the file."""
        for channel, times in self._indexed_times() if self._reader.chunks else self._scanned_times():
            if max(times, default=0) > LATEST:
                raise late(self._names[channel], max(times))
            yield self._names[channel], times

    def _indexed_times(self) -> Iterator[tuple[int, list[int]]]:
        bio = self._reader.bio
        assert bio
        left = self._size
        for chunk in sorted(self._reader.chunks, key=lambda c: c.chunk_start_offset):
            for channel, offset in chunk.message_index_offsets.items():
                bio.seek(offset)
                kind, _, _, size = _INDEX_HEAD.unpack(read_exact(bio, _INDEX_HEAD.size))
                if kind != _INDEX:
                    raise ReaderError(f'no message index at offset {offset}')
                left -= size
                if left < 0:
                    raise ReaderError(f'message indexes of more bytes than the file has, {self._size}')
                times, offsets = np.frombuffer(read_exact(bio, size), '<u8').reshape(-1, 2).T
                yield channel, times[np.argsort(offsets, kind='stable')].tolist()

    def _scanned_times(self) -> Iterator[tuple[int, list[int]]]:
        # The upper limit is not among what is read.
        for connection, received, _ in self._reader.messages_scan(self._reader.connections, stop=2**64):
            yield connection.id, [received]

    def messages(self, wanted: Collection[tuple[str, str]]) -> Iterator[Raw]:
        """Yield the messages of the ``wanted`` topics (name and type), in order of receive time."""
        chosen = [c for c in self._reader.connections if (c.topic, c.msgtype) in wanted]
        if not chosen:
            return
        indexed = bool(self._reader.chunks)
        found = (self._reader.messages if indexed else self._reader.messages_scan)(chosen)
        raw = ((connection.topic, received, connection.msgtype, data) for connection, received, data in found)
        yield from raw if indexed else in_order(raw)


class _Reader(McapReader):
    """rosbags' reader, made to bear schemas of any encoding and chunks without message indexes."""

    def __init__(self, path: Any) -> None:
        super().__init__(path)
        self.schemas = _Schemas()

    def read_index(self) -> None:
        """Read the index, unless messages cannot be found by it: then the file counts as one without."""
        super().read_index()
        # A chunk may hold no message: the recorder of ROS makes such ones where a message is larger than a chunk.
        found = sum(sum(c.channel_count.values()) for c in self.chunks)
        announced = self.statistics.message_count if self.statistics else None
        empty = any(c.message_end_time and not c.message_index_offsets for c in self.chunks)
        if found != announced if announced is not None else empty:
            self.chunks.clear()


class _Schemas(dict[int, Any]):
    """mcap's schemas by number; what has no known encoding counts as having no definition."""

    def __setitem__(self, key: int, schema: Any) -> None:
        known = schema.encoding in _ENCODINGS
        super().__setitem__(key, schema if known else schema._replace(encoding='', data=''))
