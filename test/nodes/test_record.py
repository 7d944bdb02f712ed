"""Demonstrations through the nodes: a robot with two controllers and two cameras, asked for in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('mujoco', reason='the simulation is not installed')

from dp_ros.errors import ConfigError
from dp_ros.evaluation.demonstrations import RecordSettings, write_demonstrations
from dp_ros.messages.encoding import stamp_of
from dp_ros.paths import locate
from dp_ros.recordings.rosbag.reader import BagReader, Stamped
from dp_ros.simulation.registry import make_world
from dp_ros.task.spec import Instruction, TaskSpec
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.tools.record import run_record
from dp_ros.training.settings import TrainSettings

pytestmark = pytest.mark.ros
WORLD, SEED = 'pick_place', 500
ARM, GRIPPER = '/arm_controller/joint_trajectory', '/gripper_controller/joint_trajectory'


@pytest.fixture(scope='module')
def task() -> TaskSpec:
    return read_yaml(locate('config/train/pick_place_instruction.yaml'), TrainSettings).task


def messages(bag: Path) -> tuple[list[Stamped], dict[str, str]]:
    with BagReader(bag) as reader:
        wanted = {topic: {known.type} for topic, known in reader.topics.items()}
        return list(reader.messages(wanted)), dict(reader.labels)


@pytest.mark.slow
def test_two_controllers_recorded_in_time_with_each_other_from_each_episode_s_start(
    task: TaskSpec, tmp_path: Path
) -> None:
    """The second episode comes while the first is far from done, and none of its commands may be in it."""
    settings = RecordSettings(
        out=tmp_path / 'bags', task=task, world=WORLD, episodes=2, seed=SEED, seconds=1.5, rate=0.5
    )
    assert run_record(settings, print) == 0
    world = make_world(WORLD)
    (goal,) = [goal for goal in task.goals if isinstance(goal, Instruction)]
    for number in range(2):
        found, labels = messages(settings.out / f'episode_{number:04d}')
        assert (labels['seed'], labels['world'], labels['success']) == (str(SEED + number), WORLD, 'false')
        by_topic = {topic: [m for t, _, m in found if t == topic] for topic, _, _ in found}
        assert set(by_topic) == {*(s.topic for s in task.streams), '/instruction', ARM, GRIPPER}
        assert by_topic['/instruction'][-1].data == labels['instruction']
        assert labels['instruction'] in goal.phrasings[labels['meaning']]
        world.reset(SEED + number)
        start = dict(zip(world.joints, world.joint_positions, strict=True))
        state = by_topic['/joint_states'][0]
        np.testing.assert_allclose(state.position, [start[joint] for joint in state.name], atol=1e-3)
        assert np.abs(state.velocity).max() < 0.02
        commands = [by_topic[topic] for topic in (ARM, GRIPPER)]
        assert min(map(len, commands)) >= 5
        for arm, gripper in zip(*commands, strict=False):  # the recording may end between the two of the last
            assert stamp_of(arm) == stamp_of(gripper)
            assert [p.time_from_start for p in arm.points] == [p.time_from_start for p in gripper.points]
        for first in (commands[0][0], commands[1][0]):
            np.testing.assert_allclose(first.points[0].positions, [start[j] for j in first.joint_names], atol=2e-3)


@pytest.mark.parametrize(('through', 'source'), [('direct', 'scripted'), ('ros', 'teleoperated')])
def test_another_rate_is_for_scripted_demonstrations_through_the_nodes(
    task: TaskSpec, tmp_path: Path, through: str, source: str
) -> None:
    settings = RecordSettings(out=tmp_path / 'bags', task=task, world=WORLD, source=source, rate=0.5)
    with pytest.raises(ConfigError, match=r'^rate: got 0\.5 with --'):
        if through == 'direct':
            write_demonstrations(settings, print)
        else:
            run_record(settings, print)
