from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('gym_pusht', reason='the simulation is not installed')

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dp_ros.messages import encoding
from dp_ros.nodes.simulated_robot.demonstrator import Demonstrator
from dp_ros.nodes.simulated_robot.node import SimulatedRobotNode
from dp_ros.recordings.episodes.episode import read_episode
from dp_ros.recordings.rosbag.reader import BagWriter
from dp_ros.simulation.worlds.pusht.expert import PushTExpert
from dp_ros.simulation.worlds.pusht.spec import JOINTS
from dp_ros.task.spec import ActionSpec, JointStream, PoseStream, TaskSpec
from dp_ros.tools.recorder import Recorder

pytestmark = pytest.mark.ros
DT = 100_000_000
PUSHER = (0.1, 0.2)
BLOCK = (0.25, 0.3, 0.0)
TURN = (0.0, 0.0, math.sin(0.4), math.cos(0.4))


class Stage:
    """Plays the robot to a demonstrator."""

    def __init__(self, ros: Any, **parameters: Any) -> None:
        self.ros = ros
        self.node = ros.create(Demonstrator, **parameters)
        self.commands = ros.listen(JointTrajectory, '/arm_controller/joint_trajectory')
        assert self.node.start()
        self.joints = ros.talk(JointState, '/joint_states')
        self.pose = ros.talk(PoseStamped, '/block_pose')
        self.episode = ros.talk(DiagnosticStatus, '/simulated_robot/episode')
        ros.connected('/arm_controller/joint_trajectory')

    def begin(self, seed: int, elapsed: float) -> None:
        values = [KeyValue(key='seed', value=str(seed)), KeyValue(key='elapsed', value=str(elapsed))]
        self.episode.publish(DiagnosticStatus(values=values))
        self.ros.wait(lambda: self.node.expert is not None and self.node.elapsed == elapsed, 'the episode')

    def show(self, stamp: int, position: tuple[float, ...] = PUSHER) -> None:
        self.joints.publish(encoding.to_joint_state(stamp=stamp, name=JOINTS, position=position))
        self.pose.publish(encoding.to_pose(stamp=stamp, position=BLOCK, orientation=TURN, frame_id='pusht'))

    def targets(self, number: int) -> list[list[float]]:
        self.ros.wait(lambda: len(self.commands) >= number, f'{number} commands')
        return [list(c.points[0].positions) for c in self.commands]


def expected(seed: int, times: int) -> list[list[float]]:
    expert = PushTExpert(np.random.default_rng([0, seed]), control_dt=0.1)
    return [expert.target(PUSHER, BLOCK, TURN).tolist() for _ in range(times)]


def test_it_steps_the_set_point_to_the_expert_s_target_once_a_control_period(ros: Any) -> None:
    stage = Stage(ros)
    stage.begin(seed=7, elapsed=0.0)
    for i, stamp in enumerate((DT, DT + 10_000_000, 2 * DT)):
        stage.show(stamp)
        ros.wait(lambda s=stamp: all(n == s for n, _ in stage.node.newest.values()) and stage.node.newest, f'{i}')
    assert np.allclose(stage.targets(2), expected(7, 2))
    assert len(stage.commands) == 2
    command = stage.commands[0]
    assert list(command.joint_names) == list(JOINTS)
    assert (encoding.stamp_of(command), len(command.points)) == (0, 1)
    assert encoding.trajectory_value(command).times.tolist() == [0]


def test_a_new_episode_gets_a_new_expert(ros: Any) -> None:
    stage = Stage(ros)
    stage.begin(seed=7, elapsed=5.0)
    first = stage.node.expert
    stage.begin(seed=7, elapsed=5.1)
    assert stage.node.expert is first
    stage.begin(seed=7, elapsed=0.0)
    assert stage.node.expert is not first


def test_a_message_that_cannot_be_read_gives_no_command(ros: Any) -> None:
    stage = Stage(ros)
    stage.begin(seed=7, elapsed=0.0)
    stage.show(DT, position=(0.1, math.nan))
    ros.status('demonstration', DiagnosticStatus.ERROR, 'got nan')
    assert stage.commands == []


def test_it_demonstrates_the_arm_s_task_too(ros: Any) -> None:
    pytest.importorskip('mujoco', reason='mujoco is not installed')
    from dp_ros.simulation.worlds.push_block.world import PushBlockWorld

    world = PushBlockWorld()
    world.reset(3)
    stage = Stage(ros, world='push_block')
    stage.begin(seed=3, elapsed=0.0)
    block = world.poses['block']
    stage.joints.publish(encoding.to_joint_state(stamp=DT, name=world.joints, position=world.joint_positions))
    stage.pose.publish(
        encoding.to_pose(stamp=DT, position=block.position, orientation=block.orientation, frame_id='table')
    )
    ros.wait(lambda: stage.commands, 'a command')
    command = encoding.trajectory_value(stage.commands[0])
    assert (command.joints, command.stamp, command.times.tolist()) == (world.joints, DT, [0, DT])
    np.testing.assert_allclose(command.positions[0], world.joint_positions)
    assert 0.0 < np.abs(command.positions[1] - command.positions[0]).max() < 0.1


@pytest.mark.slow
def test_a_demonstration_of_the_simulated_robot_can_be_recorded_and_read(ros: Any, tmp_path: Path) -> None:
    robot = ros.create(SimulatedRobotNode, camera=False)
    demonstrator = ros.create(Demonstrator)
    topics = ('/joint_states', '/block_pose', '/arm_controller/joint_trajectory')
    recorder = Recorder(ros.tester, topics, BagWriter)
    assert robot.start() and demonstrator.start()
    ros.wait(lambda: not recorder.missing(), 'the topics')
    recorder.connect()
    with recorder.episode(tmp_path / 'bag') as counts:
        ros.wait(lambda: counts['/arm_controller/joint_trajectory'] >= 15, 'commands')
    task = TaskSpec(
        streams=(
            JointStream(name='pusher', topic='/joint_states', joints=JOINTS, units=('m', 'm')),
            PoseStream(name='block', topic='/block_pose', features=('x', 'y', 'sin_yaw', 'cos_yaw')),
        ),
        action=ActionSpec(topic='/arm_controller/joint_trajectory', joints=JOINTS, units=('m', 'm')),
    )
    episodes = read_episode(tmp_path / 'bag', task)
    assert sum(len(e.stamps) for e in episodes) >= 8
    assert np.ptp(episodes[0].actions, axis=0).max() > 0.0
