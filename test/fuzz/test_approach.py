"""The way to where demonstrations began: the publisher's own motion, planner and safety states in simulated time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.errors import ConfigError
from dp_ros.motion.planner import Planner
from dp_ros.motion.safety.approach import Approach
from dp_ros.motion.safety.safety_states import SafetyState
from dp_ros.task.starts import DemonstratedStarts

from .judge import judged
from .offline import START, Case, Sequence

GOAL = 0.9  # [rad]


class Begun:
    """A robot at 0 whose policy was shown from GOAL on, and what it does."""

    def __init__(self, starts: float = GOAL) -> None:
        case, rng = Case.drawn(1, 0)
        self.case = replace(case, loss=0.0, boxed=False, near=0.0, starts=starts)
        self.sequence = Sequence(self.case, rng, loud=True)
        self.world = self.sequence.world
        self.motion = self.world.product.motion
        assert self.motion is not None

    def spin(self, seconds: float) -> None:
        self.sequence._spin(seconds)

    def until(self, what: str, longest: float = 8.0) -> None:
        for _ in range(round(longest / 0.02)):
            if (self.motion.approach.under_way) == (what == 'on the way'):
                return
            self.spin(0.02)
        raise AssertionError(f'not {what}: {self.world.product.why}')

    @property
    def positions(self) -> np.ndarray:
        newest = self.motion.planner.states.newest
        assert newest is not None
        return newest.positions

    def faults(self) -> list:
        world = self.world
        return judged(world.controller, self.case.limits, self.sequence.attack.marks, START, world.now(), None)


def test_the_robot_goes_there_first_slowly_and_only_then_the_policy_begins():
    begun = Begun()
    begun.until('on the way')
    assert begun.motion.safety.safety_state is SafetyState.RUN, 'what stops a robot that runs stops this'
    began, farthest = begun.world.now(), 0.0
    while begun.motion.approach.under_way:
        before, at = begun.positions, begun.world.now()
        begun.spin(0.1)
        if begun.motion.approach.under_way:
            farthest = max(farthest, np.abs(begun.positions - before).max() / ((begun.world.now() - at) / 1e9))
        assert begun.world.now() - began < 10e9
    assert farthest < 0.75, 'at 0.6 rad/s, as measured'
    assert np.abs(begun.positions - GOAL).max() < 0.02
    assert begun.motion.approach.report(begun.world.time.robot())[1] in (
        'the robot is where demonstrations began', 'the policy began where demonstrations began',
    )  # fmt: skip
    begun.spin(3.0)
    assert begun.world.controller.follows_plan(begun.world.now()), begun.world.product.why
    assert begun.motion.approach.report(0) == (True, 'the policy began where demonstrations began')
    assert begun.faults() == []


def test_where_chunks_stay_away_on_the_way_it_stops_and_is_held():
    begun = Begun()
    begun.until('on the way')
    begun.sequence.attack.mute_until = 1 << 62
    begun.spin(8.0)
    assert begun.motion.safety.latched and not begun.motion.approach.under_way
    assert np.abs(begun.positions - GOAL).max() > 0.1, 'it did not go on without chunks'
    stopped = begun.positions
    begun.spin(0.5)
    np.testing.assert_allclose(begun.positions, stopped, atol=2e-3)
    assert begun.faults() == []


def test_a_fault_on_the_way_stops_along_it_and_latches():
    begun = Begun()
    begun.until('on the way')
    begun.spin(0.3)
    begun.world.product.graph.peers.add('command')
    begun.spin(1.0)
    assert begun.world.latched() and not begun.motion.approach.under_way
    stopped = begun.positions
    assert np.abs(stopped - GOAL).max() > 0.05, 'it did not go on'
    begun.spin(1.0)
    np.testing.assert_allclose(begun.positions, stopped, atol=2e-3)
    assert begun.faults() == []


def test_a_start_beyond_the_limits_is_not_gone_to_and_nothing_moves():
    begun = Begun(starts=3.5)
    begun.spin(4.0)
    assert any('no way to where demonstrations began (joint_' in text for _, text in begun.sequence.lines)
    assert np.abs(begun.positions).max() < 0.01 and not begun.world.latched()


def approach(positions: list[float], speed: float | None = None) -> Approach:
    planner = Planner(('a', 'b'), 100_000_000, None)
    for stamp in (1, 2):
        planner.measured(stamp, np.array(positions))
    starts = DemonstratedStarts.of(('a', 'b'), np.array([[0.0, 0.02], [0.2, 0.03]]))
    return Approach(planner, starts, ('rad', 'm'), speed)


def test_what_is_near_is_no_distance_and_without_being_asked_nothing_is_approached():
    assert approach([0.26, 0.034], 0.2).away() == '' and not approach([0.26, 0.034], 0.2).needed
    far = approach([0.1, 0.04])
    assert far.away() == 'b is 0.01 m from where demonstrations began (0.02 to 0.03)' and not far.needed
    assert far.report(0) == (False, f'the robot is away: {far.away()}')
    far.began()
    assert far.report(0) == (False, f'the policy began away: {far.away()}')
    asked = approach([0.1, 0.04], 0.2)
    assert asked.needed
    asked.began()
    assert not asked.needed, 'once the policy has begun, nothing is approached any more'


def test_whole_turns_of_joints_without_end_do_not_count():
    starts = DemonstratedStarts.of(('a',), np.array([[0.0], [0.2]]))
    for turns in (-2, 1):
        at = np.array([0.1 + turns * 2.0 * np.pi])
        assert starts.excess(at, ('rad',), np.array([True]))[0] == 0.0
        assert starts.excess(at, ('rad',), np.array([False]))[0] > 6.0
    with pytest.raises(ConfigError, match='starts: got a mean outside of its range'):
        DemonstratedStarts(joints=('a',), lower=(0.0,), upper=(1.0,), mean=(2.0,))
