"""Draw chunks as curves over time, a strip for each joint: for robots without a simulated world."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from dp_ros.evaluation.film import INK

STRIP, WIDTH, MOST = 96, 288, 8  # pixels, and joints that are drawn
RECORDED, LINE = (40, 90, 200), (200, 200, 200)  # RGB
_MARGIN = 0.25


def strips(
    joints: Sequence[str], recorded: np.ndarray, clean: Sequence[np.ndarray]
) -> Callable[[np.ndarray, tuple[int, ...]], np.ndarray]:
    """Return a function that draws chunks (N, P, A) in a colour, over what was commanded (P, A).

    ``clean`` are chunks (N, P, A) that say, with ``recorded``, which range each strip shows; noise goes beyond it.
    """
    count = min(len(joints), MOST)
    shown = np.concatenate([recorded[None], *clean])
    low, high = np.nanmin(shown, axis=(0, 1)), np.nanmax(shown, axis=(0, 1))
    margin = np.maximum(_MARGIN * (high - low), 1e-3)
    low, high = low - margin, high + margin

    def points(joint: int, values: np.ndarray) -> np.ndarray:
        kept = np.flatnonzero(np.isfinite(values))
        share = np.clip((high[joint] - values[kept]) / (high[joint] - low[joint]), 0.0, 1.0)
        across = kept * (WIDTH - 1) / max(1, len(values) - 1)
        return np.stack([across, joint * STRIP + share * (STRIP - 1)], axis=1).round().astype(np.int32)

    empty = np.full((count * STRIP, WIDTH, 3), 255, dtype=np.uint8)
    for joint in range(count):
        cv2.line(empty, (0, joint * STRIP), (WIDTH, joint * STRIP), LINE, 1)

    def draw(chunks: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
        picture = empty.copy()
        for joint in range(count):
            for chunk in chunks:
                cv2.polylines(picture, [points(joint, chunk[:, joint])], False, colour, 1, cv2.LINE_AA)
            cv2.polylines(picture, [points(joint, recorded[:, joint])], False, RECORDED, 2, cv2.LINE_AA)
            at = (6, joint * STRIP + 16)
            cv2.putText(picture, joints[joint], at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
        return picture

    return draw
