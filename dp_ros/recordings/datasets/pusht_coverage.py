"""PushT's coverage from the block's pose alone: how much of the goal it lies on. The geometry is gym-pusht's [px]."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

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
