"""The planner that the nodes would make for a world: from its parameter file, with the nodes' defaults."""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml

from dp_ros.data import Goal, to_nanoseconds
from dp_ros.errors import ConfigError, listed
from dp_ros.messages.encoding import pose_features
from dp_ros.motion.options import KEPT_BEYOND
from dp_ros.motion.planner import Planner
from dp_ros.motion.workspace import AXES, Workspace
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.robot.urdf import parse_urdf
from dp_ros.simulation.registry import world_spec
from dp_ros.simulation.world import World
from dp_ros.task.spec import GoalPose, TaskSpec

SECONDS_TO_NANOSECONDS = {'splice_margin', 'max_joint_age', 'expected_lag', 'max_lag'}
PLANNER_NAMES = {'max_joint_age': 'max_age'}
PLANNER_PARAMETERS = (
    'history_steps', 'splice_margin', 'blend_steps', 'accelerations', 'lead_in', 'tail',
    'follow_tolerance', 'expected_lag', 'max_lag', 'joint_state_error', 'stop_on_path', 'keep_steps',
    'position_tolerance', 'max_joint_age',
)  # fmt: skip
LIMITS = ('lower', 'upper', 'velocity', 'acceleration', 'deceleration', 'jerk')


def make_planner(world: World, name: str, task: TaskSpec, **changes: Any) -> Planner:
    """Return the planner that `trajectory_publisher` makes of the parameter file of the world ``name``.

    ``changes`` are fields of `PlanOptions`, instead of the file's.
    """
    parameters = yaml.safe_load(world_spec(name).parameters.read_text())['/**/trajectory_publisher']['ros__parameters']
    joints, limits = task.action.joints, parameters['limits']
    given = [q for q in LIMITS if all(q in limits[joint] for joint in joints)]
    columns = {q: tuple(limits[joint][q] for joint in joints) for q in given}
    options: dict[str, Any] = {
        PLANNER_NAMES.get(name, name): to_nanoseconds(value) if name in SECONDS_TO_NANOSECONDS else value
        for name, value in parameters.items()
        if name in PLANNER_PARAMETERS
    }
    # As the node has them by default.
    options = {'stop_on_path': True, 'keep_steps': task.exec_horizon + KEPT_BEYOND} | options
    options['workspace'] = _workspace(parameters.get('workspace', {}), joints, world.robot_description)
    checked = JointLimits(joints=joints, **columns)
    return Planner(joints, to_nanoseconds(task.control_dt), checked, **options | changes)


def _workspace(given: dict[str, Any], joints: tuple[str, ...], robot_description: str) -> Workspace | None:
    if not given:
        return None
    chain = parse_urdf(robot_description).chain(
        joints, given['link'], frame=given.get('frame', ''), point=[given.get(f'point_{axis}', 0.0) for axis in AXES]
    )
    lower, upper = (
        tuple(given.get(f'{axis}_{end}', bound) for axis in AXES) for end, bound in (('min', -np.inf), ('max', np.inf))
    )
    return Workspace(chain=chain, lower=lower, upper=upper)


def world_goal(name: str, task: TaskSpec) -> Goal:
    """Return the goal of the world ``name`` as the task's goals say it: where its block should come to lie.

    Raises
    ------
    ConfigError
        If the task has goals that are no poses: a world has no words for what it asks, and no picture.

    """
    others = [f'{g.name} ({g.kind})' for g in task.goals if not isinstance(g, GoalPose)]
    if others:
        raise ConfigError(f'goals: got {listed(others)} in the world {name}, allowed goal poses: it gives no other')
    pose = world_spec(name).goal_pose
    return Goal(
        streams={
            g.name: pose_features(g.as_stream, pose.position, pose.orientation)
            for g in task.goals
            if isinstance(g, GoalPose)
        }
    )
