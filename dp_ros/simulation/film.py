"""A GIF of what happened, drawn from positions alone: it can be made of what an observer of the topics saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import imageio.v3 as imageio
import numpy as np

from dp_ros.errors import DataError
from dp_ros.simulation.pusht import PushTWorld

SIZE = 320  # pixels
BANNER = 26  # pixels above the picture
FRAME_MS = 100
REST_FRAMES = 8  # the last picture of an episode stays for so long


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture: the pusher [m], the block's position [m] and orientation (x, y, z, w), and what to write above."""

    seed: int
    elapsed: float
    score: float
    pusher: tuple[float, float]
    block: tuple[tuple[float, float, float], tuple[float, float, float, float]]


def write_gif(path: Path, frames: Sequence[Frame]) -> Path:
    """Draw the frames at ten a second, and return ``path``."""
    if not frames:
        raise DataError('film: got 0 frames, allowed 1 or more')
    world = PushTWorld()
    pictures: list[np.ndarray] = []
    for frame, following in zip(frames, [*frames[1:], None], strict=True):
        picture = _draw(world, frame)
        last = following is None or following.seed != frame.seed
        pictures += [picture] * (REST_FRAMES if last else 1)
    imageio.imwrite(path, np.stack(pictures), extension='.gif', duration=FRAME_MS, loop=0)
    return path


def _draw(world: PushTWorld, frame: Frame) -> np.ndarray:
    position, (_, _, z, w) = frame.block
    yaw = 2.0 * np.arctan2(z, w)
    world.set_state(pusher=frame.pusher, block=position[:2], yaw=float(yaw))
    picture = np.full((SIZE + BANNER, SIZE, 3), 255, dtype=np.uint8)
    picture[BANNER:] = world.render_large(SIZE)
    text = f'seed {frame.seed}   {frame.elapsed:4.1f} s   score {frame.score:.3f}'
    cv2.putText(picture, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
    return picture
