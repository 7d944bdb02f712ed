"""What a joint_trajectory_controller commands from what the planner sends: no more acceleration than the motion has."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from dp_ros.data import Chunk
from dp_ros.motion.blend import chunk_curve
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.robot.joint_limits import JointLimits

_spec = importlib.util.spec_from_file_location('controller_oracle', Path(__file__).parents[1] / 'controller_oracle.py')
oracle = importlib.util.module_from_spec(_spec)
sys.modules['controller_oracle'] = oracle
_spec.loader.exec_module(oracle)

MS = 1_000_000
SECOND = 1000 * MS
DT = 100 * MS
START = 1000 * SECOND
JOINTS = tuple('abcdefg')
SETTLED = 2.0  # [s] after which the lead-in is over
LAG = 0.04  # [s] of the robot behind its set points

# Seven joints, three sines each up to 1 Hz: amplitudes [rad], frequencies [rad/s], phases.
_rng = np.random.default_rng(7)
AMPLITUDES = np.array([0.5, 0.15, 0.05])[:, None] * _rng.uniform(0.5, 1.0, (3, 7))
OMEGAS = 2 * np.pi * np.array([0.25, 0.6, 1.0])[:, None] * _rng.uniform(0.8, 1.0, (3, 7))
PHASES = _rng.uniform(0.0, 6.0, (3, 7))


def motion(seconds, order=0):
    t = np.atleast_1d(seconds)[:, None, None]
    return (AMPLITUDES * OMEGAS**order * np.sin(OMEGAS * t + PHASES + order * np.pi / 2)).sum(axis=1)


@dataclass
class Run:
    """What was commanded, and what became of the chunks."""

    rate: float
    commands: np.ndarray
    rejected: list = field(default_factory=list)
    outcomes: list = field(default_factory=list)

    def accelerations(self):
        return np.abs(np.diff(self.commands, 2, axis=0)) * self.rate**2


def stream(planner, *, rate, every, predicting, travel, seconds=6.0, noise=0.0, seed=0, **controller):
    """Stream chunks of the motion through latency; the robot follows its set points with a lag.

    ``predicting`` and ``travel`` are ranges [ms]: from a chunk's stamp to the planner, and on to the controller.
    """
    rng = np.random.default_rng(seed)
    period = SECOND // rate
    place = motion(0.0)[0]
    control = oracle.ControllerOracle(JOINTS, rate, place, **controller)
    measured, speeds = place.copy(), np.zeros(7)
    due, chunks, messages, commands, outcomes = START, [], [], [], []
    for now in range(START, START + int(seconds * SECOND), period):
        planner.measured(now, measured, speeds)
        if planner.plan is None:
            planner.rest_at(place, now)
        if now >= due:
            stamp = due // DT * DT
            steps = motion((stamp - START) / SECOND + 0.1 * np.arange(16))
            actions = steps + rng.normal(0.0, noise, (1, 7))
            chunks.append((stamp + int(rng.uniform(*predicting) * MS), stamp, actions))
            due += every * MS
        while chunks and chunks[0][0] <= now:
            _, stamp, actions = chunks.pop(0)
            outcome = planner.accept(Chunk(stamp=stamp, control_dt=DT, joints=JOINTS, actions=actions), now)
            outcomes.append(outcome)
            if isinstance(outcome, Planned):
                sent = oracle.message_of(outcome.trajectory, START - 10 * SECOND)
                messages.append((now + int(rng.uniform(*travel) * MS), sent))
        while messages and messages[0][0] <= now:
            control.receive(messages.pop(0)[1], (now - START) / SECOND + 10.0)
        command = control.cycle((now - START) / SECOND + 10.0, measured, speeds)
        commands.append(command)
        follow = 1.0 - np.exp(-period / SECOND / LAG)
        before, measured = measured, measured + (command - measured) * follow
        speeds = (measured - before) / (period / SECOND)
    return Run(rate, np.array(commands), control.rejected, outcomes)


def planner_of(limits=None, **options):
    return Planner(JOINTS, DT, limits, **options)


# Latency of 30 to 150 ms from a chunk's stamp to the controller: most of it for predicting, or all of it on the way.
LATENCIES = {'predicting': ((25, 120), (5, 30), 45 * MS), 'travel': ((0, 0), (30, 150), 165 * MS)}
PEAK = np.abs(motion(np.arange(SETTLED, 4.0, 0.002), 2)).max(axis=0)
LIMITS = JointLimits(
    joints=JOINTS, lower=(-3.0,) * 7, upper=(3.0,) * 7, velocity=(5.0,) * 7, acceleration=(20.0,) * 7, jerk=(500.0,) * 7
)


@pytest.mark.parametrize(('blend', 'quintic'), [(0, False), (4, False), (4, True)])
@pytest.mark.parametrize('latency', LATENCIES)
@pytest.mark.parametrize(('rate', 'every', 'from_desired'), [(100, 100, True), (250, 270, False), (500, 800, True)])
def test_consistent_chunks_are_followed_without_more_acceleration(rate, every, from_desired, latency, blend, quintic):
    predicting, travel, margin = LATENCIES[latency]
    options = {'blend_steps': blend, 'accelerations': quintic, 'splice_margin': margin}
    limits = LIMITS if quintic else replace(LIMITS, jerk=())
    planner = planner_of(limits, stop_on_path=blend > 0, **options)
    run = stream(
        planner, rate=rate, every=every, predicting=predicting, travel=travel, seconds=4.0, from_desired=from_desired
    )
    assert run.rejected == []
    assert all(isinstance(outcome, Planned) and outcome.stretch == 1.0 for outcome in run.outcomes)
    assert [outcome.restarted for outcome in run.outcomes] == [True] + [False] * (len(run.outcomes) - 1)
    assert (run.accelerations()[int(SETTLED * rate) :].max(axis=0) <= 1.1 * PEAK).all()


def test_a_message_later_than_the_margin_does_what_the_margin_is_for():
    """The margin is not for show: without it the commands jump from the old chunk to the new one."""
    planner = planner_of(splice_margin=15 * MS)
    run = stream(planner, rate=250, every=270, predicting=(0, 0), travel=(100, 150), seconds=4.0, noise=0.02)
    assert (run.accelerations()[int(SETTLED * 250) :].max(axis=0) > 5 * PEAK).any()


# What a policy of PushT from state predicted in closed loop, chunks of 16 steps every 0.8 s in 4 episodes, and when
# they were accepted, 50 ms after their stamps. Each is a sample of its own, and disagrees with the one before.
RECORDED = np.load(Path(__file__).parent / 'pusht_chunks.npz')
PUSHT = ('pusher_x', 'pusher_y')


def accelerations_of(plan, begin, end):
    at = np.arange(begin, end, 2 * MS)
    return np.abs(plan.states(at - plan.stamp)[2])


def inside_chunks():
    """Accelerations of each chunk's own curve [m/s^2], without two steps at its ends."""
    found = []
    for stamp, actions in zip(RECORDED['stamp'], RECORDED['actions'], strict=True):
        due = stamp + DT * np.arange(len(actions))
        curve = chunk_curve(due, actions.astype(float), PUSHT)
        found.append(accelerations_of(curve, due[2], due[-3]))
    return found


def at_seams(**options):
    """Accelerations of the plan from each splice on, until the next, with the robot on its plan."""
    found, planner = [], None
    chunks = list(zip(RECORDED['episode'], RECORDED['stamp'], RECORDED['accepted'], RECORDED['actions'], strict=True))
    for (episode, stamp, now, actions), (after, _, then, _) in itertools.pairwise(chunks):
        steps = actions.astype(float)
        if planner is None:
            planner = Planner(PUSHT, DT, None, splice_margin=30 * MS, **options)
        now, then = int(now), int(then)
        plan = planner.plan
        planner.measured(now, steps[0] if plan is None else plan.sample(np.array([now - plan.stamp]))[0][0])
        if plan is None:
            planner.rest_at(steps[0], now)
        outcome = planner.accept(Chunk(stamp=int(stamp), control_dt=DT, joints=PUSHT, actions=steps), now)
        assert isinstance(outcome, Planned)
        if not outcome.restarted and after == episode:
            found.append(accelerations_of(planner.plan, now + 30 * MS, then + 30 * MS))
        if after != episode:
            planner = None
    return found


@pytest.mark.parametrize('accelerations', [False, True])
def test_real_chunks_have_no_more_acceleration_at_their_seams_than_inside(accelerations):
    inside, seams = inside_chunks(), at_seams(blend_steps=12, accelerations=accelerations, stop_on_path=True)
    bound = np.percentile(np.concatenate(inside), 99)
    assert np.percentile(np.concatenate(seams), 99) <= bound
    peaks, usual = (np.array([part.max() for part in parts]) for parts in (seams, inside))
    assert (np.percentile(peaks, [75, 90, 100]) <= np.percentile(usual, [75, 90, 100])).all()
    # Without a cross-fade they are several times as large, and with a shorter one in between.
    bare, short = (np.percentile(np.concatenate(at_seams(blend_steps=n)), 99) for n in (0, 3))
    assert bare > 3 * bound
    assert short < 0.75 * bare
