"""A task's mirror symmetry: every demonstration is learnt a second time, as it would have gone in a mirror.

Only where the mirror is exact: the robot's reach, the goal and what stands around must be their own mirror images. A
mirrored recording is then as good as a recorded one, and half of the situations that the recordings lack are not
missing any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from dp_ros.data import Window
from dp_ros.errors import ConfigError, listed
from dp_ros.options import option
from dp_ros.policy.normalizer import ACTION
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.goals import recorded_goals
from dp_ros.task.spec import REWARD, Instruction, TaskSpec

Flip = Literal['', 'left_right', 'up_down', 'diagonal', 'antidiagonal']


@dataclass(frozen=True, kw_only=True)
class MirrorSettings:
    """Say what the mirror makes of one stream, of a recorded goal, or of ``action``."""

    stream: str = option('', 'What it is made from, where the mirror swaps things; empty: from itself.')
    take: tuple[int, ...] = option(
        (), 'For each value of the mirrored vector, the place of the value that it is made from; empty for pictures.'
    )
    scale: tuple[float, ...] = option((), 'What that value is multiplied by; empty: 1.')
    offset: tuple[float, ...] = option((), 'What is added then; empty: 0.')
    flip: Flip = option(
        '', 'Of pictures: `left_right`, `up_down`, about the `diagonal` (from the upper left) or the `antidiagonal`.'
    )

    def vector(self, values: np.ndarray) -> np.ndarray:
        """Return the mirror image of vectors (..., C)."""
        return values[..., list(self.take)] * np.array(self.scale or 1.0) + np.array(self.offset or 0.0)

    def pictures(self, values: np.ndarray) -> np.ndarray:
        """Return the mirror image of pictures (..., H, W, 3)."""
        if self.flip == 'left_right':
            return values[..., ::-1, :]
        if self.flip == 'up_down':
            return values[..., ::-1, :, :]
        turned = values.swapaxes(-3, -2)
        return turned if self.flip == 'diagonal' else turned[..., ::-1, ::-1, :]


class MirroredFrames:
    """The mirror image of an episode's pictures (N, H, W, 3) uint8, made of those that are asked for."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, frames: Any, mirror: MirrorSettings) -> None:
        self._frames, self._mirror = frames, mirror

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""
        return tuple(self._frames.shape)

    def __len__(self) -> int:
        """Return how many pictures these are."""
        return len(self._frames)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return the pictures (..., H, W, 3) at ``index``."""
        return np.ascontiguousarray(self._mirror.pictures(self._frames[index]))


def check_mirror(task: TaskSpec, mirror: Mapping[str, MirrorSettings]) -> None:
    """Raise ConfigError unless ``mirror`` is empty, or says of all that is learnt what a mirror makes of it."""
    if not mirror:
        return
    worded = [goal.name for goal in task.goals if isinstance(goal, Instruction)]
    if worded:
        raise ConfigError(f'mirror: got a task with the instruction {worded[0]!r}, allowed none: words have no mirror')
    shapes = {stream.name: stream.shape for stream in task.streams}
    shapes |= {goal.name: goal.shape for goal in recorded_goals(task)}
    shapes[ACTION] = (len(task.action.joints),)
    if set(mirror) != set(shapes):
        raise ConfigError(f'mirror: got {listed(sorted(mirror))}, allowed all of {listed(sorted(shapes))}')
    for name, shape in shapes.items():
        if len(shape) == 3:
            _check_pictures(name, shape, mirror[name])
        else:
            _check_vector(name, shape[0], mirror[name])
    for name in shapes:
        _check_twice(name, shapes, mirror)
    _check_action(task, mirror)


def mirrored(episode: Episode, mirror: Mapping[str, MirrorSettings]) -> Episode:
    """Return an episode as it would have gone in the mirror; the pictures are turned when they are asked for."""
    streams = {name: values for name, values in episode.streams.items() if name == REWARD}
    for name in [name for name in episode.streams if name != REWARD]:
        values = episode.streams[mirror[name].stream or name]
        pictures = values.dtype == np.uint8
        streams[name] = MirroredFrames(values, mirror[name]) if pictures else mirror[name].vector(values)
    actions = mirror[ACTION].vector(episode.actions)
    return replace(episode, name=f'{episode.name}, mirrored', streams=streams, actions=actions)


def mirrored_window(window: Window, mirror: Mapping[str, MirrorSettings]) -> Window:
    """Return a window as it would be in the mirror."""
    streams = {}
    for name in window.streams:
        asked, values = mirror[name], window.streams[mirror[name].stream or name]
        pictures = values.dtype == np.uint8
        streams[name] = np.ascontiguousarray(asked.pictures(values)) if pictures else asked.vector(values)
    return replace(window, streams=streams)


def with_mirrored(episodes: Sequence[Episode], mirror: Mapping[str, MirrorSettings]) -> list[Episode]:
    """Return the episodes, followed by their mirror images if there is a mirror."""
    return [*episodes, *(mirrored(e, mirror) for e in episodes)] if mirror else list(episodes)


def _check_twice(name: str, shapes: Mapping[str, tuple[int, ...]], mirror: Mapping[str, MirrorSettings]) -> None:
    """Raise ConfigError unless a mirror of the mirror image of ``name`` gives the original back."""
    asked = mirror[name]
    source = asked.stream or name
    allowed = [n for n, shape in shapes.items() if n == name or (shape == shapes[name] and ACTION not in (n, name))]
    if source not in allowed:
        raise ConfigError(f'mirror.{name}.stream: got {source!r}, allowed {listed(sorted(allowed))}')
    back = mirror[source]
    if (back.stream or source) != name:
        raise ConfigError(f'mirror.{source}.stream: got {back.stream!r}, allowed {name!r}, which is made from it')
    probe = np.random.default_rng(0).uniform(-1.0, 1.0, (4, *shapes[name]))
    twice = back.vector(asked.vector(probe)) if asked.take else back.pictures(asked.pictures(probe))
    if not np.allclose(twice, probe, atol=1e-9):
        raise ConfigError(f'mirror.{name}: got {asked}, allowed what gives the original back when done twice')


def _check_action(task: TaskSpec, mirror: Mapping[str, MirrorSettings]) -> None:
    """Set points are positions of joints, relative actions too when they are recorded: they mirror as those do."""
    try:
        name, columns = task.base_columns()
    except ConfigError:
        return  # no stream has them all
    positions = np.random.default_rng(0).uniform(-1.0, 1.0, (4, *task.stream(name).shape))
    mine, theirs = mirror[ACTION].vector(positions[:, columns]), mirror[name].vector(positions)[:, columns]
    if not np.allclose(mine, theirs, atol=1e-9):
        raise ConfigError(
            f'mirror.{ACTION}: got {mirror[ACTION]}, allowed what mirror.{name} does to the same joints; '
            'set points are mirrored before actions are made relative'
        )


def _check_pictures(name: str, shape: tuple[int, ...], asked: MirrorSettings) -> None:
    if asked.take or asked.scale or asked.offset or not asked.flip:
        raise ConfigError(f'mirror.{name}: got {asked}, allowed a flip and nothing else, for pictures')
    if asked.flip in ('diagonal', 'antidiagonal') and shape[0] != shape[1]:
        raise ConfigError(
            f'mirror.{name}.flip: got {asked.flip!r} for pictures of {shape[0]} x {shape[1]}, '
            'allowed left_right or up_down: these are not square'
        )


def _check_vector(name: str, size: int, asked: MirrorSettings) -> None:
    if asked.flip:
        raise ConfigError(f'mirror.{name}.flip: got {asked.flip!r}, allowed none: these are no pictures')
    if sorted(asked.take) != list(range(size)):
        raise ConfigError(f'mirror.{name}.take: got {list(asked.take)}, allowed 0 to {size - 1} in any order')
    for what, values in (('scale', asked.scale), ('offset', asked.offset)):
        if values and len(values) != size:
            raise ConfigError(f'mirror.{name}.{what}: got {len(values)} numbers, allowed {size}, or none')
        if not np.isfinite(values).all():
            raise ConfigError(f'mirror.{name}.{what}: got {list(values)}, allowed finite numbers')
