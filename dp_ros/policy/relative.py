"""Actions that count from where the joints are, for training and running alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dp_ros.task.spec import TaskSpec


def action_base(task: TaskSpec, streams: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return what the network's actions count from: at each observation, where the joints were.

    Parameters
    ----------
    streams
        By stream name, observations one after the other (T, C).

    Returns
    -------
        Positions (T, A) [rad or m]; None for a task whose actions are absolute.

    """
    if not task.action.relative:
        return None
    name, columns = task.base_columns()
    return streams[name][:, list(columns)]
