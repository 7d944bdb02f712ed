"""Say where episodes among obstacles are played, what the robot is told of these, and when it has done its task.

row, beside     `point_navigation`: a row of three discs; or that of `point_obstacle`, and one that closes its left
box             `pick_place`: a box between the red box and the tray
"""

from __future__ import annotations

from functools import partial
from typing import Literal, Protocol

import numpy as np

from dp_ros.planning.scene import Attached, Box, Cylinder, MovingObstacle, Scene
from dp_ros.planning.scene import Obstacle as Standing
from dp_ros.simulation.registry import world_spec
from dp_ros.simulation.world import World, WorldSpec
from dp_ros.simulation.worlds.pick_place.blocked import OBSTACLE as BLOCK
from dp_ros.simulation.worlds.pick_place.blocked import SIZE, blocked_pick_place
from dp_ros.simulation.worlds.pick_place.spec import HALF_HEIGHT
from dp_ros.simulation.worlds.point_navigation.spec import OBSTACLE, Obstacle, point_world

Layout = Literal['row', 'beside', 'box']
WORLDS: dict[Layout, str] = {'row': 'point_navigation', 'beside': 'point_navigation', 'box': 'pick_place'}
DISCS: dict[Layout, tuple[tuple[float, float, float, float], ...]] = {
    'row': ((0.0, 0.0, 0.18, 0.08), (0.1, 0.6, 0.12, 0.08), (-0.1, -0.6, 0.12, 0.08)),
    'beside': ((0.0, 0.0, 0.2, 0.0), (0.0, 0.36, 0.12, 0.04)),
}
"""Of each disc: x, y, radius, spread [m]."""
HEIGHT = 1.0
SWING = 0.3
"""How far moving discs go to and fro [m]."""
DONE = (0.05, 0.1)
"""Distance from the target [m] and speed [m/s] at which it is reached, as in the world."""
FASTER = 1.05
"""Factor on the greatest speed and acceleration: a pose may say a little more of the next instants."""
POSE_ERROR = 0.001
"""Tell the robot that poses of discs may be wrong by so much [m]; they are right."""
HELD = 0.05
"""Edge of a cube around whatever the gripper holds [m]."""
BELOW = 0.03
"""From the table to the slab that keeps ways above it [m]: what is grasped stands on the table."""


class Arena(Protocol):
    """A world with obstacles.

    Attributes
    ----------
    obstacles
        Their names, by which the world tracks them.
    planning
        Robot time that planning a way takes [ns]: its process does not stop the robot.
    tried
        Longest time that is really spent on planning one [s].

    """

    spec: WorldSpec
    obstacles: tuple[str, ...]
    planning: int
    tried: float

    def scene(self, world: World, frame: str) -> Scene:
        """Return what the robot is told of the obstacles of an episode that has begun, in the URDF's ``frame``."""

    def done(self, world: World) -> bool:
        """Return whether the task is done, with contacts or without."""


class Discs:
    """`point_navigation` with discs, still, or going to and fro with a greatest ``speed`` [m/s]."""

    planning, tried = 200_000_000, 1.0

    def __init__(self, layout: Layout, speed: float) -> None:
        period = 2.0 * np.pi * SWING / speed if speed else 8.0
        ways = ((0.0, SWING), (SWING, 0.0), (-SWING, 0.0))
        self.discs = tuple(
            Obstacle(centre=(x, y), radius=radius, spread=spread, swing=way if speed else (0.0, 0.0), period=period)
            for (x, y, radius, spread), way in zip(DISCS[layout], ways, strict=False)
        )
        name = WORLDS[layout]
        self.spec = point_world(name, self.discs, parameter_file=world_spec(name).parameter_file)
        self.obstacles: tuple[str, ...] = tuple(f'{OBSTACLE}{number}' for number in range(len(self.discs)))
        self._speed, self._acceleration = FASTER * speed, FASTER * speed**2 / SWING

    def scene(self, world: World, frame: str) -> Scene:
        """Return the discs, of which those that move are seen by their poses."""
        shapes = [Cylinder(radius=disc.radius, length=HEIGHT) for disc in self.discs]
        parts = zip(self.obstacles, shapes, strict=True)
        if self._speed:
            told = partial(MovingObstacle, speed=self._speed, acceleration=self._acceleration, pose_error=POSE_ERROR)
            moving = [told(name=n, shape=shape, topic=n) for n, shape in parts]
            return Scene(frame=frame, moving=tuple(moving))
        poses = world.poses
        standing = [Standing(name=n, shape=shape, position=poses[n].position) for n, shape in parts]
        return Scene(frame=frame, obstacles=tuple(standing))

    def done(self, world: World) -> bool:
        """Return whether the point rests at the target."""
        near = float(world.progress.details['distance']) <= DONE[0]
        return near and float(np.linalg.norm(world.joint_velocities)) <= DONE[1]


class BlockedTable:
    """`pick_place` with a box between the red box and the tray, still, or of a greatest ``speed`` [m/s]."""

    obstacles: tuple[str, ...] = (BLOCK,)
    planning, tried = 1_000_000_000, 4.0

    def __init__(self, speed: float) -> None:
        self.spec = blocked_pick_place(speed)
        self._speed = FASTER * speed

    def scene(self, world: World, frame: str) -> Scene:
        """Return the box, a slab below the table, and a cube in the hand, as if that always held something."""
        slab = Standing(name='table', shape=Box(size=(1.2, 0.9, 0.04)), position=(0.44, 0.0, -BELOW - 0.02))
        # The tool's z axis points down; an object's middle is this much above the fingertips.
        held = Attached(
            name='held', link='tool', shape=Box(size=(HELD, HELD, HELD)), position=(0.0, 0.0, 0.012 - HALF_HEIGHT),
            touch_links=('left_finger', 'right_finger'),
        )  # fmt: skip
        shape = Box(size=SIZE)
        if self._speed:
            box = MovingObstacle(name=BLOCK, shape=shape, topic=BLOCK, speed=self._speed)
            return Scene(frame=frame, obstacles=(slab,), moving=(box,), attached=(held,))
        still = Standing(name=BLOCK, shape=shape, position=world.poses[BLOCK].position)
        return Scene(frame=frame, obstacles=(slab, still), attached=(held,))

    def done(self, world: World) -> bool:
        """Return whether the red box lies in the tray and the hand is away from it."""
        return world.progress.success


def arena(layout: Layout, speed: float) -> Arena:
    """Return where a layout is played, with obstacles whose greatest speed is ``speed`` [m/s]."""
    return BlockedTable(speed) if layout == 'box' else Discs(layout, speed)
