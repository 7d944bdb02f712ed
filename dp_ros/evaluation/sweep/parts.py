"""The parts of a sweep: trainings, and episodes in blocks. Each has a name that is a hash of all that it depends on.

What is finished lies in the sweep's folder under that name, put there whole by a rename. So a sweep that was killed
goes on with what is missing, one with more values or more episodes adds to what is there, and nothing is counted twice.

    runs/<training>/          run folder, gone on with where it stopped
    bundles/<training>/       what it led to
    episodes/<evaluation>/<first seed>_<count>.json    how a block of episodes ended
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from dp_ros import __version__
from dp_ros.bounded_files import MOST_JSON, from_json, read_bytes
from dp_ros.errors import DataError
from dp_ros.evaluation.episodes import make_runner
from dp_ros.evaluation.rollouts import rollouts_of
from dp_ros.evaluation.scores import EpisodeResult, EvaluationSettings
from dp_ros.evaluation.seams import MEASURES, Seams
from dp_ros.policy.bundle.bundle import MANIFEST
from dp_ros.policy.bundle.files import sha256
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.recordings.episodes.episode import Episode
from dp_ros.recordings.episodes.readers import read_recordings
from dp_ros.recordings.episodes.segmentation import CutSettings
from dp_ros.recordings.episodes.unreadable import Broken, BrokenRecordings
from dp_ros.task.spec import TaskSpec
from dp_ros.task.yaml_reader import to_plain
from dp_ros.training.export.export import ExportSettings, export_run
from dp_ros.training.run_folder import FREE, checkpoint_file, trained_folder
from dp_ros.training.settings import TrainSettings
from dp_ros.training.trainer import Trainer

NAME = 16  # characters of a hash: enough for any sweep
BLOCK = 25  # episodes in a block: a second or a few
TIMES = 'times.json'
"""In a run folder: the processor time of training [s], in each of the processes that had a part in it."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One network to train."""

    name: str
    settings: TrainSettings
    data: Path


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some episodes of one policy; ``evaluation`` names what is the same for all of its blocks."""

    evaluation: str
    training: str
    settings: EvaluationSettings

    @property
    def file(self) -> str:
        """Where in the sweep's folder its episodes are kept."""
        return f'episodes/{self.evaluation}/{self.settings.seed}_{self.settings.episodes}.json'


def training_of(settings: TrainSettings, data: Path, data_sha256: str) -> Training:
    """Return the part that trains with these settings on these recordings."""
    plain = {key: value for key, value in to_plain(settings).items() if key not in FREE}
    used = {'settings': plain, 'data': data_sha256, 'dp_ros': __version__}
    for what, given in (('teacher', settings.objective.distill.teacher), ('start', settings.start)):
        if given:
            used[what] = sha256(checkpoint_file(trained_folder(what, given)))
    return Training(name=_hashed(used), settings=settings, data=data)


def blocks_of(training: str, settings: EvaluationSettings) -> list[Block]:
    """Return the parts that play the episodes of an evaluation of what a training leads to."""
    plain = to_plain(settings)
    for name in ('bundle', 'episodes', 'seed', 'workers', 'ray', 'record', 'record_camera'):
        del plain[name]
    name = _hashed({'training': training, 'settings': plain, 'dp_ros': __version__})
    end = settings.seed + settings.episodes
    # Blocks begin at whole multiples, so that more episodes add blocks and change few.
    edges = sorted({settings.seed, end, *range(settings.seed - settings.seed % BLOCK + BLOCK, end, BLOCK)})
    return [
        Block(evaluation=name, training=training, settings=replace(settings, seed=first, episodes=last - first))
        for first, last in pairwise(edges)
    ]


def _hashed(used: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:NAME]


def recordings_sha256(path: Path) -> str:
    """Return the hash of all files at ``path``: their names and what is in them."""
    files = sorted(file for file in path.rglob('*') if file.is_file()) if path.is_dir() else [path]
    if not files:
        raise DataError(f'data {path}: got no file, allowed recordings')
    digest = hashlib.sha256()
    for file in files:
        digest.update(f'{file.relative_to(path).as_posix()}\n{sha256(file)}\n'.encode())
    return digest.hexdigest()


Reading = tuple[Path, TaskSpec, CutSettings, tuple[tuple[str, str], ...], BrokenRecordings]


def reading(training: Training) -> Reading:
    """Return all that the episodes of a training depend on."""
    settings = training.settings
    columns = tuple(sorted(settings.columns.items()))
    return training.data, settings.task, settings.cut, columns, settings.broken_recordings


@lru_cache(maxsize=2)
def read_for(what: Reading) -> list[Episode]:
    """Return the episodes, read once in a process for all trainings with the same `reading`."""
    data, task, cut, columns, unreadable = what
    broken = Broken(unreadable, lambda _: None)
    return list(read_recordings(data, task, cut=cut, columns=dict(columns), broken=broken))


def check_recordings(trainings: Sequence[Training]) -> None:
    """Read the first episode of each training's recordings, so that what is not in them is an error before any work."""
    for data, task, cut, columns, unreadable in {reading(training) for training in trainings}:
        broken = Broken(unreadable, lambda _: None)
        next(iter(read_recordings(data, task, cut=cut, columns=dict(columns), broken=broken)), None)


def train(training: Training, folder: Path, episodes: Sequence[Episode] | None = None) -> bool:
    """Train in ``folder``, which may hold the beginning of it, and export; False where it was interrupted."""
    run, bundle = folder / 'runs' / training.name, folder / 'bundles' / training.name
    trainer = Trainer(
        training.settings,
        read_for(reading(training)) if episodes is None else episodes,
        run,
        roll_out=rollouts_of(training.settings),
    )
    before, began = trainer.step, time.process_time()
    finished = trainer.run().finished
    times = _times(run) if before else []
    _write(run / TIMES, [*times, time.process_time() - began])
    if finished:
        export_run(run, bundle, ExportSettings(overwrite=(bundle / MANIFEST).is_file()))
    return finished


def _times(run: Path) -> list[float]:
    return list(from_json(read_bytes(run / TIMES, MOST_JSON))) if (run / TIMES).is_file() else []


def training_seconds(run: Path) -> float | None:
    """Return the processor time that a training took [s]; None where that was not kept."""
    return sum(_times(run)) or None


def adopt(bundle: Path, folder: Path) -> str:
    """Copy a bundle to where those of trainings are; return its name there."""
    name = sha256(bundle / MANIFEST)[:NAME]
    target = folder / 'bundles' / name
    if not target.is_dir():
        partial = target.with_name(f'.{name}.{os.getpid()}')
        files = [MANIFEST, *load_bundle(bundle).files]
        partial.mkdir(parents=True)
        for file in files:
            shutil.copyfile(bundle / file, partial / file)
        partial.rename(target)
    return name


def is_trained(training: Training, folder: Path) -> bool:
    """Whether the bundle of a training is there."""
    return (folder / 'bundles' / training.name / MANIFEST).is_file()


def play(block: Block, bundle: Path) -> list[EpisodeResult]:
    """Return how the episodes of a block end."""
    settings = replace(block.settings, bundle=bundle)
    runner = make_runner(settings)
    return [runner.run(seed) for seed in range(settings.seed, settings.seed + settings.episodes)]


def keep(block: Block, folder: Path, results: Sequence[EpisodeResult]) -> None:
    """Write how the episodes of a block ended."""
    _write(folder / block.file, [_plain(result) for result in results])


def kept(block: Block, folder: Path) -> list[EpisodeResult] | None:
    """Return how the episodes of a block ended, or None where they are still to be played."""
    path = folder / block.file
    if not path.is_file():
        return None
    seeds = list(range(block.settings.seed, block.settings.seed + block.settings.episodes))
    try:
        results = [_result(raw) for raw in from_json(read_bytes(path, MOST_JSON))]
        if [result.seed for result in results] != seeds:
            raise DataError('got other seeds than its name says')
    except (DataError, TypeError, KeyError) as error:
        raise DataError(f'{path}: got what no sweep wrote ({error}), allowed whole files; remove it') from error
    return results


def _plain(result: EpisodeResult) -> dict[str, Any]:
    plain = asdict(result)
    if result.seams is not None:
        plain['seams'] = {name: None if math.isnan(value) else value for name, value in plain['seams'].items()}
    return plain


def _result(raw: dict[str, Any]) -> EpisodeResult:
    seams = raw.pop('seams')
    if seams is not None:
        seams = Seams(**{name: math.nan if seams[name] is None else seams[name] for name in MEASURES})
    return EpisodeResult(**raw, seams=seams)


def _write(path: Path, plain: Any) -> None:
    """Write JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    partial.write_text(json.dumps(plain) + '\n')
    os.replace(partial, path)
