"""A goal as the encoder's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dp_ros.data import Goal
from dp_ros.errors import DataError, check_shape, listed
from dp_ros.policy.language import instruction_value
from dp_ros.policy.normalizer import Normalizer, normalize_image
from dp_ros.task.spec import GoalImage, GoalPose, Instruction, TaskSpec

NO_GOAL = Goal()
MARGIN = 0.5  # of a coordinate's range in training, on each side
LEAST_MARGIN = 0.05  # [m] where training knew one value only
_PLACE = ('x', 'y', 'z')


def missing_goals(task: TaskSpec, goal: Goal) -> list[str]:
    """Return the names of what the task is asked by, and ``goal`` lacks."""
    return [
        g.name
        for g in task.goals
        if (not goal.instruction if isinstance(g, Instruction) else g.name not in goal.streams)
    ]


def goal_inputs(task: TaskSpec, normalizer: Normalizer, goal: Goal) -> dict[str, np.ndarray]:
    """Return the goal's inputs by name, normalized, each with a batch of one; what the task has no use for is left out.

    Raises
    ------
    DataError
        If a goal is missing, not of the task's shape, a pose far from those of training, or an instruction that
        means none of the task's.

    """
    missing = missing_goals(task, goal)
    if missing:
        raise DataError(f'goal: got none for {listed(missing)}, allowed only with {listed(g.name for g in task.goals)}')
    inputs = {}
    for spec in task.goals:
        if isinstance(spec, Instruction):
            value = instruction_value(spec, goal.instruction).astype(np.float32)
        else:
            given = goal.streams[spec.name]
            check_shape(f'goal {spec.name!r}', given, spec.shape)
            if isinstance(spec, GoalPose):
                check_goal_pose(spec, normalizer, given)
            value = normalize_image(given) if isinstance(spec, GoalImage) else normalizer.normalize(spec.name, given)
        inputs[spec.name] = np.ascontiguousarray(value[None])
    return inputs


def check_goal_pose(spec: GoalPose, normalizer: Normalizer, given: np.ndarray) -> None:
    """Raise DataError if a goal pose (C,) is far from all that training knew: another frame or unit, or a mistake.

    A coordinate may leave its range in training by `MARGIN` of it on each side; what turns is between -1 and 1.
    """
    for i, feature in enumerate(spec.features):
        low, high = normalizer.low[spec.name][i], normalizer.high[spec.name][i]
        margin = max(MARGIN * (high - low), LEAST_MARGIN)
        low, high = (low - margin, high + margin) if feature in _PLACE else (-1.001, 1.001)
        if not low <= given[i] <= high:
            unit = ' m' if feature in _PLACE else ''
            raise DataError(f'goal {spec.name!r} {feature}: got {given[i]:g}{unit}, allowed {low:g} to {high:g}{unit}')


def same_goal(one: Goal, other: Goal) -> bool:
    """Whether two goals ask for the same."""
    return (
        one.instruction == other.instruction
        and one.streams.keys() == other.streams.keys()
        and all(np.array_equal(value, other.streams[name]) for name, value in one.streams.items())
    )


def blank_goal(task: TaskSpec, normalizer: Normalizer) -> Goal:
    """Return a goal of the task's shape that stands for nothing, to run networks with once."""
    streams = {
        g.name: np.zeros(g.shape, np.uint8) if isinstance(g, GoalImage) else normalizer.middle(g.name)
        for g in task.goals
        if not isinstance(g, Instruction)
    }
    words = [next(iter(g.phrasings.values()), ('move',))[0] for g in task.goals if isinstance(g, Instruction)]
    return Goal(streams=streams, instruction=words[0] if words else '')


def guided_inputs(inputs: Mapping[str, np.ndarray], given: Sequence[float]) -> dict[str, np.ndarray]:
    """Return inputs for a batch with one entry of ``given`` each: 1 where it counts, 0 where it is left out."""
    column = np.array(given, dtype=np.float32)[:, None]
    return {name: np.repeat(value, len(given), axis=0) for name, value in inputs.items()} | {'given': column}
