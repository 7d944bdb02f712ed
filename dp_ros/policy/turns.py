"""Add and take off whole turns of joints that turn without end, in one way, live and recorded.

A window is unwrapped and moved by whole turns, so that its newest position lies within half a turn of the middle of
what was learnt; its actions go on from there. Positions are put on a grid first, on which whole turns are added and
taken off exactly: a window has the same bits live and recorded, however often it was moved before.

The middle is that of the bundle's normalizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.task.spec import JointStream, TaskSpec

_GRID = 2.0**-40  # [rad]
TURN = round(2.0 * np.pi / _GRID) * _GRID
"""A whole turn on the grid [rad]."""


def turning(task: TaskSpec) -> dict[str, list[int]]:
    """Return the columns of positions of continuous joints: by stream, and of ``action``, where there are any."""
    found = {
        stream.name: [
            stream.fields.index('position') * len(stream.joints) + number
            for number, joint in enumerate(stream.joints)
            if joint in task.continuous
        ]
        for stream in task.streams
        if isinstance(stream, JointStream) and 'position' in stream.fields
    }
    found[ACTION] = [number for number, joint in enumerate(task.action.joints) if joint in task.continuous]
    return {name: columns for name, columns in found.items() if columns}


def middles(task: TaskSpec, normalizer: Normalizer) -> dict[str, np.ndarray]:
    """Return the middle of what was learnt, (C,), of each of `turning`."""
    return {name: normalizer.middle(name) for name in turning(task)}


def principal(positions: np.ndarray) -> np.ndarray:
    """Return positions [rad] on the grid, from half a turn below 0 up to half a turn above."""
    known = np.round(positions / _GRID) * _GRID
    known = known - TURN * _whole_turns(known)
    return np.where(known >= TURN / 2, known - TURN, np.where(known < -TURN / 2, known + TURN, known))


def unwrapped(values: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Return vectors (..., T, C) whose ``columns`` go from one step to the next the shorter way."""
    smooth: np.ndarray = np.array(values, dtype=np.float64)
    within = principal(smooth[..., columns])
    passed = np.cumsum(_whole_turns(np.diff(within, axis=-2)), axis=-2)
    within[..., 1:, :] -= TURN * passed
    smooth[..., columns] = within
    return smooth


def turned_streams(
    task: TaskSpec, middle: Mapping[str, np.ndarray], streams: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return windows of streams (..., T, C), unwrapped, with the newest positions next to the ``middle`` (C,)."""
    result = dict(streams)
    for name, columns in turning(task).items():
        if name in streams:
            smooth = unwrapped(streams[name], columns)
            smooth[..., columns] += TURN * _whole_turns(middle[name][columns] - smooth[..., -1:, columns])
            result[name] = smooth
    return result


def turned_actions(
    task: TaskSpec, middle: Mapping[str, np.ndarray], actions: np.ndarray, streams: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return chunks (..., P, A), unwrapped, with the first action next to the joint's newest position.

    That is taken from ``streams`` as `turned_streams` gives them; the ``middle`` stands for a joint that none has.
    """
    columns = turning(task).get(ACTION, [])
    if not columns:
        return actions
    smooth = unwrapped(actions, columns)
    for column in columns:
        place = observed_at(task, task.action.joints[column])
        start = middle[ACTION][column] if place is None else streams[place[0]][..., -1:, place[1]]
        smooth[..., column] += TURN * _whole_turns(start - smooth[..., :1, column])
    return smooth


def observed_at(task: TaskSpec, joint: str) -> tuple[str, int] | None:
    """Return the stream and the column that have a joint's position, or None."""
    for stream in task.streams:
        if isinstance(stream, JointStream) and joint in stream.joints and 'position' in stream.fields:
            return stream.name, stream.fields.index('position') * len(stream.joints) + stream.joints.index(joint)
    return None


def middle_of(positions: np.ndarray) -> float:
    """Return the middle of the arc that positions (N,) [rad] cover: opposite the widest gap on the circle."""
    known = np.unique(principal(positions))
    gaps = np.diff(known, append=known[0] + TURN)
    widest = int(gaps.argmax())
    return float(principal(np.array(known[widest] + gaps[widest] / 2 + TURN / 2)))


def _whole_turns(angle: np.ndarray) -> np.ndarray:
    """Return the nearest number of whole turns; half a turn counts as one."""
    return np.asarray(np.floor(angle / TURN + 0.5))
