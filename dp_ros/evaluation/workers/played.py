"""Play episodes, whoever plays them: the outcomes come in the order of the episodes, and are the same."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from dp_ros.evaluation.workers.workers import Folder, OneProcess, Workers

Part = TypeVar('Part')
T = TypeVar('T')


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
