from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_ros.errors import ConfigError
from dp_ros.motion.checks.workspace import Workspace
from dp_ros.motion.trajectory import Trajectory
from dp_ros.robot.kinematics import Chain, ChainJoint

SECOND = 1_000_000_000
JOINTS = ('a', 'b')
Z = np.array([0.0, 0.0, 1.0])
ARM = Chain(
    joints=JOINTS,
    link='tool',
    chain_joints=(
        ChainJoint(column=0, sliding=False, axis=Z, rotation=np.eye(3), place=np.zeros(3)),
        ChainJoint(column=1, sliding=False, axis=Z, rotation=np.eye(3), place=np.array([0.4, 0.0, 0.0])),
    ),
    point=np.array([0.3, 0.0, 0.0]),
)
GANTRY = Chain(
    joints=JOINTS,
    link='pen',
    chain_joints=tuple(
        ChainJoint(column=i, sliding=True, axis=axis, rotation=np.eye(3), place=np.zeros(3))
        for i, axis in enumerate(np.eye(3)[:2])
    ),
    point=np.zeros(3),
)


def box(chain=ARM, lower=(-9.0, -9.0, -9.0), upper=(9.0, 9.0, 9.0)):
    return Workspace(chain=chain, lower=lower, upper=upper)


def motion(points, speeds=None, seconds=1.0):
    times = np.rint(np.arange(len(points)) * seconds * SECOND).astype(np.int64)
    return Trajectory(
        stamp=5, joints=JOINTS, times=times, positions=np.array(points, dtype=float),
        velocities=np.zeros((len(points), 2)) if speeds is None else np.array(speeds, dtype=float),
    )  # fmt: skip


def test_what_bulges_out_between_two_points_inside_is_found():
    # From -0.5 to 0.5 rad the stretched arm's x rises from 0.614 to 0.7 and falls again.
    swing = motion([[-0.5, 0.0], [0.5, 0.0]])
    assert box(upper=(0.7001, 9.0, 9.0)).first_violation(swing) is None
    found = box(upper=(0.69, 9.0, 9.0)).first_violation(swing)
    assert (found.joint, found.quantity) == ('tool x', 'workspace')
    told = re.fullmatch(rf'tool x workspace: got (\S+) at {found.at / 1e9:.3f} s, allowed up to 0.69', str(found))
    assert told is not None and float(told[1]) == pytest.approx(0.7, abs=2e-3)
    low = box(lower=(-9.0, -0.3, -9.0)).first_violation(swing)
    assert (low.joint, low.at) == ('tool y', 0)
    assert str(low) == f'tool y workspace: got {-0.7 * np.sin(0.5):.6g} at 0.000 s, allowed from -0.3'


def test_a_point_to_hold_may_touch_the_box_and_no_more():
    held = Trajectory(stamp=0, joints=JOINTS, times=np.array([SECOND]), positions=np.array([[0.5, 0.2]]))
    assert box(GANTRY, upper=(0.5, 9.0, 9.0)).first_violation(held) is None
    assert 'pen x workspace: got 0.5 at' in str(box(GANTRY, upper=(0.4999, 9.0, 9.0)).first_violation(held))


def test_a_robot_at_rest_on_the_wall_stays_there():
    rest = motion([[0.5, 0.2], [0.5, 0.2]])
    assert box(GANTRY, upper=(0.5, 9.0, 9.0)).first_violation(rest) is None


NUMBERS = st.floats(-1.0, 1.0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=2, max_size=4),
    st.booleans(),
    st.floats(0.05, 2.0),
    st.integers(0, 2),
    st.floats(-0.02, 0.02),
)
def test_nothing_outside_passes_and_nothing_well_inside_is_refused(points, sliding, seconds, axis, room):
    chain = GANTRY if sliding else ARM
    array = np.array(points)
    path = motion(array[:, :2], 2.0 * array[:, 2:], seconds)
    places = chain.points(path.sample(np.linspace(0, path.times[-1], 4001).astype(np.int64))[0])
    upper = [9.0, 9.0, 9.0]
    upper[axis] = float(places[:, axis].max()) + room
    lower = (-9.0, -9.0, -9.0)
    if upper[axis] <= lower[axis]:
        return
    found = box(chain, lower, tuple(upper)).first_violation(path)
    if room < -1e-9:
        assert found is not None
    if room > 2e-3:
        assert found is None


def test_a_stretched_arm_swings_with_exactly_the_bound():
    # Both joints turn with w: 0.4 w^2 of the upper arm, 0.3 (2 w)^2 of the forearm.
    bound = ARM.acceleration_bound(np.array([[3.0, 3.0]]), np.zeros((1, 2)), np.zeros(2))
    assert bound[0] == pytest.approx((0.4 + 0.3 * 4) * 3.0**2)


def test_an_impossible_box_is_refused():
    with pytest.raises(ConfigError, match=r'workspace y: got 1\.0 to 1\.0, allowed lower < upper'):
        box(lower=(0.0, 1.0, 0.0), upper=(1.0, 1.0, 1.0))
