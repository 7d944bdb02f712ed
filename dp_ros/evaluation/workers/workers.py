"""Choose who does the parts of some work. What becomes of a part must depend on nothing but the part.

A process that dies, or a machine that goes away, takes the parts along that it was at; they are done again. What is
kept of them is written by the one process that asked, so that nothing is there half, or twice. Nothing heavy is
imported here: each process does so.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dp_ros.errors import ConfigError, DataError

TRIES = 3
"""Times that parts are begun where a process dies, as for want of memory."""
Part = TypeVar('Part')
T = TypeVar('T')


Folder = Callable[[], AbstractContextManager[Path]]
"""Gives where a folder of this machine lies, wherever the work is done, for as long as that is open."""


class Workers(Protocol):
    """Does parts of some work."""

    def done(self, work: Callable[..., T], parts: Sequence[Part], *beside: Any) -> Iterator[tuple[Part, T]]:
        """Yield each part with what ``work(part, *beside)`` returns, as they are finished, in any order."""
        ...

    def sent(self, folder: Path) -> Folder:
        """Return what ``work`` opens where it needs the folder."""
        ...


def _here(folder: Path) -> AbstractContextManager[Path]:
    return nullcontext(folder)


class _Here:
    def sent(self, folder: Path) -> Folder:
        """Return what ``work`` opens where it needs the folder."""
        return partial(_here, folder)


class OneProcess(_Here):
    """Do one part after the other, here."""

    def done(self, work: Callable[..., T], parts: Sequence[Part], *beside: Any) -> Iterator[tuple[Part, T]]:
        """Yield each part with what ``work(part, *beside)`` returns."""
        for part in parts:
            yield part, work(part, *beside)


class Processes(_Here):
    """Do parts in several processes of this machine, which end when this one does, and begin again where one dies."""

    def __init__(self, count: int) -> None:
        self._count = count

    def done(self, work: Callable[..., T], parts: Sequence[Part], *beside: Any) -> Iterator[tuple[Part, T]]:
        """Yield each part with what ``work(part, *beside)`` returns, as they are finished, in any order.

        Raises
        ------
        DataError
            If processes die over and over.

        """
        left = list(parts)
        for tried in range(TRIES):
            try:
                for part, outcome in _started(self._count, work, left, beside):
                    left.remove(part)
                    yield part, outcome
                return
            except BrokenProcessPool as error:
                if tried == TRIES - 1:
                    raise DataError(
                        f'processes: got {TRIES} that died with {len(left)} parts left, allowed none; '
                        'is there too little memory? try fewer --workers'
                    ) from error


def _started(
    count: int, work: Callable[..., Any], parts: Sequence[Part], beside: tuple[Any, ...]
) -> Iterator[tuple[Part, Any]]:
    # Spawned: a forked process would have a copy of threads that do not run there.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context('spawn'), _start)
    handles: dict[Future[Any], Part] = {pool.submit(work, part, *beside): part for part in parts}
    try:
        for handle in as_completed(handles):
            yield handles[handle], handle.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start() -> None:
    """End this process when the one that started it is gone, also when that was killed; show no progress bars."""
    sys.stderr = open(os.devnull, 'w')  # noqa: SIM115, for as long as the process is there
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def workers_of(count: int, ray: str = '') -> Workers:
    """Return ``count`` processes, or the Ray cluster at ``ray``.

    Raises
    ------
    ConfigError
        If nothing answers there.

    """
    if ray:
        from dp_ros.evaluation.workers.ray_cluster import RayCluster

        return RayCluster(ray)
    return OneProcess() if count == 1 else Processes(count)


def check_workers(count: int, ray: str, through: str = 'direct') -> None:
    """Raise ConfigError for several workers through ros, and for a cluster that is told how many it has."""
    if through == 'ros' and (count > 1 or ray):
        name, got = ('ray', repr(ray)) if ray else ('workers', count)
        raise ConfigError(f'{name}: got {got} through ros, allowed {"none" if ray else 1}: there is one robot')
    if count > 1 and ray:
        raise ConfigError(f'workers: got {count} with ray, allowed 1: a cluster does as much at once as it has cores')


def played(
    workers: Workers, play: Callable[[Part], T], make: Callable[..., Callable[[Part], T]], parts: Sequence[Part],
    *folders: Path,
) -> Iterator[T]:  # fmt: skip
    """Yield what ``play`` returns for each of ``parts``, which differ; other processes have it of ``make(*folders)``.

    ``make`` is called once in each process, with where the folders lie for it.
    """
    if isinstance(workers, OneProcess):
        yield from map(play, parts)
        return
    early: dict[Part, T] = {}
    due = iter(parts)
    part = next(due, None)
    sent = [workers.sent(folder) for folder in folders]
    for finished, outcome in workers.done(_play, parts, uuid.uuid4().hex, make, sent):
        early[finished] = outcome
        while part in early:
            yield early.pop(part)
            part = next(due, None)


_made: tuple[str, Callable[[Any], Any], ExitStack] | None = None  # in a process that plays: for whom, and what


def _play(part: Part, key: str, make: Callable[..., Callable[[Part], T]], folders: Sequence[Folder]) -> T:
    global _made
    if _made is None or _made[0] != key:
        if _made is not None:
            _made[2].close()
            _made = None
        with ExitStack() as stack:
            play = make(*(stack.enter_context(folder()) for folder in folders))
            _made = key, play, stack.pop_all()
    return _made[1](part)
