"""`dp_ros sweep`: train what must be trained, evaluate everything on the same episodes, write a table and a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dp_ros.errors import ConfigError
from dp_ros.evaluation.scores import summarize
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.evaluation.sweep.combinations import Combination, axes_of, combine, with_run
from dp_ros.evaluation.sweep.parts import (
    Block,
    Training,
    adopt,
    blocks_of,
    check_recordings,
    is_trained,
    keep,
    kept,
    recordings_sha256,
    training_of,
)
from dp_ros.evaluation.sweep.report import Row, trained_row, write_report
from dp_ros.evaluation.sweep.work import played, trained
from dp_ros.evaluation.workers.workers import Workers, workers_of
from dp_ros.options import REQUIRED, check_options, option
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.simulation.registry import check_world, make_world
from dp_ros.training.run_folder import locked_folder
from dp_ros.training.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """What to vary, and what to score it by.

    Attributes
    ----------
    training
        The configuration that the combinations change.
    evaluation
        World, episodes, their first seed, and who trains and plays; the bundle in it counts for nothing.

    """

    # fmt: off
    training: TrainSettings
    data: Path = option(REQUIRED, 'recordings, as for dp_ros train')
    vary: Sequence[str] = option(
        (), 'a key of the configuration as objective.diffusion_steps, of the evaluation as run.sampling_steps, or '
        'data; several are crossed'
    )
    variants: Sequence[str] = option(
        (), 'several keys changed together, as one value of the column variant; NAME: alone is the configuration as '
        'it is'
    )
    seeds: int = option(1, "training seeds of each, from the configuration's on", low=1, high=100)
    evaluation: EvaluationSettings
    out: Path = option(REQUIRED, 'folder for trainings, episodes, table and plot')
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        if self.evaluation.through != 'direct':
            raise ConfigError(f'through: got {self.evaluation.through!r}, allowed direct in a sweep')


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """A combination with its trainings, none where there is a bundle already, and the blocks of each bundle."""

    combination: Combination
    trainings: tuple[Training, ...]
    blocks: tuple[tuple[Block, ...], ...]


def run_sweep(settings: SweepSettings, say: Callable[[str], None]) -> int:
    """Do what is missing, write the report; return the exit code."""
    axes = axes_of(settings.vary, settings.variants)
    combinations = combine(settings.training, axes, evaluation=settings.evaluation, data=settings.data)
    training, world = settings.training, settings.evaluation.world
    check_world(world, training.task, f'training of {training.name}')
    make_world(world)
    settings.out.mkdir(parents=True, exist_ok=True)
    with locked_folder(settings.out, 'sweep'):
        plan = plan_of(settings, combinations)
        missing = missing_of(plan, settings.out)
        check_recordings(missing[0])
        if any(missing):
            workers = workers_of(settings.evaluation.workers, settings.evaluation.ray)
            _work(workers, *missing, settings.out, say)
        rows = [_row(planned, settings.out) for planned in plan]
        say(write_report(rows, settings.out, settings.evaluation.world))
    return 0


def plan_of(settings: SweepSettings, combinations: Sequence[Combination]) -> list[PlannedRow]:
    """Return what a sweep's combinations need, one for each; data is hashed once."""
    hashes = {c.data: '' for c in combinations if c.bundle is None}
    hashes = {data: recordings_sha256(data) for data in hashes}
    plan = []
    for c in combinations:
        evaluation = with_run(settings.evaluation, c.run)
        trainings: tuple[Training, ...] = ()
        if c.bundle is None:
            seeds = range(c.training.seed, c.training.seed + settings.seeds)
            trainings = tuple(training_of(replace(c.training, seed=s), c.data, hashes[c.data]) for s in seeds)
        names = [training.name for training in trainings] if c.bundle is None else [adopt(c.bundle, settings.out)]
        blocks = tuple(tuple(blocks_of(name, evaluation)) for name in names)
        plan.append(PlannedRow(combination=c, trainings=trainings, blocks=blocks))
    return plan


def missing_of(plan: Sequence[PlannedRow], out: Path) -> tuple[list[Training], list[Block]]:
    """Return the trainings and the blocks that are still to be done, each once."""
    trainings = {t.name: t for planned in plan for t in planned.trainings}
    blocks = {b.file: b for planned in plan for each in planned.blocks for b in each}
    return (
        [t for t in trainings.values() if not is_trained(t, out)],
        [b for b in blocks.values() if kept(b, out) is None],
    )


def _work(
    workers: Workers, trainings: Sequence[Training], blocks: Sequence[Block], out: Path, say: Callable[[str], None]
) -> None:
    episodes = sum(block.settings.episodes for block in blocks)
    say(f'to do: {len(trainings)} trainings, {episodes} episodes')
    if trainings:
        with tqdm(total=len(trainings), unit='training', desc='train', dynamic_ncols=True) as bar:
            for _ in trained(workers, trainings, out):
                bar.update()
    if blocks:
        with tqdm(total=episodes, unit='episode', desc='evaluate', dynamic_ncols=True) as bar:
            for block, results in played(workers, blocks, out):
                keep(block, out, results)
                bar.update(len(results))


def _row(planned: PlannedRow, out: Path) -> Row:
    summaries: list[dict[str, Any]] = []
    for blocks in planned.blocks:
        results = [result for block in blocks for result in kept(block, out) or ()]
        asked = blocks[0].settings
        summaries.append(summarize(results, world=asked.world, longest_episode_s=asked.seconds))
    bundles = [load_bundle(out / 'bundles' / blocks[0].training) for blocks in planned.blocks]
    return trained_row(planned.combination, [out / 'runs' / t.name for t in planned.trainings], bundles, summaries)


