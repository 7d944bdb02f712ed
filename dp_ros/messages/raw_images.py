"""Decode raw ROS images to arrays: colours, grey, or depth in metres; refuse unknown encodings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dp_ros.errors import DataError, listed


@dataclass(frozen=True)
class _Encoding:
    """Bytes of a pixel, OpenCV's conversion to RGB, and how many rows and columns belong together."""

    size: int
    to_rgb: str = ''
    rows: int = 1
    columns: int = 1


# OpenCV names a Bayer pattern by its second row and column, ROS by its first.
ENCODINGS = {
    'rgb8': _Encoding(3),
    'bgr8': _Encoding(3, 'BGR2RGB'),
    'rgba8': _Encoding(4, 'RGBA2RGB'),
    'bgra8': _Encoding(4, 'BGRA2RGB'),
    'yuv422': _Encoding(2, 'YUV2RGB_UYVY', 1, 2),
    'uyvy': _Encoding(2, 'YUV2RGB_UYVY', 1, 2),
    'yuv422_yuy2': _Encoding(2, 'YUV2RGB_YUY2', 1, 2),
    'yuyv': _Encoding(2, 'YUV2RGB_YUY2', 1, 2),
    'bayer_rggb8': _Encoding(1, 'BayerBG2RGB', 2, 2),
    'bayer_bggr8': _Encoding(1, 'BayerRG2RGB', 2, 2),
    'bayer_gbrg8': _Encoding(1, 'BayerGR2RGB', 2, 2),
    'bayer_grbg8': _Encoding(1, 'BayerGB2RGB', 2, 2),
    'mono8': _Encoding(1),
    '16UC1': _Encoding(2),
    '32FC1': _Encoding(4),
}
_MILLIMETRES = 1e-3
_DEPTH = {'16UC1': ('u2', _MILLIMETRES), '32FC1': ('f4', 1.0)}


def decode_image(what: str, msg: Any) -> np.ndarray:
    """Return a ``sensor_msgs/Image``: RGB (H, W, 3) uint8, grey (H, W) uint8, or depth (H, W) float32 [m].

    Depth is ``16UC1`` in millimetres and ``32FC1`` in metres (REP 118); 0 and what is not finite was not measured.
    """
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        raise DataError(f'{what} encoding: got {msg.encoding!r}, allowed {listed(ENCODINGS)}')
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    row = width * encoding.size
    if height < 1 or width < 1:
        raise DataError(f'{what} size: got {width} x {height} pixels, allowed 1 x 1 or more')
    if height % encoding.rows or width % encoding.columns:
        allowed = f'multiples of {encoding.columns} x {encoding.rows}'
        raise DataError(f'{what} size: got {width} x {height} pixels of {msg.encoding}, allowed {allowed}')
    if step < row:
        raise DataError(f'{what} step: got {step} bytes a row, allowed {row} or more ({width} pixels {msg.encoding})')
    data = np.frombuffer(msg.data, dtype=np.uint8)
    if len(data) != step * height:
        raise DataError(f'{what} data: got {len(data)} bytes, allowed {step * height} ({height} rows of {step})')
    pixels = np.ascontiguousarray(data.reshape(height, step)[:, :row])
    if msg.encoding in _DEPTH:
        kind, scale = _DEPTH[msg.encoding]
        order = '>' if msg.is_bigendian else '<'
        return (pixels.view(f'{order}{kind}') * scale).astype(np.float32)
    if encoding.size > 1:
        pixels = pixels.reshape(height, width, encoding.size)
    if not encoding.to_rgb:
        return pixels
    import cv2

    rgb: np.ndarray = cv2.cvtColor(pixels, getattr(cv2, f'COLOR_{encoding.to_rgb}'))
    return rgb
