"""Coming to rest on the chunk's own last steps."""

from __future__ import annotations

import numpy as np
import pytest

from dp_ros.data import Chunk
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.motion.spline import Ending
from dp_ros.motion.stops import eased
from dp_ros.robot.joint_limits import JointLimits

DT, START = 100_000_000, 1_000_000_000_000
ENDING = Ending(limits=None, least=0.5)
TURN = np.linspace(0.0, np.pi, 16)
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], axis=1)  # at its end, straight on is off the circle


def planned(**options):
    planner = Planner(('x', 'y'), DT, None, lead_in=0.2, **options)
    planner.measured(START, CIRCLE[0])
    planner.rest_at(CIRCLE[0], START)
    outcome = planner.accept(Chunk(stamp=START, control_dt=DT, joints=('x', 'y'), actions=CIRCLE), START)
    assert isinstance(outcome, Planned)
    return outcome.trajectory


def test_time_runs_slower_evenly_over_the_last_steps():
    due = START + DT * np.arange(16)
    slower, ending = eased(due, CIRCLE, DT, ENDING)
    np.testing.assert_array_equal(slower[:13], due[:13])  # 0.5 s of deceleration is 3 steps in 0.6 s
    passed = (slower[13:] - due[12]) / 1e9
    np.testing.assert_allclose(passed - passed**2 / 1.2, [0.1, 0.2, 0.3], atol=1e-8)
    assert passed[-1] == pytest.approx(0.6)
    assert ending.least == 0.1


def test_where_limits_want_more_time_more_steps_are_slowed_and_where_there_are_none_the_rest_is_straight_on():
    limits = JointLimits(
        joints=('x', 'y'), lower=(-9.0,) * 2, upper=(9.0,) * 2, velocity=(9.0,) * 2, acceleration=(2.0,) * 2
    )
    due, ending = START + DT * np.arange(16), Ending(limits=limits, least=0.1)
    slower, _ = eased(due, CIRCLE, DT, ending)
    assert (slower == due).sum() < 12
    few, rest = eased(due[:3], CIRCLE[:3], DT, ending)
    assert few[-1] - few[0] == pytest.approx(4 * DT) and rest == ending
    one, rest = eased(due[:1], CIRCLE[:1], DT, ending)
    assert one is not None and (one == due[:1]).all() and rest == ending


@pytest.mark.parametrize('accelerations', [False, True])
def test_the_end_lies_on_the_chunks_path(accelerations):
    def farthest(**options):
        plan = planned(accelerations=accelerations, **options)
        at = np.arange(10 * DT, int(plan.times[-1]), DT // 20)
        positions, speeds = plan.sample(at)
        assert not plan.velocities[-1].any()
        assert np.linalg.norm(speeds, axis=1).max() < 2.4
        return np.abs(np.linalg.norm(positions, axis=1) - 1.0).max()

    assert farthest(stop_on_path=True) < 0.01
    assert farthest(stop_on_path=False) > 0.05


def outlier(step, velocities=None):
    """Return a chunk along a line whose one step is beyond a position limit."""
    actions = np.linspace([0.0, 0.0], [0.3, 0.3], 16)
    actions[step] = 2.0
    return Chunk(stamp=START, control_dt=DT, joints=('x', 'y'), actions=actions, velocities=velocities)


@pytest.mark.parametrize('velocities', [None, np.ones((16, 2))])
@pytest.mark.parametrize(('step', 'left_out'), [(15, 1), (13, 3), (12, 4), (11, None), (3, None)])
def test_steps_that_leave_the_limits_are_left_out_where_they_are_not_needed(step, left_out, velocities):
    limits = JointLimits(
        joints=('x', 'y'), lower=(-1.0,) * 2, upper=(1.0,) * 2, velocity=(9.0,) * 2, acceleration=(20.0,) * 2
    )
    planner = Planner(('x', 'y'), DT, limits, keep_steps=12, stop_on_path=True)
    planner.measured(START, np.zeros(2))
    planner.rest_at(np.zeros(2), START)
    outcome = planner.accept(outlier(step, velocities), START)
    if left_out is None:
        assert outcome.stop and f'chunk step {step}' in outcome.reason
        assert len(planner.plan.times) == 1
    else:
        assert isinstance(outcome, Planned) and outcome.left_out_steps == left_out
        assert outcome.trajectory.positions.max() <= 1.0
        assert not np.asarray(outcome.trajectory.velocities)[-1].any()


def test_without_keep_steps_every_step_counts():
    limits = JointLimits(
        joints=('x', 'y'), lower=(-1.0,) * 2, upper=(1.0,) * 2, velocity=(9.0,) * 2, acceleration=(20.0,) * 2
    )
    planner = Planner(('x', 'y'), DT, limits)
    planner.measured(START, np.zeros(2))
    planner.rest_at(np.zeros(2), START)
    assert planner.accept(outlier(15), START).stop
