"""Turn pictures into what a camera stream has: checked first, decoded and resized by OpenCV.

The same calls serve topics, bags and datasets. Raw encodings are in `dp_ros.messages.raw_images`.

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
RECORDED = 'as in the recordings of the training'

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
    return _decode_by_opencv(what, 'jpeg', data)


def _whole_jpeg(data: bytes) -> np.ndarray:
    """Decode a JPEG of which libjpeg has nothing to say, but that it is filled up before its end; or ValueError."""
    space = 'GRAY' if _jpeg_channels(data) == 1 else 'RGB'
    try:
        rgb: np.ndarray = _simplejpeg().decode_jpeg(data, colorspace=space)
    except ValueError as error:
        found = _FILLED.search(str(error))
        end = data.find(_FORMATS['jpeg'][1], data.rfind(_SCAN))
        begin = end - int(found[1]) if found else end
        if not found or begin < 0 or (end - begin > _FEW and len(set(data[begin:end])) > 1):
            raise
        rgb = _simplejpeg().decode_jpeg(data[:begin] + data[end:], colorspace=space)
    return rgb[..., 0] if space == 'GRAY' else rgb


def decode_compressed(what: str, msg: Any) -> np.ndarray:
    """Return a ``sensor_msgs/CompressedImage`` (JPEG or PNG) as RGB, (H, W, 3) uint8, or grey, (H, W)."""
    if 'compresseddepth' in msg.format.lower():
        raise DataError(f'{what}: got format {msg.format!r}, allowed {listed(_FORMATS)}')
    return decode_file(what, bytes(msg.data))


def decode_file(what: str, data: bytes) -> np.ndarray:
    """Return a JPEG or PNG as RGB, (H, W, 3) uint8, or grey, (H, W). Exif's orientation is not applied, anywhere."""
    kind = next((k for k, (start, _) in _FORMATS.items() if data.startswith(start)), None)
    if kind is None:
        raise DataError(
            f'{what}: got {len(data)} bytes that begin with {data[:4].hex(" ") or "nothing"}, '
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
    return _decode_by_opencv(what, kind, data)


def _decode_by_opencv(what: str, kind: str, data: bytes) -> np.ndarray:
    """Return what OpenCV decodes, as RGB or grey."""
    import cv2

    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise DataError(f'{what}: {kind} of {len(data)} bytes cannot be decoded: {error}') from error
    if pixels is None:
        raise DataError(f'{what}: {kind} of {len(data)} bytes cannot be decoded; allowed whole, valid files only')
    return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def size_of(msg: Any) -> tuple[int, int] | None:
    """Return width and height of an Image or CompressedImage without decoding it; None where it does not say."""
    size = (int(msg.width), int(msg.height)) if hasattr(msg, 'width') else compressed_size(msg.data)
    return size if size and all(size) else None


def check_size(what: str, msg: Any, allowed: tuple[int, int], whose: str) -> None:
    """Raise DataError for a picture's message of another height and width than ``allowed``, which are ``whose``."""
    size = size_of(msg)
    if size is not None and size != (allowed[1], allowed[0]):
        raise DataError(
            f'{what} size: got a picture of {size[0]} x {size[1]} pixels, allowed {allowed[1]} x {allowed[0]}, {whose}'
        )


def compressed_size(data: Any) -> tuple[int, int] | None:
    """Return width and height of a JPEG or PNG from its head; None where it does not say."""
    if bytes(data[:8]) == _FORMATS['png'][0]:
        head = bytes(data[_PNG_SIZE : _PNG_SIZE + 8])
        return (int.from_bytes(head[:4], 'big'), int.from_bytes(head[4:], 'big')) if len(head) == 8 else None
    at = _jpeg_frame(data)
    if at is None:
        return None
    height, width = (int.from_bytes(bytes(data[at + i : at + i + 2]), 'big') for i in (5, 7))
    return width, height


def _jpeg_channels(data: bytes) -> int:
    at = _jpeg_frame(data)
    return data[at + 9] if at is not None and at + 9 < len(data) else 0


def _jpeg_frame(data: Any) -> int | None:
    """Return where the segment of a JPEG is that has its size; None where there is none."""
    at = 2
    while bytes(data[:2]) == b'\xff\xd8' and at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # filling
            at += 1
        elif data[at + 1] in _JPEG_SIZES:
            return at
        else:
            at += 2 + int.from_bytes(bytes(data[at + 2 : at + 4]), 'big')
    return None


def resize_rgb(
    stream: ImageStream,
    pixels: np.ndarray,
    encoding: str = '',
    frame: tuple[int, int] | None = None,
    *,
    crop: bool = False,
) -> np.ndarray:
    """Return pixels as the stream has them, (H, W, 3) uint8, as an array of its own.

    Parameters
    ----------
    stream
        Its `content` says what the pixels must be, its `fit` how they are brought to its size.
    pixels
        Colours (H, W, 3) uint8, grey (H, W) uint8, or depth (H, W) float32 [m].
    encoding
        Of the message that they are from, for an error.
    frame
        Height and width of the pictures that the stream had in training, which those of another shape are brought
        to whole, with black beside them; None: as the stream's `fit` says.
    crop
        Bring only the largest part in the middle that has the frame's shape there, so that nothing is black.

    Raises
    ------
    DataError
        If they are something else than the stream's content.

    """
    kinds = {(3, 'uint8'): 'rgb', (2, 'uint8'): 'mono', (2, 'float32'): 'depth'}
    kind = kinds.get((pixels.ndim, pixels.dtype.name))
    if kind is None or (kind == 'rgb' and pixels.shape[2] != 3):
        raise DataError(f'stream {stream.name!r}: got {pixels.dtype} {pixels.shape}, allowed uint8 (H, W, 3)')
    if kind != stream.content:
        raise DataError(
            f'stream {stream.name!r} encoding: got {encoding or "a picture"!r} ({kind}), allowed {stream.content}; '
            f'content: {kind} in the configuration would take it'
        )
    if kind == 'depth':
        pixels = _shades(pixels, *stream.depth_range)
    if frame is None and stream.fit == 'letterbox':
        frame = stream.shape[0], stream.shape[1]
    fitted = _fitted(stream, _middle(pixels, frame) if crop and frame else pixels, frame)
    return np.repeat(fitted[..., None], 3, axis=2) if fitted.ndim == 2 else fitted


def _shades(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """Return depth (H, W) [m] as shades, uint8: 1 is near, 255 is far, 0 was not measured."""
    measured = np.isfinite(depth) & (depth > 0.0)
    share = (np.where(measured, depth, near).clip(near, far) - near) / (far - near)
    return np.where(measured, 1.0 + np.round(254.0 * share), 0.0).astype(np.uint8)


def _middle(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the largest part in the middle of pixels (H, W, ...) that has a shape, by height and width."""
    scale = min(length / side for length, side in zip(pixels.shape[:2], shape, strict=True))
    height, width = (max(1, round(scale * side)) for side in shape)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _fitted(stream: ImageStream, pixels: np.ndarray, frame: tuple[int, int] | None) -> np.ndarray:
    """Return pixels (H, W) or (H, W, 3) at the stream's size: stretched, or whole with black beside them in a frame.

    The frame comes to the stream's size as training's pictures did, stretched.
    """
    if pixels.shape[:2] == stream.shape[:2] and (frame is None or frame == stream.shape[:2]):
        return pixels.copy()
    import cv2

    # Between two depths there is none: the nearest pixel, and no average.
    way = cv2.INTER_NEAREST if stream.content == 'depth' else cv2.INTER_AREA
    if frame is None:
        stretched: np.ndarray = cv2.resize(pixels, (stream.width, stream.height), interpolation=way)
        return stretched
    scale = min(framing / length for framing, length in zip(frame, pixels.shape[:2], strict=True))
    height, width = (
        max(1, round(scale * length * (side / framing)))
        for length, side, framing in zip(pixels.shape[:2], stream.shape[:2], frame, strict=True)
    )
    framed: np.ndarray = np.zeros((*stream.shape[:2], *pixels.shape[2:]), np.uint8)
    top, left = (stream.height - height) // 2, (stream.width - width) // 2
    framed[top : top + height, left : left + width] = cv2.resize(pixels, (width, height), interpolation=way)
    return framed
