"""Trajectories as bytes: what the middleware reads in them is the message."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from dp_ros.messages import encoding
from dp_ros.motion.trajectory import Trajectory
from dp_ros.ros import trajectory_bytes as written
from dp_ros.ros.trajectory_bytes import TrajectoryBytes, trajectory_bytes

pytestmark = pytest.mark.ros
NAMES = st.text(st.characters(codec='utf-8', exclude_characters='\0'), min_size=1, max_size=9)  # C's strings end at 0
NUMBERS = st.floats(width=64, allow_nan=False, allow_infinity=False)


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    joints = draw(st.lists(NAMES, min_size=1, max_size=8, unique=True))
    gaps = draw(st.lists(st.integers(1, 3_000_000_000), min_size=1, max_size=6))
    shape = (len(gaps), len(joints))
    rows = [
        np.array(draw(st.lists(NUMBERS, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))).reshape(shape)
        for _ in range(draw(st.integers(1, 3)))
    ]
    times = np.cumsum(gaps) - draw(st.sampled_from((0, gaps[0])))
    derivatives = dict(zip(('velocities', 'accelerations'), rows[1:], strict=False))
    stamp = draw(st.integers(0, 2**31 * 10**9 - 1))
    return Trajectory(stamp=stamp, joints=tuple(joints), times=times, positions=rows[0], **derivatives)


@settings(deadline=None)
@given(trajectories())
def test_the_middleware_reads_every_number_and_name(trajectory):
    read = deserialize_message(trajectory_bytes(trajectory), JointTrajectory)
    assert read == encoding.to_joint_trajectory(trajectory)


TWO = Trajectory(
    stamp=7, joints=('a', 'b'), times=np.array([0, 10**9]), positions=np.eye(2), velocities=2.0 * np.eye(2)
)


def test_they_are_written_here_once_the_middleware_has_understood_the_first(monkeypatch):
    serialized = TrajectoryBytes()
    serialized(TWO)
    monkeypatch.setattr(written, 'serialize_message', lambda message: pytest.fail('asked the middleware'))
    assert deserialize_message(serialized(TWO), JointTrajectory) == encoding.to_joint_trajectory(TWO)


@pytest.mark.parametrize('octets', [b'', b'\x00\x01\x00\x00', trajectory_bytes(TWO)[:-8] + bytes(8)])
def test_a_middleware_that_reads_something_else_writes_them_all_itself(monkeypatch, octets):
    monkeypatch.setattr(written, 'trajectory_bytes', lambda trajectory: octets)
    serialized = TrajectoryBytes()
    for _ in range(3):
        assert deserialize_message(serialized(TWO), JointTrajectory) == encoding.to_joint_trajectory(TWO)
