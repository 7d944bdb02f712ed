"""Score a bundle on recorded episodes, open loop: `dp_ros evaluate BUNDLE --recordings`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dp_ros.bounded_files import write_json
from dp_ros.data import NANOSECONDS, Goal, Window
from dp_ros.errors import ConfigError, DataError
from dp_ros.evaluation.recorded.moments import Moment, asked_at, check_goals, moment_count, moments, recorded_chunk
from dp_ros.evaluation.recorded.plots import plot_moments
from dp_ros.evaluation.recorded.summary import summarize_moments, table, worst
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.options import REQUIRED, check_options, like, option
from dp_ros.policy.backends.sessions import BackendName
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.episode import wanted_topics, window_indices
from dp_ros.recordings.episodes.readers import kind_of, read_recordings
from dp_ros.recordings.episodes.segmentation import CutSettings
from dp_ros.recordings.rosbag.reader import BagReader, find_bags
from dp_ros.task.yaml_reader import parse

SUMMARY = 'evaluation.json'


@dataclass(frozen=True, kw_only=True)
class OpenLoopSettings:
    """Configure an open-loop comparison. What is None is the bundle's own, or that of its training."""

    # fmt: off
    bundle: Path
    recordings: Sequence[Path] = option(
        REQUIRED, 'recordings, folders of them, or a dataset, in place of a simulated robot'
    )
    every: int = option(
        0, "control ticks from one chunk to the next; 0: the bundle's exec_horizon", low=0, high=10_000
    )
    draws: int = option(4, 'chunks at each tick, from different noise', low=1, high=64)
    cut: CutSettings | None = None
    columns: Mapping[str, str] | None = None
    sampler: Any = None
    sampling_steps: int | None = None
    guidance_scale: float | None = None
    threads: int = like(EvaluationSettings, 'threads', 2)
    backend: BackendName = 'onnxruntime'
    seed: int = like(EvaluationSettings, 'seed', 100_000)
    output: Path | None = option(None, 'folder for the summary and the plots')
    json: Path | None = None
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)


def run_open_loop(settings: OpenLoopSettings, say: Callable[[str], None]) -> int:
    """Compare a policy with recordings, write what was found, and return 0."""
    policy = DiffusionPolicy.load(
        settings.bundle,
        sampler=settings.sampler,
        sampling_steps=settings.sampling_steps,
        guidance_scale=1.0 if settings.guidance_scale is None else settings.guidance_scale,
        backend=settings.backend,
        threads=settings.threads,
    )
    task = policy.task
    check_goals(task)
    every = settings.every or task.exec_horizon
    found = list(_moments(settings, policy, every))
    summary = summarize_moments(
        found, task, bundle=policy.bundle.name, recordings=[str(path) for path in settings.recordings], every=every,
        seed=settings.seed, sampler=policy.settings.sampler, sampling_steps=policy.settings.sampling_steps,
    )  # fmt: skip
    say(table(summary))
    write_json(settings.json, summary)
    if settings.output:
        write_json(settings.output / SUMMARY, summary)
        for path in plot_moments(summary, worst(found, task), task, settings.output):
            say(f'{path}')
    return 0


def _moments(settings: OpenLoopSettings, policy: DiffusionPolicy, every: int) -> Iterator[Moment]:
    task = policy.task
    draws = settings.draws if policy.bundle.schedule.noisy else 1
    with tqdm(total=0, unit='moment', desc=policy.bundle.name) as bar:
        episodes = trained_episodes(settings.recordings, policy.bundle, cut=settings.cut, columns=settings.columns)
        for number, episode in enumerate(episodes):
            bar.total += moment_count(episode, task, every)
            bar.set_postfix_str(episode.name)
            for moment in moments(episode, policy, number=number, every=every, draws=draws, seed=settings.seed):
                yield moment
                bar.update()


def trained_episodes(
    recordings: Sequence[Path],
    bundle: Bundle,
    *,
    cut: CutSettings | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Episode]:
    """Yield episodes as the bundle's training read them: its task, cut as its configuration says if ``cut`` does not.

    Raises
    ------
    DataError
        If recordings do not fit the bundle.

    """
    trained, where = bundle.provenance.get('config', {}), f'bundle {bundle.name}: provenance.config'
    cut = cut or parse(CutSettings, trained.get('cut', {}), f'{where}.cut')
    columns = trained.get('columns', {}) if columns is None else columns
    try:
        for path in recordings:
            check_topics(path, bundle)
        for path in recordings:
            yield from read_recordings(path, bundle.task, cut=cut, columns=columns)
    except DataError as error:
        raise DataError(f'recordings do not fit bundle {bundle.name}: {error}') from error


def check_topics(path: Path, bundle: Bundle) -> None:
    """Raise DataError, before any bag is read, for one that lacks a topic of the bundle's task."""
    if kind_of(path) != 'bags':
        return
    wanted = wanted_topics(bundle.task)
    for bag in find_bags(path):
        with BagReader(bag) as reader:
            reader.check(wanted)


def first_episode(recordings: Path, bundle: Bundle) -> Episode:
    """Return the first episode at a path."""
    check_goals(bundle.task)
    for episode in trained_episodes([recordings], bundle):
        return episode
    raise DataError(f'recordings {recordings}: got no episode, allowed one or more')


def observation_at(recordings: Path, bundle: Bundle, at: float) -> tuple[Window, Goal, np.ndarray]:
    """Return what a policy is given at the first episode's first moment that is ``at`` [s] or more after its beginning.

    The window, the goal, and what was commanded from there on (P, A); NaN beyond the episode.
    """
    episode = first_episode(recordings, bundle)
    observed, acted = window_indices(len(episode.stamps), bundle.task)
    seconds = (episode.stamps[observed[:, -1]] - episode.stamps[0]) / NANOSECONDS
    later = np.flatnonzero(seconds >= at - 1e-9)
    if not len(later):
        raise ConfigError(f'at: got {at:g} s, allowed up to {seconds[-1]:g} s in {episode.name}')
    row = later[0]
    return *asked_at(episode, bundle.task, observed[row]), recorded_chunk(episode, acted[row], int(observed[row, -1]))


def observations(recordings: Path, bundle: Bundle, most: int) -> list[tuple[Window, Goal]]:
    """Return windows and goals of the first episode, ``most`` or fewer, spread over it."""
    episode = first_episode(recordings, bundle)
    observed, _ = window_indices(len(episode.stamps), bundle.task)
    rows = np.unique(np.linspace(0, len(observed) - 1, most).round().astype(int))
    return [asked_at(episode, bundle.task, observed[row]) for row in rows]
