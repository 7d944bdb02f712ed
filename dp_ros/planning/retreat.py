"""Leave a place where something that moves is about to come: a straight way to one nearby that stays clear.

Only velocities tell where something will be, so what has none (`LiveScene.forecast`) is not run away from. A guess is
enough here: the way is checked like every plan before it is sent, and at every look while it is followed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from dp_ros.data import Refusal
from dp_ros.motion.checks.workspace import Workspace
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.path_planner import MARGIN, Way, moved_on_ways, timed, tool_inside
from dp_ros.robot.joint_limits import JointLimits

EVERY = 0.2
"""Between two times at which is looked where things will be [s]."""
LEAVING = 200_000_000
"""For how long nothing may come to where a robot stops that could leave it [ns]: a retreat is planned meanwhile."""
BEGINS = 0.2
"""From the question to when the motion begins [s]."""
HURRY = 0.9
"""Part of the limits of speed and acceleration that a retreat is timed for."""
STAYS = 4.0
"""For how long a place should stay clear [s]."""
ROOM = 1.0
"""For which a place counts all that moving obstacles can do [s]; more than where it is left, or it would be again."""
DISTANCES = (0.1, 0.2, 0.35, 0.6)
"""Of places that are tried, the nearest first [rad or m]; in `DIRECTIONS` of each distance."""
DIRECTIONS = 24


def threatened(check: CollisionCheck, positions: np.ndarray, now: int, within: float) -> bool:
    """Return whether something that moves is about to reach joint positions (A,), ``within`` [s] of ``now`` [ns]."""
    known = any(check.scene.forecast(name) is not None for name in check.scene.moving)
    times = np.append(np.arange(0.0, within, EVERY), within)
    return known and bool((check.room(np.tile(positions, (len(times), 1)), now, times) < 0.0).any())


def plan_retreat(
    check: CollisionCheck,
    start: np.ndarray,
    limits: JointLimits,
    *,
    now: int,
    seed: int,
    workspace: Workspace | None = None,
    grippers: Collection[str] = (),
) -> Way | Refusal:
    """Plan a way from ``start`` (A,) to a place that stays clear for `STAYS`, or comes nearest to that.

    Random by ``seed``. Grippers stay as they are.
    """
    moved = moved_on_ways(check.robot.robot, check.robot.joints, grippers)
    times = np.append(np.arange(BEGINS, STAYS, EVERY), STAYS)
    best, least = None, _missing(check, start[np.newaxis], now, times)
    for goal in _places(start, moved, limits, np.random.default_rng(seed)):
        way = Way(points=np.stack([start, goal]))
        inside = tool_inside(workspace, start, start)(start, goal)
        if not inside or not check.free_way(start, goal, MARGIN, ahead=None, leaving=True):
            continue
        missing = _missing(check, timed(way, limits, EVERY, HURRY), now, times)
        if missing < least:
            best, least = way, missing
        if missing == 0.0:
            break
    return Refusal(reason='retreat: found no place that stays clearer than this one') if best is None else best


def _places(
    start: np.ndarray, moved: np.ndarray, limits: JointLimits, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield places (A,) around ``start``, the nearest first, that are within the limits."""
    for distance in DISTANCES:
        for way in rng.normal(size=(DIRECTIONS, int(moved.sum()))):
            place = start.copy()
            place[moved] += way / np.linalg.norm(way) * distance
            if (place >= limits.lowest).all() and (place <= limits.highest).all():
                yield place


def _missing(check: CollisionCheck, way: np.ndarray, now: int, times: np.ndarray) -> float:
    """Return how much room is missing along a way (N, A), and at its end from then on, over ``times`` [m s]."""
    places = way[np.minimum(np.arange(len(times)), len(way) - 1)]
    room = check.room(places, now, times, ahead=ROOM)
    return -float(np.minimum(room, 0.0).sum()) * EVERY
