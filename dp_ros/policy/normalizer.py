"""Min-max normalization to [-1, 1], fitted on training data and carried by the bundle. It fails closed.

Each channel's range is mapped to [-1, 1], as in Chi et al. 2023 (Diffusion Policy). A joint that only trembled would be
blown up by that: 1 mrad of noise becomes the whole range, and a joint 0.5 rad beside it becomes 1000 in the network. So

- a range is at least that of `dp_ros.task.units.FLOORS`, about its middle: 5 mrad, 1 mm;
- what is observed is clipped at `FARTHEST`, half the range beyond either end. No recording of the training is there, so
  nothing changes for it; live it keeps one joint that is elsewhere from drowning all others. `far_outside` names it.

Normalizers of bundles from before have no ``clip``, and go on as they were: not clipped, and a range below 1e-4 centred
and not scaled. Images are mapped from 0..255 to [-1, 1] and need no statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dp_ros.errors import BundleError, check_finite, check_shape, listed
from dp_ros.task.spec import GoalPose, ImageStream, TaskSpec
from dp_ros.task.units import Channel

ACTION = 'action'
SMALLEST_RANGE = 1e-4
FARTHEST = 2.0
"""Largest normalized value of an observation, in half ranges from the middle."""
MOST_CLIP = 100.0
NEAR = 10.0
"""Floors of a channel's range beyond either end of it that are never far outside: 50 mrad, 10 mm."""


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """Per-channel extrema of each vector stream and of ``action``, as tuples of floats.

    Attributes
    ----------
    low, high
        The range that is mapped to [-1, 1].
    clip
        The largest normalized value of what is observed; 0: any. Actions are never clipped here.

    """

    low: Mapping[str, tuple[float, ...]]
    high: Mapping[str, tuple[float, ...]]
    clip: float = 0.0

    def __post_init__(self) -> None:
        if set(self.low) != set(self.high) or ACTION not in self.low:
            raise BundleError(
                f'normalizer: got low for {listed(self.low)} and high for {listed(self.high)}, '
                f'allowed the same streams in both, {ACTION} among them'
            )
        if self.clip and not 1.0 <= self.clip <= MOST_CLIP:
            raise BundleError(f'normalizer clip: got {self.clip}, allowed 0 (none) or 1 to {MOST_CLIP:g}')
        for name in self.low:
            low, high = np.array(self.low[name]), np.array(self.high[name])
            check_shape(f'normalizer {name} high', high, low.shape)
            check_finite(f'normalizer {name} low', low)
            check_finite(f'normalizer {name} high', high)
            if (high < low).any():
                raise BundleError(f'normalizer {name}: got low {low} above high {high}, allowed low <= high')

    @classmethod
    def fit(cls, arrays: Mapping[str, np.ndarray], floors: Mapping[str, Sequence[float]] | None = None) -> Normalizer:
        """Fit on arrays of shape (N, C), one for each vector stream and for ``action``; ranges are at least ``floors``.

        Without ``floors``, (C,) by name, they are what they are.
        """
        low, high = {}, {}
        for name, array in arrays.items():
            check_shape(f'normalizer {name}', array, (None, None))
            check_finite(f'normalizer {name}', array)
            first, last = array.min(axis=0), array.max(axis=0)
            missing = np.maximum(np.array((floors or {}).get(name, 0.0)) - (last - first), 0.0) / 2
            low[name], high[name] = tuple(map(float, first - missing)), tuple(map(float, last + missing))
        return cls(low=low, high=high, clip=FARTHEST)

    def _centre_and_scale(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        if name not in self.low:
            raise BundleError(f'normalizer: got stream {name!r}, allowed {listed(self.low)}')
        low, high = np.array(self.low[name]), np.array(self.high[name])
        half = (high - low) / 2
        return (high + low) / 2, np.where(high - low < SMALLEST_RANGE, 1.0, half)

    def middle(self, name: str) -> np.ndarray:
        """Return the middle of the training data's range, (C,), of a vector stream or ``action``."""
        return self._centre_and_scale(name)[0]

    def normalize(self, name: str, values: np.ndarray) -> np.ndarray:
        """Map values (..., C) of a vector stream or ``action`` to float32, [-1, 1] over the training data."""
        centre, scale = self._centre_and_scale(name)
        check_shape(f'{name} channels', np.empty(values.shape[-1:]), centre.shape)
        normalized = ((values - centre) / scale).astype(np.float32)
        return normalized.clip(-self.clip, self.clip) if self.clip and name != ACTION else normalized

    def denormalize(self, name: str, values: np.ndarray) -> np.ndarray:
        """Inverse of `normalize`, in float64."""
        centre, scale = self._centre_and_scale(name)
        return values.astype(np.float64) * scale + centre

    def denormalize_change(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return by how much what is normalized to ``values`` apart is apart, in float64."""
        _, scale = self._centre_and_scale(name)
        return values.astype(np.float64) * scale


def normalize_image(pixels: np.ndarray) -> np.ndarray:
    """Map uint8 images (..., H, W, 3) to float32 (..., 3, H, W) in [-1, 1]."""
    return np.moveaxis(pixels, -1, -3).astype(np.float32) / np.float32(127.5) - np.float32(1.0)


def channels_of(task: TaskSpec) -> dict[str, tuple[Channel, ...]]:
    """Return name and unit of each number that is normalized, by stream, goal pose and ``action``."""
    found = {s.name: s.channels for s in task.streams if not isinstance(s, ImageStream)}
    found |= {g.name: g.as_stream.channels for g in task.goals if isinstance(g, GoalPose)}
    return found | {ACTION: task.action.channels}


def trembling(task: TaskSpec, normalizer: Normalizer) -> list[str]:
    """Return what hardly moved in the recordings of training, as ``joints elbow``: its range is its floor, or less."""
    return [
        f'{name} {channel.name}'
        for name, channels in channels_of(task).items()
        for channel, low, high in zip(channels, normalizer.low[name], normalizer.high[name], strict=True)
        if high - low <= channel.floor * (1 + 1e-9)
    ]


class TrainingRange:
    """Name what is observed far outside of the range of training: half the range beyond an end, or more.

    A range that is small for its unit reaches `NEAR` floors further. What turns (quaternions, sines and cosines) is
    never far.
    """

    def __init__(self, task: TaskSpec, normalizer: Normalizer) -> None:
        self._channels = {n: c for n, c in channels_of(task).items() if n in {s.name for s in task.streams}}
        self._low, self._high = {}, {}
        for name, channels in self._channels.items():
            low, high = np.array(normalizer.low[name]), np.array(normalizer.high[name])
            margin = np.maximum((FARTHEST - 1.0) * (high - low) / 2, [NEAR * c.floor for c in channels])
            turns = np.array([c.turns for c in channels])
            self._low[name] = np.where(turns, -np.inf, low - margin)
            self._high[name] = np.where(turns, np.inf, high + margin)
        self._ends = normalizer

    def far_outside(self, name: str, values: np.ndarray) -> str:
        """Return what of a stream's vector (C,) is far outside, with value and range, or ''."""
        if name not in self._channels:
            return ''
        outside = (values < self._low[name]) | (values > self._high[name])
        return '; '.join(self._text(name, i, values[i]) for i in np.flatnonzero(outside).tolist())

    def _text(self, name: str, index: int, value: float) -> str:
        channel, low, high = self._channels[name][index], self._ends.low[name][index], self._ends.high[name][index]
        return f'{channel.name}: got {value:.4g}{channel.suffix}, far from the {low:.4g} to {high:.4g} of the training'


def action_base(task: TaskSpec, streams: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return what the network's actions count from: at each observation, where the joints were.

    Parameters
    ----------
    streams
        By stream name, observations one after the other (..., T, C).

    Returns
    -------
        Positions (..., T, A) [rad or m]; None for a task whose actions are absolute.

    """
    if not task.action.relative:
        return None
    name, columns = task.base_columns()
    return streams[name][..., list(columns)]
