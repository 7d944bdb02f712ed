"""How the newer controller splices a message into what it follows: ``allow_trajectory_replacement``.

As in ros2_controllers' master after 6.9.0. All times are in [ns].

The splice looks the old trajectory up at the cycle before, and plays the result from the new cycle on: whatever is left
of the old trajectory comes one period late, each time.
"""

from __future__ import annotations

import numpy as np

from dp_ros.simulation.controller.playback import Playback, Point, Sample


def splice(
    old: Playback, new: Playback, *, commanded: np.ndarray, held: np.ndarray, cursor: int, delay: int
) -> tuple[list[int], list[Point]]:
    """Return times from the cycle on, and points, of ``new`` spliced into ``old``.

    Parameters
    ----------
    old
        What is being followed.
    new
        The message, over all joints.
    commanded
        Which joints the message has, (A,) bool; the others stay on the old trajectory.
    held
        Where a joint is held that the old trajectory says nothing of, (A,).
    cursor
        Time on the old trajectory in the cycle before.
    delay
        How long after ``cursor`` the message starts: a stamp in the future; 0 for one of 0 or in the past, whose points
        are all put off.

    """
    begin = cursor + delay
    anchor = old.sample(begin)
    points = [(begin + t, _filled(point, old.sample(begin + t), commanded, held)) for t, point in _timed(new)]
    prefix = [(old.start + t, point) for t, point in _timed(old) if cursor < old.start + t < begin]
    if anchor is not None and begin < points[0][0]:
        prefix.append((begin, anchor.state))
    suffix: list[tuple[int, Point]] = []
    if not commanded.all():
        end, last = points[-1]
        suffix = [(old.start + t, _parked(point, last, commanded)) for t, point in _timed(old) if old.start + t > end]
    spliced = [*prefix, *points, *suffix]
    return [time - cursor for time, _ in spliced], [point for _, point in spliced]


def _timed(playback: Playback) -> list[tuple[int, Point]]:
    return list(zip(playback.times, playback.points, strict=True))


def _filled(point: Point, sample: Sample | None, commanded: np.ndarray, held: np.ndarray) -> Point:
    """Put the old trajectory's state into the columns that the message leaves out."""
    if commanded.all():
        return point
    zeros = np.zeros_like(held)
    state = Point(positions=held) if sample is None else sample.state

    def column(values: np.ndarray | None, old: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else np.where(commanded, values, zeros if old is None else old)

    return Point(
        positions=np.where(commanded, point.positions, state.positions),
        velocities=column(point.velocities, state.velocities),
        accelerations=column(point.accelerations, state.accelerations),
    )


def _parked(point: Point, last: Point, commanded: np.ndarray) -> Point:
    """Hold the joints that the message has at its last point, while the others go on as before."""

    def column(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else np.where(commanded, 0.0, values)

    return Point(
        positions=np.where(commanded, last.positions, point.positions),
        velocities=column(point.velocities),
        accelerations=column(point.accelerations),
    )
