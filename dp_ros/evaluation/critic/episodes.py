"""Episodes that a policy plays itself, and what it decided in them: what a critic learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.data import Chunk, Window
from dp_ros.errors import DataError
from dp_ros.evaluation.episodes import make_runner, played_with_bar
from dp_ros.evaluation.scores import EvaluationSettings
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.parity import state_of
from dp_ros.policy.normalizer import ACTION, action_base
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.simulation.robot import SimulatedRobot
from dp_ros.task.yaml_reader import parse
from dp_ros.training.critic.experience import Decision, Decisions
from dp_ros.training.samples.symmetry import MirrorSettings, mirrored_window

NEAR_POWER = 4
"""The score of a moment counts to this power: half of it is far from success."""


class ExploringPolicy(DiffusionPolicy):
    """A policy that keeps what it decides, and at times takes any of its samples: else none is ever compared."""

    explore = 0.0
    mirror: Mapping[str, MirrorSettings] = {}

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Forget what was decided; ``seed`` is the next episode's."""
        self._rng = np.random.default_rng([seed, 0, 1])  # not what the chunks' noise is drawn from
        self.decided: list[Decision] = []
        self.mirrored: list[Decision] = []

    def chunk(self, window: Window, *arguments: Any, **named: Any) -> Chunk:
        """Return a chunk, and keep how it would be in the mirror."""
        chunk = super().chunk(window, *arguments, **named)
        if self.mirror:
            self.mirrored.append(self._mirrored(mirrored_window(window, self.mirror), chunk.actions))
        return chunk

    def _mirrored(self, window: Window, actions: np.ndarray) -> Decision:
        task, window = self.bundle.task, self.unwrapped(window)
        turned = self._as_learnt(self.mirror[ACTION].vector(actions), window, action_base(task, window.streams))
        inputs = self.inputs(window)
        state = state_of(task, inputs)[0]
        return self.backend.encode(inputs)[0], state, self.bundle.normalizer.normalize(ACTION, turned)

    def _ranked(
        self, cond: np.ndarray, inputs: Mapping[str, np.ndarray], actions: np.ndarray, last: np.ndarray | None
    ) -> np.ndarray:
        ranked = super()._ranked(cond, inputs, actions, last)
        if self._rng.random() < self.explore:
            any_one = int(self._rng.integers(len(actions)))
            ranked = np.append(any_one, ranked[ranked != any_one])
        state = state_of(self.bundle.task, inputs)
        self.decided.append((cond[0].copy(), state[0].copy(), actions[ranked[0]].copy()))
        return ranked


def _make_play(settings: EvaluationSettings, explore: float, bundle: Path) -> Callable[[int], Decisions]:
    runner = make_runner(replace(settings, bundle=bundle), ExploringPolicy)
    policy = runner.policy
    assert isinstance(policy, ExploringPolicy)
    policy.explore, policy.mirror = explore, trained_mirror(runner.bundle)

    def play(seed: int) -> Decisions:
        policy.begin(seed)
        scores: list[tuple[int, float]] = []  # how many chunks were decided by then, and the score of that moment

        def watch(robot: SimulatedRobot) -> None:
            scores.append((len(policy.decided), robot.world.progress.score))

        result = runner.run(seed, watch)
        if not policy.decided:
            raise DataError(f'seed {seed}: got no chunk, allowed one or more in an episode')
        scores.append((len(policy.decided), runner.world.progress.score))
        done = max(1, result.chunks)  # the last chunk may have come too late to be executed
        return Decisions(
            taken=_stacked(policy.decided[:done]),
            near=nearness(scores, len(policy.decided))[:done],
            success=result.success,
            mirrored=_stacked(policy.mirrored[:done]) if policy.mirrored else None,
        )

    return play


def nearness(scores: Sequence[tuple[int, float]], count: int) -> np.ndarray:
    """Return, for each of ``count`` chunks, the best score after it and before the chunk after the next, to a power.

    ``scores`` are pairs: how many chunks were decided by then, and the score of that moment.
    """
    best = np.zeros(count + 1)
    for decided, score in scores:
        if decided:
            best[decided - 1] = max(best[decided - 1], score)
    near = np.maximum(best[:-1], best[1:])
    return (near.clip(0.0, 1.0) ** NEAR_POWER).astype(np.float32)


def _stacked(decisions: list[Decision]) -> Decision:
    cond, state, actions = (np.stack(arrays) for arrays in zip(*decisions, strict=True))
    return cond, state, actions


def trained_mirror(bundle: Bundle) -> dict[str, MirrorSettings]:
    """Return the mirror that a policy was trained with; none with goals or guidance, which are not in a window."""
    config = bundle.provenance.get('config')
    if not isinstance(config, dict) or bundle.task.goals or bundle.task.guidance:
        return {}
    found = config.get('mirror')
    return {name: parse(MirrorSettings, raw, f'mirror.{name}') for name, raw in (found or {}).items()}


def rollouts(settings: EvaluationSettings, explore: float, what: str) -> Iterator[Decisions]:
    """Play the episodes of ``settings``, with a progress bar that says ``what``, and yield each one's decisions."""
    return played_with_bar(settings, partial(_make_play, settings, explore), what)
