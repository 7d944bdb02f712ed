"""A GIF of what happened, drawn from positions alone: it can be made of what an observer of the topics saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import imageio.v3 as imageio
import numpy as np

from dp_ros.errors import DataError
from dp_ros.simulation.world import Scene, World

HEIGHT = 320  # pixels
BANNER = 26  # pixels above the picture
FRAME_MS = 100
REST_FRAMES = 8  # the last picture of an episode stays for so long
TRAIL = 40  # frames that the way behind stays
BEHIND, AHEAD = (150, 150, 150), (255, 140, 0)  # RGB
INK = (40, 40, 40)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture: the scene, what to write above it, and the joint positions commanded from now on, (N, A)."""

    seed: int
    elapsed: float
    score: float
    scene: Scene
    ahead: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))


def write_gif(path: Path, frames: Sequence[Frame], world: World, cameras: Sequence[str] = ()) -> Path:
    """Draw the frames at ten a second, and return ``path``; ``world`` is used for drawing.

    What ``cameras`` see, two at most, stands beside it.
    """
    if not frames:
        raise DataError('film: got 0 frames, allowed 1 or more')
    pictures: list[np.ndarray] = []
    trail: list[np.ndarray] = []
    for number, frame in enumerate(frames):
        trail = trail[-TRAIL:] if number and frames[number - 1].seed == frame.seed else []
        trail.append(np.asarray(frame.scene.joints))
        last = number + 1 == len(frames) or frames[number + 1].seed != frame.seed
        pictures += [_draw(world, frame, np.stack(trail), cameras[:2])] * (REST_FRAMES if last else 1)
    imageio.imwrite(path, np.stack(pictures), extension='.gif', duration=FRAME_MS, loop=0)
    return path


def _draw(world: World, frame: Frame, trail: np.ndarray, cameras: Sequence[str]) -> np.ndarray:
    world.set_scene(frame.scene)
    scene = world.render_large(HEIGHT)
    draw_way(scene, world, trail, BEHIND)
    draw_way(scene, world, frame.ahead, AHEAD)
    if cameras:
        seen = [cv2.resize(world.render(name), (HEIGHT // 2, HEIGHT // 2)) for name in cameras]
        column = np.full((HEIGHT, HEIGHT // 2, 3), 255, dtype=np.uint8)
        column[: len(seen) * (HEIGHT // 2)] = np.concatenate(seen)
        scene = np.concatenate([scene, column], axis=1)
    picture = np.full((HEIGHT + BANNER, scene.shape[1], 3), 255, dtype=np.uint8)
    picture[BANNER:] = scene
    text = f'seed {frame.seed}   {frame.elapsed:4.1f} s   score {frame.score:.3f}'
    cv2.putText(picture, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    return picture


def draw_way(
    picture: np.ndarray, world: World, joints: np.ndarray, colour: tuple[float, ...], thickness: int = 2
) -> None:
    """Draw the tool's way through the joint positions (N, A) into a picture of the world, RGB uint8."""
    if len(joints) > 1:
        pixels = np.round(world.tool_pixels(joints, len(picture)) * 8).astype(np.int32)  # in eighths of a pixel
        cv2.polylines(picture, [pixels], False, colour, thickness, cv2.LINE_AA, shift=3)
