"""What an mcap file claims, held against what it is, before anything is reserved or unpacked by its word.

Records are walked over by their lengths, without reading what is in them (mcap.dev/spec).
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any, BinaryIO

from dp_ros.errors import DataError
from dp_ros.recordings.rosbag.unpacking import MOST_PART, Allowance, check_packed

MAGIC = b'\x89MCAP0\r\n'
LONGEST_ABOUT = 2**24
"""Bytes of a record that is not data: a schema, a channel, an index."""
_HEAD = struct.Struct('<BQ')
_CHUNK_HEAD = struct.Struct('<QQQII')
_SIZE = struct.Struct('<Q')
_FOOTER, _MESSAGE, _CHUNK, _ATTACHMENT = 0x02, 0x05, 0x06, 0x09
_LARGE = (_MESSAGE, _CHUNK, _ATTACHMENT)


def check_records(file: BinaryIO, size: int) -> set[tuple[int, int]]:
    """Return where chunks are, and the bytes that each unpacks to.

    Raises
    ------
    DataError
        If a record is longer than the file, or a chunk unpacks to other than it says, or all to too much.

    """
    chunks: set[tuple[int, int]] = set()
    allowance = Allowance(size)
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise DataError('damaged or cut short, got no beginning of mcap; allowed a whole bag')
    at = len(MAGIC)
    while at + _HEAD.size <= size:
        file.seek(at)
        kind, length = _HEAD.unpack(file.read(_HEAD.size))
        end = at + _HEAD.size + length
        if end > size or (kind not in _LARGE and length > LONGEST_ABOUT):
            raise DataError(
                f'damaged or cut short, got a record of {length} bytes at {at} of {size}; allowed a whole bag'
            )
        if kind == _FOOTER:
            return chunks
        if kind == _CHUNK:
            unpacked = _check_chunk(file.read(length))
            allowance.take(unpacked)
            chunks.add((at, unpacked))
        at = end
    raise DataError(f'damaged or cut short, got no footer in {size} bytes; allowed a whole bag')


def check_index(index: Collection[Any], chunks: set[tuple[int, int]]) -> None:
    """Raise :class:`DataError` unless the index has chunks that are there, each once, and as large as it says."""
    named = {(chunk.chunk_start_offset, chunk.uncompressed_size) for chunk in index}
    if len(named) < len(index) or not named <= chunks:
        raise DataError(f'got an index of {len(index)} chunks, allowed each of the {len(chunks)} that are there once')


def _check_chunk(record: bytes) -> int:
    """Check a chunk's record; return what it unpacks to [bytes]."""
    _, _, unpacked, _, length = _CHUNK_HEAD.unpack_from(record)
    begin = _CHUNK_HEAD.size + length
    compression = record[_CHUNK_HEAD.size : begin].decode()
    (packed,) = _SIZE.unpack_from(record, begin)
    begin += _SIZE.size
    if packed != len(record) - begin:
        raise DataError(f'got {packed} packed bytes in a chunk with {len(record) - begin}, allowed what is there')
    if unpacked > MOST_PART:
        raise DataError(f'got a chunk of {unpacked} bytes, allowed up to {MOST_PART}')
    if unpacked or packed:
        check_packed(record[begin:], compression, unpacked)
    return int(unpacked)
