"""Episodes on disk: one zarr store, a group for each recording, pictures as they will be indexed.

Pictures are kept as bytes without compression, `CHUNK` to a file, so that reading one is mapping a file into memory:
random windows cost what a copy costs, and the operating system keeps what is used most.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dp_ros.errors import DataError
from dp_ros.recordings.episodes.builder import Episode

CHUNK = 64
"""Pictures in a file."""
_MAPS = 256
_FRAMES, _EPISODES = 'frames', 'episodes'


class CachedFrames:
    """Pictures (N, H, W, 3) uint8 on disk, indexed as an array by numbers, slices and arrays of numbers.

    They are ``rows`` (N,) int64 of the zarr array in ``folder``, each of ``size`` (H, W, 3).
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, folder: Path, rows: np.ndarray, size: tuple[int, ...]) -> None:
        self._folder, self._rows, self._size = folder, rows, tuple(size)
        self._maps: OrderedDict[int, np.ndarray] = OrderedDict()

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""
        return (len(self._rows), *self._size)

    def __len__(self) -> int:
        """Return how many pictures these are."""
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return the pictures (..., H, W, 3) at ``index``, as an array of its own."""
        rows = np.asarray(self._rows[index])
        out = np.empty((rows.size, *self._size), dtype=np.uint8)
        for place, row in enumerate(rows.reshape(-1).tolist()):
            out[place] = self._chunk(row // CHUNK)[row % CHUNK]
        return out.reshape(*rows.shape, *self._size)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all pictures, in memory."""
        return self[:] if dtype is None else self[:].astype(dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind: another process makes its own."""
        return {**self.__dict__, '_maps': OrderedDict()}

    def _chunk(self, number: int) -> np.ndarray:
        known = self._maps.get(number)
        if known is None:
            path = self._folder / 'c' / str(number) / '0/0/0'
            try:
                known = np.memmap(path, dtype=np.uint8, mode='r', shape=(CHUNK, *self._size))
            except (OSError, ValueError) as error:
                raise DataError(f'cache {path}: cannot be read ({error}); allowed a whole cache: delete it') from error
            self._maps[number] = known
            if len(self._maps) > _MAPS:
                self._maps.popitem(last=False)
        return known


class JoinedFrames:
    """Pictures of several episodes as one array, indexed by arrays of numbers."""

    dtype = np.dtype(np.uint8)

    def __init__(self, parts: Sequence[Any]) -> None:
        if not parts:
            raise DataError('frames: got 0 episodes, allowed 1 or more')
        self._parts = list(parts)
        self._starts = np.cumsum([0, *(len(p) for p in self._parts)])
        self.shape = (int(self._starts[-1]), *self._parts[0].shape[1:])

    def __len__(self) -> int:
        """Return how many pictures these are."""
        return int(self._starts[-1])

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Return the pictures (..., H, W, 3) at ``index`` (...)."""
        index = np.asarray(index)
        flat = index.reshape(-1)
        out = np.empty((flat.size, *self.shape[1:]), dtype=np.uint8)
        part = np.searchsorted(self._starts, flat, side='right') - 1
        for number in np.unique(part).tolist():
            chosen = part == number
            out[chosen] = self._parts[number][flat[chosen] - self._starts[number]]
        return out.reshape(*index.shape, *self.shape[1:])


class FrameWriter:
    """Pictures into a group, a chunk at a time; what stands for one is its row."""

    def __init__(self, group: zarr.Group) -> None:
        self._group = group
        self._waiting: dict[str, list[np.ndarray]] = {}
        self._rows: dict[str, int] = {}

    def add(self, stream: str, frame: np.ndarray) -> int:
        """Write a picture (H, W, 3) uint8, or keep it until its chunk is full; return its row."""
        waiting = self._waiting.setdefault(stream, [])
        waiting.append(frame)
        self._rows[stream] = self._rows.get(stream, 0) + 1
        if len(waiting) == CHUNK:
            self._write(stream)
        return self._rows[stream] - 1

    def stack(self, stream: str, kept: list[int]) -> np.ndarray:
        """Return rows as an array."""
        return np.array(kept, dtype=np.int64)

    def finish(self) -> None:
        """Write what is waiting."""
        for stream in self._waiting:
            self._write(stream)

    def _write(self, stream: str) -> None:
        frames = np.stack(self._waiting[stream]) if self._waiting[stream] else None
        if frames is None:
            return
        name = f'{_FRAMES}/{_safe(stream)}'
        if name not in self._group:
            self._group.create_array(
                name, shape=(0, *frames.shape[1:]), chunks=(CHUNK, *frames.shape[1:]), dtype='uint8', compressors=None,
                filters=None, config={'write_empty_chunks': True},
            )  # fmt: skip
        array: Any = self._group[name]
        array.append(frames)
        self._waiting[stream].clear()


def save_episodes(group: zarr.Group, episodes: Iterable[Episode], cameras: frozenset[str]) -> None:
    """Write episodes whose pictures are rows of a `FrameWriter` of the same group."""
    for number, episode in enumerate(episodes):
        shapes = {name: list(shape) for name, shape in episode.camera_shapes.items()}
        facts = {'name': episode.name, 'camera_shapes': shapes}
        saved = group.create_group(f'{_EPISODES}/{number:05d}', attributes=facts)
        for name, values in (('stamps', episode.stamps), ('actions', episode.actions)):
            saved.create_array(name, data=values)
        for stream, values in episode.streams.items():
            kind = 'rows' if stream in cameras else 'vectors'
            saved.create_array(f'{kind}/{_safe(stream)}', data=values)


def load_episodes(folder: Path, streams: Sequence[str]) -> list[Episode]:
    """Return the episodes of a recording in the store, with ``streams``; pictures stay on disk."""
    try:
        group: Any = zarr.open_group(str(folder), mode='r')
        numbers = sorted(group[_EPISODES].group_keys())
        return [_load(folder, group, group[f'{_EPISODES}/{number}'], streams) for number in numbers]
    except DataError:
        raise
    except Exception as error:  # zarr's own errors differ from version to version.
        raise DataError(f'cache {folder}: cannot be read ({error}); allowed a whole cache: delete it') from error


def _load(folder: Path, group: Any, saved: Any, streams: Sequence[str]) -> Episode:
    def stream(name: str) -> Any:
        safe = _safe(name)
        if f'rows/{safe}' not in saved:
            return np.asarray(saved[f'vectors/{safe}'][:])
        frames = group[f'{_FRAMES}/{safe}']
        return CachedFrames(folder / _FRAMES / safe, np.asarray(saved[f'rows/{safe}'][:]), frames.shape[1:])

    return Episode(
        name=str(saved.attrs['name']),
        stamps=np.asarray(saved['stamps'][:]),
        streams={name: stream(name) for name in streams},
        actions=np.asarray(saved['actions'][:]),
        camera_shapes={n: (int(h), int(w)) for n, (h, w) in saved.attrs['camera_shapes'].items()},
    )


def _safe(stream: str) -> str:
    """Return a stream's name as a name of a folder."""
    return ''.join(c if c.isalnum() or c in '-_' else f'%{ord(c):02x}' for c in stream)
