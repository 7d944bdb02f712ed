"""The compiled world pick_place, and with other objects, another table or another place of the camera."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path

import mujoco

from dp_ros.simulation.mujoco_world import halve_friction, make_round
from dp_ros.simulation.worlds.pick_place.spec import BOX

SMALLER = 0.75  # in width
PLACE = 0.05  # of a camera, to the left [m]
GREY, ORANGE = (0.45, 0.47, 0.50), (0.90, 0.50, 0.10)


@lru_cache(maxsize=1)
def model() -> mujoco.MjModel:
    """Return the compiled world; it is shared, so nobody may change it."""
    return mujoco.MjModel.from_xml_path(str(Path(__file__).with_name('pick_place.xml')))


def _other_place(physics: mujoco.MjModel) -> None:
    physics.cam_pos[physics.camera('camera').id] += (0.0, PLACE, 0.0)


def _other_table(physics: mujoco.MjModel) -> None:
    physics.mat_rgba[physics.material('table').id, :3] = GREY


def _other_colour(physics: mujoco.MjModel) -> None:
    physics.mat_rgba[physics.material('red').id, :3] = ORANGE


def _small_box(physics: mujoco.MjModel) -> None:
    physics.geom_size[physics.geom(BOX).id, :2] *= SMALLER


FAULTS: Mapping[str, Callable[[mujoco.MjModel], None]] = {
    'friction_halved': halve_friction,
    'camera_elsewhere': _other_place,
    'table_grey': _other_table,
    'object_orange': _other_colour,
    'object_round': partial(make_round, box=BOX),
    'object_smaller': _small_box,
}
