from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dp_ros.errors import ConfigError
from dp_ros.motion.outputs import Output, check_outputs, split
from dp_ros.motion.trajectory import Trajectory

JOINTS = ('a', 'b', 'finger')
ARM = Output(name='arm', topic='arm/joint_trajectory', joints=('b', 'a'))
GRIPPER = Output(name='gripper', topic='gripper/joint_trajectory', joints=('finger',))
WHOLE = Trajectory(
    stamp=7,
    joints=JOINTS,
    times=np.array([0, 5]),
    positions=np.arange(6.0).reshape(2, 3),
    velocities=np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]),
    accelerations=np.ones((2, 3)),
)


def test_each_controller_gets_its_joints_of_every_point():
    arm, gripper = split(WHOLE, (ARM, GRIPPER))
    assert (arm.stamp, arm.joints, gripper.joints) == (7, ('b', 'a'), ('finger',))
    np.testing.assert_array_equal(arm.positions, [[1.0, 0.0], [4.0, 3.0]])
    np.testing.assert_array_equal(arm.velocities, [[2.0, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(gripper.positions, [[2.0], [5.0]])
    np.testing.assert_array_equal(gripper.accelerations, [[1.0], [1.0]])
    np.testing.assert_array_equal(gripper.times, WHOLE.times)


def test_a_single_controller_gets_the_whole():
    assert split(WHOLE, (Output(name='all', topic='t', joints=JOINTS),)) == (WHOLE,)


def test_points_without_velocities_are_split_too():
    point = Trajectory(stamp=0, joints=JOINTS, times=np.array([3]), positions=np.ones((1, 3)))
    assert split(point, (ARM, GRIPPER))[0].velocities is None


@pytest.mark.parametrize(
    ('outputs', 'message'),
    [
        ((ARM,), 'outputs joints: got b, a, allowed each of a, b, finger once'),
        ((ARM, GRIPPER, GRIPPER), 'got b, a, finger, finger, allowed each'),
        ((ARM, Output(name='g', topic=ARM.topic, joints=('finger',))), 'allowed a different one for each'),
        ((ARM, Output(name='g', topic='', joints=('finger',))), "got 'arm/joint_trajectory', ''"),
        ((ARM, GRIPPER, Output(name='none', topic='x', joints=())), 'outputs none joints: got none'),
        ((replace(ARM, type='gripper_command'), GRIPPER), 'outputs arm joints: got b, a, allowed one of a gripper'),
        ((replace(ARM, type='parallel_gripper_command'), GRIPPER), 'outputs arm joints: got b, a, allowed one of a gr'),
        (
            (ARM, replace(GRIPPER, step=0.01)),
            'outputs gripper: got max_effort or step, allowed with the type of a grip',
        ),
        ((ARM, replace(GRIPPER, max_effort=1.0)), 'outputs gripper: got max_effort or step'),
        (
            [Output(name=j, topic=j, joints=(j,), type='gripper_command') for j in JOINTS],
            'outputs type: got gripper_command alone, allowed beside a joint_trajectory',
        ),
    ],
)
def test_outputs_that_do_not_make_a_whole_are_refused(outputs, message):
    with pytest.raises(ConfigError, match=message):
        check_outputs(outputs, JOINTS)
    check_outputs((ARM, GRIPPER), JOINTS)
