"""Episodes of an evaluation as recordings, with the topics of the simulated robot: to look at, or to learn from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_ros.errors import ConfigError
from dp_ros.evaluation.world_planner import command_topics, commands_of
from dp_ros.messages import encoding
from dp_ros.motion.trajectory import Trajectory
from dp_ros.recordings.episodes.episode import wanted_topics
from dp_ros.recordings.rosbag.reader import BagWriter, serialized
from dp_ros.recordings.rosbag.storages import Raw
from dp_ros.recordings.rosbag.types import rosbags_types
from dp_ros.simulation.robot import REWARD_TOPIC, JointReading, Reading, topic_of
from dp_ros.simulation.world import WorldSpec
from dp_ros.task.spec import Instruction, TaskSpec


@dataclass(frozen=True, kw_only=True)
class WholeEpisode:
    """The messages of an episode that is over, and what is to be said of it; see `BagWriter.note`."""

    messages: Sequence[Raw]
    labels: Mapping[str, object]

    def write(self, path: Path, storage: str = 'mcap') -> None:
        """Write it as a bag."""
        with BagWriter(path, storage) as bag:
            for topic, received, kind, data in self.messages:
                bag.write_raw(topic, kind, received, data)
            bag.note(**self.labels)


class EpisodeBag:
    """Keep one episode's readings and commands as messages on their topics, in order; readings of some topics alone."""

    def __init__(self, task: TaskSpec, spec: WorldSpec, topics: Collection[str] | None = None) -> None:
        self._messages: list[Raw] = []
        self._joints = _joints_topic(task)
        self._task, self._spec, self._topics = task, spec, topics

    def instruction(self, text: str, now: int) -> None:
        """Take what is asked for from ``now`` [ns] on."""
        for topic in _instruction_topics(self._task):
            self._take(topic, now, encoding.to_string(text, types=rosbags_types()))

    def reading(self, reading: Reading) -> None:
        """Take what a sensor read."""
        topic = self._joints if isinstance(reading, JointReading) else f'/{topic_of(reading, self._spec)}'
        if self._topics is None or topic in self._topics:
            message = encoding.reading_to_message(reading, frame_id=self._spec.name, types=rosbags_types())
            self._take(topic, reading.stamp, message)

    def command(self, trajectory: Trajectory, now: int) -> None:
        """Take a trajectory that the controller got at ``now`` [ns]."""
        for topic, part in commands_of(trajectory, self._task, self._spec):
            self._take(topic, now, encoding.to_joint_trajectory(part, types=rosbags_types()))

    def whole(self, **labels: object) -> WholeEpisode:
        """Return the episode at its end."""
        return WholeEpisode(messages=self._messages, labels=labels)

    def _take(self, topic: str, now: int, message: Any) -> None:
        self._messages.append(serialized((topic, now, message)))


def check_recording(folder: Path | None, task: TaskSpec, spec: WorldSpec) -> None:
    """Raise :class:`ConfigError` if ``folder`` holds something, or the task learns from what is not written there."""
    if folder is None:
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f'record {folder}: got one that holds something, allowed a new folder or an empty one')
    written = {
        _joints_topic(task): encoding.JOINT_STATE,
        **{f'/{topic}': encoding.POSE for topic in spec.pose_topics.values()},
        **{f'/{topic}': encoding.IMAGE for topic in spec.camera_topics.values()},
        f'/{REWARD_TOPIC}': encoding.FLOAT64,
        **dict.fromkeys(_instruction_topics(task), encoding.STRING),
        **dict.fromkeys(command_topics(task, spec), encoding.JOINT_TRAJECTORY),
    }
    for topic, kinds in wanted_topics(task).items():
        if written.get(topic) not in kinds:
            said = ', '.join(f'{name} ({kind})' for name, kind in written.items())
            raise ConfigError(f'record: the task learns from {topic} ({" or ".join(sorted(kinds))}), allowed {said}')


def _instruction_topics(task: TaskSpec) -> list[str]:
    return [goal.topic for goal in task.goals if isinstance(goal, Instruction)]


def _joints_topic(task: TaskSpec) -> str:
    return next((s.topic for s in task.streams if s.kind == 'joint_state'), '/joint_states')
