"""Episodes that a policy plays itself, and what it decided in them: what a critic learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from dp_ros.config import parse
from dp_ros.data import Chunk, Window
from dp_ros.errors import DataError
from dp_ros.policy.bundle import Bundle
from dp_ros.policy.normalizer import ACTION
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.relative import action_base
from dp_ros.simulation.scores import EpisodeResult, EvaluationSettings
from dp_ros.training.evaluation import make_runner
from dp_ros.training.mirror import MirrorSettings, mirrored_window
from dp_ros.training.seed_pool import played

Decision = tuple[np.ndarray, np.ndarray]
"""What the encoder said (D,), and the normalized chunk (P, A), both float32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Decisions:
    """What was decided in one episode, chunk by chunk: N of them.

    Attributes
    ----------
    cond
        What the encoder said, (N, D) float32.
    actions
        The normalized chunk that was taken, (N, P, A) float32.
    result
        How the episode went.
    mirrored
        The same, ``cond`` and ``actions``, as it would have been in the mirror that the policy was trained with, if
        there was one.

    """

    cond: np.ndarray
    actions: np.ndarray
    result: EpisodeResult
    mirrored: tuple[np.ndarray, np.ndarray] | None = None

    def worth(self, discount: float) -> np.ndarray:
        """Return ``discount`` to the power of the chunks that still came until success, or 0, each (N,) float32."""
        left = np.arange(len(self.cond))[::-1]
        return (discount**left if self.result.success else np.zeros(len(left))).astype(np.float32)

    def known(self, unknown: int) -> np.ndarray:
        """Return whose outcome is known, (N,) bool: had there been more time, the last ones might have succeeded."""
        left = np.arange(len(self.cond))[::-1]
        return np.full(len(left), True) if self.result.success else left >= unknown


class ExploringPolicy(DiffusionPolicy):
    """A policy that keeps what it decides, and at times takes any of its samples: else none is ever compared."""

    explore = 0.0
    mirror: Mapping[str, MirrorSettings] = {}

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Forget what was decided; ``seed`` is the next episode's."""
        self._rng = np.random.default_rng([seed, 1])
        self.decided: list[Decision] = []
        self.mirrored: list[Decision] = []

    def chunk(self, window: Window, *arguments: Any, **named: Any) -> Chunk:
        """Return a chunk, and keep how it would be in the mirror."""
        chunk = super().chunk(window, *arguments, **named)
        if self.mirror:
            self.mirrored.append(self._mirrored(mirrored_window(window, self.mirror), chunk.actions))
        return chunk

    def _mirrored(self, window: Window, actions: np.ndarray) -> Decision:
        task = self.bundle.task
        turned = self.mirror[ACTION].vector(actions)
        base = action_base(task, window.streams)
        if base is not None:
            turned = turned - base[-1]
        return self._backend.encode(self._inputs(window))[0], self.bundle.normalizer.normalize(ACTION, turned)

    def _pick(self, cond: np.ndarray, actions: np.ndarray, last: np.ndarray | None) -> slice:
        one = super()._pick(cond, actions, last)
        if self._rng.random() < self.explore:
            any_one = int(self._rng.integers(len(actions)))
            one = slice(any_one, any_one + 1)
        self.decided.append((cond[0].copy(), actions[one][0].copy()))
        return one


def _make_play(settings: EvaluationSettings, explore: float) -> Callable[[int], Decisions]:
    runner = make_runner(settings, ExploringPolicy)
    policy = runner.policy
    assert isinstance(policy, ExploringPolicy)
    policy.explore, policy.mirror = explore, trained_mirror(runner.bundle)

    def play(seed: int) -> Decisions:
        policy.begin(seed)
        result = runner.run(seed)
        if not policy.decided:
            raise DataError(f'seed {seed}: got no chunk, allowed one or more in an episode')
        cond, actions = _stacked(policy.decided)
        mirrored = _stacked(policy.mirrored) if policy.mirrored else None
        return Decisions(cond=cond, actions=actions, result=result, mirrored=mirrored)

    return play


def _stacked(decisions: list[Decision]) -> tuple[np.ndarray, np.ndarray]:
    cond, actions = zip(*decisions, strict=True)
    return np.stack(cond), np.stack(actions)


def trained_mirror(bundle: Bundle) -> dict[str, MirrorSettings]:
    """Return the mirror that a policy was trained with; none with goals or guidance, which are not in a window."""
    config = bundle.provenance.get('config')
    if not isinstance(config, dict) or bundle.task.goals or bundle.task.guidance:
        return {}
    found = config.get('mirror')
    return {name: parse(MirrorSettings, raw, f'mirror.{name}') for name, raw in (found or {}).items()}


def rollouts(settings: EvaluationSettings, explore: float, what: str) -> Iterator[Decisions]:
    """Play the episodes of ``settings``, with a progress bar that says ``what``, and yield each one's decisions."""
    seeds = range(settings.seed, settings.seed + settings.episodes)
    make = partial(_make_play, settings, explore)
    bar = tqdm(total=len(seeds), unit='episode', desc=what, dynamic_ncols=True)
    successes = 0
    with bar, played(make(), make, seeds, settings.workers) as episodes:
        for number, decisions in enumerate(episodes, 1):
            successes += decisions.result.success
            bar.update()
            bar.set_postfix(success=f'{successes / number:.1%}')
            yield decisions
