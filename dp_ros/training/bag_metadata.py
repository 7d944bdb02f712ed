"""What a recording says of itself: the topics, and the metadata.yaml that rosbag2 leaves beside its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from dp_ros.errors import DataError, listed

NEWEST = 9
"""The newest version of metadata.yaml that is known: ROS 2 Jazzy's."""
_STORAGES = ('mcap', 'sqlite3')
_COMPRESSIONS = ('', 'none', 'file', 'message')


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic in a bag: its ROS type, how many messages it has, and in which encoding."""

    name: str
    type: str
    count: int
    encoding: str = 'cdr'


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What metadata.yaml says.

    Attributes
    ----------
    files
        Names of the storage files, in the order in which they were written.
    storage
        mcap or sqlite3.
    compression
        What is compressed with zstd, each ``file`` or each ``message``; empty for neither.

    """

    files: tuple[str, ...]
    storage: str
    compression: str
    topics: tuple[Topic, ...]


def read_metadata(path: Path) -> Metadata:
    """Read a metadata.yaml; what cannot be used is a :class:`DataError` that says why."""
    info = yaml.safe_load(path.read_text(encoding='utf-8'))['rosbag2_bagfile_information']
    version, storage = info['version'], info['storage_identifier']
    if version > NEWEST:
        raise DataError(f'got version {version}, allowed 1 to {NEWEST}')
    if storage not in _STORAGES:
        raise DataError(f'got storage_identifier {storage!r}, allowed {listed(_STORAGES)}')
    compression, format_ = (info.get('compression_mode') or '').lower(), info.get('compression_format') or ''
    if compression not in _COMPRESSIONS:
        raise DataError(f'got compression_mode {compression!r}, allowed {listed(_COMPRESSIONS[1:])}')
    if compression in ('file', 'message') and format_ != 'zstd':
        raise DataError(f'got compression_format {format_!r}, allowed zstd')
    files = tuple(PurePath(name).name for name in info['relative_file_paths'])
    twice = sorted({name for name in files if files.count(name) > 1})
    if twice:
        raise DataError(f'got {listed(twice)} twice in relative_file_paths, allowed each file once')
    return Metadata(
        files=files,
        storage=storage,
        compression='' if compression == 'none' else compression,
        topics=tuple(_topic(entry) for entry in info['topics_with_message_count']),
    )


def _topic(entry: dict[str, Any]) -> Topic:
    about = entry['topic_metadata']
    return Topic(
        name=str(about['name']),
        type=str(about['type']),
        count=int(entry['message_count']),
        encoding=str(about['serialization_format']),
    )
