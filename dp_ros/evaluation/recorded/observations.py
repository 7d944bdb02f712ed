"""Read observations of a recording for a bundle of any robot, as its training read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dp_ros.data import NANOSECONDS, Goal, Window
from dp_ros.errors import ConfigError, DataError
from dp_ros.evaluation.recorded.moments import asked_at, check_goals
from dp_ros.evaluation.recorded.open_loop import trained_episodes
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.episode import window_indices


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """Keep what a policy is given at a moment, and what was commanded from there on (P, A); NaN beyond the episode."""

    window: Window
    goal: Goal
    recorded: np.ndarray


def first_episode(recordings: Path, bundle: Bundle) -> Episode:
    """Return the first episode at a path."""
    check_goals(bundle.task)
    for episode in trained_episodes([recordings], bundle):
        return episode
    raise DataError(f'recordings {recordings}: got no episode, allowed one or more')


def observation_at(recordings: Path, bundle: Bundle, at: float) -> Asked:
    """Return the first episode's first moment that is ``at`` or more after its first observation [s]."""
    episode = first_episode(recordings, bundle)
    observed, acted = window_indices(len(episode.stamps), bundle.task)
    seconds = (episode.stamps[observed[:, -1]] - episode.stamps[0]) / NANOSECONDS
    later = np.flatnonzero(seconds >= at - 1e-9)
    if not len(later):
        raise ConfigError(f'at: got {at:g} s, allowed up to {seconds[-1]:g} s in {episode.name}')
    row = later[0]
    window, goal = asked_at(episode, bundle.task, observed[row])
    recorded = episode.actions[acted[row]].astype(np.float64)
    beyond = int(observed[row, -1]) + np.arange(bundle.task.pred_horizon) >= len(episode.stamps)
    recorded[beyond] = np.nan
    return Asked(window=window, goal=goal, recorded=recorded)


def observations(recordings: Path, bundle: Bundle, most: int) -> list[tuple[Window, Goal]]:
    """Return windows and goals of the first episode, ``most`` or fewer, spread over it."""
    episode = first_episode(recordings, bundle)
    observed, _ = window_indices(len(episode.stamps), bundle.task)
    rows = np.unique(np.linspace(0, len(observed) - 1, most).round().astype(int))
    return [asked_at(episode, bundle.task, observed[row]) for row in rows]
