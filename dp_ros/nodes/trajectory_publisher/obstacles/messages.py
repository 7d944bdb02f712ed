"""What messages of other packages say of obstacles: MarkerArray, CollisionObject and PlanningScene.

The packages visualization_msgs and moveit_msgs are optional: their types are looked up by name where a topic asks for
them. Attributes are all that is used of a message here. What has a shape that the check does not know is a fault of its
topic, by name: an obstacle that is left out is one that the robot runs into.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from dp_ros.errors import ConfigError, DataError
from dp_ros.planning.scene import Box, Cylinder, Item, LiveScene, Obstacle, Sphere

ADD, DELETE, DELETE_ALL = 0, 2, 3
"""Actions of markers; a collision object is added by the same number."""
REMOVE = 1
"""Of a collision object."""
CUBE, SPHERE, CYLINDER = 1, 2, 3
"""Types of markers, and of shape_msgs/SolidPrimitive."""
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
            items[name] = _item(items.get(name), partial(_marker_parts, marker, name, scene))
    return items


def _item(before: Item | None, read: Callable[[], Iterable[Obstacle]]) -> Item:
    """Return what is read of a thing; what cannot be used is a fault of it, and it stays where it was."""
    try:
        return Item(parts=tuple(read()))
    except (ConfigError, DataError) as error:
        return replace(before or Item(), fault=str(error))


def _marker_parts(marker: Any, name: str, scene: LiveScene) -> Iterator[Obstacle]:
    if marker.action != ADD:
        raise DataError(f'marker {name}: got action {marker.action}, allowed add, delete and delete all')
    scene.check_frame(marker.header.frame_id)
    yield Obstacle(name=name, shape=_marker_shape(marker), **_pose(marker.pose))


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
            items[item.id] = _item(items.get(item.id), partial(_object_parts, item, scene))
        elif item.id:
            items.pop(item.id, None)
        else:
            items = {name: kept for name, kept in items.items() if name.startswith((OCTOMAP, HELD))}
    return items


def _object_parts(item: Any, scene: LiveScene) -> Iterator[Obstacle]:
    if _operation(item) != ADD:
        raise DataError(f'collision object {item.id!r}: got operation {_operation(item)}, allowed add and remove')
    if not item.id:
        raise DataError('collision object: got no id, allowed one')
    scene.check_frame(item.header.frame_id)
    yield from _solids(item)


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


def _solids(item: Any) -> Iterator[Obstacle]:
    if item.meshes or item.planes:
        raise DataError(
            f'collision object {item.id!r}: got meshes or planes, allowed boxes, spheres and cylinders; put meshes '
            'into scene_file'
        )
    if len(item.primitives) != len(item.primitive_poses):
        raise DataError(f'collision object {item.id!r}: got unlike numbers of shapes and poses, allowed one for each')
    base = _pose(item.pose)
    for number, (solid, pose) in enumerate(zip(item.primitives, item.primitive_poses, strict=True)):
        place, turn = _composed(base, _pose(pose))
        yield Obstacle(name=f'{item.id}/{number}', shape=_solid_shape(solid, item.id), position=place, orientation=turn)


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


def _composed(
    base: dict[str, Any], pose: dict[str, Any]
) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """Return a pose in the frame of another's."""
    bx, by, bz, bw = base['orientation']
    x, y, z, w = pose['orientation']
    axis, place = np.array([bx, by, bz]), np.array(pose['position'])
    across = 2.0 * np.cross(axis, place)
    moved = np.array(base['position']) + place + bw * across + np.cross(axis, across)
    vector = bw * np.array([x, y, z]) + w * axis + np.cross(axis, [x, y, z])
    scalar = bw * w - float(axis @ [x, y, z])
    return (moved[0], moved[1], moved[2]), (vector[0], vector[1], vector[2], scalar)
