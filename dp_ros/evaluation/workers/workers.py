"""Choose who does the parts of some work. What becomes of a part must depend on nothing but the part.

A process that dies, or a machine that goes away, takes the parts along that it was at; they are done again. What is
kept of them is written by the one process that asked, so that nothing is there half, or twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dp_ros.errors import ConfigError
from dp_ros.evaluation.workers.process_pool import done_by

Part = TypeVar('Part')
T = TypeVar('T')


class Folder(Protocol):
    """A folder of this machine, wherever the work is done."""

    def opened(self) -> AbstractContextManager[Path]:
        """Return where it lies while it is open."""
        ...


class Workers(Protocol):
    """Does parts of some work."""

    def done(self, work: Callable[..., T], parts: Sequence[Part], *beside: Any) -> Iterator[tuple[Part, T]]:
        """Yield each part with what ``work(part, *beside)`` returns, as they are finished, in any order."""
        ...

    def sent(self, folder: Path) -> Folder:
        """Return what ``work`` opens where it needs the folder."""
        ...


@dataclass(frozen=True)
class FolderHere:
    """A folder for work on this machine."""

    path: Path

    def opened(self) -> AbstractContextManager[Path]:
        """Return where it lies."""
        return nullcontext(self.path)


class _Here:
    def sent(self, folder: Path) -> Folder:
        """Return what ``work`` opens where it needs the folder."""
        return FolderHere(folder)


class OneProcess(_Here):
    """Do one part after the other, here."""

    def done(self, work: Callable[..., T], parts: Sequence[Part], *beside: Any) -> Iterator[tuple[Part, T]]:
        """Yield each part with what ``work(part, *beside)`` returns."""
        for part in parts:
            yield part, work(part, *beside)


class Processes(_Here):
    """Do parts in several processes of this machine, which end when this one does."""

    def __init__(self, count: int) -> None:
        self._count = count

    def done(self, work: Callable[..., T], parts: Sequence[Part], *beside: Any) -> Iterator[tuple[Part, T]]:
        """Yield each part with what ``work(part, *beside)`` returns, as they are finished, in any order."""
        return done_by(self._count, work, parts, *beside)


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
