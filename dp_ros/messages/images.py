"""ROS images to RGB arrays: checked first, decoded and resized by OpenCV. The same calls live and offline.

JPEGs are decoded by simplejpeg where it is installed. OpenCV gives the same pixels (both are libjpeg-turbo), but where
a camera's driver lost a packet it fills in grey and does not say so. How a camera was held (Exif) changes nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np

from dp_ros.errors import DataError, listed
from dp_ros.task.spec import ImageStream

# Bytes of a pixel. All are 8 bit a channel: depth and Bayer images are no RGB, and are refused by name.
CHANNELS = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
_TO_RGB = {'bgr8': 'COLOR_BGR2RGB', 'rgba8': 'COLOR_RGBA2RGB', 'bgra8': 'COLOR_BGRA2RGB', 'mono8': 'COLOR_GRAY2RGB'}

# First bytes, and the marker that ends a whole file. OpenCV fills what a cut file lacks with grey and does not say so.
_FORMATS = {'jpeg': (b'\xff\xd8\xff', b'\xff\xd9'), 'png': (b'\x89PNG\r\n\x1a\n', b'IEND')}
# Cameras may pad after the end marker.
_TAIL = 4096
# And before it; libjpeg speaks of that too. More of it, of all values, is what is left of a picture with a hole.
_FILLED = re.compile(r'(\d+) extraneous bytes before marker 0xd9')
_FEW = 16
# What libjpeg says of a picture with a hole; all else it says of pictures that are odd, and whole.
_LOST = re.compile(r'premature end|bad Huffman code|found marker|extraneous bytes before marker 0xd[0-79]')
_SCAN = b'\xff\xda'
MOST_PIXELS = 2**26

_PNG_SIZE, _PNG_DEPTH = 16, 24  # where a png says its width and height, and its bits a channel
_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of the segments with a picture's size


@lru_cache(maxsize=1)
def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def _decode_jpeg(what: str, data: bytes) -> np.ndarray:
    """Return a JPEG as RGB; DataError for one with a hole that libjpeg notices, as it does most."""
    if _simplejpeg() is not None:
        try:
            return _whole_jpeg(data)
        except ValueError as error:
            if _LOST.search(str(error)):
                raise DataError(
                    f'{what}: jpeg of {len(data)} bytes cannot be decoded: {error}; allowed whole, valid files only'
                ) from error
    return _decode_file(what, 'jpeg', data)


def _whole_jpeg(data: bytes) -> np.ndarray:
    """Decode a JPEG of which libjpeg has nothing to say, but that it is filled up before its end; or ValueError."""
    try:
        rgb: np.ndarray = _simplejpeg().decode_jpeg(data, colorspace='RGB')
    except ValueError as error:
        found = _FILLED.search(str(error))
        end = data.find(_FORMATS['jpeg'][1], data.rfind(_SCAN))
        begin = end - int(found[1]) if found else end
        if not found or begin < 0 or (end - begin > _FEW and len(set(data[begin:end])) > 1):
            raise
        rgb = _simplejpeg().decode_jpeg(data[:begin] + data[end:], colorspace='RGB')
    return rgb


def decode_image(what: str, msg: Any) -> np.ndarray:
    """Return a ``sensor_msgs/Image`` as RGB, (H, W, 3) uint8."""
    if msg.encoding not in CHANNELS:
        raise DataError(f'{what} encoding: got {msg.encoding!r}, allowed {listed(CHANNELS)}')
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    row = width * CHANNELS[msg.encoding]
    if height < 1 or width < 1:
        raise DataError(f'{what} size: got {width} x {height} pixels, allowed 1 x 1 or more')
    if step < row:
        raise DataError(f'{what} step: got {step} bytes a row, allowed {row} or more ({width} pixels {msg.encoding})')
    data = np.frombuffer(msg.data, dtype=np.uint8)
    if len(data) != step * height:
        raise DataError(f'{what} data: got {len(data)} bytes, allowed {step * height} ({height} rows of {step})')
    pixels = np.ascontiguousarray(data.reshape(height, step)[:, :row]).reshape(height, width, -1)
    if msg.encoding == 'rgb8':
        return pixels
    import cv2

    rgb: np.ndarray = cv2.cvtColor(pixels, getattr(cv2, _TO_RGB[msg.encoding]))
    return rgb


def decode_compressed(what: str, msg: Any) -> np.ndarray:
    """Return a ``sensor_msgs/CompressedImage`` (JPEG or PNG) as RGB, (H, W, 3) uint8."""
    data = bytes(msg.data)
    kind = next((k for k, (start, _) in _FORMATS.items() if data.startswith(start)), None)
    if kind is None or 'compresseddepth' in msg.format.lower():
        raise DataError(
            f'{what}: got {len(data)} bytes of format {msg.format!r} that begin with {data[:4].hex(" ") or "nothing"}, '
            f'allowed {listed(_FORMATS)}'
        )
    if kind == 'png' and len(data) > _PNG_DEPTH and data[_PNG_DEPTH] > 8:
        raise DataError(f'{what}: got a png of {data[_PNG_DEPTH]} bit a channel, allowed 8: depth is no RGB')
    if _FORMATS[kind][1] not in data[-_TAIL:]:
        raise DataError(f'{what}: got {len(data)} bytes of {kind} without an end marker, allowed whole files only')
    size = compressed_size(data)
    if size is None:
        raise DataError(f'{what}: got a {kind} of {len(data)} bytes that does not say its size, allowed one that does')
    if size[0] * size[1] > MOST_PIXELS:
        raise DataError(f'{what}: got a {kind} of {size[0]} x {size[1]} pixels, allowed up to {MOST_PIXELS}')
    if kind == 'jpeg':
        return _decode_jpeg(what, data)
    return _decode_file(what, kind, data)


def _decode_file(what: str, kind: str, data: bytes) -> np.ndarray:
    """Return what OpenCV decodes as RGB."""
    import cv2

    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise DataError(f'{what}: {kind} of {len(data)} bytes cannot be decoded: {error}') from error
    if pixels is None:
        raise DataError(f'{what}: {kind} of {len(data)} bytes cannot be decoded; allowed whole, valid files only')
    rgb: np.ndarray = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB)
    return rgb


def size_of(msg: Any) -> tuple[int, int] | None:
    """Return width and height of an Image or CompressedImage without decoding it; None where it does not say."""
    size = (int(msg.width), int(msg.height)) if hasattr(msg, 'width') else compressed_size(msg.data)
    return size if size and all(size) else None


def compressed_size(data: Any) -> tuple[int, int] | None:
    """Return width and height of a JPEG or PNG from its head; None where it does not say."""
    if bytes(data[:8]) == _FORMATS['png'][0]:
        head = bytes(data[_PNG_SIZE : _PNG_SIZE + 8])
        return (int.from_bytes(head[:4], 'big'), int.from_bytes(head[4:], 'big')) if len(head) == 8 else None
    at = 2
    while bytes(data[:2]) == b'\xff\xd8' and at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # filling
            at += 1
        elif data[at + 1] in _JPEG_SIZES:
            height, width = (int.from_bytes(bytes(data[at + i : at + i + 2]), 'big') for i in (5, 7))
            return width, height
        else:
            at += 2 + int.from_bytes(bytes(data[at + 2 : at + 4]), 'big')
    return None


def resize_rgb(stream: ImageStream, rgb: np.ndarray) -> np.ndarray:
    """Return ``rgb`` (H, W, 3) uint8 at the stream's size, as an array of its own."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise DataError(f'stream {stream.name!r}: got {rgb.dtype} {rgb.shape}, allowed uint8 (H, W, 3)')
    if rgb.shape == stream.shape:
        return rgb.copy()
    import cv2

    resized: np.ndarray = cv2.resize(rgb, (stream.width, stream.height), interpolation=cv2.INTER_AREA)
    return resized
