"""What messages of other packages say of obstacles: MarkerArray, CollisionObject and PlanningScene.

The packages visualization_msgs and moveit_msgs are optional: their types are looked up by name where a topic asks for
them. Attributes are all that is used of a message here. What has a shape that the check does not know is a fault of its
topic, by name: an obstacle that is left out is one that the robot runs into.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from dp_ros.errors import ConfigError, DataError
from dp_ros.planning.scene import Box, Cylinder, Item, LiveScene, Obstacle, Sphere

ADD, DELETE, DELETE_ALL = 0, 2, 3
"""Actions of markers; a collision object is added by the same number."""
REMOVE, APPEND, MOVE = 1, 2, 3
"""Of a collision object."""
CUBE, SPHERE, CYLINDER = 1, 2, 3
"""Types of markers, and of shape_msgs/SolidPrimitive."""
Place = tuple[float, float, float]
Turn = tuple[float, float, float, float]
NO_POSE: dict[str, Any] = {'position': (0.0, 0.0, 0.0), 'orientation': (0.0, 0.0, 0.0, 1.0)}
SAME_TURN = 1.0 - 1e-9
"""Product of two quaternions of the same turn, at least."""
OCTOMAP, HELD = '<octomap>', '<attached>/'
"""Names that no object has; the first is MoveIt's."""
PACKAGES = {
    'topics.markers': ('visualization_msgs.msg', 'MarkerArray'),
    'topics.collision_objects': ('moveit_msgs.msg', 'CollisionObject'),
    'topics.planning_scene': ('moveit_msgs.msg', 'PlanningScene'),
}


def message_type(parameter: str) -> type:
    """Return the message type of a parameter's topic; :class:`ConfigError` where its package is not installed."""
    module, name = PACKAGES[parameter]
    try:
        found: type = getattr(importlib.import_module(module), name)
    except ImportError as error:
        package = module.partition('.')[0]
        raise ConfigError(
            f'{parameter}: got a topic without {package} ({error}), allowed where that is installed'
        ) from error
    return found


def take(parameter: str, message: Any, scene: LiveScene) -> None:
    """Bring a scene up to date with a message of a parameter's topic; what cannot be used of it is a fault."""
    items = dict(scene.items(parameter))
    if parameter == 'topics.markers':
        items = _with_markers(items, message.markers, scene)
    elif parameter == 'topics.collision_objects':
        items = _with_objects(items, [message], scene)
    else:
        items = _with_objects(items if message.is_diff else {}, message.world.collision_objects, scene)
        items = _with_unchecked(items, message, scene)
    scene.bring(parameter, items)


def _with_markers(items: dict[str, Item], markers: Any, scene: LiveScene) -> dict[str, Item]:
    for marker in markers:
        name = f'{marker.ns}/{marker.id}'
        if marker.action == DELETE_ALL:  # of its namespace, as in RViz
            items = {key: item for key, item in items.items() if marker.ns and key.rpartition('/')[0] != marker.ns}
        elif marker.action == DELETE:
            items.pop(name, None)
        else:
            items[name] = _item(items.get(name), partial(_marker_item, marker, name, scene))
    return items


def _item(before: Item | None, read: Callable[[], Item]) -> Item:
    """Return what is read of a thing; what cannot be used is a fault of it, and it stays where it was."""
    try:
        return read()
    except (ConfigError, DataError) as error:
        return replace(before or Item(), fault=str(error))


def _marker_item(marker: Any, name: str, scene: LiveScene) -> Item:
    if marker.action != ADD:
        raise DataError(f'marker {name}: got action {marker.action}, allowed add, delete and delete all')
    scene.check_frame(marker.header.frame_id)
    return Item(parts=(Obstacle(name=name, shape=_marker_shape(marker), **_pose(marker.pose)),))


def _marker_shape(marker: Any) -> Box | Sphere | Cylinder:
    size = (float(marker.scale.x), float(marker.scale.y), float(marker.scale.z))
    if marker.type == CUBE:
        return Box(size=size)
    if marker.type == SPHERE:  # an ellipsoid is within the sphere of its longest axis
        return Sphere(radius=max(size) / 2)
    if marker.type == CYLINDER:
        return Cylinder(radius=max(size[:2]) / 2, length=size[2])
    raise DataError(f'marker {marker.ns}/{marker.id}: got type {marker.type}, allowed cubes, spheres and cylinders')


def _with_objects(items: dict[str, Item], objects: Any, scene: LiveScene) -> dict[str, Item]:
    for item in objects:
        if _operation(item) != REMOVE:
            before = items.get(item.id)
            items[item.id] = _item(before, partial(_object_item, item, before, scene))
        elif item.id:
            items.pop(item.id, None)
        else:
            items = {name: kept for name, kept in items.items() if name.startswith((OCTOMAP, HELD))}
    return items


def _object_item(item: Any, before: Item | None, scene: LiveScene) -> Item:
    """Return a collision object after a message of it, as MoveIt understands that."""
    operation, what = _operation(item), f'collision object {item.id!r}'
    if operation not in (ADD, APPEND, MOVE):
        raise DataError(f'{what}: got operation {operation}, allowed add, remove, append and move')
    if not item.id:
        raise DataError('collision object: got no id, allowed one')
    scene.check_frame(item.header.frame_id)
    if operation != ADD and before is not None and before.fault:
        raise DataError(before.fault)  # until it is added anew, or removed
    if operation == MOVE:
        if before is None:
            raise DataError(f'{what}: got move, allowed of what was added before')
        return _moved(item, before)
    place, turn, solids = _solids(item)
    parts: tuple[Obstacle, ...] = ()
    if operation == APPEND and before is not None:
        if not (np.allclose(place, before.place) and abs(np.dot(turn, before.turn)) > SAME_TURN):
            raise DataError(f'{what}: got append with another pose, allowed that of the object')
        parts = before.parts
    for solid, pose in solids:
        parts += (Obstacle(name=f'{item.id}/{len(parts)}', shape=solid, **_composed(place, turn, pose)),)
    return Item(parts=parts, place=place, turn=turn)


def _moved(item: Any, before: Item) -> Item:
    """Return an object at another pose, and its shapes at others in it where the message has poses for them."""
    pose = _pose(item.pose)
    place, turn = pose['position'], pose['orientation']
    inside = [_relative(part, before.place, before.turn) for part in before.parts]
    if item.mesh_poses or item.plane_poses or len(item.primitive_poses) not in (0, len(inside)):
        raise DataError(
            f'collision object {item.id!r}: got move with another number of poses, allowed none, or one for each shape'
        )
    inside = [_pose(given) for given in item.primitive_poses] or inside
    parts = [
        replace(part, **_composed(place, turn, pose)) for part, pose in zip(before.parts, inside, strict=True)
    ]
    return Item(parts=tuple(parts), place=place, turn=turn)


def _operation(item: Any) -> int:
    return int(item.operation[0])  # rclpy gives a byte as bytes


def _with_unchecked(items: dict[str, Item], message: Any, scene: LiveScene) -> dict[str, Item]:
    """Return ``items`` with what a planning scene has that nothing here checks: a fault as long as it is there."""
    if message.world.octomap.octomap.data:
        items[OCTOMAP] = Item(fault='got an octomap, allowed collision objects')
    known = {part.name for part in scene.scene.attached}
    for held in message.robot_state.attached_collision_objects:
        link, name = f'{HELD}{held.link_name}/', held.object.id
        if _operation(held.object) == REMOVE:
            begin, end = link if held.link_name else HELD, f'/{name}' if name else ''
            items = {k: item for k, item in items.items() if not (k.startswith(begin) and k.endswith(end))}
        elif name not in known:
            text = f'got {name!r} attached to {held.link_name}, allowed what scene_file has among attached'
            items[link + name] = Item(fault=text)
    return items


def _solids(item: Any) -> tuple[Place, Turn, list[tuple[Box | Sphere | Cylinder, dict[str, Any]]]]:
    """Return an object's pose, and its shapes with their poses in it; those that have none are at the object's own.

    The pose of a single shape is the object's, where that is left empty: so it is moved by it.
    """
    if item.meshes or item.planes:
        raise DataError(
            f'collision object {item.id!r}: got meshes or planes, allowed boxes, spheres and cylinders; put meshes '
            'into scene_file'
        )
    if not item.primitives or len(item.primitives) < len(item.primitive_poses):
        raise DataError(f'collision object {item.id!r}: got unlike numbers of shapes and poses, allowed one for each')
    poses = [_pose(pose) for pose in item.primitive_poses]
    poses += [dict(NO_POSE) for _ in range(len(item.primitives) - len(poses))]
    own = _pose(item.pose)
    if own == NO_POSE and len(poses) == 1:
        own, poses = poses[0], [dict(NO_POSE)]
    shapes = [_solid_shape(solid, item.id) for solid in item.primitives]
    return own['position'], own['orientation'], list(zip(shapes, poses, strict=True))


def _solid_shape(solid: Any, name: str) -> Box | Sphere | Cylinder:
    size = [float(length) for length in solid.dimensions]
    needed = {CUBE: 3, SPHERE: 1, CYLINDER: 2}.get(solid.type)
    if needed is None or len(size) < needed:
        got = f'type {solid.type} with {len(size)} lengths'
        raise DataError(f'collision object {name!r}: got {got}, allowed boxes, spheres and cylinders')
    if solid.type == CUBE:
        return Box(size=(size[0], size[1], size[2]))
    return Sphere(radius=size[0]) if solid.type == SPHERE else Cylinder(length=size[0], radius=size[1])


def _pose(pose: Any) -> dict[str, Any]:
    place, turn = pose.position, pose.orientation
    found = (float(turn.x), float(turn.y), float(turn.z), float(turn.w))
    return {
        'position': (float(place.x), float(place.y), float(place.z)),
        # As RViz takes a quaternion that nobody has filled in.
        'orientation': found if any(found) else (0.0, 0.0, 0.0, 1.0),
    }


def _composed(base: Place, base_turn: Turn, pose: dict[str, Any]) -> dict[str, Any]:
    """Return a pose in the frame that another is given in."""
    return {
        'position': tuple((np.array(base) + _turned(base_turn, pose['position'])).tolist()),
        'orientation': _product(base_turn, pose['orientation']),
    }


def _relative(part: Obstacle, base: Place, base_turn: Turn) -> dict[str, Any]:
    """Return where a part is in the frame of an object's pose."""
    x, y, z, w = base_turn
    back = (-x, -y, -z, w)
    away = np.array(part.position) - np.array(base)
    return {'position': tuple(_turned(back, away).tolist()), 'orientation': _product(back, part.orientation)}


def _turned(turn: Turn, vector: Any) -> np.ndarray:
    """Return a vector (3,) turned by a quaternion x, y, z, w of length 1."""
    axis, w = np.array(turn[:3]), turn[3]
    across = 2.0 * np.cross(axis, vector)
    return np.asarray(vector + w * across + np.cross(axis, across))


def _product(one: Turn, other: Turn) -> Turn:
    """Return the quaternion of turning by ``other``, then by ``one``."""
    a, b = np.array(one[:3]), np.array(other[:3])
    x, y, z = (one[3] * b + other[3] * a + np.cross(a, b)).tolist()
    return x, y, z, float(one[3] * other[3] - a @ b)
