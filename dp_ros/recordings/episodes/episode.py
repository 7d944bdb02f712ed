"""Recordings to episodes: observations and actions at every control tick, by the alignment rule of the live nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from dp_ros.errors import ConfigError, DataError
from dp_ros.messages.encoding import FLOAT64, type_of
from dp_ros.policy.alignment import AS_LEARNT, AlignmentLimits
from dp_ros.recordings.episodes.actions import source_types
from dp_ros.recordings.episodes.builder import Collector, Episode, FrameStore, InMemory, PictureError, Run
from dp_ros.recordings.episodes.goals import picture_names, recorded_goals
from dp_ros.recordings.episodes.segmentation import BY_FILE, CutSettings, Cutter, cut_topics, cut_types
from dp_ros.recordings.episodes.unreadable import Broken
from dp_ros.recordings.episodes.wrapping import unwrapped_episode
from dp_ros.recordings.rosbag.reader import BagReader, Stamped, find_bags
from dp_ros.task.spec import Stream, TaskSpec

__all__ = ['Episode', 'episodes_from_messages', 'read_episode', 'read_episodes', 'wanted_topics']


def episodes_from_messages(
    name: str,
    messages: Iterable[Stamped],
    task: TaskSpec,
    alignment_limits: AlignmentLimits = AS_LEARNT,
    *,
    cut: CutSettings = BY_FILE,
    cut_by: Mapping[str, str] | None = None,
    frames: FrameStore | None = None,
) -> list[Episode]:
    """Return the episodes in ``messages``, which come in order of receive time; a gap splits them, and ``cut`` does.

    ``alignment_limits`` is what a robot's `observation_buffer` would ask for: this shows what it would have left out.
    ``cut_by`` is the topics that cut, with their ROS types; ``frames`` is where pictures go (None: in memory).

    Raises
    ------
    DataError
        If a message does not hold what its stream needs, or no tick has every stream and a command.

    """
    frames = frames or InMemory()
    cutter = Cutter(cut, cut_by or {})
    collector = Collector(task, alignment_limits=alignment_limits, cut=cut, cutter=cutter, frames=frames)
    feed(collector, name, messages, task, cut_by or {})
    try:
        runs = collector.finish()
    except DataError as error:
        raise DataError(f'{name}: {error}') from error
    if not runs:
        if collector.found:
            raise DataError(f'{name}: {collector.found} ticks, all idle or in episodes too short; allowed one or more')
        why = collector.missing or 'no messages'
        raise DataError(f'{name}: no control tick has every stream and a command ({why}); allowed one or more')
    many = len(runs) > 1
    shapes = collector.camera_shapes
    try:
        return [_episode(run, f'{name}.{i}' if many else name, task, frames, shapes) for i, run in enumerate(runs)]
    except DataError as error:
        raise DataError(f'{name}: {error}') from error


def feed(
    collector: Collector, name: str, messages: Iterable[Stamped], task: TaskSpec, cut_by: Mapping[str, str]
) -> None:
    """Hand messages to a collector; an error names ``name``, the topic and the time."""
    streams: dict[str, list[Stream]] = {}
    for stream in task.streams:
        streams.setdefault(stream.topic, []).append(stream)
    commands = source_types(task)
    goals = {goal.topic: goal.name for goal in recorded_goals(task)}
    for topic, received, msg in messages:
        try:
            for stream in streams.get(topic, ()):
                collector.observation(stream, received, msg)
            if topic in commands:
                collector.command(topic, received, msg)
            if topic in goals:
                collector.goal(goals[topic], received, msg)
            if task.reward is not None and topic == task.reward.topic:
                collector.reward(received, msg)
            if topic in cut_by:
                collector.mark(topic, received, msg)
        except PictureError as error:
            raise DataError(f'{name}, {error}') from error
        except DataError as error:
            raise DataError(f'{name}, topic {topic}, received at {received} ns: {error}') from error


def _episode(
    run: Run, name: str, task: TaskSpec, frames: FrameStore, camera_shapes: Mapping[str, tuple[int, int]]
) -> Episode:
    cameras = picture_names(task)
    columns = {key: [values[key] for values in run.streams] for key in run.streams[0]}
    streams = {key: frames.stack(key, rows) if key in cameras else np.stack(rows) for key, rows in columns.items()}
    streams, actions = unwrapped_episode(task, streams, np.stack(run.actions))
    stamps = np.array(run.stamps, dtype=np.int64)
    return Episode(name=name, stamps=stamps, streams=streams, actions=actions, camera_shapes=camera_shapes)


def wanted_topics(task: TaskSpec) -> dict[str, set[str]]:
    """Return the topics that training needs, each with the ROS types that it may have."""
    wanted: dict[str, set[str]] = {}
    asked = [(one.topic, {type_of(one)}) for one in (*task.streams, *recorded_goals(task))]
    asked += [(task.reward.topic, {FLOAT64})] if task.reward else []
    for topic, types in (*asked, *source_types(task).items()):
        both = wanted.get(topic, types) & types
        if not both:
            types = types | wanted[topic]
            raise ConfigError(f'topic {topic}: the task wants it as {" and ".join(sorted(types))}, allowed one type')
        wanted[topic] = both
    return wanted


def read_episode(
    path: Path | str,
    task: TaskSpec,
    alignment_limits: AlignmentLimits = AS_LEARNT,
    *,
    cut: CutSettings = BY_FILE,
    frames: FrameStore | None = None,
) -> list[Episode]:
    """Return the episodes of one bag: one, or several if a gap or ``cut`` splits it. Named after its folder or file."""
    with BagReader(path) as bag:
        cut_by = {t: bag.topics[t].type for t in cut_topics(cut) if t in bag.topics}
        markers = {t: set(cut_types(cut, t, cut_by.get(t, ''))) for t in cut_topics(cut)}
        messages = bag.messages({**wanted_topics(task), **markers})
        try:
            return episodes_from_messages(
                bag.name, messages, task, alignment_limits, cut=cut, cut_by=cut_by, frames=frames
            )
        except DataError as error:
            where = f'bag {bag.path}'
            raise error if where in str(error) else DataError(f'{where}: {error}') from error


def read_episodes(
    path: Path | str, task: TaskSpec, *, cut: CutSettings = BY_FILE, broken: Broken | None = None
) -> Iterator[Episode]:
    """Yield the episodes of every bag at or under ``path``, in order of name; ``broken`` deals with bad ones."""
    broken, bags = broken or Broken(), find_bags(path)
    for bag in bags:
        episodes: list[Episode] = []
        with broken.reading(bag):
            episodes = read_episode(bag, task, cut=cut)
        yield from episodes
    broken.check(len(bags))


def window_indices(length: int, task: TaskSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return steps of each window (N, obs_horizon) and of each chunk (N, pred_horizon) for an episode of ``length`` N.

    Each tick is the newest observation of one window. Before the first observation come copies of it, after the last
    action copies of that: where a demonstration ends, the set point stays.
    """
    newest = np.arange(length)[:, None]
    observed = newest + np.arange(1 - task.obs_horizon, 1)
    acted = newest + np.arange(task.pred_horizon)
    return observed.clip(0, length - 1), acted.clip(0, length - 1)
