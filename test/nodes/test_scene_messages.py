"""What messages say of obstacles: the messages themselves where their packages are installed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from geometry_msgs.msg import Pose

from dp_ros.errors import ConfigError
from dp_ros.nodes.trajectory_publisher.obstacles.messages import message_type, take
from dp_ros.planning.scene import Attached, Box, Cylinder, LiveScene, Scene, Sphere

HALF = 0.5**0.5
MARKERS, OBJECTS, SCENE = 'topics.markers', 'topics.collision_objects', 'topics.planning_scene'
ADD, DELETE, DELETE_ALL = 0, 2, 3
REMOVE, APPEND, MOVE = 1, 2, 3


@pytest.fixture
def scene() -> LiveScene:
    cup = Attached(name='cup', link='tool', shape=Sphere(radius=0.05))
    return LiveScene(Scene(frame='base', attached=(cup,)))


def pose(x: float = 0.0, turn: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0)) -> Pose:
    made = Pose()
    made.position.x = x
    made.orientation.x, made.orientation.y, made.orientation.z, made.orientation.w = turn
    return made


def marker(number: int, kind: int, action: int = ADD, frame: str = 'base', ns: str = 'seen') -> Any:
    messages = pytest.importorskip('visualization_msgs.msg', reason='visualization_msgs is not installed')
    made = messages.Marker(ns=ns, id=number, type=kind, action=action, pose=pose(1.0))
    made.header.frame_id = frame
    made.scale.x, made.scale.y, made.scale.z = 0.2, 0.4, 0.6
    made.lifetime.sec = 1
    return made


def show(scene: LiveScene, *markers: Any) -> None:
    messages = pytest.importorskip('visualization_msgs.msg', reason='visualization_msgs is not installed')
    take(MARKERS, messages.MarkerArray(markers=list(markers)), scene)


def test_markers_are_added_moved_and_deleted(scene):
    show(scene, marker(1, 1), marker(2, 2), marker(3, 3, frame='/base'))
    shapes = {name: part.shape for name, part in scene.standing.items()}
    assert shapes == {
        'topics.markers/seen/1': Box(size=(0.2, 0.4, 0.6)),
        'topics.markers/seen/2': Sphere(radius=0.3),
        'topics.markers/seen/3': Cylinder(radius=0.2, length=0.6),
    }
    moved = marker(1, 1)
    moved.pose.position.z = 0.5
    show(scene, moved, marker(2, 2, action=DELETE), marker(9, 1, action=DELETE))
    assert len(scene.standing) == 2 and scene.standing['topics.markers/seen/1'].position == (1.0, 0.0, 0.5)
    show(scene, marker(0, 0, action=DELETE_ALL, ns=''), marker(4, 2))
    assert list(scene.standing) == ['topics.markers/seen/4'] and scene.fault(0) == ''


def test_deleting_all_of_a_namespace_leaves_what_others_show(scene):
    show(scene, marker(1, 1, ns='table'), marker(1, 1, ns='table/legs'), marker(1, 10, ns='table'))
    show(scene, marker(0, 0, action=DELETE_ALL, ns='table'))
    assert list(scene.standing) == ['topics.markers/table/legs/1'] and scene.fault(0) == ''
    show(scene, marker(0, 0, action=DELETE_ALL, ns=''))
    assert not scene.standing


@pytest.mark.parametrize('kind', [0, *range(4, 13)])
def test_a_marker_of_a_shape_that_cannot_be_checked_is_a_fault_until_it_is_deleted(scene, kind):
    show(scene, marker(1, kind), marker(2, 1))
    assert f'marker seen/1: got type {kind}, allowed cubes, spheres and cylinders' in scene.fault(0)
    show(scene, marker(2, 1), marker(3, 2))
    assert f'got type {kind}' in scene.fault(0), 'nor is it there now'
    show(scene, marker(1, kind, action=DELETE))
    assert scene.fault(0) == '' and len(scene.standing) == 2


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'frame': 'camera'}, "got frame 'camera', allowed 'base'"),
        ({'frame': ''}, "got frame '', allowed 'base'"),
        ({'action': 1}, 'got action 1, allowed add, delete and delete all'),
    ],
)
def test_a_marker_that_cannot_be_used_is_a_fault_and_stays_where_it_was(scene, changes, reason):
    show(scene, marker(1, 1))
    show(scene, marker(1, 1, **changes), marker(2, 1))
    assert reason in scene.fault(0) and len(scene.standing) == 2
    show(scene, marker(1, 1))
    assert scene.fault(0) == ''


@pytest.mark.parametrize('wrong', [float('nan'), 0.0, -1.0, 1e6])
def test_a_marker_without_a_size_is_a_fault(scene, wrong):
    flat = marker(1, 1)
    flat.scale.y = wrong
    show(scene, flat)
    assert 'box size' in scene.fault(0) and not scene.standing


def test_a_marker_whose_orientation_nobody_filled_in_is_not_turned(scene):
    plain = marker(1, 1)
    plain.pose.orientation.w = 0.0
    show(scene, plain)
    assert scene.fault(0) == '' and scene.standing['topics.markers/seen/1'].orientation == (0.0, 0.0, 0.0, 1.0)


class StandIns:
    """Messages of the shape of moveit_msgs'."""

    def collision_object(self, name: str, operation: int, dimensions: list[float], meshes: int = 0) -> Any:
        return SimpleNamespace(
            id=name, header=SimpleNamespace(frame_id='base'), operation=bytes([operation]), meshes=[None] * meshes,
            planes=[], mesh_poses=[], plane_poses=[],
            pose=pose(1.0, (0.0, 0.0, HALF, HALF)), primitive_poses=[pose(0.5)],
            primitives=[SimpleNamespace(type=1, dimensions=dimensions)],
        )  # fmt: skip

    def attached(self, link: str, held: Any) -> Any:
        return SimpleNamespace(link_name=link, object=held)

    def planning_scene(self, objects: list[Any], attached: list[Any], octomap: list[int], *, is_diff: bool) -> Any:
        octomap_with_pose = SimpleNamespace(octomap=SimpleNamespace(data=octomap))
        world = SimpleNamespace(collision_objects=objects, octomap=octomap_with_pose)
        state = SimpleNamespace(attached_collision_objects=attached)
        return SimpleNamespace(world=world, robot_state=state, is_diff=is_diff)


class Real:
    """The messages themselves."""

    def __init__(self) -> None:
        self.moveit: Any = pytest.importorskip('moveit_msgs.msg', reason='moveit_msgs is not installed')
        self._shapes: Any = pytest.importorskip('shape_msgs.msg', reason='shape_msgs is not installed')

    def collision_object(self, name: str, operation: int, dimensions: list[float], meshes: int = 0) -> Any:
        made = self.moveit.CollisionObject(
            id=name, operation=bytes([operation]), pose=pose(1.0, (0.0, 0.0, HALF, HALF))
        )
        made.header.frame_id = 'base'
        made.primitives = [self._shapes.SolidPrimitive(type=1, dimensions=dimensions)]
        made.primitive_poses = [pose(0.5)]
        made.meshes = [self._shapes.Mesh() for _ in range(meshes)]
        return made

    def attached(self, link: str, held: Any) -> Any:
        return self.moveit.AttachedCollisionObject(link_name=link, object=held)

    def planning_scene(self, objects: list[Any], attached: list[Any], octomap: list[int], *, is_diff: bool) -> Any:
        made = self.moveit.PlanningScene(is_diff=is_diff)
        made.world.collision_objects = objects
        made.world.octomap.octomap.data = octomap
        made.robot_state.attached_collision_objects = attached
        return made


@pytest.fixture(params=[StandIns, Real])
def moveit(request: Any) -> Any:
    return request.param()


def crate(
    moveit: Any, operation: int = ADD, name: str = 'crate', *, at: float = 1.0, turn: Any = (0.0, 0.0, HALF, HALF),
    poses: Any = None, **more: Any,
) -> Any:  # fmt: skip
    """Return a box at x ``at``; ``poses`` are the x of its shapes in it, or how many there are."""
    made = moveit.collision_object(name, operation, [0.1, 0.2, 0.3], **more)
    made.pose = pose(at, turn)
    if poses is not None:
        made.primitive_poses = [pose(x) for x in (poses if isinstance(poses, list) else [0.5] * poses)]
    return made


def test_collision_objects_are_put_by_their_poses_and_removed(scene, moveit):
    take(OBJECTS, crate(moveit), scene)
    (part,) = scene.standing.values()
    assert part.shape == Box(size=(0.1, 0.2, 0.3))
    assert part.position == pytest.approx((1.0, 0.5, 0.0)), 'turned by a quarter, then moved'
    assert part.orientation == pytest.approx((0.0, 0.0, HALF, HALF))
    take(OBJECTS, crate(moveit, name='crate/1'), scene)
    take(OBJECTS, crate(moveit, REMOVE), scene)
    assert list(scene.standing) == ['topics.collision_objects/crate/1/0'], 'it has only its name in common'
    take(OBJECTS, crate(moveit, REMOVE, name=''), scene)
    assert not scene.standing and scene.fault(0) == ''


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'meshes': 1}, "collision object 'crate': got meshes or planes"),
        ({'operation': 7}, "collision object 'crate': got operation 7, allowed add, remove, append and move"),
        ({'operation': MOVE, 'poses': 2}, "collision object 'crate': got move with another number of poses"),
        ({'operation': APPEND, 'at': 2.0}, "collision object 'crate': got append with another pose, allowed that"),
    ],
)
def test_an_object_that_cannot_be_used_is_a_fault_until_it_is_removed(scene, moveit, changes, reason):
    take(OBJECTS, crate(moveit), scene)
    take(OBJECTS, crate(moveit, **changes), scene)
    take(OBJECTS, crate(moveit, name='other'), scene)
    assert reason in scene.fault(0) and len(scene.standing) == 2
    take(OBJECTS, crate(moveit, REMOVE), scene)
    assert scene.fault(0) == '' and len(scene.standing) == 1


def test_an_object_gets_more_shapes_and_is_moved_with_them_as_moveit_does(scene, moveit):
    def places() -> list[list[float]]:
        return [[round(length, 9) for length in part.position] for part in scene.standing.values()]

    take(OBJECTS, crate(moveit), scene)  # at x 1, turned by a quarter about z; its shape is 0.5 along its own x
    take(OBJECTS, crate(moveit, APPEND, poses=[1.5]), scene)
    assert places() == [[1.0, 0.5, 0.0], [1.0, 1.5, 0.0]]
    assert len({part.name for part in scene.standing.values()}) == 2
    take(OBJECTS, crate(moveit, MOVE, at=3.0, poses=0), scene)
    assert places() == [[3.0, 0.5, 0.0], [3.0, 1.5, 0.0]]
    take(OBJECTS, crate(moveit, MOVE, at=3.0, turn=(0.0, 0.0, 0.0, 1.0), poses=0), scene)
    assert places() == [[3.5, 0.0, 0.0], [4.5, 0.0, 0.0]]
    for part in scene.standing.values():
        assert part.orientation == pytest.approx((0.0, 0.0, 0.0, 1.0))
    take(OBJECTS, crate(moveit, MOVE, at=0.0, poses=[0.1, 0.2]), scene)
    assert places() == [[0.0, 0.1, 0.0], [0.0, 0.2, 0.0]]
    take(OBJECTS, crate(moveit), scene)
    assert places() == [[1.0, 0.5, 0.0]] and scene.fault(0) == '', 'added anew, it has what it is added with'
    take(OBJECTS, crate(moveit, APPEND, name='new'), scene)
    assert len(places()) == 2 and scene.fault(0) == ''


def test_a_single_shape_whose_object_has_no_pose_is_moved_by_its_own(scene, moveit):
    still = (0.0, 0.0, 0.0, 1.0)
    take(OBJECTS, crate(moveit, at=0.0, turn=still, poses=[0.7]), scene)
    (part,) = scene.standing.values()
    assert part.position == pytest.approx((0.7, 0.0, 0.0))
    take(OBJECTS, crate(moveit, MOVE, at=2.0, turn=still, poses=0), scene)
    (part,) = scene.standing.values()
    assert part.position == pytest.approx((2.0, 0.0, 0.0))


def test_what_is_moved_or_gets_more_stays_a_fault_where_it_could_not_be_used_or_is_not_there(scene, moveit):
    take(OBJECTS, crate(moveit, MOVE), scene)
    assert "collision object 'crate': got move, allowed of what was added before" in scene.fault(0)
    take(OBJECTS, crate(moveit), scene)
    assert scene.fault(0) == ''
    take(OBJECTS, crate(moveit, meshes=1), scene)
    for operation in (MOVE, APPEND):
        take(OBJECTS, crate(moveit, operation), scene)
        assert 'got meshes or planes' in scene.fault(0) and len(scene.standing) == 1
    take(OBJECTS, crate(moveit), scene)
    assert scene.fault(0) == ''
    take(OBJECTS, crate(moveit, MOVE, at=float('nan')), scene)
    assert 'position' in scene.fault(0) and len(scene.standing) == 1


def test_an_object_with_too_few_lengths_or_without_a_name_is_a_fault(scene, moveit):
    take(OBJECTS, moveit.collision_object('crate', ADD, [0.1, 0.2]), scene)
    assert 'got type 1 with 2 lengths' in scene.fault(0)
    take(OBJECTS, crate(moveit), scene)
    take(OBJECTS, crate(moveit, name=''), scene)
    assert 'got no id' in scene.fault(0)


def test_a_whole_planning_scene_replaces_the_one_before_and_a_difference_does_not(scene, moveit):
    take(SCENE, moveit.planning_scene([crate(moveit)], [], [], is_diff=False), scene)
    take(SCENE, moveit.planning_scene([crate(moveit, name='other')], [], [], is_diff=True), scene)
    assert len(scene.standing) == 2
    take(SCENE, moveit.planning_scene([crate(moveit, REMOVE)], [], [], is_diff=True), scene)
    assert list(scene.standing) == ['topics.planning_scene/other/0']
    take(SCENE, moveit.planning_scene([crate(moveit)], [], [], is_diff=False), scene)
    assert list(scene.standing) == ['topics.planning_scene/crate/0'] and scene.fault(0) == ''


def test_an_octomap_and_what_is_attached_are_faults_as_long_as_they_are_there(scene, moveit):
    take(SCENE, moveit.planning_scene([], [], [1, 2], is_diff=False), scene)
    assert 'got an octomap, allowed collision objects' in scene.fault(0)
    take(SCENE, moveit.planning_scene([crate(moveit, REMOVE, name='')], [], [], is_diff=True), scene)
    assert 'octomap' in scene.fault(0), 'removing all objects leaves it'
    take(SCENE, moveit.planning_scene([], [], [], is_diff=False), scene)
    assert scene.fault(0) == ''
    held, known = moveit.attached('tool', crate(moveit)), moveit.attached('tool', crate(moveit, name='cup'))
    take(SCENE, moveit.planning_scene([crate(moveit, REMOVE)], [held, known], [], is_diff=True), scene)
    assert "got 'crate' attached to tool, allowed what scene_file has among attached" in scene.fault(0)
    let_go = moveit.attached('tool', crate(moveit, REMOVE))
    take(SCENE, moveit.planning_scene([crate(moveit)], [let_go], [], is_diff=True), scene)
    assert scene.fault(0) == '' and len(scene.standing) == 1
    for link, name in (('wrist', 'a'), ('tool', 'b')):
        attached = moveit.attached(link, crate(moveit, name=name))
        take(SCENE, moveit.planning_scene([], [attached], [], is_diff=True), scene)
    every = moveit.attached('tool', crate(moveit, REMOVE, name=''))
    take(SCENE, moveit.planning_scene([], [every], [], is_diff=True), scene)
    assert "got 'a' attached to wrist" in scene.fault(0)


def test_a_topic_without_its_message_package_is_refused_by_name(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'moveit_msgs', None)
    monkeypatch.setitem(sys.modules, 'moveit_msgs.msg', None)
    with pytest.raises(ConfigError, match='got a topic without moveit_msgs'):
        message_type('topics.planning_scene')
