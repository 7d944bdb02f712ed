"""Anytime: of a chunk's sampling steps, as many as its deadline leaves time for; and what a chunk costs, measured."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from dp_ros.nodes.policy_executor.inference_settings import Settings
from dp_ros.policy.goal_inputs import blank_goal
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.protocol import Policy, blank_window
from dp_ros.policy.step_budget import Cost, StepBudget, cost_from

ROUNDS = 5
MANY = 4  # sampling steps of the longer measurement
GUIDED = 2.0  # a guidance_scale; all but 1 take the same time


class AnytimeSteps:
    """Chooses a chunk's sampling steps, and says what it chose. All but `values` belongs to the thread of inference."""

    def __init__(self) -> None:
        self._budget = StepBudget()
        self._reduced = 0
        self._steps = self._dropped = 0

    def choose(self, settings: Settings, seconds: float, start: np.ndarray | None = None) -> Policy:
        """Return the policy with as many network calls as fit into ``seconds`` [s]; as set, if not ``anytime``.

        ``start`` is what the chunk may start from: see `DiffusionPolicy.chunk`.
        """
        cost = settings.chunk_cost
        if cost is None:
            return settings.policy
        choices = settings.paced if start is None or not settings.warm else settings.warm
        by_steps = {policy.calls(start): policy for policy in choices}
        self._steps = self._budget.choose(cost, tuple(by_steps), seconds)
        self._dropped = max(by_steps) - self._steps
        self._reduced += self._dropped > 0
        return by_steps[self._steps]

    def took(self, settings: Settings, seconds: float) -> None:
        """Remember what the chunk of the policy last chosen took, until it was out [s]."""
        cost = settings.chunk_cost
        if cost is not None:
            self._budget.took(cost, self._steps, seconds)

    def entry(self, settings: Settings) -> dict[str, object]:
        """Return what the ledger says of the last chunk."""
        if settings.cost is None:
            return {}
        return {'sampling_steps': self._steps, 'dropped_sampling_steps': self._dropped}

    def text(self) -> str:
        """Return what to say where steps are dropped, or ''."""
        if not self._dropped:
            return ''
        return f'predicting with {self._steps} of {self._steps + self._dropped} sampling steps, to be out in time'

    def values(self, settings: Settings) -> dict[str, object]:
        """Return counts and the measured cost, for a status."""
        cost = settings.chunk_cost
        if cost is None:
            return {}
        measured = {'fixed_ms': f'{cost.fixed * 1e3:.2f}', 'step_ms': f'{cost.step * 1e3:.2f}'}
        chosen = {**self.entry(settings), 'reduced_chunks': self._reduced, 'slowdown': f'{self._budget.slowdown:.2f}'}
        return {**chosen, **measured}


def warm_up(policy: Policy, rounds: int = 2) -> float:
    """Run a policy on zeros, so that its first chunk is on time; return how long one took, the median [s]."""
    window, goal = blank_window(policy.bundle.task), blank_goal(policy.bundle.task, policy.bundle.normalizer)
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        policy.chunk(window, np.random.default_rng(0), goal=goal)
        took.append(time.perf_counter() - began)
    return float(np.median(took))


def measure_cost(policy: DiffusionPolicy) -> Cost:
    """Measure what a chunk takes with one sampling step and with some; with guidance too, where there may be some."""
    cost = _measure(policy.with_settings(guidance_scale=1.0))
    if not policy.bundle.task.guidance:
        return cost
    return replace(cost, guided=_measure(policy.with_settings(guidance_scale=GUIDED)))


def _measure(policy: DiffusionPolicy) -> Cost:
    few, many = policy.bundle.schedule.steps_range
    measured = []
    for steps in (few, max(few, min(MANY, many))):
        sampled = policy.with_settings(sampling_steps=steps)
        warm_up(sampled)
        measured.append((steps, warm_up(sampled, ROUNDS)))
    return cost_from(*measured)
