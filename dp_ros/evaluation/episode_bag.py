"""Episodes of an evaluation as recordings, with the topics of the simulated robot: to look at, or to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dp_ros.errors import ConfigError
from dp_ros.evaluation.world_planner import command_topics, commands_of
from dp_ros.messages import encoding
from dp_ros.motion.trajectory import Trajectory
from dp_ros.recordings.episodes.episode import wanted_topics
from dp_ros.recordings.rosbag.reader import BagWriter
from dp_ros.recordings.rosbag.types import rosbags_types
from dp_ros.simulation.robot import REWARD_TOPIC, JointReading, Reading, topic_of
from dp_ros.simulation.world import WorldSpec
from dp_ros.task.spec import Instruction, TaskSpec


class _Dropped(Exception):
    """The episode is not worth its bag."""


class EpisodeBag:
    """What one episode's readings and commands are on their topics, in order.

    Attributes
    ----------
    keep
        Whether the bag stays when the episode is over.

    """

    def __init__(self, writer: BagWriter, task: TaskSpec, spec: WorldSpec) -> None:
        self.keep = False
        self._writer = writer
        self._joints = _joints_topic(task)
        self._task, self._spec = task, spec

    def instruction(self, text: str, now: int) -> None:
        """Write what is asked for from ``now`` [ns] on."""
        for topic in _instruction_topics(self._task):
            self._writer.write(topic, now, encoding.to_string(text, types=rosbags_types()))

    def note(self, **labels: object) -> None:
        """Say something of the whole episode; see `BagWriter.note`."""
        self._writer.note(**labels)

    def reading(self, reading: Reading) -> None:
        """Write what a sensor read."""
        message = encoding.reading_to_message(reading, frame_id=self._spec.name, types=rosbags_types())
        self._writer.write(self._topic(reading), reading.stamp, message)

    def command(self, trajectory: Trajectory, now: int) -> None:
        """Write a trajectory that the controller got at ``now`` [ns]."""
        for topic, part in commands_of(trajectory, self._task, self._spec):
            self._writer.write(topic, now, encoding.to_joint_trajectory(part, types=rosbags_types()))

    def _topic(self, reading: Reading) -> str:
        if isinstance(reading, JointReading):
            return self._joints
        return f'/{topic_of(reading, self._spec)}'


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


@contextmanager
def episode_bag(folder: Path | None, name: str, task: TaskSpec, spec: WorldSpec) -> Iterator[EpisodeBag | None]:
    """Give a bag to write an episode to, or None without a folder; it appears there if it is kept."""
    if folder is None:
        yield None
        return
    with suppress(_Dropped), BagWriter(folder / name) as writer:
        bag = EpisodeBag(writer, task, spec)
        yield bag
        if not bag.keep:
            raise _Dropped
