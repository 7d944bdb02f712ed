"""What messages say of obstacles; their packages need not be installed."""

from __future__ import annotations

from types import SimpleNamespace as Message
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.errors import ConfigError
from dp_ros.nodes.trajectory_publisher.obstacles.messages import message_type, take
from dp_ros.planning.scene import Box, Cylinder, LiveScene, Scene, Sphere

HALF = 0.5**0.5


def pose(x: float = 0.0, y: float = 0.0, z: float = 0.0, turn: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0)) -> Message:
    orientation = Message(**dict(zip('xyzw', turn, strict=True)))
    return Message(position=Message(x=x, y=y, z=z), orientation=orientation)


def marker(number: int, kind: int, action: int = 0, frame: str = 'base') -> Message:
    scale = Message(x=0.2, y=0.4, z=0.6)
    return Message(
        ns='seen', id=number, type=kind, action=action, pose=pose(1.0), scale=scale, header=Message(frame_id=frame)
    )


def test_markers_are_added_and_deleted():
    scene = LiveScene(Scene(frame='base'))
    take('topics.markers', Message(markers=[marker(1, 1), marker(2, 2), marker(3, 3)]), scene)
    shapes = {name: part.shape for name, part in scene.standing.items()}
    assert shapes == {
        'topics.markers/seen/1': Box(size=(0.2, 0.4, 0.6)),
        'topics.markers/seen/2': Sphere(radius=0.3),
        'topics.markers/seen/3': Cylinder(radius=0.2, length=0.6),
    }
    take('topics.markers', Message(markers=[marker(1, 1, action=2)]), scene)
    assert len(scene.standing) == 2
    take('topics.markers', Message(markers=[marker(0, 0, action=3)]), scene)
    assert not scene.standing and scene.fault(0) == ''


@pytest.mark.parametrize(
    ('wrong', 'reason'),
    [
        (marker(1, 10), 'got type 10, allowed cubes, spheres and cylinders'),
        (marker(1, 1, frame='camera'), "got frame 'camera', allowed 'base'"),
        (marker(1, 1, action=7), 'got action 7'),
    ],
)
def test_a_marker_that_cannot_be_checked_is_a_fault_and_not_left_out(wrong, reason):
    scene = LiveScene(Scene(frame='base'))
    take('topics.markers', Message(markers=[wrong]), scene)
    assert reason in scene.fault(0)


def collision_object(operation: Any = 0, meshes: tuple[Any, ...] = ()) -> Message:
    solid = Message(type=1, dimensions=[0.1, 0.2, 0.3])
    return Message(
        id='crate', header=Message(frame_id='base'), operation=operation, pose=pose(1.0, turn=(0.0, 0.0, HALF, HALF)),
        primitives=[solid], primitive_poses=[pose(0.5)], meshes=list(meshes), planes=[],
    )  # fmt: skip


def test_collision_objects_are_put_by_their_poses_and_removed():
    scene = LiveScene(Scene(frame='base'))
    take('topics.collision_objects', collision_object(b'\x00'), scene)
    (part,) = scene.standing.values()
    assert part.shape == Box(size=(0.1, 0.2, 0.3))
    assert part.position == pytest.approx((1.0, 0.5, 0.0)), 'turned by a quarter, then moved'
    assert part.orientation == pytest.approx((0.0, 0.0, HALF, HALF))
    take('topics.collision_objects', collision_object(b'\x01'), scene)
    assert not scene.standing
    world = Message(collision_objects=[collision_object()])
    take('topics.planning_scene', Message(is_diff=False, world=world), scene)
    assert len(scene.standing) == 1
    take('topics.planning_scene', Message(is_diff=False, world=Message(collision_objects=[])), scene)
    assert not scene.standing, 'a whole scene replaces the one before'
    take('topics.collision_objects', collision_object(meshes=('mesh',)), scene)
    assert "collision object 'crate': got meshes or planes" in scene.fault(0)


def test_a_topic_without_its_message_package_is_refused_by_name(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'moveit_msgs', None)
    monkeypatch.setitem(sys.modules, 'moveit_msgs.msg', None)
    with pytest.raises(ConfigError, match='got a topic without moveit_msgs'):
        message_type('topics.planning_scene')
