"""Choose what a world asks for in words in an episode, and what that means to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.simulation.world import WorldSpec
from dp_ros.task.spec import Instruction, TaskSpec

Words = Literal['phrasings', 'paraphrases']
"""Whose words: those that the task lists, or the world's own, which no training has."""
STREAM = 0x1257  # of random numbers: the same seed draws the world's start


@dataclass(frozen=True, kw_only=True)
class AskedInstruction:
    """The instruction of an episode: its words, and which of `WorldSpec.instructions` it means."""

    meaning: str
    text: str


def asked_instruction(
    spec: WorldSpec, task: TaskSpec, seed: int, words: Words = 'phrasings'
) -> AskedInstruction | None:
    """Return what the episode ``seed`` asks for; None where the task has no instruction.

    Consecutive seeds go through all that the world can be asked for in turn. A task that lists no phrasings is asked in
    the world's words.

    Raises
    ------
    ConfigError
        If the world can't be asked in words, or for other things than the task has phrasings for.

    """
    goal = next((goal for goal in task.goals if isinstance(goal, Instruction)), None)
    if goal is None:
        return None
    if not spec.instructions or (goal.phrasings and set(goal.phrasings) != set(spec.instructions)):
        raise ConfigError(
            f'goal {goal.name!r} phrasings: got {listed(goal.phrasings)}, allowed what the world {spec.name} can be '
            f'asked for: {listed(spec.instructions)}'
        )
    texts = goal.phrasings if words == 'phrasings' and goal.phrasings else spec.instructions
    meaning = list(spec.instructions)[seed % len(spec.instructions)]
    drawn = np.random.default_rng([STREAM, seed]).integers(len(texts[meaning]))
    return AskedInstruction(meaning=meaning, text=texts[meaning][drawn])


def episode_labels(world: str, seed: int, success: bool, asked: AskedInstruction | None) -> dict[str, object]:
    """Return what a recording says of its episode."""
    about = {'world': world, 'seed': seed, 'success': success}
    return about if asked is None else {**about, 'instruction': asked.text, 'meaning': asked.meaning}
