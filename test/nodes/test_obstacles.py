"""The trajectory_publisher among obstacles: real messages, a simulated clock."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('pinocchio', reason='the extra planning is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Pose, PoseStamped
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import serialize_message

from dp_ros.data import MOST_ALTERNATIVES, Chunk
from dp_ros.messages import encoding
from dp_ros.messages.status import ChunkReport, decode
from dp_ros.motion.trajectory import Trajectory
from dp_ros.nodes.trajectory_publisher import node
from dp_ros.planning import shapes
from test.nodes.test_trajectory_publisher import DT, EARLY, MS, T0, Live, known_at_once, moving

pytestmark = pytest.mark.ros
__all__ = ['known_at_once']  # pytest finds the fixture by it

RADIUS = 0.01
URDF = f"""<robot name="pusher">
  <link name="world"/><link name="slide"/>
  <link name="pusher"><collision><geometry><sphere radius="{RADIUS}"/></geometry></collision></link>
  <joint name="pusher_x" type="prismatic"><parent link="world"/><child link="slide"/><axis xyz="1 0 0"/>
    <limit lower="0" upper="0.5" velocity="1" effort="1"/></joint>
  <joint name="pusher_y" type="prismatic"><parent link="slide"/><child link="pusher"/><axis xyz="0 1 0"/>
    <limit lower="0" upper="0.5" velocity="1" effort="1"/></joint>
</robot>"""
WALL = '{name: wall, shape: {kind: box, size: [0.02, 1.0, 1.0]}, position: [0.31, 0.3, 0.0]}'
PERSON = '{name: person, shape: {kind: sphere, radius: 0.05}, topic: person, speed: 0.2, max_age: 0.2}'
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def scene(
    folder: Path, *, standing: str = '', moves: str = '', frame: str = 'world', urdf: str = URDF
) -> dict[str, Any]:
    """Write a scene and a URDF; return the parameters that name them."""
    (folder / 'pusher.urdf').write_text(urdf)
    (folder / 'scene.yaml').write_text(f'frame: {frame}\nobstacles: [{standing}]\nmoving: [{moves}]\n')
    return {
        'urdf_file': str(folder / 'pusher.urdf'),
        'scene_file': str(folder / 'scene.yaml'),
        'clearance': 0.02,
    }


def end_of(trajectory: Trajectory) -> float:
    return float(trajectory.positions[-1, 0])


def test_a_plan_rests_on_its_own_path_before_an_obstacle_and_goes_on_when_that_is_gone(ros, tiny, tmp_path):
    live = moving(Live(ros, tiny, at=EARLY, **scene(tmp_path, standing=WALL)))
    first = live.trajectory(1)
    # The chunk goes to 0.35; the wall begins at 0.30, and the pusher has a radius.
    assert 0.25 < end_of(first) <= 0.30 - RADIUS - 0.02
    assert np.abs(first.positions[:, 1] - 0.3).max() < 1e-9, 'it is led nowhere else'
    blocked = ros.status('trajectory_publisher: obstacles', WARN, 'blocked: pusher comes within')
    assert {v.key: v.value for v in blocked.values}['obstacle'] == 'wall'
    live.advance(T0 + 800 * MS)
    live.time(T0 + 840 * MS)
    live.send(live.chunk(T0 + 800 * MS, 0.28))
    assert end_of(live.trajectory(2)) <= 0.30 - RADIUS - 0.02, 'the way is still blocked'
    assert live.safety_state == 'RUN'
    check = live.node.planner.clear.check
    check.scene.bring('', {})
    live.advance(T0 + 1600 * MS)
    live.time(T0 + 1640 * MS)
    live.send(live.chunk(T0 + 1600 * MS, 0.28))
    assert end_of(live.trajectory(3)) > 0.4
    ros.status('trajectory_publisher: obstacles', OK, 'clear')


def reports(ros: Any) -> list[ChunkReport]:
    """Listen to what the publisher reports of chunks that it sends."""
    found: list[ChunkReport] = []
    ros.tester.create_subscription(
        DiagnosticStatus, '/trajectory_publisher/ledger', lambda m: found.append(decode(ChunkReport, m.values)), 10
    )
    ros.connected('/trajectory_publisher/ledger')
    return found


def choices(live: Live, stamp: int, x: float, *slopes: float) -> Any:
    """Return a chunk that goes along x from ``x`` by the first of ``slopes`` [m] a step, and by the others instead."""
    chunk, *others = (encoding.chunk_from_message(live.chunk(stamp, x, slope)) for slope in slopes)
    return encoding.chunk_to_message(replace(chunk, alternatives=tuple(others)))


def test_an_alternative_that_is_clear_is_sent_before_a_chunk_that_is_not_and_the_ledger_says_which(ros, tiny, tmp_path):
    live = Live(ros, tiny, at=EARLY, **scene(tmp_path, standing=WALL))
    ledger = reports(ros)
    live.node.motion.parts.sender.steady = lambda: 0  # however busy the machine is, there is time for alternatives
    live.begin()
    live.time(T0 + 40 * MS)
    live.send(choices(live, T0, 0.2, 0.01, 0.009, 0.003, 0.002))  # to 0.35, 0.335, 0.245, 0.23; the wall is at 0.3
    assert end_of(live.trajectory(1)) == pytest.approx(0.245, abs=1e-3)
    ros.status('trajectory_publisher: obstacles', OK, 'clear')
    assert live.node.ledger.limits['alternative_chunks'] == 1
    live.advance(T0 + 800 * MS)
    live.time(T0 + 840 * MS)
    live.send(choices(live, T0 + 800 * MS, 0.224, 0.01, 0.009))
    assert 0.25 < end_of(live.trajectory(2)) <= 0.30 - RADIUS - 0.02, 'none is clear: the first goes as far as is free'
    live.advance(T0 + 1600 * MS)
    live.time(T0 + 1640 * MS)
    live.send(choices(live, T0 + 1600 * MS, 0.26, -0.003, -0.002))
    assert end_of(live.trajectory(3)) == pytest.approx(0.215, abs=1e-3)
    live.advance(live.now + 200 * MS)
    ros.wait(lambda: len(ledger) >= 3 and ledger[-1].observation == T0 + 1600 * MS, 'the reports')
    assert [report.alternative for report in ledger if report.published is not None] == [2, 0, 0]
    assert live.safety_state == 'RUN'


@pytest.mark.parametrize(
    ('slopes', 'tries', 'end'),
    [
        ((0.009, 0.003), ['chunk', 'alternative', 'chunk'], 0.27),
        ((0.003, 0.002), ['chunk', 'alternative', 'alternative'], 0.245),
    ],
)
def test_a_plan_that_was_late_is_made_again_without_trying_more(ros, tiny, tmp_path, slopes, tries, end):
    live = Live(ros, tiny, at=EARLY, **scene(tmp_path, standing=WALL))
    live.begin()
    live.time(T0 + 40 * MS)
    accept, tried = live.node.planner.accept, []

    def counted(chunk: Chunk, now: int, *, whole: bool = False) -> Any:
        tried.append('alternative' if whole else 'chunk')
        return accept(chunk, now, whole=whole)

    live.node.planner.accept = counted
    passed = iter(range(0, 10**12, 8 * MS))  # at each look at the clock it is 8 ms later
    live.node.motion.parts.sender.steady = lambda: next(passed)
    live.send(choices(live, T0, 0.2, 0.01, *slopes))
    assert end_of(live.trajectory(1)) == pytest.approx(end, abs=0.005)
    assert tried == tries
    assert live.safety_state == 'RUN'


def test_alternatives_that_are_no_numbers_too_many_or_too_large_harm_nothing(ros, tiny, tmp_path, monkeypatch):
    live = moving(Live(ros, tiny, at=EARLY, **scene(tmp_path, standing=WALL)))
    before = live.node.planner.plan
    wrong = choices(live, T0 + 800 * MS, 0.24, 0.001, 0.002)
    wrong.points[3].positions[2] = float('nan')
    live.advance(T0 + 800 * MS)
    live.time(T0 + 840 * MS)
    live.send(wrong)
    ros.status('trajectory_publisher: chunk', ERROR, 'chunk actions: got nan')
    many = live.chunk(T0 + 800 * MS)
    many.joint_names = list(many.joint_names) * 9
    for point in many.points:
        point.positions = list(point.positions) * 9
    live.send(many)
    ros.status('trajectory_publisher: chunk', ERROR, 'alternatives: got 8, allowed up to 7')
    opened: list[bytes] = []
    many.joint_names = list(many.joint_names) * 9
    for point in many.points:
        point.positions = list(point.positions) * 9
    with monkeypatch.context() as patched:
        patched.setattr(node, 'deserialize_message', lambda message, _: opened.append(message))
        live.send(many)
    ros.status('trajectory_publisher: chunk', ERROR, 'bytes, allowed up to')
    assert not opened, 'what is too large is not decoded'
    assert live.node.planner.plan is before
    assert live.safety_state == 'RUN'
    live.send(choices(live, T0 + 800 * MS, 0.24, 0.001, *[0.002] * 7))
    assert not live.node.ledger.refusal
    assert live.trajectory(2).end > T0 + 800 * MS


def test_a_chunk_with_all_alternatives_is_small_enough_and_one_with_many_more_is_not():
    joints = tuple(f'a_joint_with_a_long_name_{number}' for number in range(14))

    def size(count: int) -> int:
        zeros = {'actions': np.zeros((64, 14)), 'velocities': np.zeros((64, 14))}
        message = encoding.chunk_to_message(Chunk(stamp=T0, control_dt=DT, joints=joints, **zeros))
        message.joint_names = list(joints) * (1 + count)
        for point in message.points:
            point.positions, point.velocities = (
                list(point.positions) * (1 + count),
                list(point.velocities) * (1 + count),
            )
        return len(serialize_message(message))

    assert size(MOST_ALTERNATIVES) <= node.largest_chunk(64, joints) < size(3 * MOST_ALTERNATIVES)


def test_an_obstacle_that_comes_near_stops_the_arm_and_one_that_is_not_seen_any_more_too(ros, tiny, tmp_path):
    live = Live(ros, tiny, at=EARLY, **scene(tmp_path, moves=PERSON))
    persons = ros.talk(PoseStamped, '/person')

    def person(x: float, frame: str = 'world') -> None:
        pose = PoseStamped()
        pose.header.frame_id = frame
        pose.header.stamp.sec, pose.header.stamp.nanosec = divmod(live.now, 1_000_000_000)
        pose.pose.position.x, pose.pose.position.y, pose.pose.orientation.w = x, 0.3, 1.0
        before = live.node.planner.clear.check.scene.sighting('person')
        persons.publish(pose)
        if frame == 'world':
            ros.wait(lambda: live.node.planner.clear.check.scene.sighting('person') != before, 'the person')

    took = live.measure

    def measure(stamp: int, *where: Any, **more: Any) -> None:
        person(0.47 - 0.2 * max(0, stamp - T0) / 1e9)
        took(stamp, *where, **more)

    live.measure = measure  # type: ignore[method-assign]
    moving(live)
    whole = live.trajectory(1)
    assert end_of(whole) > 0.34
    live.advance(T0 + 500 * MS)
    stopped = live.trajectory(2)
    assert stopped.end < T0 + 800 * MS
    assert end_of(stopped) < 0.27
    assert live.safety_state == 'RUN'
    live.advance(T0 + 800 * MS)
    live.measure = took  # type: ignore[method-assign]
    live.advance(T0 + 1100 * MS)
    live.send(live.chunk(T0 + 1050 * MS, 0.26))
    ros.status('trajectory_publisher: chunk', ERROR, "obstacle 'person': got a pose 0.30 s old")
    assert live.safety_state in ('DECELERATE', 'HOLD')


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'frame': 'camera'}, "scene frame: got 'camera', allowed 'world'"),
        ({'urdf': URDF.replace('<collision>', '<visual>').replace('</collision>', '</visual>')}, 'no <collision>'),
        (
            {'urdf': URDF.replace(f'<sphere radius="{RADIUS}"/>', '<mesh filename="package://no_such/pusher.stl"/>')},
            "got no mesh 'package://no_such/pusher.stl'",
        ),
        ({'standing': WALL.replace('box', 'ball')}, 'kind'),
    ],
)
def test_a_scene_that_cannot_be_used_is_refused_by_name_at_configure(ros, tiny, tmp_path, changes, reason, capfd):
    with pytest.raises(AssertionError):
        Live(ros, tiny, **scene(tmp_path, **changes))
    assert reason in capfd.readouterr().err


def test_without_pinocchio_a_scene_is_refused_by_name(ros, tiny, tmp_path, monkeypatch, capfd):
    import sys

    monkeypatch.setitem(sys.modules, 'pinocchio', None)
    with pytest.raises(AssertionError):
        Live(ros, tiny, **scene(tmp_path))
    assert 'without Pinocchio and Coal' in capfd.readouterr().err
    assert shapes.MISSING


def test_a_start_in_contact_is_refused_by_name(ros, tiny, tmp_path):
    live = Live(ros, tiny, at=EARLY, **scene(tmp_path, standing=WALL.replace('0.31', '0.22')))
    live.begin()
    live.time(T0 + 40 * MS)
    live.send(live.chunk(T0))
    ros.status('trajectory_publisher: chunk', ERROR, 'start: pusher comes within')
    assert live.sent == []


def test_a_way_around_is_planned_where_the_policys_stays_blocked_and_then_the_policy_goes_on(ros, tiny, tmp_path):
    post = '{name: post, shape: {kind: cylinder, radius: 0.03, length: 1.0}, position: [0.32, 0.3, 0.0]}'
    planned = {'path_planner': 'builtin', 'blocked_after': 0.3, 'planning_time': 5.0}
    live = Live(ros, tiny, at=EARLY, **scene(tmp_path, standing=post), **planned)
    motion = live.node.motion
    ways = motion.parts.detour.ways
    ros.wait(lambda: ways.answer() or ways.ready, 'the process that plans')
    live.begin()
    deadline = live.now + 60_000 * MS
    while not live.sent:  # a busy machine may not plan in time
        assert live.now < deadline
        live.advance(live.now + 200 * MS)
        live.send(live.chunk(live.now - 40 * MS, slope=0.017))  # to 0.455, as those that follow: behind the post
        ros.spin(0.05)
    assert end_of(live.trajectory(1)) < 0.27
    end = time.monotonic() + 30.0  # of the process that plans, which knows no simulated clock
    while not motion.parts.detour.planned:
        assert time.monotonic() < end
        live.advance(live.now + 400 * MS)
        live.send(live.chunk(live.now - 40 * MS, 0.26, 0.013))
        ros.spin(0.02)

    def ways_round() -> list[Trajectory]:
        plans = map(encoding.trajectory_value, live.plans)
        return [plan for plan in plans if abs(plan.positions[-1][0] - 0.455) < 0.01]

    positions = np.asarray(ros.wait(ways_round, 'the way')[0].positions)
    assert np.hypot(positions[:, 0] - 0.32, positions[:, 1] - 0.3).min() >= 0.03 + RADIUS + 0.02
    assert motion.parts.detour.follows(live.now)
    live.send(live.chunk(live.now, 0.3))
    ros.status('trajectory_publisher: chunk', WARN, 'a way around an obstacle is followed first')
    assert live.safety_state == 'RUN'
    while motion.parts.detour.follows(live.now):
        live.advance(live.now + 400 * MS)
        live.send(live.chunk(live.now - 40 * MS, 0.3))
    live.advance(live.now + 400 * MS)
    live.send(live.chunk(live.now - 40 * MS, 0.46, 0.001))
    ros.wait(lambda: live.node.counts['published'] > 1, 'a chunk after the way')
    assert live.safety_state == 'RUN'
    assert not motion.blocked


def test_a_robot_that_rests_gets_out_of_the_way_of_what_has_come_near(ros, tiny, tmp_path):
    """A person walks up to the arm and stops short of it, near enough to reach it within a moment."""
    known = PERSON.replace('speed: 0.2', 'speed: 0.3, acceleration: 1.0, pose_error: 0.001')
    planned = {'path_planner': 'builtin', 'blocked_after': 100.0}
    live = Live(ros, tiny, at=EARLY, **scene(tmp_path, moves=known), **planned)
    detour = live.node.motion.parts.detour
    ros.wait(lambda: detour.ways.answer() or detour.ways.ready, 'the process that plans')
    persons, took = ros.talk(PoseStamped, '/person'), live.measure

    def where(now: int) -> float:
        """Return how far the person is along x [m]: at 0.2 m/s, braked at 0.4 m/s^2 before 0.36."""
        far = 0.41 + 0.2 * (T0 + 300 * MS - now) / 1e9
        seconds = min(max(0.0, (now - T0 - 300 * MS) / 1e9), 0.5)
        return far if not seconds else 0.41 - 0.2 * seconds + 0.2 * seconds**2

    def measure(stamp: int, *at: Any, **more: Any) -> None:
        pose = PoseStamped()
        pose.header.frame_id = 'world'
        pose.header.stamp.sec, pose.header.stamp.nanosec = divmod(live.now, 1_000_000_000)
        pose.pose.position.x, pose.pose.position.y, pose.pose.orientation.w = where(live.now), 0.3, 1.0
        before = live.node.planner.clear.check.scene.sighting('person')
        persons.publish(pose)
        ros.wait(lambda: live.node.planner.clear.check.scene.sighting('person') != before, 'the person')
        took(stamp, *at, **more)

    live.measure = measure  # type: ignore[method-assign]
    live.begin()
    live.time(T0 + 40 * MS)
    live.send(live.chunk(T0))
    rested, end = end_of(live.trajectory(1)), time.monotonic() + 60.0  # of the process, which knows no simulated clock
    while not detour.retreated:
        assert time.monotonic() < end
        live.advance(live.now + 50 * MS)
        if not detour.asks and live.now > T0 + 500 * MS:
            live.send(live.chunk(live.now - 40 * MS, 0.3))
        ros.spin(0.02)
    plan = live.node.planner.plan
    assert plan is not None and live.safety_state == 'RUN'
    away = np.linalg.norm(plan.positions - [0.36, 0.3], axis=1)
    assert away[-1] > away[0] + 0.05 and away.min() > away[0] - 0.01 and plan.positions[0, 0] < rested
    assert not detour.planned


def block(x: float, *, action: int = 0) -> Any:
    """Return a marker of a wall across the way, at ``x`` [m]."""
    messages = pytest.importorskip('visualization_msgs.msg', reason='visualization_msgs is not installed')
    made = messages.Marker(ns='cell', id=1, type=1, action=action)
    made.header.frame_id = 'world'
    made.pose.position.x, made.pose.position.y = x, 0.3
    made.scale.x, made.scale.y, made.scale.z = 0.02, 1.0, 1.0
    return messages.MarkerArray(markers=[made])


def standing(live: Live) -> list[str]:
    return sorted(live.node.planner.clear.check.scene.standing)


LATCHED = QoSProfile(depth=10, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.BEST_EFFORT)


@pytest.mark.parametrize('qos', [10, LATCHED, BEST_EFFORT])
def test_markers_over_dds_stop_the_arm_and_let_it_go(ros, tiny, tmp_path, qos):
    """However they are published; whoever keeps them for those who join later is heard of what he said before."""
    markers = ros.tester.create_publisher(type(block(0.0)), '/cell', qos)
    if qos is LATCHED:
        markers.publish(block(0.31))
    live = Live(ros, tiny, at=EARLY, topics__markers='cell', **scene(tmp_path))
    if qos is not LATCHED:
        ros.wait(lambda: live.node.refresh() or markers.get_subscription_count(), 'who listens')
        markers.publish(block(0.31))
    ros.wait(lambda: live.node.refresh() or standing(live), 'the wall')  # it looks at who publishes each second
    assert standing(live) == ['topics.markers/cell/1']
    moving(live)
    assert 0.25 < end_of(live.trajectory(1)) <= 0.30 - RADIUS - 0.02
    ros.status('trajectory_publisher: obstacles', WARN, 'within')
    markers.publish(block(0.31, action=2))
    ros.wait(lambda: not standing(live), 'the wall to be gone')
    live.advance(T0 + 800 * MS)
    live.time(T0 + 840 * MS)
    live.send(live.chunk(T0 + 800 * MS, 0.28))
    assert end_of(live.trajectory(2)) > 0.4
    assert live.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    ros.wait(lambda: not markers.get_subscription_count(), 'nobody to listen any more')


def test_a_marker_that_cannot_be_checked_lets_nothing_move(ros, tiny, tmp_path):
    live = Live(ros, tiny, at=EARLY, topics__markers='cell', **scene(tmp_path))
    markers = ros.talk(type(block(0.0)), '/cell')
    arrow = block(5.0)
    arrow.markers[0].type = 0
    markers.publish(arrow)
    ros.wait(lambda: live.node.planner.clear.fault(live.now), 'the fault')
    live.measure(EARLY)
    live.send(live.chunk(EARLY))
    live.refused('topics.markers: marker cell/1: got type 0')


class MoveGroup:
    """Publishes a planning scene and answers for it as MoveIt's move_group does, which keeps nothing."""

    def __init__(self, ros: Any, objects: list[Any]) -> None:
        self.ros, self.objects, self.asked = ros, objects, 0
        self._messages: Any = pytest.importorskip('moveit_msgs.msg', reason='moveit_msgs is not installed')
        service = pytest.importorskip('moveit_msgs.srv', reason='moveit_msgs is not installed').GetPlanningScene
        self._scenes = ros.tester.create_publisher(self._messages.PlanningScene, '/move/monitored_planning_scene', 100)
        self._service = ros.tester.create_service(service, '/move/get_planning_scene', self._answer)

    def _answer(self, request: Any, response: Any) -> Any:
        assert request.components.components == 4 | 8 | 16 | 32
        self.asked += 1
        response.scene.world.collision_objects = self.objects
        return response

    def publish(self, *objects: Any) -> None:
        message = self._messages.PlanningScene(is_diff=True)
        message.world.collision_objects = list(objects)
        self._scenes.publish(message)

    def listened(self) -> None:
        self.ros.wait(self._scenes.get_subscription_count, 'who listens')


def wall(name: str, x: float, operation: int = 0) -> Any:
    messages = pytest.importorskip('moveit_msgs.msg', reason='moveit_msgs is not installed')
    shapes = pytest.importorskip('shape_msgs.msg', reason='shape_msgs is not installed')
    made = messages.CollisionObject(id=name, operation=bytes([operation]))
    made.header.frame_id = 'world'
    made.pose.position.x, made.pose.position.y = x, 0.3
    made.primitives = [shapes.SolidPrimitive(type=1, dimensions=[0.02, 1.0, 1.0])]
    made.primitive_poses = [Pose()]
    return made


def test_a_planning_scene_is_asked_for_and_followed_by_its_differences(ros, tiny, tmp_path):
    pytest.importorskip('moveit_msgs.msg', reason='moveit_msgs is not installed')
    parameters = scene(tmp_path)
    live = Live(ros, tiny, at=EARLY, topics__planning_scene='/move/monitored_planning_scene', **parameters)
    live.measure(EARLY)
    live.send(live.chunk(EARLY))
    live.refused('topics.planning_scene: got no whole scene yet')
    group = MoveGroup(ros, [wall('far', 5.0)])
    group.listened()
    group.publish(wall('near', 0.31))
    ros.wait(lambda: live.node.refresh() or group.asked, 'the question')
    ros.wait(lambda: len(standing(live)) == 2, 'both walls')
    assert not live.node.planner.clear.fault(live.now)
    moving(live)
    assert 0.25 < end_of(live.trajectory(1)) <= 0.30 - RADIUS - 0.02
    group.publish(wall('near', 0.31, operation=1))
    ros.wait(lambda: standing(live) == ['topics.planning_scene/far/0'], 'the wall to be gone')
    live.advance(T0 + 800 * MS)
    live.time(T0 + 840 * MS)
    live.send(live.chunk(T0 + 800 * MS, 0.28))
    assert end_of(live.trajectory(2)) > 0.4
    assert group.asked == 1


def test_collision_objects_over_dds_are_kept_clear_of(ros, tiny, tmp_path):
    pytest.importorskip('moveit_msgs.msg', reason='moveit_msgs is not installed')
    live = Live(ros, tiny, at=EARLY, topics__collision_objects='/collision_object', **scene(tmp_path))
    objects = ros.talk(type(wall('near', 0.31)), '/collision_object')
    objects.publish(wall('near', 0.31))
    ros.wait(lambda: standing(live), 'the wall')
    moving(live)
    assert 0.25 < end_of(live.trajectory(1)) <= 0.30 - RADIUS - 0.02
