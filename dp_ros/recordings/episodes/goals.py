"""Goals for training: what recordings say on goal topics, and hindsight: what an episode came to."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dp_ros.messages.encoding import decode
from dp_ros.policy.language import instruction_value
from dp_ros.task.goals import GoalSpec
from dp_ros.task.spec import REWARD, GoalImage, GoalPose, Instruction, TaskSpec


class Newest:
    """Values in order of receive time, of which at a time the newest one received counts."""

    def __init__(self) -> None:
        self._values: deque[tuple[int, np.ndarray]] = deque()

    def add(self, received: int, value: np.ndarray) -> None:
        """Add a value received at ``received`` [ns], later than those before."""
        self._values.append((received, value))

    def at(self, t: int) -> tuple[int, np.ndarray] | None:
        """Return the newest value that was received by ``t`` [ns], after when; ``t`` must not run backwards."""
        while len(self._values) > 1 and self._values[1][0] <= t:
            self._values.popleft()
        return self._values[0] if self._values and self._values[0][0] <= t else None


class GoalTrack(Newest):
    """The goals of one topic."""

    def __init__(self, spec: GoalSpec) -> None:
        super().__init__()
        self.spec = spec

    def push(self, received: int, message: Any) -> None:
        """Add a message received at ``received`` [ns]: (C,) float64, (H, W, 3) uint8, or the embedding of words."""
        if isinstance(self.spec, Instruction):
            self.add(received, instruction_value(self.spec, message.data))
        else:
            self.add(received, decode(self.spec.as_stream, message))


def source_of(goal: GoalSpec) -> str:
    """Return which of an episode's streams a goal is taken from: its own, if recordings have it, or another's."""
    return goal.name if goal.source == 'topic' or isinstance(goal, Instruction) else goal.stream


def recorded_goals(task: TaskSpec) -> tuple[GoalSpec, ...]:
    """Return the goals that recordings have; an episode has them as streams."""
    return tuple(goal for goal in task.goals if goal.source == 'topic')


def episode_names(task: TaskSpec) -> list[str]:
    """Return the names of an episode's streams, recorded goals and rewards among them."""
    return [*(part.name for part in (*task.streams, *recorded_goals(task))), *([REWARD] if task.reward else [])]


def picture_names(task: TaskSpec) -> frozenset[str]:
    """Return the names of an episode's streams that are pictures."""
    cameras = [s.name for s in task.streams if s.kind == 'image']
    return frozenset([*cameras, *(g.name for g in recorded_goals(task) if isinstance(g, GoalImage))])


def goal_extremes(task: TaskSpec, vectors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what goal poses are normalized by: all values of what they are taken from, (N, C)."""
    return {g.name: vectors[source_of(g)] for g in task.goals if isinstance(g, GoalPose)}


def goals_as_streams(tracks: Sequence[GoalTrack], t: int) -> dict[str, np.ndarray] | str:
    """Return what was asked for at ``t`` [ns] by name, or the name of the first of which nothing is known yet."""
    found = {}
    for track in tracks:
        newest = track.at(t)
        if newest is None:
            return track.spec.name
        found[track.spec.name] = newest[1]
    return found
