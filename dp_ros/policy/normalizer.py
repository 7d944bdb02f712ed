"""Min-max normalization to [-1, 1], fitted on training data and carried by the bundle. It fails closed.

Settings as in Chi et al. 2023 (Diffusion Policy): each channel's range is mapped to [-1, 1]; a channel whose range is
below 1e-4 is centred, not scaled. Images are mapped from 0..255 to [-1, 1] and need no statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dp_ros.errors import BundleError, check_finite, check_shape, listed
from dp_ros.task.spec import TaskSpec

ACTION = 'action'
SMALLEST_RANGE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """Per-channel extremes of each vector stream and of ``action``, as tuples of floats."""

    low: Mapping[str, tuple[float, ...]]
    high: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        if set(self.low) != set(self.high) or ACTION not in self.low:
            raise BundleError(
                f'normalizer: got low for {listed(self.low)} and high for {listed(self.high)}, '
                f'allowed the same streams in both, {ACTION} among them'
            )
        for name in self.low:
            low, high = np.array(self.low[name]), np.array(self.high[name])
            check_shape(f'normalizer {name} high', high, low.shape)
            check_finite(f'normalizer {name} low', low)
            check_finite(f'normalizer {name} high', high)
            if (high < low).any():
                raise BundleError(f'normalizer {name}: got low {low} above high {high}, allowed low <= high')

    @classmethod
    def fit(cls, arrays: Mapping[str, np.ndarray]) -> Normalizer:
        """Fit on arrays of shape (N, C), one for each vector stream and for ``action``."""
        for name, array in arrays.items():
            check_shape(f'normalizer {name}', array, (None, None))
            check_finite(f'normalizer {name}', array)
        return cls(
            low={name: tuple(map(float, array.min(axis=0))) for name, array in arrays.items()},
            high={name: tuple(map(float, array.max(axis=0))) for name, array in arrays.items()},
        )

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
        return ((values - centre) / scale).astype(np.float32)

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
