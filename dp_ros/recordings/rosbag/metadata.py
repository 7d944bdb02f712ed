"""What a recording says of itself: the topics, and the metadata.yaml that rosbag2 leaves beside its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from dp_ros.bounded_files import from_yaml, read_text, shown
from dp_ros.errors import DataError, listed

NEWEST = 9
"""The newest version of metadata.yaml that is known: ROS 2 Jazzy's."""
MOST_LABELS = 1000
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
    compression
        What is compressed with zstd, each ``file`` or each ``message``; empty for neither.
    labels
        What was noted of the whole recording: rosbag2's custom_data.

    """

    files: tuple[str, ...]
    storage: str
    compression: str
    topics: tuple[Topic, ...]
    labels: Mapping[str, str] = field(default_factory=dict)


def read_metadata(path: Path) -> Metadata:
    """Read a metadata.yaml; what cannot be used is a :class:`DataError` that says why."""
    try:
        info = from_yaml(read_text(path))['rosbag2_bagfile_information']
    except DataError as error:
        raise ValueError(str(error)) from error  # which is said to be damage
    version, storage = info['version'], info['storage_identifier']
    if not isinstance(version, int) or not 1 <= version <= NEWEST:
        raise DataError(f'got version {shown(version)}, allowed 1 to {NEWEST}')
    if storage not in _STORAGES:
        raise DataError(f'got storage_identifier {shown(storage)}, allowed {listed(_STORAGES)}')
    compression, format_ = (info.get('compression_mode') or '').lower(), info.get('compression_format') or ''
    if compression not in _COMPRESSIONS:
        raise DataError(f'got compression_mode {shown(compression)}, allowed {listed(_COMPRESSIONS[1:])}')
    if compression in ('file', 'message') and format_ != 'zstd':
        raise DataError(f'got compression_format {shown(format_)}, allowed zstd')
    files = tuple(PurePath(name).name for name in info['relative_file_paths'])
    twice = sorted(name for name, count in Counter(files).items() if count > 1)
    if twice:
        raise DataError(f'got {listed(twice)} twice in relative_file_paths, allowed each file once')
    return Metadata(
        files=files,
        storage=storage,
        compression='' if compression == 'none' else compression,
        topics=tuple(_topic(entry) for entry in info['topics_with_message_count']),
        labels=_labels(info.get('custom_data')),
    )


def _labels(found: Any) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or len(found) > MOST_LABELS:
        raise DataError(f'got custom_data {shown(found)}, allowed a mapping of up to {MOST_LABELS} texts')
    return {str(name): str(label) for name, label in found.items()}


def _topic(entry: dict[str, Any]) -> Topic:
    about, count = entry['topic_metadata'], entry['message_count']
    texts = [about[key] for key in ('name', 'type', 'serialization_format')]
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f'got the topic {shown(texts)}, allowed text for name, type and serialization_format')
    if not isinstance(count, int) or count < 0:
        raise DataError(f'topic {texts[0]}: got message_count {shown(count)}, allowed 0 or more')
    return Topic(name=texts[0], type=texts[1], count=count, encoding=texts[2])
