"""The statistics that a LeRobot dataset carries, of each feature, by episode and of all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Stats = dict[str, np.ndarray]
_SHADES = np.arange(256)


def vector_stats(values: np.ndarray) -> Stats:
    """Return the statistics of rows (N, C)."""
    return {
        'min': values.min(axis=0),
        'max': values.max(axis=0),
        'mean': values.mean(axis=0),
        'std': values.std(axis=0),
        'count': np.array([len(values)]),
    }


def shade_counts(pixels: np.ndarray) -> np.ndarray:
    """Return how often each shade occurs in each channel of pictures (N, H, W, 3) uint8: (3, 256)."""
    return np.stack([np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)])


def picture_stats(counts: np.ndarray, pictures: int) -> Stats:
    """Return the statistics of pictures, shades from 0 to 1, each (3, 1, 1), from their `shade_counts`."""
    total = counts.sum(axis=1)
    mean = counts @ _SHADES / total
    spread = np.sqrt(np.maximum(counts @ _SHADES**2 / total - mean**2, 0.0))
    seen = counts > 0
    values = {'min': seen.argmax(axis=1), 'max': 255 - seen[:, ::-1].argmax(axis=1), 'mean': mean, 'std': spread}
    return {name: (value / 255.0).reshape(3, 1, 1) for name, value in values.items()} | {'count': np.array([pictures])}


def joined_stats(parts: Sequence[Stats]) -> Stats:
    """Return the statistics of all rows, from those of each part."""
    counts = np.array([part['count'][0] for part in parts], dtype=np.float64)
    share = (counts / counts.sum()).reshape(-1, *[1] * parts[0]['mean'].ndim)
    mean = sum(w * part['mean'] for w, part in zip(share, parts, strict=True))
    square = sum(w * (part['std'] ** 2 + part['mean'] ** 2) for w, part in zip(share, parts, strict=True))
    return {
        'min': np.min([part['min'] for part in parts], axis=0),
        'max': np.max([part['max'] for part in parts], axis=0),
        'mean': np.asarray(mean),
        'std': np.sqrt(np.maximum(np.asarray(square) - np.asarray(mean) ** 2, 0.0)),
        'count': np.array([int(counts.sum())]),
    }
