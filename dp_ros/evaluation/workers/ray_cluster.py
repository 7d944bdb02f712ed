"""A Ray cluster, whose machines need dp_ros installed, and nothing of this one's files."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from dp_ros import __version__
from dp_ros.errors import ConfigError, DataError, DpRosError, one_line
from dp_ros.evaluation.workers.workers import Folder

ANSWER = 10.0
"""Longest wait for a cluster [s]."""
TRIES = 10
"""Times that a part is begun again where processes die and machines go away."""
AT_ONCE = 1000
"""Parts that are with the cluster at a time."""
Part = TypeVar('Part')
T = TypeVar('T')


@contextmanager
def _opened(name: str, files: Any) -> Iterator[Path]:
    """Give a copy of a folder that went into the cluster, which is there for so long."""
    import ray

    with tempfile.TemporaryDirectory(prefix='dp_ros_') as scratch:
        unpack(ray.get(files), Path(scratch))
        yield Path(scratch) / name


class RayCluster:
    """Do parts on a Ray cluster. What a machine was doing when it went away is done again on another.

    Raises
    ------
    ConfigError
        If nothing answers there within `ANSWER`.

    """

    def __init__(self, address: str) -> None:
        check_answers(address)
        import ray

        self._ray = ray
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:
                raise ConfigError(
                    f'ray: got {address!r}, where no Ray cluster answered ({one_line(str(error))}); '
                    'allowed the address that `ray start --head` shows'
                ) from error

    def put(self, value: Any) -> Any:
        """Return what ``work`` gets a value by that goes into the cluster once: with ``ray.get``."""
        return self._ray.put(value)

    def sent(self, folder: Path) -> Folder:
        """Return what ``work`` opens where it needs the folder."""
        return partial(_opened, folder.name, self.put(packed(folder.parent, folder.name)))

    def done(self, work: Callable[..., T], parts: Sequence[Part], *beside: Any) -> Iterator[tuple[Part, T]]:
        """Yield each part with what ``work(part, *beside)`` returns, as they are finished, in any order."""
        started = self._ray.remote(num_cpus=1, max_retries=TRIES)(_done)
        left = iter(parts)
        handles: dict[Any, Part] = {}
        try:
            while True:
                for part in islice(left, AT_ONCE - len(handles)):
                    handles[started.remote(__version__, work, part, *beside)] = part
                if not handles:
                    return
                ready, _ = self._ray.wait(list(handles))
                for handle in ready:
                    part = handles.pop(handle)
                    yield part, self._got(handle)
        finally:
            for handle in handles:
                with suppress(Exception):
                    self._ray.cancel(handle)

    def _got(self, handle: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(handle)
        except errors.RayTaskError as error:
            if isinstance(error.cause, DpRosError | ModuleNotFoundError):
                raise error.cause from error
            raise
        except errors.RayError as error:
            raise DataError(f'ray: got no outcome of a part ({one_line(str(error))}), allowed one of each') from error


def _done(version: str, work: Callable[..., T], part: Part, *beside: Any) -> T:
    if __version__ != version:
        raise ConfigError(
            f'dp_ros on {socket.gethostname()}: got version {__version__}, allowed {version}, that of who asks'
        )
    return work(part, *beside)


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


def packed(folder: Path, name: str) -> dict[str, bytes]:
    """Return what lies in the folder ``name`` of ``folder``, by path."""
    files = [path for path in (folder / name).iterdir() if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def unpack(files: dict[str, bytes], folder: Path) -> None:
    """Write what `packed` returned: each of its folders whole, or not at all."""
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
