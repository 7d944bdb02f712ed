"""Recordings decoded once: the first reading fills a store beside which training reads episodes without their pictures.

What a recording's entry is for is in its name: the recording's files, by size and time of change, and everything in the
task that decides what an episode holds. Change one, and the entry is made anew; the folder may be deleted at any time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import zarr

from dp_ros.errors import ConfigError, DataError
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.cache_store import FrameWriter, load_episodes, save_episodes
from dp_ros.recordings.episodes.episode import read_episode
from dp_ros.recordings.episodes.goals import episode_names, picture_names
from dp_ros.recordings.episodes.segmentation import BY_FILE, CutSettings
from dp_ros.recordings.episodes.unreadable import Broken, is_broken
from dp_ros.recordings.rosbag.reader import find_bags, folder_beside
from dp_ros.task.spec import TaskSpec
from dp_ros.task.yaml_reader import to_plain

# Goes up when the same files are read otherwise: since 2 clocks that were set back are refused, since 3 holes in JPEGs,
# since 4 joints that wrap, and commands that are replaced before they are due; entries have the shapes of pictures, and
# quaternions one sign.
_FORMAT = 4
_LEARNING_ONLY = ('obs_horizon', 'pred_horizon', 'exec_horizon')


def cached_episodes(
    path: Path | str,
    task: TaskSpec,
    cache: Path | str,
    *,
    cut: CutSettings = BY_FILE,
    workers: int = 0,
    broken: Broken | None = None,
) -> Iterator[Episode]:
    """Yield the episodes of every bag at or under ``path``, in order of name, by way of the store ``cache``.

    Parameters
    ----------
    path, task, cut, broken
        As for `read_episodes`.
    cache
        Folder of the store; made if it is missing. Its pictures take H x W x 3 bytes each.
    workers
        Processes that decode; 0 is one for each processor. Each holds 64 pictures of each camera.

    """
    if not 0 <= workers <= 1024:
        raise ConfigError(f'workers: got {workers}, allowed 0 to 1024')
    cache = Path(cache)
    bags = find_bags(path)
    zarr.open_group(str(cache), mode='a')
    entries = {bag: cache / _key(bag, task, cut) for bag in bags}
    missing = [bag for bag in bags if not entries[bag].exists()]
    broken = broken or Broken()
    with _mapping(min(workers or os.cpu_count() or 1, len(missing))) as in_turn:
        made = in_turn(partial(_fill, task=task, cut=cut), missing, [entries[bag] for bag in missing])
        for bag, error in zip(missing, made, strict=True):
            if error is not None:
                with broken.reading(bag):
                    raise error
    broken.check(len(bags))
    names = episode_names(task)
    for bag in bags:
        if str(bag) not in broken.skipped:
            yield from load_episodes(entries[bag], names)


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterable[DataError | None]]]:
    """Give what maps a function over bags in so many processes: `map` in this one."""
    if workers < 2:
        yield map
        return
    # Not a fork: the parent may have threads of torch's or OpenCV's.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), initializer=_one_thread)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _fill(bag: Path, entry: Path, task: TaskSpec, cut: CutSettings) -> DataError | None:
    """Decode a bag into its entry, which appears when it is whole; return what is wrong with the bag."""
    try:
        _decode(bag, entry, task, cut)
    except DataError as error:
        if not is_broken(error):
            raise  # causes do not come along from another process
        return error
    return None


def _decode(bag: Path, entry: Path, task: TaskSpec, cut: CutSettings) -> None:
    with folder_beside(entry) as folder:
        group = zarr.open_group(str(folder / 'entry'), mode='w', attributes={'recording': str(bag), 'format': _FORMAT})
        frames = FrameWriter(group)
        episodes = read_episode(bag, task, cut=cut, frames=frames)
        frames.finish()
        save_episodes(group, episodes, picture_names(task))
        if not entry.exists():
            (folder / 'entry').rename(entry)


def _key(bag: Path, task: TaskSpec, cut: CutSettings) -> str:
    plain = {k: v for k, v in to_plain(task).items() if k not in _LEARNING_ONLY}
    files = sorted(p for p in bag.rglob('*') if p.is_file()) if bag.is_dir() else [bag]
    facts = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    text = json.dumps([_FORMAT, str(bag.resolve()), facts, plain, dataclasses.asdict(cut)], sort_keys=True)
    return f'{bag.stem}-{hashlib.sha256(text.encode()).hexdigest()[:16]}'
