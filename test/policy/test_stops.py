"""Stops: within the limits, along the path, soon, and planned at a cost that the plan does not decide."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dp_ros.data import Chunk
from dp_ros.motion.checks.limits import check
from dp_ros.motion.committed_plan import committed_head
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.motion.spline import Ending
from dp_ros.motion.stops import braking_trajectory
from dp_ros.motion.trajectory import Trajectory
from dp_ros.robot.joint_limits import JointLimits

SECOND = 1_000_000_000
START = 1000 * SECOND


def planned(rng, joints, control_dt, acceleration, accelerations=False):
    names = tuple(f'j{i}' for i in range(joints))
    limits = JointLimits(
        joints=names,
        lower=(-2.9,) * joints,
        upper=(2.9,) * joints,
        velocity=(2.0,) * joints,
        acceleration=(acceleration,) * joints,
    )
    dt = round(control_dt * SECOND)
    planner = Planner(names, dt, limits, splice_margin=30_000_000, stop_on_path=True, accelerations=accelerations)
    planner.measured(START, np.zeros(joints))
    planner.rest_at(np.zeros(joints), START)
    rates, phases, sizes = rng.uniform(0.5, 6.0, joints), rng.uniform(0.0, 6.0, joints), rng.uniform(0.0, 0.5, joints)
    t = control_dt * np.arange(max(16, round(1.6 / control_dt)))[:, None]
    actions = sizes * (np.sin(rates * t + phases) - np.sin(phases))
    outcome = planner.accept(Chunk(stamp=START, control_dt=dt, joints=names, actions=actions), START)
    return planner, limits, outcome


def test_where_the_plan_turns_as_hard_as_it_may_a_stop_waits_for_that_and_not_for_its_end():
    limits = JointLimits(
        joints=('a', 'b'), lower=(-2.9, -2.9), upper=(2.9, 2.9), velocity=(1.0, 1.0), acceleration=(5.0, 5.0)
    )
    # Times [ns], positions [rad], velocities [rad/s].
    rows = np.array([
        (0, 0.1066688, 0.1888579, 0.0000000, 0.0000000),
        (399052367, -0.0710890, 0.0740349, -0.5511823, -0.3101889),
        (610833750, -0.1360548, 0.0671681, 0.0728007, 0.3593897),
        (660833750, -0.1288417, 0.0883597, 0.1656635, 0.4332874),
        (710833750, -0.1213302, 0.1084173, 0.1480194, 0.3824136),
        (760833750, -0.1135373, 0.1270839, 0.1605234, 0.3605079),
        (810833750, -0.1054814, 0.1441196, 0.1608153, 0.3176930),
        (863620155, -0.0971809, 0.1593061, 0.1513797, 0.2554166),
        (923535415, -0.0886553, 0.1724482, 0.1333928, 0.1864328),
        (994605984, -0.0799241, 0.1833776, 0.1121149, 0.1237727),
        (1087226952, -0.0710077, 0.1919538, 0.0788239, 0.0659053),
        (1310833750, -0.0619267, 0.1980669, 0.0101533, 0.0038031),
        (1360833750, -0.0616728, 0.1981619, 0.0000000, 0.0000000),
    ])
    plan = Trajectory(
        stamp=START, joints=limits.joints, times=rows[:, 0].astype(np.int64), positions=rows[:, 1:3],
        velocities=rows[:, 3:],
    )  # fmt: skip
    splice, ending = START + 568_211_132, Ending(limits=limits, least=0.0025, quintic=False)
    head = committed_head(plan, oldest=START, splice=splice, closest=2_500_000)
    stopped = braking_trajectory(head, plan, control_dt=50_000_000, ending=ending, closest=2_500_000)
    assert stopped is not None and check(stopped, limits) is None
    assert stopped.end - splice < 0.35 * SECOND < 0.5 * (plan.end - splice)


def test_where_a_quintic_plan_turns_hard_a_stop_waits_longer_before_it_takes_the_plans_end():
    rng = np.random.default_rng(1)
    for _ in range(6):
        planner, limits, outcome = planned(rng, 3, 0.02, 5.0, accelerations=True)
    assert isinstance(outcome, Planned)
    end = outcome.trajectory.end
    now = START + round(0.65 * (end - START))
    stopped = planner.stop(now)
    assert check(stopped, limits) is None
    assert stopped.end - now < 0.5 * SECOND < 0.6 * (end - now)


@pytest.mark.parametrize('accelerations', [False, True])
@pytest.mark.parametrize(('joints', 'control_dt', 'acceleration'), [(2, 0.1, 10.0), (7, 0.1, 3.0), (7, 0.02, 20.0)])
def test_a_stop_keeps_the_limits_and_the_path_and_is_soon(joints, control_dt, acceleration, accelerations):
    rng, took = np.random.default_rng(1), []
    for _ in range(25):
        planner, limits, outcome = planned(rng, joints, control_dt, acceleration, accelerations)
        if not isinstance(outcome, Planned):
            continue
        old = outcome.trajectory
        now = START + round(rng.uniform(0.0, 1.0) * (old.end - START))
        stopped = planner.stop(now)
        assert isinstance(stopped, Trajectory)
        assert check(stopped, limits) is None
        assert stopped.velocities is not None and not stopped.velocities[-1].any()
        assert stopped.end <= max(old.end, now + round(0.2 * SECOND))
        # Every position is one of the old plan, within what cubics between knots add.
        path = old.sample(np.arange(0, int(old.times[-1]), 1_000_000))[0]
        for place in stopped.sample(np.arange(0, int(stopped.times[-1]), 20_000_000))[0]:
            assert np.abs(path - place).max(axis=1).min() < 5e-3
        speed = np.abs(old.sample(np.array([now + 30_000_000 - old.stamp]))[1]).max()
        took.append(((stopped.end - now) / SECOND, speed / acceleration))
    soon = [seconds < 0.1 + 4.0 * least for seconds, least in took]
    assert len(took) > 15
    assert np.mean(soon) > (0.4 if accelerations else 0.9)


@pytest.mark.slow
def test_a_stop_costs_the_same_whatever_the_plan_is():
    rng, costs = np.random.default_rng(2), []
    for _ in range(40):
        planner, _, outcome = planned(rng, 14, 0.01, 10.0)
        assert isinstance(outcome, Planned)
        now = START + round(rng.uniform(0.0, 0.9) * (outcome.trajectory.end - START))
        began = time.thread_time()
        assert isinstance(planner.stop(now), Trajectory)
        costs.append(time.thread_time() - began)
    # A thousandth on an idle machine, a few for the worst; before, single stops took a second.
    assert max(costs) < 0.1


def test_a_stop_where_the_plan_turns_as_hard_as_it_may_is_there_and_not_at_the_plan_s_end():
    limits = JointLimits(joints=('a',), lower=(-2.9,), upper=(2.9,), velocity=(1.0,), acceleration=(5.0,))
    dt = 100_000_000
    for speed in (5.0, 6.0, 7.0):
        planner = Planner(('a',), dt, limits, splice_margin=30_000_000, stop_on_path=True, blend_steps=4)
        planner.measured(START, np.zeros(1))
        planner.rest_at(np.zeros(1), START)
        size = 0.98 * 5.0 / speed**2
        actions = size * (1.0 - np.cos(speed * 0.1 * np.arange(16)))[:, None]
        outcome = planner.accept(Chunk(stamp=START, control_dt=dt, joints=('a',), actions=actions), START)
        assert isinstance(outcome, Planned)
        plan, accepted = outcome.trajectory, planner.checkpoint()
        for now in range(START, plan.end - SECOND // 2, 10_000_000):
            planner = Planner(('a',), dt, limits, splice_margin=30_000_000, stop_on_path=True)
            planner.measured(now, np.zeros(1))
            planner.rest_at(np.zeros(1), START)
            planner.rollback(accepted)
            stopped = planner.stop(now)
            assert isinstance(stopped, Trajectory)
            assert stopped.end < now + SECOND // 2
