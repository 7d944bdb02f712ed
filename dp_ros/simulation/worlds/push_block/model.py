"""The compiled world push_block, and with less friction or another block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path

import mujoco

from dp_ros.simulation.mujoco_world import halve_friction, make_round, with_change
from dp_ros.simulation.worlds.push_block.spec import BLOCK

HEAVIER = 4.0


@lru_cache(maxsize=1)
def model() -> mujoco.MjModel:
    """Return the compiled world; it is shared, so nobody may change it."""
    return mujoco.MjModel.from_xml_path(str(Path(__file__).with_name('push_block.xml')))


def wrong_model(fault: str) -> mujoco.MjModel:
    """Return the compiled world with one of `FAULTS`."""
    return with_change(model(), FAULTS[fault])


def _heavy(physics: mujoco.MjModel) -> None:
    block = physics.body(BLOCK).id
    physics.body_mass[block] *= HEAVIER
    physics.body_inertia[block] *= HEAVIER


FAULTS: Mapping[str, Callable[[mujoco.MjModel], None]] = {
    'friction_halved': halve_friction,
    'object_heavier': _heavy,
    'object_round': partial(make_round, box=BLOCK),
}
