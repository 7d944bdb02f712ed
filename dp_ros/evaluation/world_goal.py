"""What a world asks a policy for that takes goals."""

from __future__ import annotations

from dp_ros.data import Goal
from dp_ros.errors import ConfigError, listed
from dp_ros.messages.encoding import pose_features
from dp_ros.simulation.registry import goal_pose
from dp_ros.task.spec import GoalPose, TaskSpec


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
    pose = goal_pose(name)
    return Goal(
        streams={
            g.name: pose_features(g.as_stream, pose.position, pose.orientation)
            for g in task.goals
            if isinstance(g, GoalPose)
        }
    )
