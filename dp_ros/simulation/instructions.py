"""Choose what a world is asked for in an episode, in words or by a picture, and what that means to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.simulation.world import WorldSpec
from dp_ros.task.spec import GoalImage, Instruction, TaskSpec

Words = Literal['phrasings', 'paraphrases']
"""Whose words: those that the task lists, or the world's own, which no training has."""
STREAM = 0x1257  # of random numbers: the same seed draws the world's start


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Say what an episode is asked for: which of `WorldSpec.instructions`, in what words; none where a picture asks."""

    meaning: str
    text: str = ''


def asked_for(
    spec: WorldSpec, task: TaskSpec, seed: int, words: Words = 'phrasings'
) -> Asked | None:
    """Return what the episode ``seed`` asks for; None where the task has neither an instruction nor a goal picture.

    Consecutive seeds go through all that the world can be asked for in turn. A task that lists no phrasings is asked in
    the world's words. Where there is an instruction, a picture shows what it means.

    Raises
    ------
    ConfigError
        If the world can't be asked in words or by pictures, or for other things than the task has phrasings for.

    """
    pictures = [goal.name for goal in task.goals if isinstance(goal, GoalImage)]
    if pictures and not spec.pictured:
        raise ConfigError(f'goals: got the picture {listed(pictures)}, allowed none: the world {spec.name} shows none')
    goal = next((goal for goal in task.goals if isinstance(goal, Instruction)), None)
    if goal is None:
        return Asked(meaning=spec.pictured[seed % len(spec.pictured)]) if pictures else None
    if not spec.instructions or (goal.phrasings and set(goal.phrasings) != set(spec.instructions)):
        raise ConfigError(
            f'goal {goal.name!r} phrasings: got {listed(goal.phrasings)}, allowed what the world {spec.name} can be '
            f'asked for: {listed(spec.instructions)}'
        )
    texts = goal.phrasings if words == 'phrasings' and goal.phrasings else spec.instructions
    meaning = list(spec.instructions)[seed % len(spec.instructions)]
    drawn = np.random.default_rng([STREAM, seed]).integers(len(texts[meaning]))
    return Asked(meaning=meaning, text=texts[meaning][drawn])


def episode_labels(world: str, seed: int, success: bool, asked: Asked | None) -> dict[str, object]:
    """Return what a recording says of its episode."""
    about: dict[str, object] = {'world': world, 'seed': seed, 'success': success}
    if asked is not None:
        about |= {'meaning': asked.meaning, **({'instruction': asked.text} if asked.text else {})}
    return about
