"""The PushT demonstrations of Chi et al. 2023 (a zarr store, in pixels) as the messages a robot would have sent [m]."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from dp_ros.errors import ConfigError, DataError, check_finite, check_shape, one_line
from dp_ros.messages.encoding import (
    to_compressed_image,
    to_float64,
    to_image,
    to_joint_state,
    to_joint_trajectory,
    to_pose,
)
from dp_ros.motion.trajectory import Trajectory
from dp_ros.options import REQUIRED, check_options, option
from dp_ros.recordings.datasets.zarr_check import MOST_EPISODE, check_files, numbers_in, pictures_in
from dp_ros.recordings.episodes.episode import Episode, episodes_from_messages
from dp_ros.recordings.rosbag.reader import BagWriter, Stamped, new_folder, refuse_existing
from dp_ros.recordings.rosbag.types import rosbags_types
from dp_ros.task.spec import ImageStream, TaskSpec

JOINTS = ('pusher_x', 'pusher_y')
JOINT_STATES = '/joint_states'
BLOCK_POSE = '/block_pose'
CAMERA = '/camera/color/image_raw'
CAMERA_COMPRESSED = f'{CAMERA}/compressed'
COMMAND = '/arm_controller/joint_trajectory'
REWARD = '/reward'

STATE, ACTION, ENDS, IMAGES = 'data/state', 'data/action', 'meta/episode_ends', 'data/img'

_CONTROL_DT = 100_000_000
_PIXELS_PER_METRE = 1000.0
# Any whole multiple of control_dt will do. Episodes lie a minute apart, so that no two share a stamp.
_START = 1_700_000_000_000_000_000
_SPACING = 60_000_000_000


class PushtZarr:
    """The store, checked and open: episodes are read as they are asked for."""

    def __init__(self, path: Path | str) -> None:
        import zarr

        self.path = Path(path)
        if not self.path.is_dir():
            raise DataError(f'zarr {self.path}: does not exist; allowed the folder pusht_cchi_v7_replay.zarr')
        try:
            check_files(self.path)
            # Its own metadata and no copy of it.
            root: Any = zarr.open_group(str(self.path), mode='r', zarr_format=2, use_consolidated=False)
            self._state, self._action, ends = (numbers_in(root, n) for n in (STATE, ACTION, ENDS))
            self._images = pictures_in(root, IMAGES)
        except Exception as error:  # zarr's own errors differ from version to version.
            raise DataError(
                f'zarr {self.path}: cannot be read ({type(error).__name__}: {one_line(str(error))}); '
                f'allowed a store with {STATE}, {ACTION} and {ENDS}'
            ) from error
        check_shape(f'zarr {self.path} data/state', self._state, (None, 5))
        check_shape(f'zarr {self.path} data/action', self._action, (len(self._state), 2))
        check_shape(f'zarr {self.path} meta/episode_ends', ends, (None,))
        self._edges = np.concatenate([[0], ends]).astype(np.int64)
        if len(ends) == 0 or np.any(np.diff(self._edges) < 1) or self._edges[-1] > len(self._state):
            raise DataError(
                f'zarr {self.path} meta/episode_ends: got {len(ends)} ends up to {self._edges[-1]}, '
                f'allowed 1 or more, increasing, up to {len(self._state)}'
            )

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self._edges) - 1

    def messages(self, index: int, camera: str = 'none', *, rewards: bool = False) -> Iterator[Stamped]:
        """Yield the messages of one episode in order of receive time, which is their stamp too.

        A command is one point due when it is received: a step of the set point, as the person's mouse made it. The
        rewards are the coverage of the goal, as a share of what counts as success: the score of the world `pusht`.
        """
        types = rosbags_types()
        rows = slice(int(self._edges[index]), int(self._edges[index + 1]))
        states = np.asarray(self._state[rows], dtype=np.float64)
        actions = np.asarray(self._action[rows], dtype=np.float64)
        check_finite(f'zarr {self.path} data/state of episode {index}', states)
        check_finite(f'zarr {self.path} data/action of episode {index}', actions)
        images = self._pixels(rows) if camera != 'none' else None
        for i, (state, action) in enumerate(zip(states, actions, strict=True)):
            t = _START + index * _SPACING + i * _CONTROL_DT
            position = state / _PIXELS_PER_METRE
            yield JOINT_STATES, t, to_joint_state(stamp=t, name=JOINTS, position=position[:2], types=types)
            yield (
                BLOCK_POSE,
                t,
                to_pose(
                    stamp=t,
                    position=(position[2], position[3], 0.0),
                    orientation=_quaternion(float(state[4])),
                    frame_id='pusht',
                    types=types,
                ),
            )
            if rewards:
                yield REWARD, t, to_float64(score(state[2:]), types=types)
            if images is not None and camera == 'raw':
                yield CAMERA, t, to_image(stamp=t, pixels=images[i], frame_id='camera', types=types)
            elif images is not None:
                message = to_compressed_image(
                    stamp=t, pixels=images[i], frame_id='camera', encoding=camera, types=types
                )
                yield CAMERA_COMPRESSED, t, message
            yield COMMAND, t, to_joint_trajectory(_step(action / _PIXELS_PER_METRE), types=types)

    def _pixels(self, rows: slice) -> np.ndarray:
        if self._images is None:
            raise DataError(f'zarr {self.path}: lacks data/img, allowed a store with it, or no camera')
        size = (rows.stop - rows.start) * math.prod(self._images.shape[1:]) * self._images.dtype.itemsize
        if size > MOST_EPISODE:
            raise DataError(f'zarr {self.path} {IMAGES}: got {size} bytes in an episode, allowed up to {MOST_EPISODE}')
        try:
            pixels = np.asarray(self._images[rows])
        except Exception as error:
            reason = f'{type(error).__name__}: {one_line(str(error))}'
            raise DataError(f'zarr {self.path} {IMAGES}: cannot be read ({reason})') from error
        check_shape(f'zarr {self.path} {IMAGES}', pixels, (rows.stop - rows.start, None, None, 3))
        check_finite(f'zarr {self.path} {IMAGES}', pixels)
        return pixels.round().clip(0, 255).astype(np.uint8)


def _quaternion(yaw: float) -> tuple[float, float, float, float]:
    """Return the rotation by ``yaw`` [rad] about z; of the two quaternions for it, that with w not negative."""
    z, w = math.sin(yaw / 2.0), math.cos(yaw / 2.0)
    return (0.0, 0.0, -z, -w) if w < 0.0 else (0.0, 0.0, z, w)


def _step(set_point: np.ndarray) -> Trajectory:
    return Trajectory(stamp=0, joints=JOINTS, times=np.zeros(1, dtype=np.int64), positions=set_point[np.newaxis])


def episode_name(index: int) -> str:
    """Return the name of an episode, and of its bag."""
    return f'episode_{index:04d}'


def read_pusht_zarr(path: Path | str, task: TaskSpec) -> Iterator[Episode]:
    """Yield the store's episodes, the same bit for bit as from the bags that `convert_pusht` makes of it."""
    if task.reward is not None and task.reward.topic != REWARD:
        raise ConfigError(f'task.reward.topic: got {task.reward.topic!r} for {path}, allowed {REWARD}')
    store = PushtZarr(path)
    camera = camera_for(task)
    for index in range(len(store)):
        messages = store.messages(index, camera, rewards=task.reward is not None)
        yield from episodes_from_messages(episode_name(index), messages, task)


def camera_for(task: TaskSpec) -> str:
    """Return which camera messages a task needs: raw, png (of compressed kinds the one that loses nothing), or none."""
    cameras = [stream for stream in task.streams if isinstance(stream, ImageStream)]
    if not cameras:
        return 'none'
    return 'png' if any(stream.compressed for stream in cameras) else 'raw'


# The coverage, from the block's pose alone: how much of the goal it lies on. The geometry is gym-pusht's [px].
GOAL = (256.0, 256.0, np.pi / 4)
SUCCESS_COVERAGE = 0.95
SCALE, LENGTH = 30.0, 4.0
BAR = np.array([[-0.5 * LENGTH, 1.0], [0.5 * LENGTH, 1.0], [0.5 * LENGTH, 0.0], [-0.5 * LENGTH, 0.0]]) * SCALE
STEM = np.array([[-0.5, 1.0], [-0.5, LENGTH], [0.5, LENGTH], [0.5, 1.0]]) * SCALE


def score(block: np.ndarray) -> float:
    """Return the coverage for the block's x, y [px] and angle [rad], (3,), as a share of what counts as success."""
    return min(1.0, coverage(block) / SUCCESS_COVERAGE)


def coverage(block: np.ndarray) -> float:
    """Return the share of the goal's area that the block lies on, 0 to 1."""
    goal = _goal()
    common = sum(_common(part, other) for part in _parts(*block) for other in goal)
    return float(common / sum(abs(_area(part)) for part in goal))


@lru_cache(maxsize=1)
def _goal() -> tuple[np.ndarray, ...]:
    return _parts(*GOAL)


def _parts(x: float, y: float, angle: float) -> tuple[np.ndarray, ...]:
    """Return the corners (4, 2) of bar and stem, which do not overlap, both in the same sense."""
    c, s = np.cos(angle), np.sin(angle)
    turned = (part @ np.array([[c, s], [-s, c]]) + (x, y) for part in (BAR, STEM))
    return tuple(part if _area(part) > 0.0 else part[::-1] for part in turned)


def _area(corners: np.ndarray) -> float:
    """Return the area of a polygon (N, 2), negative if it goes round the other way."""
    x, y = corners.T
    return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def _common(one: np.ndarray, other: np.ndarray) -> float:
    """Return the area that two convex polygons have in common (Sutherland and Hodgman 1974)."""
    kept = one
    for start, end in zip(other, np.roll(other, -1, axis=0), strict=True):
        along = end - start
        sides = along[0] * (kept[:, 1] - start[1]) - along[1] * (kept[:, 0] - start[0])
        corners = []
        for i in range(len(kept)):
            j = (i + 1) % len(kept)
            if sides[i] >= 0.0:
                corners.append(kept[i])
            if (sides[i] >= 0.0) != (sides[j] >= 0.0):
                corners.append(kept[i] + (kept[j] - kept[i]) * (sides[i] / (sides[i] - sides[j])))
        if len(corners) < 3:
            return 0.0
        kept = np.array(corners)
    return abs(_area(kept))


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """Choose what is converted to bags, and how."""

    # fmt: off
    source: Path = option(REQUIRED, 'pusht_cchi_v7_replay.zarr')
    out: Path = option(REQUIRED, 'new folder for the bags, one per episode')
    storage: Literal['mcap', 'sqlite3'] = option('mcap', 'rosbag2 storage')
    camera: Literal['raw', 'png', 'jpeg', 'none'] = option('raw', 'how images are kept')
    episodes: int | None = option(None, 'only the first so many', low=1, high=1_000_000)
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)


def convert_pusht(settings: ConvertSettings) -> list[Path]:
    """Convert a store into bags, and return their paths; the folder appears when every bag in it is whole."""
    refuse_existing(settings.out)
    store = PushtZarr(settings.source)
    if (count := settings.episodes or len(store)) > len(store):
        raise ConfigError(f'episodes: got {count}, allowed 1 to {len(store)}')
    names = [episode_name(index) for index in range(count)]
    with new_folder(settings.out) as made:
        for index, name in enumerate(tqdm(names, desc='convert', unit='episode')):
            with BagWriter(made / name, settings.storage) as bag:
                for topic, received, message in store.messages(index, settings.camera, rewards=True):
                    bag.write(topic, received, message)
    return [settings.out / name for name in names]
