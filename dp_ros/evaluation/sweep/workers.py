"""Who does the parts of a sweep: this process, several on this machine, or a Ray cluster.

Each takes the parts that are missing and yields what became of them as they are finished, in any order; what is kept is
written here, by one process. A process that dies takes its part along, which is done again.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dp_ros.errors import ConfigError, DataError, one_line
from dp_ros.evaluation.scores import EpisodeResult
from dp_ros.evaluation.sweep.parts import Block, Training, is_trained, play, read_for, train
from dp_ros.evaluation.sweep.process_pool import done_by

ANSWER = 10.0
"""Longest wait for a Ray cluster [s]."""
Part = TypeVar('Part', Training, Block)


class Workers(Protocol):
    """Does parts, and yields each with what became of it."""

    def train(self, parts: Sequence[Training]) -> Iterator[Training]:
        """Yield each training when its bundle is in the sweep's folder."""
        ...

    def play(self, parts: Sequence[Block]) -> Iterator[tuple[Block, list[EpisodeResult]]]:
        """Yield each block with how its episodes ended."""
        ...


class OneProcess:
    """Do one part after the other, here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def train(self, parts: Sequence[Training]) -> Iterator[Training]:
        """Yield each training when its bundle is in the sweep's folder."""
        for part in parts:
            _train_here(part, self._folder)
            yield part

    def play(self, parts: Sequence[Block]) -> Iterator[tuple[Block, list[EpisodeResult]]]:
        """Yield each block with how its episodes ended."""
        for part in parts:
            yield part, _play_here(part, self._folder)


class Processes:
    """Do parts in several processes of this machine, which end when this one does."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count

    def train(self, parts: Sequence[Training]) -> Iterator[Training]:
        """Yield each training when its bundle is in the sweep's folder."""
        one_thread = [replace(p, settings=replace(p.settings, threads=p.settings.threads or 1)) for p in parts]
        for part, _ in done_by(self._count, _train_here, one_thread, self._folder):
            yield part

    def play(self, parts: Sequence[Block]) -> Iterator[tuple[Block, list[EpisodeResult]]]:
        """Yield each block with how its episodes ended."""
        return done_by(self._count, _play_here, parts, self._folder)


def _train_here(part: Training, folder: Path) -> None:
    if not train(part, folder):
        raise KeyboardInterrupt


def _play_here(part: Block, folder: Path) -> list[EpisodeResult]:
    return play(part, folder / 'bundles' / part.training)


class RayCluster:
    """Do parts on a Ray cluster, whose machines need dp_ros installed, and nothing of this one's files.

    Recordings and bundles go there through Ray, and bundles and results come back. What a machine was doing when it
    went away is done again on another.

    Parameters
    ----------
    folder
        The sweep's.
    address
        As ``10.0.0.1:6379``.

    Raises
    ------
    ConfigError
        If nothing answers there within `ANSWER`.

    """

    def __init__(self, folder: Path, address: str) -> None:
        check_answers(address)
        import ray

        self._folder, self._ray = folder, ray
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:
                raise ConfigError(
                    f'ray: got {address!r}, where no Ray cluster answered ({one_line(str(error))}); '
                    'allowed the address that `ray start --head` shows'
                ) from error
        self._data: dict[tuple[Path, str], Any] = {}

    def train(self, parts: Sequence[Training]) -> Iterator[Training]:
        """Yield each training when its bundle is in the sweep's folder."""
        work = self._ray.remote(num_cpus=1, max_retries=-1)(_train_away)
        handles = {work.remote(part, self._episodes(part)): part for part in parts}
        for part, files in self._done(handles):
            _unpack(files, self._folder)
            if not is_trained(part, self._folder):
                raise DataError(f'training {part.name}: got no bundle from the Ray cluster, allowed one')
            yield part

    def play(self, parts: Sequence[Block]) -> Iterator[tuple[Block, list[EpisodeResult]]]:
        """Yield each block with how its episodes ended."""
        work = self._ray.remote(num_cpus=1, max_retries=-1)(_play_away)
        trained = {part.training for part in parts}
        bundles = {name: self._ray.put(_packed(self._folder, f'bundles/{name}')) for name in trained}
        return self._done({work.remote(part, bundles[part.training]): part for part in parts})

    def _episodes(self, part: Training) -> Any:
        # The same list each time for the same recordings, which therefore go into the cluster once.
        episodes = read_for(part)
        key = (part.data, str(id(episodes)))
        if key not in self._data:
            self._data[key] = self._ray.put(episodes)
        return self._data[key]

    def _done(self, handles: dict[Any, Part]) -> Iterator[tuple[Part, Any]]:
        left = list(handles)
        try:
            while left:
                ready, left = self._ray.wait(left)
                for handle in ready:
                    yield handles[handle], self._ray.get(handle)
        finally:
            for handle in left:
                with suppress(Exception):
                    self._ray.cancel(handle)


def check_answers(address: str) -> None:
    """Raise ConfigError unless something takes a connection at ``address``, which Ray itself would wait for longer."""
    host, colon, port = address.rpartition(':')
    if not colon or not host or '/' in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f'ray: got {address!r}, allowed HOST:PORT, as 10.0.0.1:6379')
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER).close()
    except OSError as error:
        raise ConfigError(
            f'ray: got {address!r}, where nothing answers ({error.strerror or error}); allowed the address that '
            '`ray start --head` shows'
        ) from error


def _train_away(part: Training, episodes: list[Any]) -> dict[str, bytes]:
    settings = replace(part.settings, threads=part.settings.threads or 1)
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as scratch:
        folder = Path(scratch)
        _train_here(replace(part, settings=settings), folder)
        run = folder / 'runs' / part.name
        for path in run.iterdir():  # its weights are in the bundle
            if path.suffix not in ('.csv', '.json', '.yaml'):
                path.unlink()
        return _packed(folder, f'runs/{part.name}') | _packed(folder, f'bundles/{part.name}')


def _play_away(part: Block, files: dict[str, bytes]) -> list[EpisodeResult]:
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as scratch:
        _unpack(files, Path(scratch))
        return _play_here(part, Path(scratch))


def _packed(folder: Path, name: str) -> dict[str, bytes]:
    """Return what lies in the folder ``name`` of ``folder``, by path."""
    files = [path for path in (folder / name).iterdir() if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _unpack(files: dict[str, bytes], folder: Path) -> None:
    """Write what `_packed` returned: each of its folders whole, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.ray_', dir=folder) as scratch:
        for name, content in files.items():
            path = Path(scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for part in dict.fromkeys(Path(name).parent for name in files):
            target = folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                shutil.rmtree(target)
            os.replace(Path(scratch) / part, target)
