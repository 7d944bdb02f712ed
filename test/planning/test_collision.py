"""Plans among obstacles, against distances that neither Pinocchio nor Coal has computed."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pinocchio = pytest.importorskip('pinocchio', reason='the extra planning is not installed')

from dp_ros.data import Chunk, Refusal
from dp_ros.errors import ConfigError
from dp_ros.motion.obstacles import Contact
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.motion.settings.obstacles import ObstacleOptions
from dp_ros.motion.trajectory import Trajectory
from dp_ros.planning.allowed_pairs import allowed_pairs
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.robot_geometry import robot_geometry
from dp_ros.planning.rule import keep_clear
from dp_ros.planning.scene import Attached, Box, Cylinder, Mesh, MovingObstacle, Obstacle, Scene, Sighting, Sphere
from dp_ros.planning.shapes import coal_shape
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.robot.urdf import parse_urdf

MS, DT = 1_000_000, 100_000_000
T0 = 1_700_000_000_000_000_000
FIRST, SECOND, BALL, CLEARANCE = 0.4, 0.3, 0.05, 0.03
JOINTS = ('shoulder', 'elbow')


def arm(shape: str = f'<sphere radius="{BALL}"/>', more: str = '') -> str:
    """Return a planar arm with a ball at the end of each link."""
    return f"""<robot name="arm">
      <link name="base"/>
      <link name="upper"><collision><origin xyz="{FIRST} 0 0"/><geometry>{shape}</geometry></collision></link>
      <link name="fore"><collision><origin xyz="{SECOND} 0 0"/><geometry>{shape}</geometry></collision></link>
      <joint name="shoulder" type="revolute"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/>
        <limit lower="-3" upper="3" velocity="2" effort="1"/></joint>
      <joint name="elbow" type="revolute"><parent link="upper"/><child link="fore"/><origin xyz="{FIRST} 0 0"/>
        <axis xyz="0 0 1"/><limit lower="-2.5" upper="2.5" velocity="2" effort="1"/></joint>{more}
    </robot>"""


ROBOT = parse_urdf(arm())
LIMITS = JointLimits(
    joints=JOINTS,
    lower=(-3.0, -2.5),
    upper=(3.0, 2.5),
    velocity=(2.0, 2.0),
    acceleration=(8.0, 8.0),
    deceleration=(8.0, 8.0),
    jerk=(np.inf, np.inf),
)


def balls(q: np.ndarray) -> np.ndarray:
    """Return the middles of the arm's balls (N, 2, 2) [m] at joint positions (N, 2), by trigonometry."""
    upper = FIRST * np.stack([np.cos(q[:, 0]), np.sin(q[:, 0])], axis=1)
    both = q.sum(axis=1)
    return np.stack([upper, upper + SECOND * np.stack([np.cos(both), np.sin(both)], axis=1)], axis=1)


def distances(q: np.ndarray, obstacles: Any) -> np.ndarray:
    """Return the least distance of the balls from spheres and boxes (N,) [m], in closed form."""
    places, found = balls(q), []
    for obstacle in obstacles:
        local = np.abs(places - np.array(obstacle.position[:2]))
        if isinstance(obstacle.shape, Sphere):
            found.append(np.linalg.norm(local, axis=-1) - obstacle.shape.radius - BALL)
        else:
            beyond = np.maximum(local - np.array(obstacle.shape.size[:2]) / 2, 0.0)
            found.append(np.linalg.norm(beyond, axis=-1) - BALL)
    return np.asarray(np.stack(found).min(axis=(0, 2)))


def planner_among(scene: Scene, start: np.ndarray, **options: Any) -> tuple[Planner, CollisionCheck]:
    """Return a planner that rests at ``start`` and keeps clear of a scene."""
    planner = Planner(JOINTS, DT, LIMITS, keep_steps=12, max_joint_age=10**9, **options)
    check = keep_clear(planner, ObstacleOptions(clearance=CLEARANCE), ROBOT, scene=scene)
    assert check is not None
    seen(planner, T0 - DT, start)
    seen(planner, T0, start)
    planner.rest_at(start, T0)
    return planner, check


def seen(planner: Planner, now: int, at: np.ndarray | None = None) -> None:
    plan = planner.plan
    if at is None:
        assert plan is not None
        at = plan.positions_at(np.array([now - plan.stamp]))[0]
    planner.measured(now, at, np.zeros(2))


def random_scene(rng: np.random.Generator, start: np.ndarray) -> Scene:
    found: list[Obstacle] = []
    while len(found) < 5:
        place = (*rng.uniform(-0.9, 0.9, 2), 0.0)
        sphere = rng.random() < 0.5
        shape: Sphere | Box = (
            Sphere(radius=float(rng.uniform(0.02, 0.1))) if sphere else Box(size=(*rng.uniform(0.02, 0.2, 2), 0.5))
        )
        made = Obstacle(name=f'o{len(found)}', shape=shape, position=place)
        if distances(start[np.newaxis], [made])[0] > CLEARANCE + 0.01:
            found.append(made)
    return Scene(frame='base', obstacles=tuple(found))


def dense(trajectory: Trajectory, begin: int) -> np.ndarray:
    return trajectory.positions_at(np.arange(max(0, begin - trajectory.stamp), int(trajectory.times[-1]) + 2, MS))


@pytest.mark.parametrize('seed', range(12))
def test_whatever_is_published_and_followed_to_rest_keeps_the_clearance(seed):
    rng = np.random.default_rng(seed)
    start = rng.uniform(-1.5, 1.5, 2)
    scene = random_scene(rng, start)
    planner, _ = planner_among(scene, start)
    now, blocked = T0, 0
    for _ in range(6):
        plan = planner.plan
        assert plan is not None
        at = plan.positions_at(np.array([now - plan.stamp]))[0]
        ramp = np.cumsum(rng.normal(size=2) * 0.12 + rng.normal(size=(16, 2)) * 0.02, axis=0)
        actions = np.clip(at + ramp, LIMITS.lowest, LIMITS.highest)
        verdict = planner.accept(Chunk(stamp=now - 50 * MS, control_dt=DT, joints=JOINTS, actions=actions), now)
        assert isinstance(verdict, Planned), verdict
        blocked += verdict.blocked is not None
        assert distances(dense(verdict.trajectory, now), scene.obstacles).min() >= CLEARANCE
        if rng.random() < 0.5:
            later = now + int(rng.integers(1, 700)) * MS
            seen(planner, later)
            stopped = planner.stop(later)
            assert isinstance(stopped, Trajectory)
            assert distances(dense(stopped, later), scene.obstacles).min() >= CLEARANCE
        now += 800 * MS
        seen(planner, now)
    if seed == 0:
        assert blocked, 'the scenes are in the way of some chunks'


def test_the_placements_are_pinocchios_with_offsets_turns_sliding_and_mimicking_joints():
    more = """
      <joint name="lift" type="prismatic"><parent link="fore"/><child link="hand"/>
        <origin xyz="0.1 0.2 0.3" rpy="0.3 -0.4 0.5"/><axis xyz="0 0.6 0.8"/>
        <limit lower="0" upper="0.2" velocity="1" effort="1"/></joint>
      <joint name="thumb" type="revolute"><parent link="hand"/><child link="finger"/><origin rpy="1 0 0"/>
        <axis xyz="0 1 0"/><mimic joint="shoulder" multiplier="-0.5" offset="0.2"/>
        <limit lower="-3" upper="3" velocity="1" effort="1"/></joint>
      <joint name="wheel" type="continuous"><parent link="base"/><child link="disc"/><axis xyz="1 0 0"/></joint>
      <link name="hand"><collision><origin rpy="0.1 0.2 0.3" xyz="0 0 0.1"/><geometry><box size="0.1 0.2 0.3"/>
        </geometry></collision></link>
      <link name="finger"><collision><geometry><cylinder radius="0.01" length="0.1"/></geometry></collision></link>
      <link name="disc"><collision><origin xyz="0 0.3 0"/><geometry><sphere radius="0.1"/></geometry></collision>
      </link>"""
    robot = parse_urdf(arm(more=more))
    joints = ('elbow', 'wheel', 'shoulder')
    geometry = robot_geometry(robot, joints, Scene(frame='base', joints={'lift': 0.15}))
    data, placed = geometry.model.createData(), geometry.shapes.createData()
    rng = np.random.default_rng(0)
    positions = rng.uniform(-2.0, 2.0, (8, 3))
    rotations, places = geometry.placements(positions)
    changes = np.zeros(len(geometry.links))
    for row, q in enumerate(positions):
        pinocchio.updateGeometryPlacements(geometry.model, data, geometry.shapes, placed, geometry.configuration(q))
        for shape, pose in enumerate(placed.oMg):
            assert np.allclose(rotations[row, shape], pose.rotation, atol=1e-12)
            assert np.allclose(places[row, shape], pose.translation, atol=1e-12)
    # No shape moves farther than its levers say.
    for column in range(3):
        turned = positions.copy()
        turned[:, column] += 0.01
        moved = np.linalg.norm(geometry.placements(turned)[1] - places, axis=-1).max(axis=0)
        assert (moved <= 0.01 * geometry.levers[:, column] + 1e-12).all()
        changes = np.maximum(changes, moved)
    assert (changes > 0.0).all()


def test_what_lies_between_two_points_of_a_fast_way_is_found():
    thin = Obstacle(name='wire', shape=Cylinder(radius=0.001, length=1.0), position=(0.0, FIRST, 0.0))
    scene = Scene(frame='base', obstacles=(thin,))
    check = CollisionCheck(robot_geometry(ROBOT, JOINTS, scene), live(scene), clearance=0.0)
    swing = Trajectory(
        stamp=T0, joints=JOINTS, times=np.array([0, 10**9]), positions=np.array([[0.3, 1.5], [2.8, 1.5]]),
        velocities=np.zeros((2, 2)),
    )  # fmt: skip
    contact = check.still_contact(swing, T0)
    assert contact is not None and (contact.link, contact.obstacle) == ('upper', 'wire')
    q = swing.positions_at(np.array([contact.at - T0]))[0]
    # It is the first, or a little earlier: the ball is about to touch the wire, and has not passed it.
    gap = float(np.linalg.norm(balls(q[np.newaxis])[0, 0] - [0.0, FIRST])) - BALL - 0.001
    assert -0.001 <= gap <= 0.01 and q[0] < np.pi / 2


def live(scene: Scene) -> Any:
    from dp_ros.planning.scene import LiveScene

    return LiveScene(scene)


@pytest.mark.parametrize('acceleration', [None, 1.0, 4.0])
@pytest.mark.parametrize('seed', range(4))
def test_whatever_a_moving_obstacle_does_the_arm_rests_before_it_comes(seed, acceleration):
    rng = np.random.default_rng(seed)
    speed, radius, error = 0.3, 0.05, 0.002
    part = MovingObstacle(
        name='hand', shape=Sphere(radius=radius), topic='hand', speed=speed, acceleration=acceleration, pose_error=error
    )
    start = np.array([-1.0, 0.5])
    planner, check = planner_among(Scene(frame='base', moving=(part,)), start, max_lag=60 * MS)
    place, velocity = np.array([0.75, 0.35 + 0.1 * rng.random()]), np.zeros(2)
    now, stopping, under_way = T0, False, 0
    for tick in range(80):
        ball = balls(at_now(planner, now)[np.newaxis])[0, 1]
        way = ball - place  # straight at the arm's end, as fast as it may
        wanted, before = way / np.linalg.norm(way) * speed * rng.choice([1.0, 1.0, 0.3]), velocity
        most = np.inf if acceleration is None else acceleration * 0.05
        change = wanted - velocity
        velocity = before + change * min(1.0, most / max(float(np.linalg.norm(change)), 1e-9))
        # Speeds up evenly, where that is bounded: within the step it is nearer than at an even speed by nothing.
        place = place + (velocity if acceleration is None else (before + velocity) / 2) * 0.05
        wrong = rng.uniform(-1.0, 1.0, 2) * (0.0 if acceleration is None else error / 2)
        pose = (*(place + wrong), 0.0)
        check.scene.see('hand', 'base', Sighting(stamp=now, position=pose, orientation=(0.0, 0.0, 0.0, 1.0)))
        assert not check.fault(now)
        seen(planner, now)
        if tick % 8 == 0:
            swing = np.linspace(0.0, 2.5, 16)[:, np.newaxis] * [0.8, 0.0]
            chunk = Chunk(stamp=now - MS, control_dt=DT, joints=JOINTS, actions=at_now(planner, now) + swing)
            stopping = isinstance(planner.accept(chunk, now), Refusal)
        elif not stopping and planner.endangered(now) is not None:
            stopping = isinstance(planner.stop(now + 5 * MS), Trajectory)
        plan = planner.plan
        assert plan is not None
        for step, late in product(range(0, 50, 5), (0, 60)):
            at = now + (step - late) * MS
            speeds = np.abs(plan.sample(np.array([at - plan.stamp]))[1]).max()
            nearest = np.linalg.norm(balls(at_now(planner, at)[np.newaxis])[0] - place, axis=-1).min()
            under_way += speeds > 1e-3 and not late
            # Until the next look it comes nearer by its speed.
            assert speeds <= 1e-3 or nearest - radius - BALL - speed * step / 1e3 > 0.0
        now += 50 * MS
    assert under_way > 50, 'it moved'


@pytest.mark.parametrize(('acceleration', 'blocked'), [(None, True), (0.5, False)])
def test_an_obstacle_whose_velocity_leads_away_is_in_the_way_only_where_its_acceleration_is_not_known(
    acceleration, blocked
):
    part = MovingObstacle(
        name='hand', shape=Sphere(radius=0.05), topic='hand', speed=1.0, acceleration=acceleration, pose_error=0.001
    )
    start = np.array([-1.0, 0.5])
    planner, check = planner_among(Scene(frame='base', moving=(part,)), start, max_lag=60 * MS)
    (end,) = balls(start[np.newaxis])[0, 1:]
    for before in range(300, -1, -20):  # 0.3 m away now, on its way outwards
        place = end / np.linalg.norm(end) * (np.linalg.norm(end) + 0.3 - 0.4 * before / 1e3)
        pose = Sighting(stamp=T0 - before * MS, position=(*place, 0.0), orientation=(0.0, 0.0, 0.0, 1.0))
        check.scene.see('hand', 'base', pose)
    swing = np.linspace(0.0, 1.5, 16)[:, np.newaxis] * [0.8, 0.0]
    verdict = planner.accept(Chunk(stamp=T0 - MS, control_dt=DT, joints=JOINTS, actions=start + swing), T0)
    assert isinstance(verdict, Planned) and (verdict.blocked is not None) is blocked


@pytest.mark.parametrize('lag', [0, 200 * MS])
@pytest.mark.parametrize('swing', [0.5, 0.001])
def test_something_that_moves_is_met_where_it_will_be_and_when(swing, lag):
    """A ball that crosses the arm's circle ahead of the arm: distances of a dense sampling say what is found."""
    part = MovingObstacle(
        name='ball', shape=Sphere(radius=0.02), topic='ball', speed=0.6, acceleration=0.0, pose_error=0.0
    )
    scene, clearance, velocity = live(Scene(frame='base', moving=(part,))), 0.01, np.array([0.0, 0.5])
    check = CollisionCheck(robot_geometry(ROBOT, JOINTS, scene.scene), scene, clearance=clearance, lag=lag)
    way = Trajectory(
        stamp=T0, joints=JOINTS, times=np.array([0, 10**9]), positions=np.array([[-swing, 0.0], [swing, 0.0]]),
        velocities=np.zeros((2, 2)),
    )  # fmt: skip
    times, found = np.arange(0, 10**9 + 1, MS), []
    arm_balls = balls(way.positions_at(times))
    for y in np.linspace(-0.7, 0.5, 25):
        scene.forget()
        for stamp in (T0 - 200 * MS, T0):
            place = np.array([0.68, y]) + velocity * (stamp - T0) / 1e9
            scene.see('ball', 'base', Sighting(stamp=stamp, position=(*place, 0.0), orientation=(0.0, 0.0, 0.0, 1.0)))
        # The arm may be late by anything up to the lag.
        late = np.array([0, lag // 2, lag])[:, np.newaxis]
        places = np.array([0.68, y]) + velocity * ((times + late)[..., np.newaxis] / 1e9)
        gaps = np.linalg.norm(arm_balls - places[:, :, np.newaxis], axis=-1).min(axis=2) - BALL - 0.02
        contact = check.moving_contact(way, T0)
        close = (gaps < clearance).any(axis=0)
        if close.any():
            assert contact is not None and contact.at - T0 <= times[close.argmax()] + MS
        if contact is not None:
            near = (gaps < clearance + 0.5 * lag / 1e9 / 2 + 0.001).any(axis=0)
            assert near.any() and contact.at - T0 >= times[near.argmax()] - 40 * MS
            found.append(y)
    assert 5 < len(found) < 22


@pytest.mark.parametrize(('acceleration', 'spread'), [(None, 0.6 * 0.2), (2.0, 0.5 * 2.0 * (0.2**2 + 0.1 * 0.2))])
def test_while_the_robot_is_late_what_moves_goes_on(acceleration, spread):
    part = MovingObstacle(
        name='ball', shape=Sphere(radius=0.02), topic='ball', speed=0.6, acceleration=acceleration, pose_error=0.0
    )
    scene = live(Scene(frame='base', moving=(part,)))
    check = CollisionCheck(robot_geometry(ROBOT, JOINTS, scene.scene), scene, clearance=0.01, lag=200 * MS)
    for stamp in (T0 - 100 * MS, T0):
        scene.see('ball', 'base', Sighting(stamp=stamp, position=(0.7, 0.0, 0.0), orientation=(0.0, 0.0, 0.0, 1.0)))
    turn = Trajectory(
        stamp=T0, joints=JOINTS, times=np.array([0, 100 * MS]), positions=np.array([[0.0, 0.0], [0.001, 0.0]]),
        velocities=np.zeros((2, 2)),
    )  # fmt: skip
    contact = check.moving_contact(turn, T0)
    assert contact is not None and contact.at == T0
    assert contact.allowed == pytest.approx(0.01 + spread, abs=1e-9)


def test_a_slow_plan_goes_as_far_as_is_free_whenever_it_was_made():
    post = Obstacle(name='post', shape=Box(size=(0.02, 1.0, 1.0)), position=(0.31, 0.0, 0.0))
    robot = parse_urdf(
        '<robot name="slide"><link name="world"/><link name="ball"><collision><geometry><sphere radius="0.01"/>'
        '</geometry></collision></link><joint name="x" type="prismatic"><parent link="world"/><child link="ball"/>'
        '<axis xyz="1 0 0"/><limit lower="0" upper="0.5" velocity="1" effort="1"/></joint></robot>'
    )
    limits = JointLimits(joints=('x',), lower=(0.0,), upper=(0.5,), velocity=(1.0,), acceleration=(10.0,))
    for late in range(5, 150, 5):
        planner = Planner(('x',), DT, limits, keep_steps=12, max_joint_age=10**9)
        scene = Scene(frame='world', obstacles=(post,))
        keep_clear(planner, ObstacleOptions(clearance=0.02), robot, scene=scene)
        for stamp in (T0 - 100 * MS, T0 - 50 * MS):
            planner.measured(stamp, np.array([0.2]), np.zeros(1))
        planner.rest_at(np.array([0.2]), T0 - 50 * MS)
        steps = 0.2 + 0.01 * np.arange(16)[:, np.newaxis]
        verdict = planner.accept(Chunk(stamp=T0, control_dt=DT, joints=('x',), actions=steps), T0 + late * MS)
        assert isinstance(verdict, Planned) and verdict.blocked is not None
        assert 0.26 < verdict.trajectory.positions[-1, 0] <= 0.27


def at_now(planner: Planner, now: int) -> np.ndarray:
    plan = planner.plan
    assert plan is not None
    return np.asarray(plan.positions_at(np.array([now - plan.stamp]))[0])


STICK = Attached(name='stick', link='fore', shape=Box(size=(0.3, 0.02, 0.02)), position=(SECOND + 0.15, 0.0, 0.0))


@pytest.mark.parametrize(('held', 'far', 'link'), [((), 0.65, 'fore'), ((STICK,), 0.85, 'stick')])
def test_links_that_would_touch_and_what_is_held_stop_the_plan_too(held, far, link):
    more = f"""
      <joint name="mast" type="fixed"><parent link="base"/><child link="pole"/><origin xyz="-{far} 0 0"/></joint>
      <link name="pole"><collision><geometry><cylinder radius="0.05" length="1"/></geometry></collision></link>"""
    scene = Scene(frame='base', attached=held)
    check = CollisionCheck(robot_geometry(parse_urdf(arm(more=more)), JOINTS, scene), live(scene), clearance=0.0)
    turn = Trajectory(
        stamp=T0, joints=JOINTS, times=np.array([0, 10**9]), positions=np.array([[0.0, 0.0], [2.95, 0.45]])
    )
    contact = check.still_contact(turn, T0)
    assert contact is not None
    assert {contact.link, contact.obstacle} == {link, 'pole'}


def test_what_may_touch_comes_from_the_srdf_or_from_what_touches_at_rest(tmp_path):
    scene = Scene(frame='base')
    wide = parse_urdf(arm(shape='<sphere radius="0.2"/>'))
    assert robot_geometry(wide, JOINTS, scene).pairs.tolist() == [], 'they are joined'
    path = tmp_path / 'arm.srdf'
    path.write_text('<robot name="arm"/>')
    assert robot_geometry(wide, JOINTS, scene, srdf=path).pairs.tolist() == [[0, 1]]
    path.write_text('<robot name="arm"><disable_collisions link1="upper" link2="fore" reason="x"/></robot>')
    assert robot_geometry(wide, JOINTS, scene, srdf=path).pairs.tolist() == []
    assert allowed_pairs(wide, scene, path, {}) == {frozenset(('upper', 'fore'))}
    path.write_text('<robot name="arm"><disable_collisions link1="upper" link2="nose"/></robot>')
    with pytest.raises(ConfigError, match='got links nose, allowed base, fore, upper'):
        robot_geometry(wide, JOINTS, scene, srdf=path)


NOWHERE = '<collision><origin xyz="0 0 nan"/><geometry><sphere radius="1"/></geometry></collision>'
TIP = (
    '<link name="p"/><joint name="tip" type="continuous"><parent link="t"/><child link="p"/><mimic joint="tail"/>'
    '</joint>'
)
TAIL = '<link name="t"/><joint name="tail" type="continuous"><parent link="base"/><child link="t"/></joint>'


@pytest.mark.parametrize(
    ('scene', 'text', 'reason'),
    [
        (Scene(frame='base', joints={'wrist': 0.0}), arm(), 'scene joints: got wrist'),
        (Scene(frame='base', joints={'elbow': 0.0}), arm(), 'got elbow, allowed joints of URDF that move'),
        (Scene(frame='base', joints={'tail': 0.0, 'tip': 1.0}), arm(more=TAIL + TIP), 'policy does not move: tail'),
        (
            Scene(frame='base', obstacles=(Obstacle(name='fore', shape=Sphere(radius=0.1)),)),
            arm(),
            'got obstacles named fore, allowed other names',
        ),
        (
            Scene(frame='base', attached=(Attached(name='fore_0', link='fore', shape=Sphere(radius=0.1)),)),
            arm(),
            'got obstacles named fore_0, allowed other names than those of the links',
        ),
        # The reader of URDFs leaves these out: the arm would be checked without them.
        (Scene(frame='base'), arm(more=TAIL.replace('"t"/>', f'"t">{NOWHERE}</link>', 1)), 'of links t that'),
        (Scene(frame='base', attached=(Attached(name='cup', link='palm', shape=Sphere(radius=0.1)),)), arm(), 'palm'),
        (Scene(frame='map'), arm(), "scene frame: got 'map', allowed 'base'"),
        (Scene(frame='base'), arm(shape='<sphere radius="-1"/>'), "got '-1', allowed 1 number more than 0"),
        (Scene(frame='base'), arm(shape='<box size="1 nan 1"/>'), "got '1 nan 1', allowed 3 numbers"),
        (Scene(frame='base'), arm(shape='<mesh filename="/no/such.stl"/>'), 'got no mesh /no/such.stl'),
        (Scene(frame='base'), arm(shape='<mesh filename="/etc/passwd"/>'), "got 'passwd', allowed .stl, .obj, .dae"),
        (
            Scene(frame='base'),
            arm(more=TAIL),
            'scene joints: got no position of tail',
        ),
    ],
)
def test_a_robot_or_scene_that_does_not_fit_is_refused_by_name(scene, text, reason):
    with pytest.raises(ConfigError) as caught:
        robot_geometry(parse_urdf(text), JOINTS, scene)
    assert reason in str(caught.value)


def stl(path: Path, *triangles: Any) -> Path:
    """Write a mesh of triangles (3, 3)."""
    kind = np.dtype([('normal', '<f4', 3), ('corners', '<f4', (3, 3)), ('attribute', '<u2')])
    rows = np.zeros(len(triangles), kind)
    rows['corners'] = triangles
    path.write_bytes(bytes(80) + np.uint32(len(rows)).tobytes() + rows.tobytes())
    return path


FLAT = ([[0, 0, 0], [1, 0, 0], [0, 1, 1]], [[1, 0, 0], [1, 1, 1], [0, 1, 1]])
FAR = ([[0, 0, 0], [300, 0, 0], [0, 1, 0]], [[0, 0, 0], [1, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize(
    ('triangles', 'reason'),
    [(FLAT, 'thick, allowed 0.0001 m or more'), (FAR, 'got a vertex at 300 m, allowed up to 100 m: `scale`')],
)
def test_a_mesh_of_which_no_hull_can_be_taken_or_in_millimetres_is_refused(tmp_path, triangles, reason):
    """Of a flat one Coal's hull is a segmentation fault."""
    path = stl(tmp_path / 'mesh.stl', *triangles)
    with pytest.raises(ConfigError, match=reason):
        robot_geometry(parse_urdf(arm(shape=f'<mesh filename="{path}"/>')), JOINTS, Scene(frame='base'))
    with pytest.raises(ConfigError, match=reason):
        coal_shape(Mesh(file=path, hull=True))
    if triangles is FLAT:
        assert coal_shape(Mesh(file=path)).num_tris == 2, 'a surface does without'


def test_the_description_of_a_model_can_be_read_with_limits_or_without(tmp_path):
    """By Pinocchio, as by whatever else reads URDFs: a joint needs an effort and a velocity, a slide its ends."""
    pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')
    own = pytest.importorskip('test.simulation.own_arm')
    from dp_ros.simulation.registry import make_world

    for number, (world, model) in enumerate([
        (own.WORLD, own.MODEL),
        (own.WORLD.replace(', velocity: 3.0', ''), own.MODEL.replace('range="0 0.04"', 'limited="false"')),
    ]):  # fmt: skip
        path = own.write_own_arm(tmp_path / str(number), world=world, model=model)
        text = make_world(str(path)).robot_description
        assert pinocchio.buildModelFromXML(text).njoints == 9, 'eight move'
        found = parse_urdf(text).limits(('elbow_joint', 'finger_joint'))
        assert found.velocity[0] == (1000.0 if number else 3.0)
        assert (found.lower[1], found.upper[1]) == ((-1000.0, 1000.0) if number else (0.0, 0.04))


def test_where_the_check_itself_fails_the_arm_still_stops():
    planner, check = planner_among(random_scene(np.random.default_rng(1), np.zeros(2)), np.zeros(2))
    actions = np.linspace(0.0, 1.0, 16)[:, np.newaxis] * [-0.3, 0.3]
    assert isinstance(planner.accept(Chunk(stamp=T0 - MS, control_dt=DT, joints=JOINTS, actions=actions), T0), Planned)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError('no distance')

    check.still_contact = broken  # type: ignore[method-assign]
    seen(planner, T0 + 700 * MS)
    stopped = planner.stop(T0 + 700 * MS)
    assert isinstance(stopped, Trajectory) and stopped.end < T0 + 1500 * MS


class Passing:
    """A check among obstacles of which one moves: a stop that ends before ``free`` [ns] is in its way."""

    version, moves, free = 0, True, 0

    def fault(self, now: int) -> str:
        return ''

    def start_contact(self, *_: Any) -> None: ...

    def still_contact(self, *_: Any) -> None: ...

    def moving_contact(self, trajectory: Trajectory, begin: int, resting: int = 0) -> Contact | None:
        early = trajectory.end < self.free
        return Contact(link='fore', obstacle='hand', distance=0.0, allowed=0.1, at=begin) if early else None


def test_the_stop_that_is_in_time_outlives_a_chunk_that_is_taken_back():
    planner, check = Planner(JOINTS, DT, LIMITS, max_joint_age=10**9), Passing()
    for stamp in (T0 - DT, T0):
        seen(planner, stamp, np.zeros(2))
    planner.rest_at(np.zeros(2), T0)
    planner.keep_clear(check)
    actions = np.linspace(0.0, 1.0, 16)[:, np.newaxis] * [-1.0, 0.5]
    now = T0 + 700 * MS
    for stamp, when in ((T0 - MS, T0), (now - MS, now)):
        chunk = Chunk(stamp=stamp, control_dt=DT, joints=JOINTS, actions=actions + (when > T0) * actions[7])
        assert isinstance(planner.accept(chunk, when), Planned)
        seen(planner, now)
    before = planner.checkpoint()
    later = Chunk(stamp=now, control_dt=DT, joints=JOINTS, actions=chunk.actions)
    assert isinstance(planner.accept(later, now), Planned)
    planner.rollback(before)
    soonest = planner.stop(now)
    planner.rollback(before)
    assert isinstance(soonest, Trajectory)
    check.free = soonest.end + 1  # the obstacle goes behind the arm: who stops a little later rests where it has been
    stopped = planner.stop(now)
    assert isinstance(stopped, Trajectory)
    assert stopped.end > soonest.end and check.moving_contact(stopped, now) is None
