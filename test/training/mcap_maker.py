"""mcap files as others write them: without an index, without chunks, at any time."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import IO

from dp_ros.recordings.rosbag.reader import Stamped
from dp_ros.recordings.rosbag.types import typestore

_MAGIC = b'\x89MCAP0\r\n'


def mcap_file(path: Path, made: Iterable[Stamped], *, chunk: int = 0, summary: bool = False, encoding: str = 'cdr',
              indexed: bool = False) -> Path:  # fmt: skip
    """Write messages in the order given, ``chunk`` by chunk (0: none).

    The summary's index has message indexes only if ``indexed``, and then the first chunk holds no message, as the
    recorder of ROS makes it where a message is larger than a chunk.
    """
    entries: dict[int, list[tuple[int, int]]] | None = {} if indexed else None
    store, channels, counts = typestore(), dict[str, int](), dict[int, int]()
    about, chunks, times, total = BytesIO(), BytesIO(), list[int](), list[int]()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('wb') as file:
        file.write(_MAGIC)
        _record(file, 1, _text('ros2') + _text('test'))
        part: IO[bytes] = BytesIO() if chunk else file
        for topic, received, msg in made:
            kind = msg.__msgtype__
            if topic not in channels:
                number = channels[topic] = len(channels) + 1
                for target in (part, about):
                    _record(target, 3, struct.pack('<H', number) + _text(kind) + _text('ros2msg') + _text(''))
                    head = struct.pack('<HH', number, number)
                    _record(target, 4, head + _text(topic) + _text(encoding) + _text(''))
                if indexed and len(channels) == 1:
                    _chunk(file, part.getvalue(), [0], chunks, {})  # type: ignore[attr-defined]
                    part = BytesIO()
            number = channels[topic]
            counts[number] = counts.get(number, 0) + 1
            times.append(received)
            head = struct.pack('<HIQQ', number, 0, received, received)
            if entries is not None:
                entries.setdefault(number, []).append((received, part.tell()))
            _record(part, 5, head + bytes(store.serialize_cdr(msg, kind)))
            if chunk and len(times) == chunk:
                _chunk(file, part.getvalue(), times, chunks, entries)  # type: ignore[attr-defined]
                part, total, times = BytesIO(), total + times, []
                entries = entries and {}
        if chunk and times:
            _chunk(file, part.getvalue(), times, chunks, entries)  # type: ignore[attr-defined]
        total += times
        _record(file, 15, struct.pack('<I', 0))
        start = file.tell() if summary else 0
        if summary:
            file.write(about.getvalue())
            body = struct.pack('<QHIIIIQQ', len(total), len(counts), len(counts), 0, 0, 1, min(total), max(total))
            listed = b''.join(struct.pack('<HQ', *item) for item in counts.items())
            _record(file, 11, body + struct.pack('<I', len(listed)) + listed)
            file.write(chunks.getvalue())
        _record(file, 2, struct.pack('<QQI', start, 0, 0))
        file.write(_MAGIC)
    return path


def _record(file: IO[bytes], kind: int, body: bytes) -> None:
    file.write(struct.pack('<BQ', kind, len(body)) + body)


def _text(text: str) -> bytes:
    return struct.pack('<I', len(text)) + text.encode()


def _chunk(
    file: IO[bytes], data: bytes, times: list[int], index: IO[bytes], entries: dict[int, list[tuple[int, int]]] | None
) -> None:
    first, start = (min(times), max(times)), file.tell()
    head = struct.pack('<QQQI', *first, len(data), 0) + _text('')
    _record(file, 6, head + struct.pack('<Q', len(data)) + data)
    length = file.tell() - start
    offsets, after = b'', file.tell()
    for number, found in (entries or {}).items():
        offsets += struct.pack('<HQ', number, file.tell())
        listed = b''.join(struct.pack('<QQ', *entry) for entry in found)
        _record(file, 7, struct.pack('<HI', number, len(listed)) + listed)
    body = struct.pack('<QQQQI', *first, start, length, len(offsets)) + offsets
    body += struct.pack('<Q', file.tell() - after) + _text('') + struct.pack('<QQ', len(data), len(data))
    _record(index, 8, body)
