"""Unwrap joints that the task calls continuous in recordings; refuse an episode in which another one wraps.

Live, a policy unwraps each window, see `dp_ros.policy.turns`; over a whole episode it comes to the same windows, and
what goes on to other programs has no jumps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dp_ros.errors import DataError
from dp_ros.policy.normalizer import ACTION
from dp_ros.policy.turns import TURN, observed_at, turning, unwrapped
from dp_ros.recordings.episodes.builder import position_columns
from dp_ros.task.spec import TaskSpec
from dp_ros.task.units import MOST

JUMP = 1.0
"""A step that is this near to a whole turn, within one control tick, is a wrap [rad]."""


def unwrapped_episode(
    task: TaskSpec, streams: Mapping[str, Any], actions: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
    """Return an episode's streams (N, ...) and actions (N, A) with continuous joints unwrapped.

    Actions begin next to where the joint is.

    Raises
    ------
    DataError
        If a joint wraps that the task does not call continuous.

    """
    for stream in task.streams:
        columns = position_columns(stream)
        if columns is not None and stream.name in streams:
            _check(task, f'stream {stream.name!r}', stream, streams[stream.name][:, columns])
    _check(task, ACTION, task.action, actions)
    result, turn = dict(streams), turning(task)
    for name in result.keys() & turn.keys():
        result[name] = unwrapped(result[name], turn[name])
    if ACTION in turn:
        actions = unwrapped(actions, turn[ACTION])
        for column in turn[ACTION]:
            place = observed_at(task, task.action.joints[column])
            if place is not None:
                away = result[place[0]][0, place[1]] - actions[0, column]
                actions[:, column] += TURN * np.round(away / TURN)
    return result, actions


def _check(task: TaskSpec, what: str, of: Any, positions: np.ndarray) -> None:
    steps = np.diff(positions, axis=0)
    wraps = np.abs(np.abs(steps) - TURN) < JUMP
    wraps &= np.abs(positions[:-1]) <= MOST['rad']  # beyond are degrees, which have an error of their own
    for column, (joint, unit) in enumerate(zip(of.joints, of.units, strict=True)):
        if unit == 'rad' and joint not in task.continuous and wraps[:, column].any():
            tick = int(wraps[:, column].argmax())
            raise DataError(
                f'{what}: {joint} wraps: got a step of {steps[tick, column]:.3g} rad from tick {tick} to the next; '
                f'allowed where the task calls the joint continuous (continuous: [{joint}])'
            )
