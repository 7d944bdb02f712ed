"""Write a camera's pictures of one episode as a video, as LeRobot does: AV1 where PyAV has it, H.264 otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.errors import ConfigError, DataError, one_line

# LeRobot's own settings: every second picture stands for itself, so that any can be read without the ones before.
CODECS = {'libsvtav1': {'g': '2', 'crf': '30', 'preset': '8'}, 'libx264': {'g': '2', 'crf': '23'}}
NAMES = {'libsvtav1': 'av1', 'libx264': 'h264'}
FORMAT = 'yuv420p'


def codec() -> str:
    """Return the codec that videos are written with; raise :class:`ConfigError` if PyAV has none of `CODECS`."""
    import av

    found = next((name for name in CODECS if name in av.codecs_available), '')
    if not found:
        raise ConfigError(f'pictures: got video, and PyAV without {" and ".join(CODECS)}; allowed png')
    return found


def check_size(name: str, height: int, width: int) -> None:
    """Raise :class:`ConfigError` for pictures that the format cannot hold."""
    if height % 2 or width % 2:
        raise ConfigError(f'pictures of {name}: got {width} x {height} pixels, allowed even numbers in a video; or png')


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Undo what SVT-AV1 does: where that is permitted, it gives its caller real-time priority, and leaves it there."""
    if not hasattr(os, 'sched_getscheduler'):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if (os.sched_getscheduler(0), os.sched_getparam(0)) != before:
            os.sched_setscheduler(0, *before)


def write_video(path: Path, pictures: Any, rate: int) -> None:
    """Write pictures (N, H, W, 3) uint8 RGB to a new file, ``rate`` a second; one at a time is in memory."""
    import av

    chosen = codec()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with scheduling_kept(), av.open(str(path), 'w') as container:
            stream: Any = container.add_stream(chosen, rate=rate, options=CODECS[chosen])
            stream.height, stream.width, stream.pix_fmt = *np.asarray(pictures[0]).shape[:2], FORMAT
            for i in range(len(pictures)):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pictures[i]), format='rgb24')
                for packet in stream.encode(frame):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
    except Exception as error:  # PyAV's own errors are of many kinds.
        raise DataError(f'video {path}: cannot be written ({type(error).__name__}: {one_line(str(error))})') from error


def video_info(height: int, width: int, rate: int) -> dict[str, Any]:
    """Return what ``meta/info.json`` has of a video."""
    return {
        'video.height': height, 'video.width': width, 'video.codec': NAMES[codec()], 'video.pix_fmt': FORMAT,
        'video.fps': rate, 'video.channels': 3, 'video.is_depth_map': False, 'has_audio': False,
    }  # fmt: skip
