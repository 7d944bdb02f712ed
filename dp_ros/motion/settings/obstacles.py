"""Options of obstacles: what is around the robot, how far from it the robot stays, and what plans a way around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dp_ros.options import option


# fmt: off
@dataclass(frozen=True, kw_only=True)
class ObstacleOptions:
    """What the plan keeps clear of."""

    scene_file: str = option(
        '', 'A YAML file with what stands, moves and is held around the robot. Then every plan is checked against it, '
        'and rests along its own path before what is in the way. Empty: nothing is checked. It needs a URDF with '
        'collision geometry, and the extra `planning`.',
    )
    srdf_file: str = option(
        '', 'An SRDF with the pairs of links that may touch (disable_collisions). Empty: those that a joint connects, '
        'and those that touch at home, or in the middle of the ranges.',
    )
    clearance: float = option(
        0.02, 'Least distance from obstacles.', unit='m', low=0.0, high=1.0,
    )
    self_clearance: float = option(
        0.0, 'Least distance of links from each other, where they are no pair that may touch.', unit='m', low=0.0,
        high=1.0,
    )
    markers: str = option(
        '', 'More obstacles come from here (visualization_msgs/MarkerArray: cubes, spheres, cylinders), where that '
        'package is installed; empty: none.', name='topics.markers',
    )
    collision_objects: str = option(
        '', 'More obstacles come from here (moveit_msgs/CollisionObject), where that package is installed; empty: '
        'none.', name='topics.collision_objects',
    )
    planning_scene: str = option(
        '', 'More obstacles come from here (moveit_msgs/PlanningScene, as move_group publishes it on '
        'monitored_planning_scene; the whole of it is asked for by get_planning_scene beside the topic), where that '
        'package is installed; empty: none.', name='topics.planning_scene',
    )
    path_planner: Literal['none', 'builtin', 'moveit'] = option(
        'none', 'What plans a way around where the way of the policy stays blocked. none: the robot waits; builtin: '
        'RRT-Connect of OMPL, in a process of its own; moveit: MoveIt, where moveit_msgs is installed.',
        choices=('none', 'builtin', 'moveit'),
    )
    planning_group: str = option(
        '', "With path_planner moveit: the group of MoveIt's SRDF that has all joints of the policy but grippers."
    )
    planning_service: str = option(
        'plan_kinematic_path', 'With path_planner moveit: the service that plans (moveit_msgs/GetMotionPlan).'
    )
    grippers: tuple[str, ...] = option(
        (), 'Those of the joints that a way around leaves as they are, because they may hold something, besides those '
        'that the URDF shows: two fingers or more that begin at the same body. A gripper of one jaw is to be named '
        'here.', example='[gripper]',
    )
    blocked_after: int = option(
        1.5, 'Time for which the robot has rested before an obstacle when a way around is planned.', unit='s',
        low=0.0, high=600.0, nanoseconds=True,
    )
    retreat_within: float = option(
        1.5, 'With path_planner builtin: a robot that rests leaves its place where something that moves, and whose '
        'acceleration the scene bounds, would reach it within this. 0: it stays.', unit='s', low=0.0, high=10.0,
    )
    planning_time: float = option(
        2.0, 'Longest time for planning a way around; then the robot waits, and it is tried again.', unit='s',
        low=0.05, high=60.0,
    )
# fmt: on
