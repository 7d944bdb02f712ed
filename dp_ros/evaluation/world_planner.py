"""Make the planner that the nodes make for a world, from its parameter file and by the same function; and name topics.

What is here needs no recordings: a robot, or a demo, has no rosbags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.bounded_files import from_yaml, read_text, reading
from dp_ros.data import Goal
from dp_ros.errors import ConfigError, listed
from dp_ros.messages.encoding import pose_features, resize_rgb
from dp_ros.motion.outputs import OUTPUT_OPTIONS, split
from dp_ros.motion.planner import Planner
from dp_ros.motion.settings.plan import PlanSettings, limit_options
from dp_ros.motion.settings.plan import make_planner as planner_of
from dp_ros.motion.settings.publisher import PUBLISHER_OPTIONS, UrdfOptions
from dp_ros.motion.trajectory import Trajectory
from dp_ros.options import build, check_values, options_of
from dp_ros.paths import locate
from dp_ros.policy.node_options import BundleOptions, LifecycleOptions, RealtimeOptions
from dp_ros.robot.model import RobotModel
from dp_ros.robot.urdf import parse_urdf, read_urdf
from dp_ros.simulation.instructions import Asked
from dp_ros.simulation.registry import world_spec
from dp_ros.simulation.world import WithGoalPictures, World, WorldSpec
from dp_ros.task.spec import GoalImage, GoalPose, TaskSpec

NODE = '/**/trajectory_publisher'
NOT_OF_THE_PLAN = re.compile(rf'outputs\..+\.({OUTPUT_OPTIONS})|home\..+')
KNOWN = (
    *(option for kind in (LifecycleOptions, BundleOptions, RealtimeOptions) for option in options_of(kind)),
    *PUBLISHER_OPTIONS,
)


def make_planner(world: World, name: str, task: TaskSpec, **changes: Any) -> Planner:
    """Return the planner that `trajectory_publisher` makes of the parameter file of the world ``name``.

    ``changes`` are fields of `PlanOptions`, instead of the file's.
    """
    return planner_from(world_spec(name).parameters, world.robot_description, task, **changes)


def planner_from(path: Path, robot_description: str, task: TaskSpec, **changes: Any) -> Planner:
    """Return the same of any parameter file; ``robot_description`` is what `topics.robot_description` would bring.

    Raises
    ------
    ConfigError
        If the file has a parameter that the node does not, a value that it refuses, or what does not fit the task.

    """
    values = _flat(_parameters(path))
    values = {name: value for name, value in values.items() if not NOT_OF_THE_PLAN.fullmatch(name)}
    check_values(values, [*KNOWN, *limit_options(task.action.joints)], f'{path}: {NODE}')
    for name, own in (('joints', task.action.joints), ('units', task.action.units)):
        if values.get(name) and tuple(values[name]) != own:
            raise ConfigError(
                f"{path}: {NODE}: {name}: got {listed(values[name])}, allowed {listed(own)}, the policy's"
            )
    settings = PlanSettings.of(values)
    settings = replace(settings, options=replace(settings.options, **changes))
    return planner_of(settings, task, _robot(build(UrdfOptions, values), robot_description))


def _parameters(path: Path) -> Mapping[str, Any]:
    """Return what a parameter file has for the publisher."""
    with reading(f'parameter file {path}'):
        nodes = from_yaml(read_text(path))
    node = nodes.get(NODE) if isinstance(nodes, Mapping) else None
    values = node.get('ros__parameters') if isinstance(node, Mapping) else None
    if not isinstance(values, Mapping):
        raise ConfigError(
            f'parameter file {path}: got no {NODE} with ros__parameters, allowed one for the robot, as dp_ros init '
            'writes it; the file of a world names it: parameters'
        )
    return values


def _flat(values: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for key, value in values.items():
        pairs |= _flat(value, f'{prefix}{key}.') if isinstance(value, Mapping) else {prefix + key: value}
    return pairs


def _robot(urdf: UrdfOptions, robot_description: str) -> RobotModel | None:
    if urdf.urdf_file:
        return read_urdf(locate(urdf.urdf_file))
    return parse_urdf(robot_description) if urdf.robot_description else None


def world_goal(name: str, task: TaskSpec, world: World, asked: Asked | None = None) -> Goal:
    """Return what the episode that a world has begun is asked for, as the task's goals say it.

    Where what it tracks should come to lie is known of all worlds, a picture belongs to the episode; ``asked`` is what
    the episode was begun with, see `dp_ros.simulation.instructions`.

    Raises
    ------
    ConfigError
        If the task asks by a picture, and the world shows none, or not by that camera.

    """
    spec = world_spec(name)
    streams = {
        g.name: pose_features(g.as_stream, spec.goal_pose.position, spec.goal_pose.orientation)
        for g in task.goals
        if isinstance(g, GoalPose)
    }
    pictures = goal_pictures(spec, task, world)
    streams |= {g.name: resize_rgb(g.as_stream, pictures[g.name]) for g in task.goals if isinstance(g, GoalImage)}
    return Goal(streams=streams, instruction='' if asked is None else asked.text)


def goal_pictures(spec: WorldSpec, task: TaskSpec, world: World) -> dict[str, np.ndarray]:
    """Return pictures of how the episode that a world has begun should end, by goal, (H, W, 3) uint8 RGB."""
    pictures = {}
    topics = {stream.name: stream.topic.removesuffix('/compressed').strip('/') for stream in task.streams}
    cameras = {topic: camera for camera, topic in spec.camera_topics.items()}
    for goal in task.goals:
        if not isinstance(goal, GoalImage):
            continue
        if not spec.pictured or not isinstance(world, WithGoalPictures):
            raise ConfigError(f'goals: got the picture {goal.name}, allowed none: the world {spec.name} shows none')
        camera = cameras.get(topics.get(goal.stream, '')) if goal.stream else next(iter(spec.camera_topics))
        if camera is None:
            raise ConfigError(
                f'goal {goal.name!r} stream: got {goal.stream!r}, allowed a camera of {spec.name}: {listed(cameras)}'
            )
        pictures[goal.name] = world.goal_picture(camera)
    return pictures


def command_topics(task: TaskSpec, spec: WorldSpec) -> tuple[str, ...]:
    """Return the topics that the controllers of a world get commands on: a single one's is as the task names it."""
    if len(spec.outputs) == 1:
        return (task.action.topic,)
    return tuple(f'/{output.topic}' for output in spec.outputs)


def commands_of(trajectory: Trajectory, task: TaskSpec, spec: WorldSpec) -> Iterator[tuple[str, Trajectory]]:
    """Yield topic and trajectory of what each controller of a world gets of a trajectory of all joints."""
    topics = command_topics(task, spec)
    parts = (trajectory,) if len(topics) == 1 else split(trajectory, spec.outputs)
    yield from zip(topics, parts, strict=True)
