"""Whatever comes in, nothing outside the limits goes out: judged by test/controller_oracle.py, not by the code."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from dp_ros.data import Chunk
from dp_ros.motion.checks.workspace import Workspace
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.motion.trajectory import Trajectory
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.robot.urdf import parse_urdf

_spec = importlib.util.spec_from_file_location('controller_oracle', Path(__file__).parents[1] / 'controller_oracle.py')
oracle = importlib.util.module_from_spec(_spec)
sys.modules['controller_oracle'] = oracle
_spec.loader.exec_module(oracle)

MS = 1_000_000
SECOND = 1000 * MS
DT = 100 * MS
START = 1000 * SECOND
JOINTS = ('a', 'b')
BOX = np.array([[-0.35, -0.45, -1.0], [0.9, 0.6, 1.0]])
LIMIT_VALUES = {
    'lower': np.array([-1.0, -2.0]),
    'upper': np.array([1.0, 2.0]),
    'velocity': np.array([2.0, 1.0]),
    'acceleration': np.array([8.0, 5.0]),
    'deceleration': np.array([6.0, 7.0]),
    'jerk': np.array([120.0, 90.0]),
}
LIMITS = JointLimits(joints=JOINTS, **{name: tuple(values) for name, values in LIMIT_VALUES.items()})
WITHOUT_JERK = replace(LIMITS, jerk=())
PLANAR = """<robot name="planar">
  <joint name="a" type="revolute"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/>
    <limit lower="-1" upper="1" velocity="2" effort="1"/></joint>
  <joint name="b" type="revolute"><parent link="upper"/><child link="fore"/><origin xyz="0.4 0 0"/><axis xyz="0 0 1"/>
    <limit lower="-2" upper="2" velocity="1" effort="1"/></joint>
</robot>"""


def tool(positions):
    a, ab = positions[:, 0], positions[:, 0] + positions[:, 1]
    reach = np.stack([0.4 * np.cos(a) + 0.3 * np.cos(ab), 0.4 * np.sin(a) + 0.3 * np.sin(ab)], axis=1)
    return np.concatenate([reach, np.zeros((len(a), 1))], axis=1)


CHAIN = parse_urdf(PLANAR).chain(JOINTS, 'fore', point=(0.3, 0.0, 0.0))
WORKSPACE = Workspace(chain=CHAIN, lower=tuple(BOX[0]), upper=tuple(BOX[1]))
ODD = st.sampled_from([1.0, -1.0, 1.004, 2.0, 1e5, np.nan, np.inf])
VALUES = st.one_of(st.floats(-1.01, 1.01), st.floats(-3.0, 3.0), ODD)
WILD = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=16)
SMOOTH = st.tuples(st.floats(-1.0, 1.0), st.floats(-2.0, 2.0), st.floats(-1.5, 1.5), st.floats(-1.0, 1.0)).map(
    lambda p: np.clip(p[:2] + np.linspace(0, 1.6, 16)[:, None] * p[2:], [-1.003, -2.003], [1.003, 2.003])
)
STEPS = st.one_of(SMOOTH, SMOOTH, SMOOTH.map(lambda a: a[::-1]), WILD)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(['chunk'] * 5 + ['stop', 'hold', 'home']),
        STEPS,
        st.integers(0, 900 * MS),  # time since the last event
        st.one_of(st.integers(-100 * MS, 300 * MS), st.integers(-SECOND, 3 * SECOND)),  # age of the chunk
        st.one_of(st.just(0.0), st.floats(-0.3, 0.3)),  # the robot's distance from the plan
        st.floats(-1.0, 1.0),  # the robot's velocity off the plan
    ),
    min_size=1,
    max_size=7,
)
OPTIONS = st.fixed_dictionaries({
    'splice_margin': st.integers(0, 200 * MS),
    'blend_steps': st.sampled_from([0, 1, 3, 10]),
    'accelerations': st.booleans(),
    'workspace': st.sampled_from([None, WORKSPACE]),
    'tail': st.floats(0.05, 1.0),
    'stop_on_path': st.booleans(),
    'keep_steps': st.sampled_from([0, 4, 12]),
})  # fmt: skip


def state(plan, now):
    positions, velocities = plan.sample(np.array([now - plan.stamp]))
    return positions[0], velocities[0]


def answer(planner, kind, actions, stamp, now):
    if kind == 'stop':
        return planner.stop(now)
    if kind == 'hold':
        return planner.hold(now)
    if kind == 'home':
        return planner.home(now, np.array([0.2, -0.4]), duration=0.5)
    # Velocities are for others to read, whatever they are.
    velocities = np.full((len(actions), 2), 1e3) if len(actions) % 2 else None
    chunk = Chunk(stamp=stamp, control_dt=DT, joints=JOINTS, actions=np.zeros((len(actions), 2)), velocities=velocities)
    # Numbers that a chunk would refuse get in behind its back.
    object.__setattr__(chunk, 'actions', np.array(actions, dtype=float))
    outcome = planner.accept(chunk, now)
    return outcome.trajectory if isinstance(outcome, Planned) else outcome


def judge(sent, kind, options, now):
    points = oracle.message_of(sent, 0).points
    box = {} if options['workspace'] is None else {'tool': tool, 'box': BOX}
    without = {} if options['accelerations'] else {'jerk': np.array([np.inf, np.inf])}
    assert not oracle.excesses(points, LIMIT_VALUES | without, **box)
    assert not sent.velocities[-1].any()
    if kind == 'hold':
        assert (sent.stamp, len(points)) == (0, 1)
    else:
        assert sent.stamp <= now < sent.end
    assert (sent.accelerations is not None) == (options['accelerations'] and kind != 'hold')


@settings(max_examples=120, deadline=None)
@given(EVENTS, st.tuples(st.floats(-1.01, 1.01), st.floats(-2.0, 2.0)), OPTIONS)
def test_nothing_outside_the_limits_is_ever_sent(events, position, options):
    limits = LIMITS if options['accelerations'] else WITHOUT_JERK
    planner, now = Planner(JOINTS, DT, limits, **options), START
    started = False
    for kind, actions, passed, age, distance, speed in events:
        now += passed
        if planner.plan is None:
            planner.rest_at(np.clip(position, limits.lowest, limits.highest), now)
        old = planner.plan
        place, velocity = state(old, now)
        planner.measured(now, place + distance, velocity + speed * (distance != 0.0))
        on_plan = not planner.astray()
        sent = answer(planner, kind, actions, now - age, now)
        if not isinstance(sent, Trajectory):
            assert planner.plan is old
            # A plan that was checked can always be stopped.
            assert kind != 'stop' or not started, sent.reason
            event(f'{kind} refused')
            continue
        started |= kind not in ('hold', 'stop')
        event(f'{kind} sent')
        judge(sent, kind, options, now)
        # What the controller has until the splice is what it had.
        assert on_plan or kind in ('hold', 'stop')
        if kind != 'hold':
            instants = np.linspace(now, now + options['splice_margin'], 20).astype(np.int64)
            for before, after in zip(
                old.sample(instants - old.stamp), planner.plan.sample(instants - planner.plan.stamp), strict=True
            ):
                np.testing.assert_allclose(after, before, atol=1e-8)
