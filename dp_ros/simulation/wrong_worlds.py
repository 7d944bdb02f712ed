"""Worlds made wrong on purpose: what a policy may meet after its robot was moved, hit, relit or given something else.

Each fault leaves the task, and what counts as success, as they are. Here are those of any world, whose sensors lie and
drives are off in a wrapper around it; what is heavier, smoother or round is so in a world's physics, and its own
(`WorldSpec.faults`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from dp_ros.errors import ConfigError, listed
from dp_ros.simulation.registry import make_world, world_spec
from dp_ros.simulation.world import Pose, World

OFFSET = 0.05  # of the first joint [rad or m]
SHIFT = 0.05  # of what is tracked, to the left [m]
CAMERA = 9  # by which pictures are moved to the right [pixels], of 96: 5 cm of PushT's table
DARKER = 0.5  # of the light


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

    """

    def __init__(
        self,
        world: World,
        *,
        offset: float = 0.0,
        shift: float = 0.0,
        picture: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self._world, self._picture = world, picture
        self._offset = np.zeros(len(world.joints))
        self._offset[0] = offset
        self._shift = shift

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

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


def _moved(picture: np.ndarray) -> np.ndarray:
    return np.concatenate([np.repeat(picture[:, :1], CAMERA, axis=1), picture[:, :-CAMERA]], axis=1)


def _sensors(**changes: Any) -> Callable[[str], World]:
    return lambda name: cast(World, WrongWorld(make_world(name), **changes))


FAULTS: Mapping[str, Callable[[str], World]] = {
    'joint_offset': _sensors(offset=OFFSET),
    'object_shifted': _sensors(shift=SHIFT),
    'camera_darker': _sensors(picture=lambda picture: (picture * DARKER).astype(np.uint8)),
    'camera_moved': _sensors(picture=_moved),
}


def wrong_names(world: str, *, sees: bool) -> tuple[str, ...]:
    """Return what can be made wrong in a world for a policy that ``sees`` pictures, or only joints and poses."""
    dull = () if sees else ('camera_darker', 'camera_moved')
    blind = ('object_shifted',) if sees else ()
    return tuple(name for name in (*FAULTS, *world_spec(world).faults()) if name not in (*dull, *blind))


def make_wrong(world: str, fault: str) -> World:
    """Return a new world with a fault; ConfigError if it can have no such one."""
    own = world_spec(world).faults()
    if fault in FAULTS:
        return FAULTS[fault](world)
    if fault not in own:
        raise ConfigError(f'fault: got {fault!r}, allowed {listed([*FAULTS, *own])} in the world {world}')
    return own[fault]()
