"""Time checks and plans for an arm of seven joints among 20 shapes, in this thread's processor time."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from dp_ros.data import MOST_ALTERNATIVES, NANOSECONDS, Chunk
from dp_ros.motion.alternatives import ClearChunk
from dp_ros.motion.blend import chunk_curve
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.motion.settings.obstacles import ObstacleOptions
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.robot_geometry import robot_geometry
from dp_ros.planning.rule import keep_clear
from dp_ros.planning.scene import Box, Cylinder, LiveScene, Obstacle, Scene, Sphere
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.robot.urdf import parse_urdf

JOINTS = tuple(f'joint_{number}' for number in range(1, 8))
AXES = ('0 0 1', '0 1 0')
STEPS, PERIOD = 16, NANOSECONDS // 10
SHAPES = 20
SLACK = 0.002


def arm() -> str:
    """Return the URDF of an arm of seven links, each a cylinder, 1.3 m long."""
    base = '<collision><geometry><cylinder radius="0.08" length="0.1"/></geometry></collision>'
    links = [f'<link name="base">{base}</link>']
    before = 'base'
    for number, joint in enumerate(JOINTS):
        link = f'link_{number + 1}'
        links.append(
            f'<link name="{link}"><collision><origin xyz="0 0 0.09"/><geometry><cylinder radius="0.045" length="0.14"/>'
            f'</geometry></collision></link><joint name="{joint}" type="revolute"><parent link="{before}"/>'
            f'<child link="{link}"/><origin xyz="0 0 {0.18 if number else 0.1}"/><axis xyz="{AXES[number % 2]}"/>'
            '<limit lower="-2.8" upper="2.8" velocity="2" effort="1"/></joint>'
        )
        before = link
    return f'<robot name="arm">{"".join(links)}</robot>'


def scene(rng: np.random.Generator) -> Scene:
    """Return shapes around the arm, within its reach."""
    found = []
    for number in range(SHAPES):
        way = rng.normal(size=3)
        place = way / np.linalg.norm(way) * rng.uniform(0.5, 1.2)
        edges = rng.uniform(0.05, 0.2, 3)
        shapes = (Box(size=(edges[0], edges[1], edges[2])), Sphere(radius=0.06), Cylinder(radius=0.05, length=0.2))
        position = (float(place[0]), float(place[1]), abs(float(place[2])))
        found.append(Obstacle(name=f'shape_{number}', shape=shapes[number % 3], position=position))
    return Scene(frame='base', obstacles=tuple(found))


def check_costs(count: int) -> np.ndarray:
    """Return the cost of ``count`` checks of chunks (count,) [s], their joints at about 0.3 rad/s."""
    rng = np.random.default_rng(0)
    around = scene(rng)
    check = CollisionCheck(robot_geometry(parse_urdf(arm()), JOINTS, around), LiveScene(around), clearance=0.02)
    due, costs = NANOSECONDS + PERIOD * np.arange(STEPS), []
    for _ in range(count):
        ways = rng.normal(size=7) * 0.3 * PERIOD / NANOSECONDS + rng.normal(size=(STEPS, 7)) * 0.002
        chunk = chunk_curve(due, rng.uniform(-1.0, 1.0, 7) + np.cumsum(ways, axis=0), JOINTS)
        began = time.thread_time()
        check.still_contact(chunk, NANOSECONDS, SLACK)
        costs.append(time.thread_time() - began)
    return np.array(costs)


def plan_costs(count: int, alternatives: int) -> np.ndarray:
    """Return the cost of ``count`` plans with chunks that something is in the way of (count,) [s].

    The ``alternatives`` of each are a little beside it, so that mostly all of them are tried and none is clear.
    """
    rng, found = np.random.default_rng(0), list[float]()
    around, robot, ones = scene(rng), parse_urdf(arm()), np.ones(7)
    limits = JointLimits(
        joints=JOINTS, lower=tuple(-2.8 * ones), upper=tuple(2.8 * ones), velocity=tuple(2.0 * ones),
        acceleration=tuple(8.0 * ones), deceleration=tuple(8.0 * ones), jerk=tuple(np.inf * ones),
    )  # fmt: skip
    while len(found) < count:
        planner = Planner(JOINTS, PERIOD, limits, max_joint_age=NANOSECONDS)
        keep_clear(planner, ObstacleOptions(clearance=0.02), robot, scene=around)
        start, way = rng.uniform(-1.0, 1.0, 7), rng.normal(size=7) * 0.6 * PERIOD / NANOSECONDS
        for now in (NANOSECONDS - PERIOD, NANOSECONDS):
            planner.measured(now, start, np.zeros(7))
        planner.rest_at(start, NANOSECONDS)
        chunk, *others = (
            Chunk(stamp=NANOSECONDS, control_dt=PERIOD, joints=JOINTS, actions=start + np.outer(np.arange(STEPS), each))
            for each in way + rng.normal(size=(1 + alternatives, 7)) * 0.0005
        )
        began = time.thread_time()
        planned = ClearChunk(planner, replace(chunk, alternatives=tuple(others))).accept(NANOSECONDS)
        if isinstance(planned, Planned) and planned.blocked is not None:
            found.append(time.thread_time() - began)
    return np.array(found)


def report_costs(count: int) -> str:
    """Return percentiles of the cost of checks and of plans, as lines."""
    blocked = f'a plan of {STEPS} steps that something is in the way of'
    costs = {
        f'a check of {STEPS} steps': check_costs(count),
        blocked: plan_costs(count, 0),
        f'{blocked}, and of its {MOST_ALTERNATIVES} alternatives': plan_costs(count, MOST_ALTERNATIVES),
    }
    lines = []
    for what, seconds in costs.items():
        p50, p90, p99 = np.percentile(seconds * 1e3, (50, 90, 99))
        lines.append(f'{what} [ms of processor time]: p50 {p50:.2f}, p90 {p90:.2f}, p99 {p99:.2f}')
    return '\n'.join(lines)
