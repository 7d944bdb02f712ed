"""Several processes that do parts, begun again where one of them dies. Imports nothing heavy: each process does so."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from dp_ros.errors import DataError

TRIES = 3
"""Times that parts are begun where a process dies, as for want of memory."""
Part = TypeVar('Part')


def done_by(count: int, work: Callable[..., Any], parts: Sequence[Part], *beside: Any) -> Iterator[tuple[Part, Any]]:
    """Yield each part with what ``work(part, *beside)`` returns, as they are finished by ``count`` processes.

    Raises
    ------
    DataError
        If processes die over and over.

    """
    left = list(parts)
    for tried in range(TRIES):
        try:
            for part, outcome in _started(count, work, left, beside):
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
