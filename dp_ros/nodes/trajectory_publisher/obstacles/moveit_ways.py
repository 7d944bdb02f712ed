"""Ask MoveIt for a way around: the service plan_kinematic_path of move_group (moveit_msgs/GetMotionPlan).

MoveIt plans in its own planning scene, which may lack obstacles of this one: its path is timed and checked here like
every other, before it is followed.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from rclpy.task import Future

from dp_ros.data import Refusal
from dp_ros.errors import ConfigError, listed
from dp_ros.motion.settings.obstacles import ObstacleOptions
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.path_planner import Way, first_free, moved_on_ways
from dp_ros.ros.lifecycle import ManagedNode

TOLERANCE = 1e-3
"""Of each joint at the goal, and between where the robot rests and where a path begins [rad or m]."""
LATER = 2_000_000_000
"""Beyond the time for planning, until a question counts as unanswered [ns]."""
MOST = 10_000
"""Points of a path."""


def service_type() -> Any:
    """Return the service's type; :class:`ConfigError` where its package is not installed."""
    try:
        return importlib.import_module('moveit_msgs.srv').GetMotionPlan
    except ImportError as error:
        raise ConfigError(
            f"path_planner: got 'moveit' without moveit_msgs ({error}), allowed where that is installed"
        ) from error


class MoveItWays:
    """Asks for ways; see `dp_ros.planning.detour.WayPlanner`.

    Parameters
    ----------
    node
        Who asks.
    options
        Group, service, and time for planning.
    joints
        Those of the ways, in order; all of them but grippers must be in the group.
    check
        What tells which goal is clear, with the robot, which tells its fingers.

    Raises
    ------
    ConfigError
        If no group is given, or moveit_msgs is not installed.

    """

    def __init__(
        self, node: ManagedNode, options: ObstacleOptions, joints: tuple[str, ...], check: CollisionCheck
    ) -> None:
        if not options.planning_group:
            raise ConfigError("planning_group: got none with path_planner 'moveit', allowed a group of MoveIt")
        self._node, self._options, self._joints, self._check = node, options, joints, check
        self._moved = moved_on_ways(check.robot.robot, joints, options.grippers)
        self._kind = service_type()
        self._client: Any = node.create_client(self._kind, options.planning_service)
        self._asked: Future | None = None
        self._start = np.zeros(len(joints))
        self._until = 0  # when the question counts as unanswered [ns, steady]
        self._refusal: Refusal | None = None

    def request(self, start: np.ndarray, goals: Sequence[np.ndarray]) -> None:
        """Ask for a way from ``start`` (A,) to the first of ``goals`` that is clear; forget an earlier question."""
        self._asked, self._start = None, start
        goal = first_free(self._check, [np.where(self._moved, goal, start) for goal in goals])
        if isinstance(goal, Refusal):
            self._refusal = goal
        elif not self._client.service_is_ready():
            self._refusal = Refusal(reason=f'way around: got nobody who serves {self._client.srv_name}')
        else:
            self._refusal = None
            self._until = self._node.steady() + int(self._options.planning_time * 1e9) + LATER
            self._asked = self._client.call_async(self._question(start, goal))

    def _question(self, start: np.ndarray, goal: np.ndarray) -> Any:
        question = self._kind.Request()
        wanted = question.motion_plan_request
        wanted.group_name, wanted.num_planning_attempts = self._options.planning_group, 1
        wanted.allowed_planning_time = self._options.planning_time
        wanted.start_state.is_diff = True
        wanted.start_state.joint_state.name = list(self._joints)
        wanted.start_state.joint_state.position = start.tolist()
        messages = importlib.import_module('moveit_msgs.msg')
        joints = [
            messages.JointConstraint(
                joint_name=joint, position=place, tolerance_above=TOLERANCE, tolerance_below=TOLERANCE, weight=1.0
            )
            for joint, place, moved in zip(self._joints, goal.tolist(), self._moved, strict=True)
            if moved
        ]
        wanted.goal_constraints = [messages.Constraints(joint_constraints=joints)]
        return question

    def answer(self) -> Way | Refusal | None:
        """Return what was found, once."""
        asked, refusal = self._asked, self._refusal
        if refusal is not None:
            self._refusal = None
            return refusal
        if asked is None:
            return None
        if not asked.done():
            late, gone = self._node.steady() > self._until, not self._client.service_is_ready()
            if not late and not gone:
                return None
            self._asked = None
            self._client.remove_pending_request(asked)
            # One that is restarted knows nothing of the question.
            why = ': whoever served it ended' if gone else ' in time'
            return Refusal(reason=f'way around: got no answer of {self._client.srv_name}{why}')
        self._asked = None
        if asked.exception() is not None:
            return Refusal(reason=f'way around: MoveIt could not be asked ({asked.exception()})')
        return self._way(asked.result().motion_plan_response)

    def _way(self, found: Any) -> Way | Refusal:
        if found.error_code.val != found.error_code.SUCCESS:
            return Refusal(reason=f'way around: MoveIt found none, {_code(found.error_code)}')
        path = found.trajectory.joint_trajectory
        names = list(path.joint_names)
        moved = [joint for joint, moves in zip(self._joints, self._moved, strict=True) if moves]
        if len(set(names)) < len(names) or not set(moved) <= set(names) <= set(self._joints):
            allowed = f'allowed one of {listed(moved)}, with grippers or without'
            return Refusal(reason=f'way around: got a path of {listed(names)}, {allowed}')
        rows = [list(point.positions) for point in path.points[: MOST + 1]]
        if not 1 <= len(rows) <= MOST or any(len(row) != len(names) for row in rows):
            return Refusal(reason=f'way around: got a path of {len(path.points)} points, allowed 1 to {MOST}, whole')
        found_places = np.array(rows, dtype=np.float64)
        points = np.tile(self._start, (len(rows), 1))  # grippers stay, whatever the path says
        points[:, self._moved] = found_places[:, [names.index(joint) for joint in moved]]
        if not np.isfinite(found_places).all():
            return Refusal(reason='way around: got a path with numbers that are not finite, allowed finite ones')
        if np.abs(points[0] - self._start).max() > TOLERANCE:
            return Refusal(reason='way around: got a path from elsewhere, allowed one from where the robot rests')
        return Way(points=np.concatenate([self._start[None], points]))

    def close(self) -> None:
        """Ask no more."""
        self._asked = None
        self._node.destroy_client(self._client)


def _code(error: Any) -> str:
    """Return the name of an error code, in MoveIt's own words."""
    names = (name for name in dir(type(error)) if name.isupper() and getattr(type(error), name) == error.val)
    return next(names, str(error.val))
