"""Coming to rest on the chunk's own last steps, rather than straight on beyond them.

Where a chunk goes on along a curve, straight on is somewhere else: an arm that works close above a table would be aimed
at the table. So time runs slower evenly over the last n steps, down to none: with D = n control_dt the plan time of
these steps and T = 2 D the time they take, plan time p is reached at T (1 - sqrt(1 - p / D)).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.policy.spline import Ending


def eased(due: np.ndarray, steps: np.ndarray, control_dt: int, ending: Ending) -> tuple[np.ndarray, Ending]:
    """Return when steps (n, A), due at ``due`` (n,) [ns], are reached if they end at rest, and what is left to stop.

    The deceleration takes as long as ``ending`` wants. Where there are too few steps for that, the rest is its tail,
    straight on.
    """
    if len(steps) < 2:
        return due, ending
    duration = ending.duration((steps[-1] - steps[-2]) * (NANOSECONDS / control_dt))
    count = min(len(steps) - 1, int(np.ceil(duration * NANOSECONDS / (2 * control_dt))))
    passed = np.arange(1, count + 1) / count
    late = 2 * count * control_dt * (1.0 - np.sqrt(1.0 - passed))
    slower = np.concatenate([due[: len(due) - count], due[len(due) - count - 1] + np.rint(late).astype(np.int64)])
    enough = 2 * count * control_dt >= duration * NANOSECONDS
    return slower, replace(ending, least=control_dt / NANOSECONDS) if enough else ending
