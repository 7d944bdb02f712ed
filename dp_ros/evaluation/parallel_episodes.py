"""Episodes on seeds, shared by several processes, in order, and the same as one process would play."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar('T')


@contextmanager
def played(
    play: Callable[[int], T], make: Callable[[], Callable[[int], T]], seeds: Sequence[int], workers: int
) -> Iterator[Iterator[T]]:
    """Yield what ``play`` returns for each of ``seeds``; several workers are processes that ``make`` their own."""
    workers = min(workers, len(seeds))
    if workers == 1:
        yield map(play, seeds)
        return
    # Spawned: a forked process would have a copy of ONNX Runtime's threads, which do not run there.
    with multiprocessing.get_context('spawn').Pool(workers, _start_worker, (make,)) as pool:
        yield pool.imap(_play_in_worker, seeds)


_play: Callable[[int], Any] | None = None  # of a worker's process


def _start_worker(make: Callable[[], Callable[[int], Any]]) -> None:
    global _play
    _play = make()


def _play_in_worker(seed: int) -> Any:
    assert _play is not None
    return _play(seed)
