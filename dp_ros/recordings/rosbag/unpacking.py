"""Packed parts of recordings, unpacked within bounds: a few bytes may stand for any number."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import lz4.frame
from rosbags.rosbag2.reader import zstd  # type: ignore[attr-defined]  # Python's own from 3.14 on, or its stand-in

from dp_ros.errors import DataError

MOST_PART = 2**28
"""Bytes that one message or chunk unpacks to; a picture of 8K takes 100 MB."""
MOST_TIMES, ALWAYS = 200, 2**30
"""A file unpacks to so many times its size; to `ALWAYS` bytes whatever its size."""
_BLOCK = 2**20


class Allowance:
    """What the packed parts of a file of ``size`` bytes may unpack to, all together."""

    def __init__(self, size: int) -> None:
        self._most = max(ALWAYS, MOST_TIMES * size)
        self._taken = 0

    def take(self, size: int) -> None:
        """Count ``size`` bytes more."""
        self._taken += size
        if self._taken > self._most:
            raise DataError(f'unpacks to more than {self._most} bytes, allowed up to {MOST_TIMES} times the file')


def unpack_file(source: Path, target: IO[bytes]) -> None:
    """Unpack a file (zstd) into another."""
    allowance = Allowance(source.stat().st_size)
    with zstd.open(source, 'rb') as packed:
        while part := packed.read(_BLOCK):
            allowance.take(len(part))
            target.write(part)


def unpack(data: bytes, allowance: Allowance) -> bytes:
    """Return a message (zstd, one frame)."""
    decoder = zstd.ZstdDecompressor()
    part: bytes = decoder.decompress(data, MOST_PART + 1)
    _check_end(decoder, len(part), MOST_PART)
    allowance.take(len(part))
    return part


def check_packed(data: bytes, compression: str, size: int) -> None:
    """Raise :class:`DataError` unless a chunk unpacks to ``size`` bytes, by what its head says where it does."""
    said: int | None = len(data)
    end = True
    if compression == 'zstd':
        said, end = zstd.get_frame_info(data).decompressed_size, zstd.get_frame_size(data) == len(data)
    elif compression == 'lz4':
        said = lz4.frame.get_frame_info(data)['content_size'] or None
    elif compression:
        raise DataError(f'got compression {compression!r}, allowed zstd, lz4 or none')
    if not end or (said is not None and said != size):
        raise DataError(f'got a chunk of {size} bytes that unpacks to {said}, allowed what it says')
    if said is None or compression == 'lz4':
        # lz4 does not end where its head says.
        decoder: Any = zstd.ZstdDecompressor() if compression == 'zstd' else lz4.frame.LZ4FrameDecompressor()
        _check_end(decoder, len(decoder.decompress(data, size + 1)), size)


def _check_end(decoder: Any, got: int, most: int) -> None:
    if got > most or not decoder.eof or decoder.unused_data:
        raise DataError(f'got {got} bytes in one packed part, not at its end; allowed up to {most} that end')
