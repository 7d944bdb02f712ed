"""How episodes of the world pick_place begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.simulation.arm.kinematics import ToolPose
from dp_ros.simulation.worlds.pick_place.spec import OPEN, TRAY, TRAY_HALF

AREA = ((0.37, -0.22), (0.58, 0.06))  # where objects lie: x, y, lowest and highest [m]
APART = 0.105  # of the objects' middles, so that open fingers fit between them [m]
HOME = (0.40, 0.02, 0.20, np.pi / 4)  # of the tool: x, y, z [m], yaw [rad]; both ways to grasp are a turn away
HOME_SPREAD = (0.04, 0.06, 0.03, 0.25)
ANYWHERE = ((0.34, -0.24, 0.03, -1.2), (0.60, 0.28, 0.24, 2.5))  # of the tool in wide starts, lowest and highest
CLEAR = 0.085  # of the tool from both objects there, so that it hits none on its way [m]
BESIDE = ((-0.07, -0.07, 0.012, -1.2), (0.07, 0.07, 0.13, 2.5))  # ... and of the tool from an object that it missed
BESIDE_SHARE = 0.6  # of wide starts


@dataclass(frozen=True, kw_only=True)
class Start:
    """How an episode begins: each object's middle [m] and yaw [rad], the tool, its height and finger [m]."""

    objects: tuple[tuple[float, float], ...]
    yaws: tuple[float, ...]
    tool: ToolPose
    height: float
    finger: float


def draw_start(draw: np.random.Generator) -> Start:
    """Return a start: two objects apart on the table, the open gripper above it."""
    first, second = _draw_objects(draw)
    return _start(draw, (first, second), np.array(HOME) + draw.uniform(-1.0, 1.0, 4) * HOME_SPREAD, OPEN)


def draw_wide_start(draw: np.random.Generator) -> Start:
    """Return a start for demonstrations of how to get back on the way: the hand anywhere, open or not.

    Often that is where a missed grasp leaves it, low beside an object or over it; it may reach into the object.
    """
    if draw.random() < BESIDE_SHARE:
        places = _draw_objects(draw)
        missed = np.array([*places[draw.integers(2)], 0.0, 0.0])
        return _start(draw, places, missed + draw.uniform(*BESIDE), float(draw.uniform(0.0, OPEN)))
    while True:
        first, second = _draw_objects(draw)
        tool = draw.uniform(*ANYWHERE)
        over_tray = np.abs(tool[:2] - TRAY).max() < TRAY_HALF + 0.08
        low = tool[2] < (0.09 if over_tray else 0.0)
        if not low and min(np.hypot(*(tool[:2] - place)) for place in (first, second)) > CLEAR:
            break
    return _start(draw, (first, second), tool, float(draw.uniform(0.010, OPEN)))


def _draw_objects(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    while True:
        first, second = draw.uniform(*AREA), draw.uniform(*AREA)
        if np.hypot(*(first - second)) > APART:
            return first, second


def _start(draw: np.random.Generator, places: tuple[np.ndarray, np.ndarray], tool: np.ndarray, finger: float) -> Start:
    yaws = draw.uniform(-np.pi / 4, np.pi / 4, 2)
    x, y, z, yaw = tool.tolist()
    return Start(
        objects=tuple((float(place[0]), float(place[1])) for place in places),
        yaws=(float(yaws[0]), float(yaws[1])),
        tool=ToolPose(x=x, y=y, yaw=yaw),
        height=z,
        finger=finger,
    )
