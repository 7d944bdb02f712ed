"""Have the parts of a sweep done, by whoever works: trainings into the sweep's folder, and blocks of episodes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dp_ros.errors import DataError
from dp_ros.evaluation.scores import EpisodeResult
from dp_ros.evaluation.sweep.parts import Block, Training, is_trained, play, read_for, reading, train
from dp_ros.evaluation.workers.ray_cluster import RayCluster, packed, unpack
from dp_ros.evaluation.workers.workers import Folder, OneProcess, Workers


def trained(workers: Workers, parts: Sequence[Training], folder: Path) -> Iterator[Training]:
    """Yield each training when its bundle is in the sweep's folder.

    Here each goes on with what is there of it. Into a cluster go the recordings, and the bundle comes back.
    """
    if not isinstance(workers, OneProcess):
        parts = [replace(p, settings=replace(p.settings, threads=p.settings.threads or 1)) for p in parts]
    if not isinstance(workers, RayCluster):
        for part, _ in workers.done(_train, parts, folder):
            yield part
        return
    wanted = {part.name: reading(part) for part in parts}
    sent = {what: workers.put(read_for(what)) for what in dict.fromkeys(wanted.values())}
    episodes = {name: sent[what] for name, what in wanted.items()}
    for part, files in workers.done(_train_away, parts, episodes):
        unpack(files, folder)
        if not is_trained(part, folder):
            raise DataError(f'training {part.name}: got no bundle from the Ray cluster, allowed one')
        yield part


def played(workers: Workers, parts: Sequence[Block], folder: Path) -> Iterator[tuple[Block, list[EpisodeResult]]]:
    """Yield each block with how its episodes ended."""
    bundles = {name: workers.sent(folder / 'bundles' / name) for name in {part.training for part in parts}}
    return workers.done(_play, parts, bundles)


def _train(part: Training, folder: Path, episodes: Any = None) -> None:
    if not train(part, folder, episodes):
        raise KeyboardInterrupt


def _train_away(part: Training, episodes: Mapping[str, Any]) -> dict[str, bytes]:
    import ray

    with tempfile.TemporaryDirectory(prefix='dp_ros_') as scratch:
        folder = Path(scratch)
        _train(part, folder, ray.get(episodes[part.name]))
        run = folder / 'runs' / part.name
        for path in run.iterdir():  # its weights are in the bundle
            if path.suffix not in ('.csv', '.json', '.yaml'):
                path.unlink()
        return packed(folder, f'runs/{part.name}') | packed(folder, f'bundles/{part.name}')


def _play(part: Block, bundles: Mapping[str, Folder]) -> list[EpisodeResult]:
    with bundles[part.training]() as bundle:
        return play(part, bundle)
