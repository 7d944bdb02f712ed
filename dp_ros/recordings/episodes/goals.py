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


class GoalTrack:
    """The goals of one topic, in order of receive time: what was asked for at a time is the newest one received."""

    def __init__(self, spec: GoalSpec) -> None:
        self.spec = spec
        self._goals: deque[tuple[int, np.ndarray]] = deque()

    def push(self, received: int, message: Any) -> None:
        """Add a message received at ``received`` [ns], later than those before."""
        self._goals.append((received, goal_value(self.spec, message)))

    def at(self, t: int) -> np.ndarray | None:
        """Return what was asked for at ``t`` [ns], or None if nothing was yet; ``t`` must not run backwards."""
        while len(self._goals) > 1 and self._goals[1][0] <= t:
            self._goals.popleft()
        if not self._goals or self._goals[0][0] > t:
            return None
        return self._goals[0][1]


def goal_value(spec: GoalSpec, message: Any) -> np.ndarray:
    """Return what a goal's message holds: (C,) float64, (H, W, 3) uint8, or an instruction's embedding."""
    if isinstance(spec, Instruction):
        return instruction_value(spec, message.data)
    return decode(spec.as_stream, message)


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
        value = track.at(t)
        if value is None:
            return track.spec.name
        found[track.spec.name] = value
    return found
