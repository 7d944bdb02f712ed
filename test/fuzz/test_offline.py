"""A few sequences in simulated time: in calm, under attack, and with a planner that was broken on purpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.motion.planner import Planner
from dp_ros.nodes.trajectory_publisher.motion import Motion

from .events import Event
from .offline import Case, Sequence, run
from .variants import KINDS, varied

SEED = 1
pytestmark = pytest.mark.slow


@pytest.mark.parametrize('number', range(4))
def test_in_calm_the_robot_moves_and_nothing_exceeds_the_limits_by_more_than_rounding(number):
    case, rng = Case.drawn(SEED, number)
    sequence = Sequence(replace(case, loss=0.0), rng, loud=True)
    sequence.events = [Event(0.3, 'nothing') for _ in range(10)]
    assert sequence.run() == []
    assert any(text.startswith('-- moves') for _, text in sequence.lines)


# Once unclean: a controller off and on in the farewell; another robot after activation; a lie that outlasts the time
# in which it could be true; a velocity that only a lie showed; a clock set forward while joint states lied; an end of
# the plan so far that beginning took 5 s; a lead-in that shot beyond the chunk; a hold that an ending began anew; a
# plan that took so long that the controller, off and on again, had been left behind meanwhile; a plan that turned too
# hard for a stop; a stop that went to a controller that came in a lost one's place; six copies of a plan, all lost; a
# plan that could not be stopped, and was not known any more when the next ending came; a plan that was given up long
# before its controller was restarted; a plan of which a stall left one copy, lost; a beginning that was given up
# after its point was sent; a lie that the gap in joint states before it made believable; a quintic plan that turned
# too hard; a hold of which a stall left two copies, both lost; a way to a point to hold during which joint states of
# another robot were believed; a clock set back right after activation; a clock set forward in the midst of planning; a
# beginning that a moment's false joint states ended; a stop that could not be made while joint states were missing; a
# beginning during which the arm was held elsewhere; a leap over a gap that showed a velocity; a state beyond the limits
# of an arm that had to stop; the states of another robot, right after a step of the clock; a
# stop of which every copy was lost.
FOUND = [
    (9001, 387), (5001, 147), (6001, 218), (6001, 78), (6001, 249), (11, 357), (9001, 157), (31001, 214), (51001, 345),
    (92001, 140), (93001, 400), (93001, 1223), (94001, 20), (94001, 76), (95001, 400), (95001, 6589),
    (95001, 5905), (95001, 6622), (99101, 553), (96001, 1542), (96001, 2836),
    (99101, 8933), (99101, 9455), (99401, 211), (99401, 102), (99401, 987),
    (99401, 2433), (99401, 2436), (99401, 5940),
]  # fmt: skip


@pytest.mark.parametrize(('seed', 'number'), [*((SEED, number) for number in range(8)), *FOUND])
def test_under_attack_nothing_leaps(seed, number):
    _, kinds, told = run(seed, number)
    assert not kinds, '\n'.join(told)


@pytest.mark.parametrize('variant', KINDS)
@pytest.mark.parametrize('number', [4, 7, 116])
def test_under_attack_nothing_leaps_on_other_robots(variant, number):
    _, kinds, told = run(7, number, variant=variant)
    assert not kinds, '\n'.join(told)


class TwoControllers:
    """A sequence with an arm and a gripper, one joint each, and how fast the arm was after each event [rad/s]."""

    def __init__(self, monkeypatch, events, home=()):
        case, rng = Case.drawn(SEED, 0)
        case = varied(replace(case, loss=0.0, simulated=False, control_dt=100_000_000, starts=0.0, near=0.0), 'several')
        case = replace(case, variant=replace(case.variant, losses=(0.0, 0.0), home=home))
        self.sequence = Sequence(case, rng, loud=True)
        calm = replace(self.sequence.attack.policy, amplitude=np.full(2, 0.4), speed=np.full(2, 1.0))
        self.sequence.attack.policy = calm
        self.sequence.events = events
        self.speeds, self._spin = list[float](), self.sequence._spin
        monkeypatch.setattr(self.sequence, '_spin', self.spin)

    def spin(self, seconds, **kinds):
        found = self._spin(seconds, **kinds)
        world = self.sequence.world
        self.speeds.append(float(np.abs(world.robot.controllers[0].measured(world.now()).velocities).max()))
        return found


@pytest.mark.parametrize('what', ['permission', 'hold', 'hold after a restart'])
def test_an_arm_whose_gripper_does_not_follow_any_more_is_stopped_on_the_plan_that_it_finishes(what, monkeypatch):
    off = 'controller_restart' if 'restart' in what else 'controller_off'
    events = [
        Event(2.0, 'nothing'),
        Event(0.1, 'chunk', {'what': 'long', 'seed': 1}),
        Event(0.0, 'mute', {'seconds': 9.0}),
        Event(0.1, off, {'seconds': 0.4, 'who': 1, 'killed': True}),
        Event(0.6, 'permission', {'seconds': 3.0}) if what == 'permission' else Event(0.6, 'hold'),
        Event(1.1, 'nothing'),
    ]
    made = TwoControllers(monkeypatch, events)
    assert made.sequence.run() == []
    assert made.speeds[5] > 0.1 and made.speeds[6] < 1e-3


@pytest.mark.parametrize('seconds', [0.1, 0.3])
def test_an_arm_whose_gripper_is_off_the_plan_when_its_controller_is_seen_to_be_a_new_one_is_held(seconds, monkeypatch):
    events = [
        Event(2.0, 'nothing'),
        Event(0.1, 'chunk', {'what': 'long', 'seed': 1}),
        Event(0.0, 'mute', {'seconds': 9.0}),
        Event(0.1, 'controller_restart', {'seconds': seconds, 'who': 1, 'killed': True}),
        Event(seconds, 'nothing'),
        Event(1.2, 'nothing'),
    ]
    made = TwoControllers(monkeypatch, events)
    assert made.sequence.run() == []
    assert made.speeds[5] > 0.1 and made.speeds[6] < 1e-3


def test_an_arm_on_its_way_home_whose_gripper_does_not_follow_is_held_for_it_is_latched(monkeypatch):
    events = [
        Event(2.0, 'nothing'),
        Event(0.0, 'mute', {'seconds': 20.0}),
        Event(2.7, 'controller_off', {'seconds': 0.4, 'who': 1}),
        Event(1.2, 'nothing'),
    ]
    made = TwoControllers(monkeypatch, events, home=(2.8, 2.8))
    assert made.sequence.run() == []
    assert made.speeds[3] > 0.1 and made.speeds[4] < 1e-3, '\n'.join(made.sequence.told())


def test_a_clock_that_jumps_in_a_stall_in_which_the_plan_ends_is_dealt_with():
    case, rng = Case.drawn(SEED, 0)
    sequence = Sequence(replace(case, loss=0.0, simulated=False), rng, loud=False)
    sequence.events = [
        Event(2.0, 'nothing'),
        Event(0.1, 'mute', {'seconds': 3.0}),
        Event(0.3, 'stall', {'seconds': 0.29}),
        Event(0.02, 'clock', {'by': -0.7}),  # the plan's time comes again
        Event(2.0, 'nothing'),
    ]
    assert sequence.run() == []


@pytest.mark.parametrize('after', [0.004, 0.034])
def test_a_controller_that_is_off_for_a_moment_in_a_farewell_is_not_led_back_to_it(after):
    """It holds where it is then, and its joint states show that too late."""
    case, rng = Case.drawn(SEED, 0)
    sequence = Sequence(replace(case, loss=0.0), rng, loud=False)
    sequence.events = [
        Event(1.0, 'nothing'),
        Event(0.3, 'lifecycle', {'seconds': 0.5}),
        Event(after, 'controller_off', {'seconds': 0.03}),
        Event(1.5, 'nothing'),
    ]
    assert sequence.run() == []


def test_an_arm_on_a_plan_that_could_not_be_stopped_is_held_at_the_next_ending(monkeypatch):
    end, failed = Motion.end, list[bool]()

    def fail_once(self: Motion) -> None:
        if failed:
            end(self)
        else:
            failed.append(True)
            self.parts.sender.silence()

    monkeypatch.setattr(Motion, 'end', fail_once)
    case, rng = Case.drawn(SEED, 0)
    sequence = Sequence(replace(case, loss=0.0, control_dt=100_000_000, ending='deactivate'), rng, loud=False)
    sequence.events = [Event(1.5, 'nothing'), Event(0.2, 'lifecycle', {'seconds': 0.05})]
    assert sequence.run() == [] and failed


def test_a_planner_that_does_not_look_whether_it_is_followed_is_found_out(monkeypatch):
    monkeypatch.setattr(Planner, 'astray', lambda self: '' if self.plan is not None else 'there is no plan')
    assert any('velocity' in run(SEED, number)[1] for number in (107, 170, 218))


def test_a_sequence_is_the_same_each_time():
    assert run(SEED, 3, loud=True) == run(SEED, 3, loud=True)
