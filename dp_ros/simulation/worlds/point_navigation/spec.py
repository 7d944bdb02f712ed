"""Specify the worlds of this folder without their physics: robot, obstacles, topics and files.

Another package makes one with its own obstacles by `point_world`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dp_ros.errors import ConfigError
from dp_ros.options import check_options, option
from dp_ros.simulation.world import Expert, World, WorldSpec, flat_pose

JOINTS = ('point_x', 'point_y')
TARGET = 'target'  # its name: where to go now
LAST_TARGET = 'last_target'  # where to end, of a world with two targets: the same once the first has been reached
OBSTACLE = 'obstacle_'  # and a number: their names
COIN_WITHIN = 0.02  # of several obstacles' middles: there the demonstrator throws a coin for the side [m]
NOISE = 0.02  # of the demonstrator: standard deviation of what is commanded from the way [m]


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """A disc that the point may not touch, at its place or in motion: centre + swing sin(2 pi t / period)."""

    centre: tuple[float, float] = option((0.0, 0.0), 'Of the disc, x and y.', unit='m')
    radius: float = option(0.2, 'Of the disc.', unit='m', low=0.01, high=0.5)
    spread: float = option(
        0.0, 'Up to how far from `centre` an episode puts it, along each axis.', unit='m', low=0.0, high=1.0
    )
    swing: tuple[float, float] = option(
        (0.0, 0.0), 'How far it goes to and fro along x and y.', unit='m'
    )
    period: float = option(8.0, 'How long that takes.', unit='s', low=0.5, high=1000.0)

    def __post_init__(self) -> None:
        check_options(self, 'obstacle ')


def point_world(
    name: str,
    obstacles: tuple[Obstacle, ...] = (),
    *,
    two_targets: bool = False,
    parameter_file: Path,
    training_file: Path | None = None,
    bundle: str = '',
    environment: str = '',
    faults: Callable[[], Mapping[str, Callable[[], World]]] = dict,
) -> WorldSpec:
    """Return the spec of a world with a point, these obstacles, and a target or two that are reached in order.

    With two, the topic `TARGET` has the one to go to now and `LAST_TARGET` the second: once the first has been reached,
    both have the second. So one observation tells what is left to do, and no policy has to remember it.
    """
    names = (*target_names(two_targets), *(f'{OBSTACLE}{number}' for number in range(len(obstacles))))
    return WorldSpec(
        name=name,
        make_world=partial(_make_world, name, obstacles, two_targets),
        make_expert=partial(_make_expert, obstacles),
        joints=JOINTS,
        units=('m', 'm'),
        goal_pose=flat_pose(0.0, 0.0, 0.0),  # the middle of all targets: each episode has its own
        pose_topics={body: body for body in names},
        parameter_file=parameter_file,
        training_file=training_file,
        bundle=bundle,
        seconds_after_success=1.0,  # in which it comes to rest
        environment=environment,
        expert_noise=NOISE,
        faults=faults,
    )


def target_names(two_targets: bool) -> tuple[str, ...]:
    """Return the names of the targets that a world shows."""
    return (TARGET, LAST_TARGET) if two_targets else (TARGET,)


def _make_world(name: str, obstacles: tuple[Obstacle, ...], two_targets: bool, *, disturbance: float) -> World:
    from dp_ros.simulation.worlds.point_navigation.world import PointWorld

    if disturbance not in (0.0, 1.0):
        raise ConfigError(f'disturbance: got {disturbance}, allowed 0 or 1 in the world {name}')
    return PointWorld(obstacles, two_targets=two_targets, wide_starts=bool(disturbance))


def _make_expert(
    obstacles: tuple[Obstacle, ...], rng: np.random.Generator, *, control_dt: float, noise: float = NOISE
) -> Expert:
    from dp_ros.simulation.worlds.point_navigation.expert import PointExpert

    radii = tuple(obstacle.radius for obstacle in obstacles)
    # A coin for each of several obstacles would lead around the long way, and one decision against the other.
    coin_within = COIN_WITHIN if len(radii) > 1 else np.inf
    return PointExpert(rng, radii=radii, control_dt=control_dt, noise=noise, coin_within=coin_within)


def _faults() -> dict[str, Callable[[], World]]:
    """Return worlds of another obstacle than the one that `POINT_OBSTACLE` has."""
    wrong = {'object_larger': Obstacle(radius=0.3), 'object_moving': Obstacle(swing=(0.0, 0.3), period=3.0)}
    return {
        fault: partial(_make_world, 'point_obstacle', (obstacle,), False, disturbance=0.0)
        for fault, obstacle in wrong.items()
    }


POINT_NAVIGATION = point_world(
    'point_navigation',
    parameter_file=Path('config/point_navigation.yaml'),
    training_file=Path('config/train/point_navigation.yaml'),
    bundle='models/point_navigation',
    environment='dp_ros/PointNavigation-v0',
)
POINT_OBSTACLE = point_world(
    'point_obstacle',
    (Obstacle(),),
    parameter_file=Path('config/point_obstacle.yaml'),
    training_file=Path('config/train/point_obstacle.yaml'),
    bundle='models/point_obstacle',
    environment='dp_ros/PointObstacle-v0',
    faults=_faults,
)
POINT_TARGETS = point_world(
    'point_targets',
    tuple(
        Obstacle(centre=centre, radius=0.12, spread=0.05)
        for centre in ((0.0, 0.0), (0.45, 0.5), (0.45, -0.5), (-0.45, 0.5), (-0.45, -0.5))
    ),
    two_targets=True,
    parameter_file=Path('config/point_targets.yaml'),
    training_file=Path('config/train/point_targets.yaml'),
    bundle='models/point_targets',
    environment='dp_ros/PointTargets-v0',
)
