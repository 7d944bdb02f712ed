"""Make what a planner of motions keeps clear of from its options: the node does so, and so does the evaluation."""

from __future__ import annotations

import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.motion.planner import Planner
from dp_ros.motion.settings.obstacles import ObstacleOptions
from dp_ros.paths import locate
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.detour import Threat
from dp_ros.planning.retreat import LEAVING, threatened
from dp_ros.planning.robot_geometry import robot_geometry
from dp_ros.planning.scene import LiveScene, Scene, read_scene
from dp_ros.planning.way_process import WayOptions
from dp_ros.robot.model import RobotModel


def keep_clear(
    planner: Planner,
    options: ObstacleOptions,
    robot: RobotModel | None,
    *,
    home: np.ndarray | None = None,
    scene: Scene | None = None,
) -> CollisionCheck | None:
    """Make a planner keep its plans clear of a scene; return what checks that, or None where no scene is asked for.

    Parameters
    ----------
    planner, options, robot
        What plans; what it is asked for; and the robot of its joints.
    home
        A position in which the robot is free (A,) [rad or m], or None.
    scene
        Instead of the file that ``options`` name.

    Raises
    ------
    ConfigError
        If a gripper is no joint of the planner, or the scene, the SRDF or the robot's geometry cannot be used, or
        Pinocchio or Coal is not installed.

    """
    planner.keep_clear(None)
    if scene is None and not options.scene_file:
        _check_alone(options)
        return None
    if robot is None:
        raise ConfigError('scene_file: got a scene without a URDF, allowed urdf_file or topics.robot_description')
    unknown = [name for name in options.grippers if name not in planner.joints]
    if unknown:
        raise ConfigError(f'grippers: got {listed(unknown)}, allowed {listed(planner.joints)}')
    scene = read_scene(locate(options.scene_file)) if scene is None else scene
    srdf = locate(options.srdf_file) if options.srdf_file else None
    geometry = robot_geometry(robot, planner.joints, scene, srdf=srdf, home=home)
    check = CollisionCheck(
        geometry,
        LiveScene(scene),
        clearance=options.clearance,
        self_clearance=options.self_clearance,
        lag=planner.options.max_lag,
    )
    planner.keep_clear(check)
    return check


def way_options(
    check: CollisionCheck, planner: Planner, options: ObstacleOptions, home: np.ndarray | None
) -> WayOptions:
    """Return what the process that plans ways needs for the scene and the robot of a check."""
    assert planner.limits is not None, 'a planner of a robot has limits'
    return WayOptions(
        urdf=check.robot.robot.text,
        joints=planner.joints,
        scene=check.scene.scene,
        srdf=locate(options.srdf_file) if options.srdf_file else None,
        home=home,
        clearance=options.clearance,
        self_clearance=options.self_clearance,
        limits=planner.limits,
        seconds=options.planning_time,
        workspace=planner.options.workspace,
        grippers=options.grippers,
        lag=planner.options.max_lag,
    )


def let_leave(planner: Planner, check: CollisionCheck, options: ObstacleOptions) -> Threat | None:
    """Make a planner of a robot that can leave where it rests stop in time for that.

    Returns what tells when it should leave; None where it stays, whatever comes.
    """
    if not options.retreat_within or all(part.acceleration is None for part in check.scene.moving.values()):
        return None
    planner.clear.leaving = LEAVING
    return lambda positions, now: threatened(check, positions, now, options.retreat_within)


def _check_alone(options: ObstacleOptions) -> None:
    for name, value in (
        ('srdf_file', options.srdf_file),
        ('topics.markers', options.markers),
        ('topics.collision_objects', options.collision_objects),
        ('topics.planning_scene', options.planning_scene),
        ('path_planner', '' if options.path_planner == 'none' else options.path_planner),
    ):
        if value:
            raise ConfigError(f'{name}: got {value!r} without scene_file, allowed with one, even if it is empty')
