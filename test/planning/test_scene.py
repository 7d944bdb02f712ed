"""Scenes from files, kept up to date; and ways around."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_ros.data import Chunk, Refusal
from dp_ros.errors import ConfigError
from dp_ros.planning.scene import (
    MOST,
    Box,
    Cylinder,
    Item,
    LiveScene,
    MovingObstacle,
    Obstacle,
    Scene,
    Sighting,
    Sphere,
    read_scene,
)
from dp_ros.robot.joint_limits import JointLimits

MS = 1_000_000
T0 = 1_700_000_000_000_000_000
PERSON = MovingObstacle(name='person', shape=Sphere(radius=0.2), topic='person', speed=0.5, max_age=0.2)
BOX = Obstacle(name='box', shape=Sphere(radius=0.1))


def written(folder: Path, text: str) -> Path:
    path = folder / 'scene.yaml'
    path.write_text(text)
    return path


def test_a_scene_is_read_with_all_its_parts(tmp_path):
    (tmp_path / 'bin.stl').write_text('solid')
    text = """
frame: base
obstacles:
- {name: table, shape: {kind: box, size: [1, 1, 0.1]}, position: [0, 0, -0.1]}
- {name: bin, shape: {kind: mesh, file: bin.stl, hull: true}}
moving:
- {name: person, shape: {kind: cylinder, radius: 0.3, length: 2}, topic: /person, speed: 1.6}
attached:
- {name: cup, link: tool, shape: {kind: sphere, radius: 0.05}, touch_links: [finger]}
joints: {gripper: 0.02}
allowed: [[a, b]]
"""
    scene = read_scene(written(tmp_path, text))
    assert [part.name for part in scene.obstacles] == ['table', 'bin']
    assert (scene.moving[0].speed, scene.attached[0].touch_links) == (1.6, ('finger',))
    assert scene.obstacles[1].shape.file == tmp_path / 'bin.stl'
    assert (scene.joints, scene.allowed) == ({'gripper': 0.02}, (('a', 'b'),))


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('obstacles: []', "missing key 'frame'"),
        ('{frame: a, walls: []}', "unknown key 'walls'"),
        ('{frame: a, obstacles: [{name: x, shape: {kind: cone}}]}', 'allowed box, sphere, cylinder, mesh'),
        ('{frame: a, obstacles: [{name: x, shape: {kind: sphere, radius: 0}}]}', 'got 0.0, allowed 0.0001 to 100 m'),
        ('{frame: a, obstacles: [{name: x, shape: {kind: box, size: [1, 1]}}]}', 'box size: got 1.0, 1.0, allowed 3'),
        ('{frame: a, obstacles: [{name: x, shape: {kind: sphere, radius: .nan}}]}', 'allowed finite numbers only'),
        (
            '{frame: a, obstacles: [{name: x, shape: {kind: sphere, radius: 1}, orientation: [0, 0, 0, 2]}]}',
            'allowed a unit quaternion',
        ),
        (
            '{frame: a, obstacles: [{name: x, shape: {kind: mesh, file: ../up.stl}}]}',
            "got the path '../up.stl', allowed one within the folder",
        ),
        ('{frame: a, obstacles: [{name: x, shape: {kind: mesh, file: no.stl}}]}', 'got no mesh'),
        (
            '{frame: a, moving: [{name: x, shape: {kind: sphere, radius: 1}, topic: t, speed: -1}]}',
            'speed: got -1.0, allowed 0 to 10 m/s',
        ),
        (
            '{frame: a, moving: [{name: x, shape: {kind: sphere, radius: 1}, topic: my hand, speed: 1}]}',
            "obstacle 'x' topic: got 'my hand', allowed letters, digits and underscores",
        ),
        (
            '{frame: a, obstacles: [{name: x, shape: {kind: sphere, radius: 1}}], '
            'attached: [{name: x, link: l, shape: {kind: sphere, radius: 1}}]}',
            "got obstacles named 'x', allowed a different name for each",
        ),
    ],
)
def test_a_scene_that_cannot_be_meant_is_refused_by_name(tmp_path, text, reason):
    with pytest.raises(ConfigError) as caught:
        read_scene(written(tmp_path, text))
    assert reason in str(caught.value)


def sighting(stamp: int, x: float = 0.0, w: float = 1.0) -> Sighting:
    return Sighting(stamp=stamp, position=(x, 0.0, 0.0), orientation=(0.0, 0.0, 0.0, w))


def test_an_obstacle_that_is_not_seen_too_old_elsewhere_or_too_fast_is_a_fault_and_never_gone():
    scene = LiveScene(Scene(frame='base', moving=(PERSON,)))
    assert "'person': got no pose on person" in scene.fault(T0)
    scene.see('person', 'base', sighting(T0))
    assert scene.fault(T0 + 200 * MS) == ''
    assert 'got a pose 0.21 s old on person, allowed 0.20 s' in scene.fault(T0 + 210 * MS)
    assert 'old' in scene.fault(T0 - 210 * MS), 'nor is one from the future believed'
    scene.see('person', 'camera', sighting(T0 + 100 * MS))
    assert "got frame 'camera', allowed 'base'" in scene.fault(T0 + 100 * MS)
    scene.see('person', 'base', sighting(T0 + 100 * MS, w=0.5))
    assert 'unit quaternion' in scene.fault(T0 + 100 * MS)
    scene.see('person', 'base', sighting(T0 + 100 * MS, 0.05))
    assert scene.fault(T0 + 100 * MS) == ''
    scene.see('person', 'base', sighting(T0 + 150 * MS, 0.15))
    assert 'faster than its speed, 0.5 m/s' in scene.fault(T0 + 150 * MS)
    for tick in range(1, 6):
        scene.see('person', 'base', sighting(T0 + (150 + 50 * tick) * MS, 0.15))
    assert scene.fault(T0 + 400 * MS) == ''


@pytest.mark.parametrize('shape', [Box(size=(0.1, 1.0, 0.1)), Cylinder(radius=0.05, length=1.0)])
def test_an_obstacle_whose_ends_turn_faster_than_its_speed_is_a_fault(shape):
    """Its middle stays where it is: a ball may turn as it likes, and any shape about its own axis."""
    for kind, axis, fault in ((shape, 0, True), (Sphere(radius=0.5), 0, False)):
        scene = LiveScene(Scene(frame='base', moving=(replace(PERSON, shape=kind),)))
        scene.see('person', 'base', sighting(T0))
        turn = [0.0, 0.0, 0.0, np.cos(0.05)]
        turn[axis] = np.sin(0.05)  # 0.1 rad in 50 ms: the ends go 50 mm, allowed 25 and 10
        scene.see('person', 'base', Sighting(stamp=T0 + 50 * MS, position=(0.0, 0.0, 0.0), orientation=tuple(turn)))
        assert ('faster than its speed' in scene.fault(T0 + 50 * MS)) == fault


def test_what_a_source_brings_is_its_own_and_what_it_sends_wrongly_a_fault():
    scene = LiveScene(Scene(frame='base', obstacles=(BOX,)))
    scene.bring('markers', {'a': Item(parts=(BOX,))})
    assert sorted(scene.standing) == ['box', 'markers/box'] and scene.version == 1
    scene.bring('markers', {'a': Item(parts=(BOX,))})
    assert scene.version == 1, 'nothing has changed'
    scene.bring('markers', {'a': Item(parts=(BOX,), fault='got dust')})
    assert scene.fault(T0) == 'markers: got dust' and scene.version == 1
    scene.wrong('others', 'got noise')
    scene.bring('others', {})
    assert scene.fault(T0) == 'markers: got dust', 'what another sends does not mend it'
    scene.bring('markers', {})
    assert sorted(scene.standing) == ['box'] and scene.fault(T0) == ''


def test_more_than_can_be_checked_stays_a_fault_until_the_source_begins_anew():
    scene = LiveScene(Scene(frame='base', obstacles=(BOX,)))
    parts = [replace(BOX, name=str(number)) for number in range(MOST)]
    scene.bring('markers', {'a': Item(parts=(BOX,))})
    scene.bring('markers', {'many': Item(parts=tuple(parts))})
    assert 'markers: got 1001 obstacles, allowed up to 1000' in scene.fault(T0)
    assert sorted(scene.standing) == ['box', 'markers/box'], 'what was known stays'
    scene.bring('markers', {**scene.items('markers'), 'b': Item()})
    assert 'got 1001' in scene.fault(T0)
    scene.bring('markers', {})
    assert scene.fault(T0) == '' and sorted(scene.standing) == ['box']


# Ways around.

LIMITS = JointLimits(
    joints=('point_x', 'point_y'),
    lower=(-1.0, -1.0),
    upper=(1.0, 1.0),
    velocity=(1.0, 1.0),
    acceleration=(4.0, 4.0),
    deceleration=(4.0, 4.0),
    jerk=(np.inf, np.inf),
)


def point_check(*obstacles: Obstacle) -> Any:
    pytest.importorskip('ompl', reason='the extra planning is not installed')
    from dp_ros.planning.collision import CollisionCheck
    from dp_ros.planning.robot_geometry import robot_geometry
    from dp_ros.robot.urdf import parse_urdf
    from dp_ros.simulation.worlds.point_navigation.world import URDF

    scene = Scene(frame='ground', obstacles=obstacles)
    geometry = robot_geometry(parse_urdf(URDF), ('point_x', 'point_y'), scene)
    return CollisionCheck(geometry, LiveScene(scene), clearance=0.05)


@pytest.mark.parametrize('seed', range(3))
def test_a_way_goes_around_and_is_timed_within_the_limits(seed):
    from dp_ros.planning.path_planner import Way, plan_way, timed

    check = point_check(Obstacle(name='post', shape=Sphere(radius=0.3)))
    start, goal = np.array([-0.8, 0.05]), np.array([0.8, 0.0])
    inside = np.zeros(2)
    way = plan_way(check, start, [inside, goal], LIMITS, seconds=20.0, seed=seed)
    assert isinstance(way, Way)
    actions = timed(way, LIMITS, 0.1)
    assert np.allclose(actions[[0, -1]], [start, goal]), 'the place in the post is left out'
    fine = np.concatenate([np.linspace(a, b, 20) for a, b in pairwise(actions)])
    assert np.linalg.norm(fine, axis=1).min() >= 0.3 + 0.01 + 0.05
    speeds = np.diff(actions, axis=0) / 0.1
    assert np.abs(speeds).max() <= 1.0
    assert np.abs(np.diff(speeds, axis=0)).max() / 0.1 <= 4.0


def test_without_a_way_or_a_place_to_go_on_it_is_refused_by_name():
    from dp_ros.planning.path_planner import plan_way

    check = point_check(Obstacle(name='wall', shape=Sphere(radius=0.3)))
    refused = plan_way(check, np.array([-0.8, 0.0]), [np.zeros(2)], LIMITS, seconds=1.0, seed=0)
    assert isinstance(refused, Refusal) and 'got 1 places to go on at, allowed one that is clear' in refused.reason
    from dp_ros.planning.scene import Box

    check = point_check(Obstacle(name='wall', shape=Box(size=(0.1, 3.0, 1.0))))
    refused = plan_way(check, np.array([-0.8, 0.0]), [np.array([0.8, 0.0])], LIMITS, seconds=0.3, seed=0)
    assert isinstance(refused, Refusal) and 'found none in 0.30 s' in refused.reason


def test_a_planner_process_that_is_killed_is_a_refusal_and_starts_again():
    check = point_check(Obstacle(name='post', shape=Sphere(radius=0.3)))
    import time

    from dp_ros.planning.path_planner import Way
    from dp_ros.planning.way_process import WayOptions, WayProcess

    options = WayOptions(
        urdf=check.robot.robot.text, joints=LIMITS.joints, scene=check.scene.scene, srdf=None, home=None,
        clearance=0.05, self_clearance=0.0, limits=LIMITS, seconds=20.0,
    )  # fmt: skip
    ways = WayProcess(options, check.scene)

    def answer() -> Any:
        end = time.monotonic() + 60.0
        while (found := ways.answer()) is None:
            assert time.monotonic() < end, 'waited 60 s for the process'
            time.sleep(0.02)
        return found

    try:
        ways.kill()
        ways.request(np.array([-0.8, 0.0]), [np.array([0.8, 0.0])])
        assert 'ended, and was started again' in answer().reason
        ways.request(np.array([-0.8, 0.0]), [np.array([0.8, 0.0])])
        found = answer()
        assert isinstance(found, Way) and np.allclose(found.points[-1], [0.8, 0.0])
    finally:
        ways.close()


def test_a_detour_is_asked_for_after_a_rest_leads_behind_the_obstacle_and_ends_with_its_way():
    check = point_check(Obstacle(name='post', shape=Sphere(radius=0.1)))
    from dp_ros.motion.outcome import Planned
    from dp_ros.motion.planner import Planner
    from dp_ros.planning.detour import Detour
    from dp_ros.planning.path_planner import Way

    planner = Planner(LIMITS.joints, 100 * MS, LIMITS, max_joint_age=10**9)
    planner.keep_clear(check)
    start = np.array([-0.4, 0.0])

    class Ways:
        asked: tuple[Any, Any] | None = None
        found: Any = None

        def request(self, start: Any, goals: Any) -> None:
            self.asked = start, goals

        def answer(self) -> Any:
            return self.found

    ways = Ways()
    detour = Detour(planner, ways, blocked_after=400 * MS)
    for now in (T0 - 100 * MS, T0):
        planner.measured(now, start, np.zeros(2))
    planner.rest_at(start, T0)
    now = T0
    while ways.asked is None:
        assert now < T0 + 10_000 * MS
        plan = planner.plan
        assert plan is not None and detour.step(now) is None
        at = plan.positions_at(np.array([now - plan.stamp]))[0]
        planner.measured(now, at, np.zeros(2))
        if (now - T0) % (800 * MS) == 0:
            actions = np.stack([np.linspace(at[0], at[0] + 0.6, 16), np.zeros(16)], axis=1)
            chunk = Chunk(stamp=now - MS, control_dt=100 * MS, joints=LIMITS.joints, actions=actions)
            verdict = planner.accept(chunk, now)
            assert isinstance(verdict, Planned) and verdict.blocked is not None
            detour.taken(chunk, verdict, now)
        now += 50 * MS
    rest, goals = ways.asked
    assert -0.18 < rest[0] <= -0.1 - 0.05 - 0.01 and goals[0][0] > 0.2
    assert min(goal[0] for goal in goals) > rest[0] + 0.02, 'no place before the obstacle is worth a way'
    ways.found = Way(points=np.array([rest, [rest[0], 0.3], [0.3, 0.3], [0.4, 0.0]]))
    way = detour.step(now)
    assert way is not None and np.allclose(way.actions[-1], [0.4, 0.0])
    planner.measured(now, rest, np.zeros(2))
    detour.followed(planner.accept(way, now), now)
    assert detour.follows(now) and detour.planned == 1
    assert not detour.follows(detour.until)
