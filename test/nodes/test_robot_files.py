"""The parameter files of real arms: the nodes take them, and they are what the makers publish."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('rosbags', reason='rosbags is not installed (extra: train)')

from dp_ros.nodes.observation_buffer.node import ObservationBuffer
from dp_ros.nodes.policy_executor.node import PolicyExecutor
from dp_ros.nodes.trajectory_publisher.node import TrajectoryPublisher
from dp_ros.paths import share_folder
from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec
from test.training.arm_bags import parameters

pytestmark = pytest.mark.ros

FOLDER = share_folder() / 'config' / 'robots'
RAD = math.radians
UR = ('shoulder_pan_joint', 'shoulder_lift_joint', 'elbow_joint', 'wrist_1_joint', 'wrist_2_joint', 'wrist_3_joint')
SO = ('shoulder_pan', 'shoulder_lift', 'elbow_flex', 'wrist_flex', 'wrist_roll', 'gripper')
# File: joints, controllers, ranges and largest speeds as the makers publish them.
ROBOTS: dict[str, tuple[Any, ...]] = {
    'ur5e': (
        UR, ['scaled_joint_trajectory_controller'],
        [2 * math.pi] * 2 + [math.pi] + [2 * math.pi] * 3, [math.pi] * 6,
    ),
    'franka_fr3': (
        tuple(f'fr3_joint{i}' for i in range(1, 8)), ['fr3_arm_controller'],
        [2.7437, 1.7837, 2.9007, 3.0421, 2.8065, 4.5169, 3.0159], [2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26],
    ),
    'xarm7': (
        tuple(f'joint{i}' for i in range(1, 8)), ['xarm7_traj_controller'],
        [RAD(a) for a in (180, 125, 180, 180, 180, 180, 180)], [2.14] * 7,
    ),
    'xarm6': (
        tuple(f'joint{i}' for i in range(1, 7)), ['xarm6_traj_controller'],
        [RAD(a) for a in (180, 120, 180, 180, 180, 180)], [2.14] * 6,
    ),
    'so101': (
        SO, ['arm_controller', 'gripper_controller'],
        [1.91986, 1.74533, 1.69, 1.65806, 2.79253, 1.74533], [10.0] * 6,
    ),
}  # fmt: skip


def test_there_is_a_case_for_each_file() -> None:
    assert {path.stem for path in FOLDER.glob('*.yaml')} == set(ROBOTS)


@pytest.mark.parametrize('robot', ROBOTS)
def test_the_nodes_take_the_file_and_stay_in_dry_run(robot: str, ros: Any, described: Any) -> None:
    joints, controllers, farthest, fastest = ROBOTS[robot]
    units = ('rad',) * len(joints)
    task = TaskSpec(
        streams=(JointStream(name='arm', topic='/joint_states', joints=joints, units=units),),
        action=ActionSpec(topic='/elsewhere/joint_trajectory', joints=joints, units=units),
    )
    text, bundle = (FOLDER / f'{robot}.yaml').read_text(), described(task)
    for kind, name in (
        (PolicyExecutor, 'policy_executor'),
        (ObservationBuffer, 'observation_buffer'),
        (TrajectoryPublisher, 'trajectory_publisher'),
    ):
        values = {key.replace('.', '__'): value for key, value in parameters(text, name).items()}
        node = ros.create(kind, **{**values, 'bundle': bundle})
        assert name == 'policy_executor' or node.start(), name  # a described bundle has no network
    assert node.value('dry_run') and node.value('joints') == joints
    given = parameters(text, 'trajectory_publisher')
    outputs = [key for key in given if key.startswith('outputs.') and key.endswith('.topic')]
    topics = [given[key] for key in outputs] or [given['topics.command']]
    assert topics == [f'{name}/joint_trajectory' for name in controllers]
    limits = node.planner.limits
    for i, joint in enumerate(joints):
        assert -farthest[i] - 1e-9 <= limits.lower[i] < limits.upper[i] <= farthest[i] + 1e-9, joint
        assert 0.0 < limits.velocity[i] <= fastest[i] + 1e-9 and 0.0 < limits.acceleration[i] < 10.0, joint
