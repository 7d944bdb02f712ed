"""Episodes as a failure monitor sees them: the encoder's outputs, and samples wherever a chunk was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dp_ros.data import NANOSECONDS, Chunk, Goal, Window, to_nanoseconds
from dp_ros.evaluation.episodes import DirectRunner, make_runner, played_with_bar
from dp_ros.evaluation.recorded.moments import asked_at, check_goals
from dp_ros.evaluation.recorded.open_loop import trained_episodes
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.policy.failure_monitor import RunningScores, sampling_policy
from dp_ros.policy.goal_inputs import NO_GOAL, goal_inputs, guided_inputs
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.protocol import Policy
from dp_ros.recordings.episodes.episode import window_indices


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """One episode.

    Attributes
    ----------
    seconds
        When it was over [s].
    every
        The encoder's outputs at all control ticks (T, D).
    stamps
        Of the windows that chunks were made of [ns], (M,).
    conds, samples
        The encoder's outputs there (M, D), and as many samples (M, N, P, A), normalized.

    """

    seed: int
    success: bool
    seconds: float
    control_dt: int
    every: np.ndarray
    stamps: np.ndarray
    conds: np.ndarray
    samples: np.ndarray

    @property
    def since_start(self) -> np.ndarray:
        """Seconds from the first window to each (M,)."""
        return (self.stamps - self.stamps[0]) / NANOSECONDS


class Tracer:
    """Collects what a monitor would see of one episode at a time."""

    def __init__(self, policy: Policy, samples: int) -> None:
        self._sampling = sampling_policy(policy, samples)
        self.begin(0)

    def begin(self, seed: int, goal: Goal = NO_GOAL) -> None:
        """Forget the episode before; ``seed`` and ``goal`` are the next one's."""
        self._seed, self._goal = seed, goal
        self._every: list[np.ndarray] = []
        self._chunks: list[tuple[int, np.ndarray, np.ndarray]] = []

    def observe(self, window: Window, goal: Goal | None = None) -> None:
        """Take the window of a control tick."""
        policy = self._sampling
        task = policy.task
        inputs = policy.inputs(policy.unwrapped(window))
        inputs |= goal_inputs(task, policy.bundle.normalizer, goal or self._goal)
        if task.guidance:
            inputs = guided_inputs(inputs, [1.0])
        self._every.append(policy.backend.encode(inputs)[0])

    def sample(self, window: Window, goal: Goal | None = None) -> None:
        """Take a window that a chunk is made of."""
        rng = np.random.default_rng([self._seed, len(self._chunks), 2])
        cond, samples = self._sampling.proposals(window, rng, goal or self._goal)
        self._chunks.append((window.stamp, cond[0], samples.astype(np.float32)))

    def finish(self, success: bool, seconds: float) -> Trace | None:
        """Return the episode; None if no chunk was made in it."""
        if not self._chunks:
            return None
        stamps, conds, samples = zip(*self._chunks, strict=True)
        return Trace(
            seed=self._seed, success=success, seconds=seconds,
            control_dt=to_nanoseconds(self._sampling.task.control_dt), every=np.stack(self._every),
            stamps=np.array(stamps, dtype=np.int64), conds=np.stack(conds), samples=np.stack(samples),
        )  # fmt: skip


class _TracedPolicy(DiffusionPolicy):
    """A policy whose windows are shown to a tracer, too."""

    tracer: Tracer | None = None

    def chunk(self, window: Window, *arguments: Any, **named: Any) -> Chunk:
        """Return a chunk as the policy does."""
        if self.tracer is not None:
            self.tracer.sample(window)
        return super().chunk(window, *arguments, **named)


def _traced_runner(settings: EvaluationSettings, samples: int, bundle: Path) -> Callable[[int], Trace | None]:
    runner: DirectRunner = make_runner(replace(settings, bundle=bundle), _TracedPolicy)
    assert isinstance(runner.policy, _TracedPolicy)
    tracer = Tracer(runner.policy, samples)
    runner.policy.tracer, runner.observed = tracer, tracer.observe

    def play(seed: int) -> Trace | None:
        tracer.begin(seed, runner.goal(seed))
        result = runner.run(seed)
        return tracer.finish(result.success, result.seconds)

    return play


def played_traces(settings: EvaluationSettings, samples: int, *, what: str = '') -> Iterator[Trace]:
    """Play the episodes of ``settings``, with a progress bar, and yield their traces."""
    make = partial(_traced_runner, settings, samples)
    for trace in played_with_bar(settings, make, what or settings.bundle.name):
        if trace is not None:
            yield trace


def recorded_traces(recordings: Sequence[Path], policy: DiffusionPolicy, samples: int) -> Iterator[Trace]:
    """Yield the traces of recorded episodes, open loop; all of them are taken for successful."""
    task = policy.task
    check_goals(task)
    tracer = Tracer(policy, samples)
    with tqdm(unit='episode', desc=policy.bundle.name, dynamic_ncols=True) as bar:
        for number, episode in enumerate(trained_episodes(recordings, policy.bundle)):
            tracer.begin(number)
            observed, _ = window_indices(len(episode.stamps), task)
            for row, steps in enumerate(observed):
                window, goal = asked_at(episode, task, steps)
                tracer.observe(window, goal)
                if row % task.exec_horizon == 0:
                    tracer.sample(window, goal)
            seconds = float(episode.stamps[-1] - episode.stamps[0]) / NANOSECONDS
            trace = tracer.finish(True, seconds)
            bar.update()
            if trace is not None:
                yield trace


def highest(values: np.ndarray, window: int) -> float:
    """Return the highest of scores (M,) that are averaged over as many windows as they should be, or the last one."""
    return float(values[min(window, len(values)) - 1 :].max())


def scored(trace: Trace, novelty: np.ndarray, window: int, bin_width: float, steps: int) -> dict[str, np.ndarray]:
    """Return all scores of a trace by name, each (M,); ``novelty`` (M,) is that of its windows."""
    running = RunningScores(window, bin_width, steps)
    rows = [
        running.add(int(stamp), trace.control_dt, float(value), samples)
        for stamp, value, samples in zip(trace.stamps, novelty, trace.samples, strict=True)
    ]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
