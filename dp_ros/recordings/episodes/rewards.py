"""Rewards for training: what recordings say on the reward's topic, and the return of what is still to come."""

from __future__ import annotations

from typing import Any

import numpy as np

from dp_ros.data import to_nanoseconds
from dp_ros.errors import DataError
from dp_ros.recordings.episodes.goals import Newest
from dp_ros.task.spec import RewardSpec


class RewardTrack:
    """The rewards of a topic, in order of receive time; one received up to ``wait`` [ns] after a tick still counts."""

    def __init__(self, spec: RewardSpec, wait: int) -> None:
        self.spec = spec
        self._wait, self._max_age = wait, to_nanoseconds(spec.max_age)
        self._rewards = Newest()
        self._count = 0

    def push(self, received: int, msg: Any) -> None:
        """Add a message received at ``received`` [ns], later than those before."""
        value = float(msg.data)
        if not np.isfinite(value):
            raise DataError(f'reward: got {value}, allowed finite numbers')
        self._rewards.add(received, np.array([value]))
        self._count += 1

    def at(self, tick: int) -> np.ndarray | None:
        """Return the reward (1,) at ``tick`` [ns], or None if there is none; ``tick`` must not run backwards."""
        newest = self._rewards.at(tick + self._wait)
        return None if newest is None or newest[0] < tick - self._max_age else newest[1]

    def missing(self) -> str:
        """Return why there is no reward at a tick."""
        if not self._count:
            return f'no message on {self.spec.topic}'
        return f'no message on {self.spec.topic} in the {self.spec.max_age:g} s before, of {self._count}'


def returns_to_go(rewards: np.ndarray, step_cost: float) -> np.ndarray:
    """Return at each tick what is still to come until the episode ends: the sum of rewards (N,), less a cost each.

    A cost of 1 makes a score from 0 to 1 what is missing, so that who is done sooner has more.
    """
    return np.cumsum((rewards - step_cost)[::-1])[::-1].copy()
