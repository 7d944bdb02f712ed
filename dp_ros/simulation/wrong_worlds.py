"""Worlds made wrong on purpose: what a policy may meet after its robot was moved, hit, relit or given something else.

Each fault leaves the task, and what counts as success, as they are. Sensors lie and drives are off in a wrapper around
the world; what is heavier, smoother or round is so in its physics.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, cast

import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.simulation.registry import make_world
from dp_ros.simulation.world import Pose, World

OFFSET = 0.05  # of the first joint [rad or m]
SHIFT = 0.05  # of what is tracked, to the left [m]
CAMERA = 9  # by which pictures are moved to the right [pixels], of 96: 5 cm of PushT's table
DARKER = 0.5  # of the light
FRICTION = 0.5
HEAVIER = 4.0
SMALLER = 0.75  # in width
PLACE = 0.05  # of a camera, to the left [m]
GREY, ORANGE = (0.45, 0.47, 0.50), (0.90, 0.50, 0.10)


class WrongWorld:
    """A world whose sensors and drives are off.

    Parameters
    ----------
    world
        As it should be.
    offset
        By how much joints are read too high, and driven too low (A,) [rad or m].
    shift
        By how much poses are read off (3,) [m].
    picture
        Changes each picture, (H, W, 3) uint8.
    after_reset
        Changes the physics of ``world``, that each reset makes anew.

    """

    def __init__(
        self,
        world: World,
        *,
        offset: float = 0.0,
        shift: float = 0.0,
        picture: Callable[[np.ndarray], np.ndarray] | None = None,
        after_reset: Callable[[Any], None] | None = None,
    ) -> None:
        self._world, self._picture, self._after_reset = world, picture, after_reset
        self._offset = np.zeros(len(world.joints))
        self._offset[0] = offset
        self._shift = shift

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def reset(self, seed: int) -> None:
        """Begin an episode."""
        self._world.reset(seed)
        if self._after_reset is not None:
            self._after_reset(self._world)

    def step(self, set_point: np.ndarray) -> None:
        """Advance by a step, with the joints driven to where ``set_point`` (A,) is not."""
        self._world.step(np.asarray(set_point) - self._offset)

    @property
    def joint_positions(self) -> np.ndarray:
        """Positions of the joints as they are read [rad or m]."""
        return self._world.joint_positions + self._offset

    @property
    def poses(self) -> Mapping[str, Pose]:
        """Poses as they are read."""
        return {name: self._moved(pose) for name, pose in self._world.poses.items()}

    def _moved(self, pose: Pose) -> Pose:
        x, y, z = pose.position
        return replace(pose, position=(x, y + self._shift, z)) if self._shift else pose

    def render(self, camera: str) -> np.ndarray:
        """Return what a camera sees."""
        picture = self._world.render(camera)
        return picture if self._picture is None else self._picture(picture)


def _darker(picture: np.ndarray) -> np.ndarray:
    return (picture * DARKER).astype(np.uint8)


def _moved(picture: np.ndarray) -> np.ndarray:
    return np.concatenate([np.repeat(picture[:, :1], CAMERA, axis=1), picture[:, :-CAMERA]], axis=1)


def _physics(world: str, kind: str, change: Callable[[Any], None]) -> Callable[[str], World]:
    """Return what makes the ``kind`` of a folder of worlds with its model changed."""

    def make(_: str) -> World:
        folder = f'dp_ros.simulation.worlds.{world}'
        physics = copy.deepcopy(import_module(f'{folder}.model').model())
        change(physics)
        return cast(World, getattr(import_module(f'{folder}.world'), kind)(physics=physics))

    return make


_push_block = partial(_physics, 'push_block', 'PushBlockWorld')
_pick_place = partial(_physics, 'pick_place', 'PickPlaceWorld')


def _smooth(model: Any) -> None:
    model.geom_friction[:, 0] *= FRICTION


def _other_place(model: Any) -> None:
    model.cam_pos[model.camera('camera').id] += (0.0, PLACE, 0.0)


def _other_table(model: Any) -> None:
    model.mat_rgba[model.material('table').id, :3] = GREY


def _other_colour(model: Any) -> None:
    model.mat_rgba[model.material('red').id, :3] = ORANGE


def _small_box(model: Any) -> None:
    model.geom_size[model.geom('red_box').id, :2] *= SMALLER


def _heavy(model: Any) -> None:
    block = model.body('block').id
    model.body_mass[block] *= HEAVIER
    model.body_inertia[block] *= HEAVIER


def _round(model: Any, box: str) -> None:
    import mujoco

    geom = model.geom(box).id
    model.geom_type[geom] = mujoco.mjtGeom.mjGEOM_CYLINDER
    model.geom_size[geom, 1] = model.geom_size[geom, 2]  # radius and half of its height


def _point(**changes: Any) -> Callable[[str], World]:
    def make(_: str) -> World:
        from dp_ros.simulation.worlds.point_navigation.spec import Obstacle
        from dp_ros.simulation.worlds.point_navigation.world import PointWorld

        return cast(World, PointWorld((Obstacle(**changes),)))

    return make


def _pusht(change: Callable[[Any], None]) -> Callable[[str], World]:
    return lambda name: cast(World, WrongWorld(make_world(name), after_reset=change))


def _smooth_pusht(world: Any) -> None:
    for shape in (*world.env.block.shapes, *world.env.agent.shapes):
        shape.friction *= FRICTION


def _turned_pusht(world: Any) -> None:
    """Put another T on the table, of twice the inertia: it turns more slowly than the one that was shown."""
    world.env.block.moment *= 2.0
    world.env.block.mass *= 2.0


def _sensors(**changes: Any) -> Callable[[str], World]:
    return lambda name: cast(World, WrongWorld(make_world(name), **changes))


FAULTS: Mapping[str, Callable[[str], World]] = {
    'joint_offset': _sensors(offset=OFFSET),
    'object_shifted': _sensors(shift=SHIFT),
    'camera_darker': _sensors(picture=_darker),
    'camera_moved': _sensors(picture=_moved),
}
OF_WORLDS: Mapping[str, Mapping[str, Callable[[str], World]]] = {
    'push_block': {
        'friction_halved': _push_block(_smooth),
        'object_heavier': _push_block(_heavy),
        'object_round': _push_block(partial(_round, box='block')),
    },
    'pick_place': {
        'friction_halved': _pick_place(_smooth),
        'camera_elsewhere': _pick_place(_other_place),
        'table_grey': _pick_place(_other_table),
        'object_orange': _pick_place(_other_colour),
        'object_round': _pick_place(partial(_round, box='red_box')),
        'object_smaller': _pick_place(_small_box),
    },
    'point_obstacle': {
        'object_larger': _point(radius=0.3),
        'object_moving': _point(swing=(0.0, 0.3), period=3.0),
    },
    'pusht': {'friction_halved': _pusht(_smooth_pusht), 'object_heavier': _pusht(_turned_pusht)},
}


def wrong_names(world: str, *, sees: bool) -> tuple[str, ...]:
    """Return what can be made wrong in a world for a policy that ``sees`` pictures, or only joints and poses."""
    dull = () if sees else ('camera_darker', 'camera_moved')
    blind = ('object_shifted',) if sees else ()
    return tuple(name for name in (*FAULTS, *OF_WORLDS.get(world, {})) if name not in (*dull, *blind))


def make_wrong(world: str, fault: str) -> World:
    """Return a new world with a fault; ConfigError if it can have no such one."""
    known = {**FAULTS, **OF_WORLDS.get(world, {})}
    if fault not in known:
        raise ConfigError(f'fault: got {fault!r}, allowed {listed(known)} in the world {world}')
    return known[fault](world)
