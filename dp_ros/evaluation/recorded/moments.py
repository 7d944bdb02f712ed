"""Ask a policy at moments of a recorded episode: its chunks, the recorded one, and two that need no policy.

`STAND_STILL` repeats the newest measured positions; `LAST_MOTION` goes on from them as the joints moved last. A policy
that is no nearer to what was commanded than these has learnt nothing that open loop can show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from dp_ros.data import NANOSECONDS, Goal, Window
from dp_ros.errors import ConfigError, listed
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.recordings.episodes.builder import Episode, measured_positions
from dp_ros.recordings.episodes.episode import window_indices
from dp_ros.recordings.episodes.goals import source_of
from dp_ros.task.spec import Instruction, TaskSpec

STAND_STILL, LAST_MOTION = 'stand still', 'last motion'
BASELINES = (STAND_STILL, LAST_MOTION)


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """One observation of an episode, and the chunks that follow from it.

    Attributes
    ----------
    number
        Of the episode among all.
    seconds
        Since the episode's first observation.
    samples
        Chunks of the policy, each from other noise (D, P, A) [rad or m].
    recorded
        What was commanded (P, A); NaN beyond the episode's end.
    baselines
        By name, chunks (P, A); none where the task observes no positions of its joints.
    measured
        Positions up to now, the newest last (T, A); no rows where the task observes none.

    """

    episode: str
    number: int
    stamp: int
    seconds: float
    samples: np.ndarray
    recorded: np.ndarray
    measured: np.ndarray
    baselines: Mapping[str, np.ndarray] = field(default_factory=dict)

    def errors(self) -> np.ndarray:
        """Return how far each sample is from what was commanded (D, P, A)."""
        return np.abs(self.samples - self.recorded)

    def baseline_errors(self, name: str) -> np.ndarray:
        """Return how far a baseline is from what was commanded (P, A)."""
        return np.abs(self.baselines[name] - self.recorded)


def check_goals(task: TaskSpec) -> None:
    """Raise ConfigError for a task that recordings cannot ask for."""
    worded = [goal.name for goal in task.goals if isinstance(goal, Instruction)]
    if worded:
        raise ConfigError(f'recordings: got a task with {listed(worded)}, allowed goals that are poses or pictures')


def moment_count(episode: Episode, task: TaskSpec, every: int) -> int:
    """Return how many moments `moments` yields."""
    return len(range(0, len(window_indices(len(episode.stamps), task)[0]), every))


def moments(
    episode: Episode, policy: DiffusionPolicy, *, number: int, every: int, draws: int, seed: int
) -> Iterator[Moment]:
    """Yield every ``every``-th window of an episode, as training sees it, with ``draws`` chunks of the policy.

    ``number`` tells the episode from others of the same name.
    """
    task = policy.task
    observed, acted = window_indices(len(episode.stamps), task)
    positions = measured_positions(task, episode.streams)
    for row in range(0, len(observed), every):
        steps, newest = observed[row], int(observed[row, -1])
        window, goal = asked_at(episode, task, steps)
        noises = [np.random.default_rng([seed, number, row, draw]) for draw in range(draws)]
        chunks = [policy.chunk(window, rng, goal=goal).actions for rng in noises]
        recorded = recorded_chunk(episode, acted[row], newest)
        yield Moment(
            episode=episode.name,
            number=number,
            stamp=int(episode.stamps[newest]),
            seconds=float(episode.stamps[newest] - episode.stamps[0]) / NANOSECONDS,
            samples=np.stack(chunks),
            recorded=recorded,
            measured=np.empty((0, recorded.shape[1])) if positions is None else positions[: newest + 1],
            baselines={} if positions is None else baselines(positions, newest, task.pred_horizon),
        )


def asked_at(episode: Episode, task: TaskSpec, steps: np.ndarray) -> tuple[Window, Goal]:
    """Return what a policy is given at the last of an episode's ``steps`` (T,): the window, and the goal."""
    seen = {stream.name: episode.streams[stream.name][steps] for stream in task.streams}
    return Window(stamps=episode.stamps[steps], streams=seen), goal_of(episode, task, int(steps[-1]))


def recorded_chunk(episode: Episode, acted: np.ndarray, newest: int) -> np.ndarray:
    """Return what was commanded at the steps ``acted`` (P,), the first of which is ``newest``; NaN beyond the end."""
    recorded = episode.actions[acted].astype(np.float64)
    recorded[newest + np.arange(len(acted)) >= len(episode.stamps)] = np.nan
    return recorded


def baselines(positions: np.ndarray, newest: int, length: int) -> dict[str, np.ndarray]:
    """Return chunks (P, A) that need no policy, from positions (N, A); the first action is due at ``newest``."""
    here = positions[newest]
    step = here - positions[max(0, newest - 1)]
    return {
        STAND_STILL: np.repeat(here[None], length, axis=0),
        LAST_MOTION: here + np.arange(length)[:, None] * step,
    }


def goal_of(episode: Episode, task: TaskSpec, newest: int) -> Goal:
    """Return what was asked for at a step: as recorded, or in hindsight what the episode came to."""
    values = {g.name: episode.streams[source_of(g)][newest if g.source == 'topic' else -1] for g in task.goals}
    return Goal(streams=values)
