"""Play all contenders on the same seeds, and summarize: safe success with its interval, contacts, time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.bounded_files import write_json
from dp_ros.errors import ConfigError
from dp_ros.evaluation.episode_bag import EpisodeBag
from dp_ros.evaluation.episodes import DirectRunner, Episode
from dp_ros.evaluation.obstacles.arenas import WORLDS, Discs, Layout, arena
from dp_ros.evaluation.obstacles.episodes import (
    CONTENDERS,
    BarrierEpisode,
    CheckedEpisode,
    Contender,
    ObstacleEpisode,
    ObstacleResult,
    PointPlanning,
)
from dp_ros.evaluation.obstacles.pick_place_planning import PickPlacePlanning
from dp_ros.evaluation.scores import wilson95
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.evaluation.workers.workers import played, workers_of
from dp_ros.options import check_options, like, option
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.policy import DiffusionPolicy, SamplingOptions
from dp_ros.robot.urdf import parse_urdf

BLOCK = 10
"""Seeds that all contenders play before the next ones: what is there after an interruption is paired."""


@dataclass(frozen=True, kw_only=True)
class ObstacleSettings:
    """Choose the episodes that are played, see `dp_ros.evaluation.obstacles.episodes` and `.arenas`.

    The policy is of `point_navigation`, which knows no obstacles, of `point_obstacle`, which knows the first, or of
    `pick_place`.
    """

    # fmt: off
    bundle: Path
    contenders: tuple[Contender, ...] = option((), 'who moves the robot; none: all that the layout has')
    layout: Layout = option(
        'row', 'row: three discs; beside: that of point_obstacle, and one closes its left; box: one on the table of '
        'pick_place'
    )
    speeds: tuple[float, ...] = option(
        (0.0, 0.1, 0.3), 'greatest speeds of the obstacles, 0 for still ones', unit='m/s', low=0.0, high=1.0
    )
    episodes: int = like(EvaluationSettings, 'episodes', 200, 'episodes of each, on the same seeds')
    seed: int = like(EvaluationSettings, 'seed', 100_000)
    samples: int = like(EvaluationSettings, 'samples', 1)
    alternatives: int = like(
        SamplingOptions, 'alternatives', 0, 'how many of the others may be followed where the one taken is not clear'
    )
    clearance: float = option(0.02, 'least distance from obstacles', unit='m', low=0.0, high=0.1)
    seconds: float = like(EvaluationSettings, 'seconds', 20.0)
    workers: int = like(EvaluationSettings, 'workers', 1, 'processes that share the episodes')
    json: Path | None = option(None, 'write the numbers here, anew after each block of seeds')
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        if not self.speeds:
            raise ConfigError('speeds: got none, allowed one or more')
        if self.layout == 'box' and 'barrier' in self.contenders:
            raise ConfigError('contenders: got barrier with layout box, allowed where discs are: it filters a point')

    @property
    def chosen(self) -> tuple[Contender, ...]:
        """Return who moves the robot."""
        return self.contenders or tuple(c for c in CONTENDERS if self.layout != 'box' or c != 'barrier')

    @property
    def episode(self) -> EvaluationSettings:
        """Return the settings of each episode."""
        return EvaluationSettings(
            bundle=self.bundle, world=WORLDS[self.layout], seconds=self.seconds, seed=self.seed,
            episodes=self.episodes, threads=1, samples=self.samples,
        )  # fmt: skip


def run_obstacles(settings: ObstacleSettings, say: Callable[[str], None]) -> dict[str, Any]:
    """Play everything; return and write the summary."""
    kinds = list(product(settings.speeds, settings.chosen))
    make = partial(_Player, replace(settings, json=None))
    play = make()
    results: dict[tuple[float, Contender], list[ObstacleResult]] = {kind: [] for kind in kinds}
    seeds = range(settings.seed, settings.seed + settings.episodes)
    summary: dict[str, Any] = {}
    for first in range(0, len(seeds), BLOCK):
        block = [(seed, *kind) for seed, kind in product(seeds[first : first + BLOCK], kinds)]
        outcomes = played(workers_of(settings.workers), play, make, block)
        for (_, speed, contender), outcome in zip(block, outcomes, strict=True):
            results[speed, contender].append(outcome)
        summary = summarize(settings, results)
        write_json(settings.json, summary)
    for line in table(summary['rows']):
        say(line)
    return summary


class ObstacleRunner(DirectRunner):
    """Plays episodes of one contender among obstacles of one speed [m/s]."""

    def __init__(self, settings: ObstacleSettings, contender: Contender, speed: float) -> None:
        played = settings.episode
        bundle = played.load()
        policy = DiffusionPolicy(bundle, open_backend(bundle, backend=played.backend, threads=played.threads))
        policy = policy.with_settings(**played.sampler_settings(bundle), alternatives=settings.alternatives)
        super().__init__(bundle, policy, played)
        self.contender, self.clearance = contender, settings.clearance
        self.arena = arena(settings.layout, speed)
        self.spec = self.arena.spec
        self.world = self.spec.make_world(disturbance=0.0)
        self.robot = parse_urdf(self.world.robot_description)

    def episode(self, seed: int, bag: EpisodeBag | None = None) -> ObstacleEpisode:
        """Return an episode of this contender at its beginning."""
        kinds: dict[Contender, type[ObstacleEpisode]] = {'policy': ObstacleEpisode, 'barrier': BarrierEpisode}
        if self.contender == 'planning':
            return (PointPlanning if isinstance(self.arena, Discs) else PickPlacePlanning)(self, seed, bag)
        return kinds.get(self.contender, CheckedEpisode)(self, seed, bag)

    def over(self, episode: Episode) -> bool:
        """Return whether the task is done, with contacts or without."""
        return self.arena.done(episode.robot.world)

    def outcome(self, seed: int) -> ObstacleResult:
        """Play one episode."""
        episode = self.episode(seed)
        self.play(episode)
        return episode.outcome()


class _Player:
    """Plays any contender; keeps the runners that it has made."""

    def __init__(self, settings: ObstacleSettings) -> None:
        self._settings = settings
        self._runners: dict[tuple[float, Contender], ObstacleRunner] = {}

    def __call__(self, what: tuple[int, float, Contender]) -> ObstacleResult:
        seed, speed, contender = what
        if (speed, contender) not in self._runners:
            self._runners[speed, contender] = ObstacleRunner(self._settings, contender, speed)
        return self._runners[speed, contender].outcome(seed)


def summarize(
    settings: ObstacleSettings, results: dict[tuple[float, Contender], list[ObstacleResult]]
) -> dict[str, Any]:
    """Return rates with their intervals, and every outcome."""
    rows = []
    for (speed, contender), outcomes in results.items():
        count, safe = len(outcomes), [o.seconds for o in outcomes if o.safe]
        rows.append({
            'speed': speed,
            'contender': contender,
            'episodes': count,
            **_rate('safe', sum(o.safe for o in outcomes), count),
            **_rate('reached', sum(o.reached for o in outcomes), count),
            **_rate('contact', sum(o.contacts > 0 for o in outcomes), count),
            **_rate('own_contact', sum(o.own_contacts > 0 for o in outcomes), count),
            'seconds_mean': float(np.mean([o.seconds for o in outcomes])),
            'seconds_safe_median': float(np.median(safe)) if safe else None,
            'ways': sum(o.ways for o in outcomes),
            'retreats': sum(o.retreats for o in outcomes),
            'alternatives': sum(o.alternatives for o in outcomes),
            'outcomes': [asdict(o) for o in outcomes],
        })  # fmt: skip
    about = {'bundle': settings.bundle.name, 'clearance': settings.clearance, 'seconds': settings.seconds}
    drawn = {'layout': settings.layout, 'samples': settings.samples, 'alternatives': settings.alternatives}
    return {**about, **drawn, 'seed': settings.seed, 'rows': rows}


def _rate(name: str, successes: int, trials: int) -> dict[str, Any]:
    return {name: successes, f'{name}_rate': successes / trials, f'{name}_wilson95': list(wilson95(successes, trials))}


def table(rows: list[dict[str, Any]]) -> Iterable[str]:
    """Return the summary as lines of a table."""
    yield '| obstacles | contender | safe success | reached | contact | while under way | time, safe ones [s] |'
    yield '|---|---|---|---|---|---|---|'
    for row in rows:
        low, high = row['safe_wilson95']
        speed = f'{row["speed"]:g} m/s' if row['speed'] else 'still'
        median = '' if row['seconds_safe_median'] is None else f'{row["seconds_safe_median"]:.1f}'
        yield (
            f'| {speed} | {row["contender"]} | {row["safe"]} of {row["episodes"]} ({low:.2f} to {high:.2f}) | '
            f'{row["reached_rate"]:.2f} | {row["contact_rate"]:.2f} | {row["own_contact_rate"]:.2f} | {median} |'
        )
