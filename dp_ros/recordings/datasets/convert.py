"""The PushT zarr to rosbag2 recordings: one folder for each episode, with the topics that the live robot has."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from dp_ros.errors import ConfigError, listed
from dp_ros.recordings.datasets.zarr import CAMERAS, PushtZarr, episode_name
from dp_ros.recordings.rosbag.reader import STORAGES, BagWriter, new_folder, refuse_existing


def convert_pusht(
    source: Path | str,
    out: Path | str,
    *,
    storage: str = 'mcap',
    camera: str = 'raw',
    episodes: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Convert the store at ``source`` into bags under the new folder ``out``; return their paths.

    Parameters
    ----------
    source, out
        The zarr's folder; a folder that does not exist yet. It appears when every bag in it is whole.
    storage
        ``mcap`` or ``sqlite3``.
    camera
        ``raw`` (Image), ``png`` or ``jpeg`` (CompressedImage), or ``none``.
    episodes
        How many, from the first on; None for all.
    progress
        Whether to show a progress bar.

    """
    out = Path(out)
    if storage not in STORAGES:
        raise ConfigError(f'storage: got {storage!r}, allowed {listed(STORAGES)}')
    if camera not in CAMERAS:
        raise ConfigError(f'camera: got {camera!r}, allowed {listed(CAMERAS)}')
    refuse_existing(out)
    store = PushtZarr(source)
    if episodes is not None and not 1 <= episodes <= len(store):
        raise ConfigError(f'episodes: got {episodes}, allowed 1 to {len(store)}')
    indices = range(len(store) if episodes is None else episodes)
    with new_folder(out) as made:
        for index in tqdm(indices, desc='convert', unit='episode', disable=not progress):
            with BagWriter(made / episode_name(index), storage) as bag:
                for topic, received, message in store.messages(index, camera, rewards=True):
                    bag.write(topic, received, message)
    return [out / episode_name(index) for index in indices]
