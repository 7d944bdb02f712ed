"""The world pick_place with a box between the red box and the tray, which stands there or goes to and fro.

No policy has seen it, and nobody is told of it but by the pose that it has like every tracked thing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import mujoco
import numpy as np

from dp_ros.errors import ConfigError, check_range
from dp_ros.simulation.world import Pose, Progress, Scene, World, WorldSpec, flat_pose
from dp_ros.simulation.worlds.pick_place.spec import BOX, PICK_PLACE, TRAY
from dp_ros.simulation.worlds.pick_place.world import PickPlaceWorld

OBSTACLE = 'obstacle'
SIZE = (0.05, 0.03, 0.18)  # of it, along x, y and z [m]
COLOUR = (0.60, 0.50, 0.36, 1.0)  # cardboard
BETWEEN = 0.115  # where it stands, y [m]: an open hand fits between it and what it grasps, and what it puts down
FARTHEST = -0.03  # of the red box from the tray's side: the largest y of its start [m]
SPREAD = 0.02  # of its place, along x [m]
SWING = 0.10  # how far it goes to and fro, along x [m]
DRAWS = 100  # of a start, at most
PLACES = 9  # of the box on its way, where it must not touch the hand at first
OTHERS = 1_000_003  # from the seed of one draw to that of the next


@lru_cache(maxsize=1)
def blocked_model() -> mujoco.MjModel:
    """Return the compiled world with the box; it is shared, so nobody may change it."""
    spec = mujoco.MjSpec.from_file(str(Path(__file__).with_name('pick_place.xml')))
    body = spec.worldbody.add_body(name=OBSTACLE, mocap=True)
    half = [length / 2 for length in SIZE]
    body.add_geom(
        name=OBSTACLE, type=mujoco.mjtGeom.mjGEOM_BOX, size=half, contype=1, conaffinity=3, rgba=list(COLOUR)
    )
    return spec.compile()


class BlockedPickPlaceWorld(PickPlaceWorld):
    """The physics; ``speed`` is the box's greatest [m/s], 0 where it stands.

    An episode begins where the red box is far enough from the tray for the box to stand between, and the hand is not
    where that goes.
    """

    def __init__(self, *, speed: float = 0.0, disturbance: float = 0.0) -> None:
        check_range('speed', speed, 0.0, 1.0, unit='m/s')
        self._rate = speed / SWING  # [rad/s]
        self._middle = self._phase = 0.0
        self._steps = self._collisions = 0
        self._geom = int(blocked_model().geom(OBSTACLE).id)
        super().__init__(disturbance=disturbance, physics=blocked_model())
        self.tracked = (*self.tracked, OBSTACLE)

    def reset(self, seed: int) -> None:
        """Begin an episode at the first start with room for the box, of those that belong to ``seed``."""
        draw = np.random.default_rng([seed, DRAWS])
        aside, self._phase = float(draw.uniform(-SPREAD, SPREAD)), float(draw.uniform(0.0, 2.0 * np.pi))
        self._steps = self._collisions = 0
        self._touched = False
        for number in range(DRAWS):
            super().reset(seed + number * OTHERS)
            x, y = self._position(BOX)[:2].tolist()
            self._middle = x + (BETWEEN - y) / (TRAY[1] - y) * (TRAY[0] - x) + aside
            if y <= FARTHEST and not self._in_the_way():
                return
        raise ConfigError(f'starts: got none of {DRAWS} with room for the box, allowed y up to {FARTHEST} m')

    def _in_the_way(self) -> bool:
        """Return whether the box touches something where it goes; put it where it begins."""
        touched = False
        for part in np.linspace(-1.0, 1.0, PLACES) if self._rate else (0.0,):
            self._place((self._middle + part * SWING, *self._at[1:]))
            touched = touched or bool((self._data.contact.geom == self._geom).any())
        self._place(self._at)
        return touched

    def set_scene(self, scene: Scene) -> None:
        """Put arm, gripper, objects and the box where they are asked for, at rest; there the box stays."""
        super().set_scene(replace(scene, poses={name: p for name, p in scene.poses.items() if name != OBSTACLE}))
        self._middle, self._rate = scene.poses[OBSTACLE].position[0], 0.0
        self._place(self._at)

    def _place(self, position: tuple[float, float, float]) -> None:
        self._data.mocap_pos[0] = position
        mujoco.mj_forward(self._model, self._data)

    @property
    def _at(self) -> tuple[float, float, float]:
        swing = 0.0
        if self._rate:
            swing = SWING * float(np.sin(self._phase + self._rate * self._steps * self.step_duration / 1e9))
        return self._middle + swing, BETWEEN, SIZE[2] / 2

    def step(self, set_point: np.ndarray) -> None:
        """Advance by one step of 10 ms with the joints driven towards ``set_point`` (8,) [rad], [m]."""
        self._steps += 1
        self._data.mocap_pos[0] = self._at
        super().step(set_point)
        touched = bool((self._data.contact.geom == self._geom).any())
        self._collisions += touched and not self._touched
        self._touched = touched

    @property
    def poses(self) -> dict[str, Pose]:
        """The poses of objects and box."""
        x, y, z = self._at
        return {**super().poses, OBSTACLE: flat_pose(x, y, 0.0, z)}

    @property
    def progress(self) -> Progress:
        """The same as without the box, and how often that was touched."""
        found = super().progress
        return replace(found, details={**found.details, 'collisions': float(self._collisions)})


def _make_world(speed: float, *, disturbance: float) -> World:
    return BlockedPickPlaceWorld(speed=speed, disturbance=disturbance)


def blocked_pick_place(speed: float) -> WorldSpec:
    """Return the spec of the world with the box, whose greatest speed is ``speed`` [m/s]."""
    topics = {**PICK_PLACE.pose_topics, OBSTACLE: f'{OBSTACLE}_pose'}
    return replace(PICK_PLACE, make_world=partial(_make_world, speed), pose_topics=topics, environment='')
