"""Time checks of random motions of an arm of seven joints among twenty shapes, in this thread's processor time."""

from __future__ import annotations

import time

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.motion.blend import chunk_curve
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.robot_geometry import robot_geometry
from dp_ros.planning.scene import Box, Cylinder, LiveScene, Obstacle, Scene, Sphere
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


def check_costs(count: int, seed: int = 0, speed: float = 0.3) -> np.ndarray:
    """Return the cost of ``count`` checks of chunks (count,) [s], their joints at about ``speed`` [rad/s]."""
    rng = np.random.default_rng(seed)
    around = scene(rng)
    check = CollisionCheck(robot_geometry(parse_urdf(arm()), JOINTS, around), LiveScene(around), clearance=0.02)
    due, costs = NANOSECONDS + PERIOD * np.arange(STEPS), []
    for _ in range(count):
        ways = rng.normal(size=7) * speed * PERIOD / NANOSECONDS + rng.normal(size=(STEPS, 7)) * 0.002
        chunk = chunk_curve(due, rng.uniform(-1.0, 1.0, 7) + np.cumsum(ways, axis=0), JOINTS)
        began = time.thread_time()
        check.still_contact(chunk, NANOSECONDS, SLACK)
        costs.append(time.thread_time() - began)
    return np.array(costs)


def report_costs(count: int) -> str:
    """Return percentiles of the cost of checks, as a line."""
    p50, p90, p99 = np.percentile(check_costs(count) * 1e3, (50, 90, 99))
    return f'a check of {STEPS} steps [ms of processor time]: p50 {p50:.2f}, p90 {p90:.2f}, p99 {p99:.2f}'
