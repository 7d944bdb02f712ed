"""Write episodes of a dataset as recordings, so that they can be played into the nodes.

A dataset has no messages: rows become some, stamped when the row was, joints with what lies between two rows at a rate
that drivers have. Before the first row the robot rests, as a plan must begin at rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.evaluation.recorded.open_loop import trained_episodes
from dp_ros.messages import encoding
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.recordings.episodes.builder import Episode
from dp_ros.recordings.episodes.readers import kind_of
from dp_ros.recordings.rosbag.reader import BagWriter, rosbags_types
from dp_ros.task.spec import ImageStream, JointStream, TaskSpec

EPISODES = 5
"""Of a dataset, the first ones."""
REST = 3 * NANOSECONDS
"""Before the first row [ns]."""
JOINT_PERIOD = NANOSECONDS // 100
START = 1_000_000_000 * NANOSECONDS
"""When an episode begins: no stamp is 0, which means none."""


def playable(recordings: Sequence[Path], bundle: Bundle, folder: Path) -> list[Path]:
    """Return recordings with datasets among them written as rosbag2 recordings into a new ``folder``.

    Raises
    ------
    ConfigError
        If a dataset lacks what a policy observes or is asked: joints with their positions and colour pictures can be
        played of one, and goals in hindsight.
    DataError
        If a dataset cannot be read, or has no episode.

    """
    found: list[Path] = []
    for number, path in enumerate(recordings):
        if kind_of(path) == 'bags':
            found.append(path)
            continue
        _check(bundle.task, path)
        bags: list[Path] = []
        for episode in islice(trained_episodes([path], bundle), EPISODES):
            bags.append(folder / f'{number}_{len(bags)}')
            _write(bags[-1], episode, bundle)
        if not bags:
            raise DataError(f'recordings {path}: got no episode, allowed one or more')
        found += bags
    return found


def _check(task: TaskSpec, path: Path) -> None:
    wrong = [
        stream.name
        for stream in task.streams
        if not (isinstance(stream, JointStream) and 'position' in stream.fields)
        and not (isinstance(stream, ImageStream) and stream.content == 'rgb')
    ]
    wrong += [goal.name for goal in task.goals if goal.source == 'topic']
    if wrong:
        raise ConfigError(
            f'recordings {path}: got a dataset for a policy of {listed(wrong)}, allowed joints with positions, colour '
            'pictures, and goals in hindsight'
        )


def _write(path: Path, episode: Episode, bundle: Bundle) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    messages = [message for stream in bundle.task.streams for message in _messages(stream, episode, bundle)]
    with BagWriter(path) as bag:
        for stamp, topic, message in sorted(messages, key=lambda one: one[0]):
            bag.write(topic, stamp, message)


def _messages(stream: Any, episode: Episode, bundle: Bundle) -> Iterator[tuple[int, str, Any]]:
    """Yield stamp, topic and message of each reading of a stream."""
    types, rows = rosbags_types(), episode.streams[stream.name]
    stamps = np.asarray(episode.stamps) - episode.stamps[0] + START
    if isinstance(stream, ImageStream):
        for stamp, pixels in zip([START - REST, *stamps.tolist()], [rows[0], *rows], strict=True):
            yield stamp, stream.topic, _picture(stream, pixels, stamp, bundle.camera_shapes.get(stream.name), types)
        return
    count, factors = len(stream.joints), [np.asarray(stream.factors(field)) for field in stream.fields]
    for stamp in range(START - REST, int(stamps[-1]) + 1, JOINT_PERIOD):
        values = [np.interp(stamp, stamps, column) for column in rows.T]
        parts = {
            field: np.array(values[number * count : (number + 1) * count]) / factors[number]
            for number, field in enumerate(stream.fields)
        }
        yield stamp, stream.topic, encoding.to_joint_state(stamp=stamp, name=stream.joints, types=types, **parts)


def _picture(stream: ImageStream, pixels: np.ndarray, stamp: int, shape: tuple[int, int] | None, types: Any) -> Any:
    """Return the message of a picture, as large as the camera's were."""
    import cv2

    if shape is not None and shape != pixels.shape[:2]:
        pixels = cv2.resize(pixels, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
    make = encoding.to_compressed_image if stream.compressed else encoding.to_image
    return make(stamp=stamp, pixels=np.ascontiguousarray(pixels), frame_id=stream.name, types=types)
