"""What messages of other packages say of obstacles: MarkerArray, CollisionObject and PlanningScene.

The packages visualization_msgs and moveit_msgs are optional: their types are looked up by name where a topic asks for
them. Attributes are all that is used of a message here. What has a shape that the check does not know is a fault of its
topic, by name: an obstacle that is left out is one that the robot runs into.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from dp_ros.errors import ConfigError, DataError
from dp_ros.planning.scene import Box, Cylinder, LiveScene, Obstacle, Sphere

ADD, DELETE, DELETE_ALL = 0, 2, 3
"""Actions of markers; a collision object is added by the same number."""
REMOVE = 1
"""Of a collision object."""
CUBE, SPHERE, CYLINDER = 1, 2, 3
"""Types of markers, and of shape_msgs/SolidPrimitive."""
MOST = 1000
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
    """Bring a scene up to date with a message of a parameter's topic; what cannot be used is a fault of the topic."""
    try:
        if parameter == 'topics.markers':
            _take_markers(message, scene)
        elif parameter == 'topics.collision_objects':
            _take_objects([message], scene, parameter)
        else:
            _take_objects(message.world.collision_objects, scene, parameter, whole=not message.is_diff)
    except (ConfigError, DataError) as error:
        scene.wrong(parameter, str(error))


def _take_markers(message: Any, scene: LiveScene) -> None:
    for marker in _few(message.markers):
        name = f'{marker.ns}/{marker.id}'
        if marker.action == DELETE_ALL:
            scene.put('topics.markers', scene.frame, [], removed=scene.names('topics.markers'))
        elif marker.action == DELETE:
            scene.put('topics.markers', scene.frame, [], removed=[name])
        elif marker.action == ADD:
            part = Obstacle(name=name, shape=_marker_shape(marker), **_pose(marker.pose))
            scene.put('topics.markers', marker.header.frame_id, [part])
        else:
            raise DataError(f'marker {name}: got action {marker.action}, allowed add, delete and delete all')


def _marker_shape(marker: Any) -> Box | Sphere | Cylinder:
    size = (float(marker.scale.x), float(marker.scale.y), float(marker.scale.z))
    if marker.type == CUBE:
        return Box(size=size)
    if marker.type == SPHERE:  # an ellipsoid is within the sphere of its longest axis
        return Sphere(radius=max(size) / 2)
    if marker.type == CYLINDER:
        return Cylinder(radius=max(size[:2]) / 2, length=size[2])
    raise DataError(f'marker {marker.ns}/{marker.id}: got type {marker.type}, allowed cubes, spheres and cylinders')


def _take_objects(objects: Any, scene: LiveScene, source: str, *, whole: bool = False) -> None:
    if whole:
        scene.put(source, scene.frame, [], removed=scene.names(source))
    for item in _few(objects):
        parts = [name for name in scene.names(source) if name.startswith(f'{item.id}/')]
        action = item.operation if isinstance(item.operation, int) else item.operation[0]  # rclpy: a byte is bytes
        if action == REMOVE:
            scene.put(source, scene.frame, [], removed=parts if item.id else scene.names(source))
        elif action == ADD:
            scene.put(source, item.header.frame_id, list(_solids(item)), removed=parts)
        else:
            raise DataError(f'collision object {item.id!r}: got operation {action}, allowed add and remove')


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


def _few(parts: Any) -> Iterable[Any]:
    if len(parts) > MOST:
        raise DataError(f'got {len(parts)} obstacles in a message, allowed up to {MOST}')
    return parts
