"""A robot at rest gets out of the way of what moves, in time, and by ways that are checked like all others."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip('pinocchio', reason='the extra planning is not installed')

from dp_ros.data import Chunk, Refusal
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.motion.settings.obstacles import ObstacleOptions
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.detour import SOONER, Detour
from dp_ros.planning.path_planner import Way
from dp_ros.planning.retreat import LEAVING, STAYS, plan_retreat, threatened
from dp_ros.planning.rule import keep_clear, let_leave, way_options
from dp_ros.planning.scene import Box, MovingObstacle, Obstacle, Scene, Sighting, Sphere
from dp_ros.planning.way_process import WayProcess
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.robot.urdf import parse_urdf
from dp_ros.simulation.worlds.point_navigation.world import URDF

MS = 1_000_000
T0 = 1_700_000_000_000_000_000
LIMITS = JointLimits(
    joints=('point_x', 'point_y'), lower=(-1.0, -1.0), upper=(1.0, 1.0), velocity=(1.0, 1.0), acceleration=(6.0, 6.0),
)  # fmt: skip
RADIUS, BODY, CLEARANCE = 0.1, 0.01, 0.02
ROBOT = parse_urdf(URDF)
HERE = np.zeros(2)


def ball(acceleration: float | None = 0.3) -> MovingObstacle:
    return MovingObstacle(
        name='ball', shape=Sphere(radius=RADIUS), topic='ball', speed=0.4, acceleration=acceleration, pose_error=0.001
    )


def resting(
    *standing: Obstacle, acceleration: float | None = 0.3, **options: Any
) -> tuple[Planner, CollisionCheck, ObstacleOptions]:
    """Return a planner of a point that rests in the middle, with a ball somewhere."""
    planner = Planner(LIMITS.joints, 100 * MS, LIMITS, max_joint_age=10**9, max_lag=50 * MS)
    asked = ObstacleOptions(clearance=CLEARANCE, **options)
    scene = Scene(frame='ground', obstacles=standing, moving=(ball(acceleration),))
    check = keep_clear(planner, asked, ROBOT, scene=scene)
    assert check is not None
    for now in (T0 - 100 * MS, T0):
        planner.measured(now, HERE, np.zeros(2))
    planner.rest_at(HERE, T0)
    return planner, check, asked


def see(check: CollisionCheck, now: int, x: float, y: float, velocity: tuple[float, float]) -> None:
    """Show the ball where it is now, and where it came from."""
    for before in range(200, -1, -50):
        place = (x - velocity[0] * before / 1e3, y - velocity[1] * before / 1e3, 0.0)
        sighting = Sighting(stamp=now - before * MS, position=place, orientation=(0.0, 0.0, 0.0, 1.0))
        check.scene.see('ball', 'ground', sighting)


@pytest.mark.parametrize(
    ('x', 'y', 'velocity', 'acceleration', 'comes'),
    [
        (0.5, 0.0, (-0.3, 0.0), 0.3, True),
        (0.5, 0.4, (-0.3, 0.0), 0.3, False),
        (0.5, 0.0, (0.3, 0.0), 0.3, False),
        (0.9, 0.0, (-0.2, 0.0), 0.3, False),
        (0.5, 0.0, (-0.3, 0.0), None, False),
        (0.15, 0.0, (0.0, 0.0), 0.3, True),
    ],
)
def test_only_what_its_velocity_or_a_moment_brings_here_is_left(x, y, velocity, acceleration, comes):
    _, check, _ = resting(acceleration=acceleration)
    see(check, T0, x, y, velocity)
    assert threatened(check, HERE, T0, 1.5) is comes


@pytest.mark.parametrize('seed', range(6))
def test_a_retreat_leads_straight_to_a_place_that_stays_clear(seed):
    wall = Obstacle(name='wall', shape=Box(size=(2.0, 0.02, 1.0)), position=(0.0, 0.12, 0.0))
    _, check, _ = resting(wall)
    angle = np.random.default_rng(seed).uniform(-0.5, 0.5)
    velocity = -0.3 * np.array([np.cos(angle), np.sin(angle)])
    place = -velocity / 0.3 * 0.45
    see(check, T0, float(place[0]), float(place[1]), (float(velocity[0]), float(velocity[1])))
    way = plan_retreat(check, HERE, LIMITS, now=T0, seed=seed)
    assert isinstance(way, Way) and len(way.points) == 2 and np.array_equal(way.points[0], HERE)
    goal = way.points[-1]
    assert (way.points[:, 1] <= 0.12 - 0.01 - BODY - CLEARANCE).all(), 'the wall stands'
    centres = place + velocity * np.arange(0.7, STAYS, 0.05)[:, np.newaxis]
    assert np.linalg.norm(centres - goal, axis=1).min() > RADIUS + BODY + CLEARANCE
    assert np.linalg.norm(centres, axis=1).min() < RADIUS, 'here it would be hit'


def test_where_no_place_is_better_the_robot_stays():
    walls = [
        Obstacle(name=f'wall_{number}', shape=Box(size=size), position=place)
        for number, (size, place) in enumerate(
            [((2.0, 0.02, 1.0), (0.0, y, 0.0)) for y in (-0.05, 0.05)] + [((0.02, 0.2, 1.0), (-0.05, 0.0, 0.0))]
        )
    ]
    _, check, _ = resting(*walls)
    see(check, T0, 0.45, 0.0, (-0.3, 0.0))
    found = plan_retreat(check, HERE, LIMITS, now=T0, seed=0)
    assert isinstance(found, Refusal) and 'found no place that stays clearer' in found.reason


class AtOnce:
    """Plans where it is asked, and answers a while later."""

    def __init__(self, check: CollisionCheck) -> None:
        self.check, self.asked, self.requests = check, 0, 0
        self.now = self.ready = 0
        self.found: Way | Refusal | None = None

    def request(self, start: np.ndarray, goals: Any) -> None:
        self.requests += 1

    def retreat(self, start: np.ndarray, now: int) -> None:
        self.asked, self.ready = self.asked + 1, now + 150 * MS
        self.found = plan_retreat(self.check, start, LIMITS, now=now, seed=self.asked)

    def answer(self) -> Way | Refusal | None:
        if self.found is None or self.now < self.ready:
            return None
        found, self.found = self.found, None
        return found


def approached(**options: Any) -> tuple[float, Detour]:
    """Let a ball come to a point at rest; return the least gap to it, and to what moves, and what decided."""
    planner, check, asked = resting(**options)
    ways = AtOnce(check)
    detour = Detour(planner, ways, blocked_after=10**12, threat=let_leave(planner, check, asked), retreats=ways)
    least, stopped = np.inf, None
    for step in range(60):
        now = ways.now = T0 + step * 50 * MS
        x = 0.8 - 0.35 * step * 0.05
        see(check, now, x, 0.02, (-0.35, 0.0))
        plan = planner.plan
        assert plan is not None
        planner.measured(now, plan.positions_at(np.array([now - plan.stamp]))[0], np.zeros(2))
        if plan is not stopped and planner.endangered(now) is not None:
            stopped = planner.stop(now)
            detour.stopped()
        if (way := detour.step(now)) is not None:
            detour.followed(planner.accept(way, now, whole=True), now)
        plan = planner.plan
        assert plan is not None
        place, speed, *_ = plan.sample(np.array([now - plan.stamp]))
        gap = float(np.linalg.norm(place[0] - [x, 0.02])) - RADIUS - BODY
        least = min(least, gap)
        assert gap > 0.0 or np.abs(speed).max() < 1e-3, 'what is hit, is hit at rest'
    return least, detour


def test_what_comes_to_a_robot_at_rest_finds_it_gone():
    least, detour = approached()
    assert detour.retreated >= 1 and detour.planned == 0
    assert least >= CLEARANCE


@pytest.mark.parametrize('options', [{'retreat_within': 0.0}, {'acceleration': None}])
def test_without_a_retreat_or_a_bound_of_acceleration_it_stays_where_it_is(options):
    least, detour = approached(**options)
    assert detour.retreated == 0 and least < 0.0


def test_a_retreat_comes_before_a_way_that_is_looked_for_and_is_tried_again():
    planner, check, asked = resting()
    ways = AtOnce(check)
    detour = Detour(planner, ways, blocked_after=0, threat=let_leave(planner, check, asked), retreats=ways)
    see(check, T0, 0.9, 0.0, (0.0, 0.0))
    detour.want(np.array([0.5, 0.0]), T0)
    detour.step(T0)
    assert (ways.requests, ways.asked) == (1, 0) and detour.asks
    see(check, T0 + 300 * MS, 0.5, 0.0, (-0.3, 0.0))
    detour.step(T0 + 300 * MS)
    detour.step(T0 + 350 * MS)
    assert (ways.requests, ways.asked) == (1, 1), 'one question at a time'
    ways.found, ways.ready = Refusal(reason='none'), 0
    assert detour.step(T0 + 400 * MS) is None and detour.failed == 1
    detour.step(T0 + 400 * MS + SOONER - MS)
    assert ways.asked == 1
    detour.step(T0 + 400 * MS + SOONER)
    assert ways.asked == 2


def test_a_robot_that_can_leave_stops_sooner_than_one_that_stays():
    """The ball comes from the side, and would be where the robot rests a little later."""
    ends = {}
    for within in (0.0, 1.5):
        planner, check, asked = resting(retreat_within=within)
        let_leave(planner, check, asked)
        assert planner.clear.leaving == (LEAVING if within else 0)
        see(check, T0, 0.5, 0.0, (-0.35, 0.0))
        steps = np.stack([np.linspace(0.0, 0.8, 16), np.zeros(16)], axis=1)
        chunk = Chunk(stamp=T0 - MS, control_dt=100 * MS, joints=LIMITS.joints, actions=steps)
        assert isinstance(planner.accept(chunk, T0), Planned)
        now = T0
        while planner.endangered(now) is None:
            now += 50 * MS
            assert now < T0 + 2_000 * MS
            see(check, now, 0.5 - 0.35 * (now - T0) / 1e9, 0.0, (-0.35, 0.0))
        ends[within] = now
    assert ends[1.5] < ends[0.0]


def test_a_process_that_looks_for_a_way_leaves_that_for_a_retreat():
    pytest.importorskip('ompl', reason='the extra planning is not installed')
    wall = Obstacle(name='wall', shape=Box(size=(0.02, 3.0, 1.0)), position=(0.3, 0.0, 0.0))
    planner, check, _ = resting(wall)
    asked = ObstacleOptions(clearance=CLEARANCE, planning_time=60.0)
    see(check, T0, -0.5, 0.0, (0.3, 0.0))
    ways = WayProcess(way_options(check, planner, asked, None), check.scene)
    try:
        end = time.monotonic() + 50.0
        ways.request(HERE, [np.array([0.8, 0.0])])  # behind the wall: it searches for all of its time
        ways.retreat(HERE, T0)
        while (found := ways.answer()) is None:
            assert time.monotonic() < end, 'the process has not given up what nobody waits for'
            time.sleep(0.02)
        assert isinstance(found, Way) and found.points[-1, 0] < 0.3
    finally:
        ways.kill()
        ways.close()
