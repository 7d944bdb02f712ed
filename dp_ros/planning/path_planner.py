"""A path around obstacles: RRT-Connect and short-cutting by OMPL, then timed within the limits.

Obstacles that move count as standing everywhere that they can be in the next moment (`AHEAD`): whether the way is still
clear when it is followed is the business of `dp_ros.motion.obstacles`, at every look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dp_ros.data import Refusal
from dp_ros.errors import ConfigError
from dp_ros.motion.checks.workspace import Workspace
from dp_ros.planning.collision import AHEAD, CollisionCheck
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.robot.model import RobotModel

MARGIN = 0.01
"""By which a path is farther from obstacles than asked for [m]: what smoothing and timing may cut."""
ROUNDS = 3
"""Of short-cutting and of smoothing."""
PATHS = 4
"""That are searched for, while half of the time is left: the shortest counts, because the first is often a long one."""
NEARBY = 0.8
"""How far joints go beyond start and goal [rad or m] where such a path is found in half of the time."""
TOLERANCE = 0.02
"""By which a place to go on at may be outside of the limits, to which it is brought then [rad or m]."""
INSIDE = 0.01
"""By which the tool stays inside of its workspace [m], but for where the path begins and ends."""
STEP = 0.02
"""Of a path, as a part of what its joints move altogether [rad or m]."""
EFFORT = 0.5
"""Part of the limits of speed and acceleration that a path is timed for."""
ATTENTION = 0.05
"""For which it searches until it looks whether somebody still waits for a way [s]."""
BRISK = 4.0
"""Acceleration of a joint without a limit of it, as a multiple of its speed limit [1/s]."""
NO_PLANNER = "path_planner: got 'builtin' without OMPL ({error}), allowed where it is installed: pip install ompl"


def check_installed() -> None:
    """Raise :class:`ConfigError` where OMPL is missing."""
    try:
        import ompl.geometric  # noqa: F401
    except ImportError as error:
        raise ConfigError(NO_PLANNER.format(error=error)) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    """A path (N, A) [rad or m] from where the robot rests to a goal, not timed yet."""

    points: np.ndarray


def plan_way(
    check: CollisionCheck,
    start: np.ndarray,
    goals: Sequence[np.ndarray],
    limits: JointLimits,
    *,
    seconds: float,
    seed: int,
    workspace: Workspace | None = None,
    grippers: Collection[str] = (),
    given_up: Callable[[], bool] = lambda: False,
) -> Way | Refusal:
    """Plan a path from ``start`` (A,) to the first of ``goals`` (A,) that is clear; random by ``seed``.

    Joints without position limits are planned within a turn of start and goal. The tool stays in the ``workspace``;
    whether it does so between the points of the path is for who follows it to check. Grippers (`moved_on_ways`) stay
    as they are, whatever the goals say. Where ``given_up`` says that nobody waits any more, it ends soon.
    """
    planned = moved_on_ways(check.robot.robot, check.robot.joints, grippers)
    kept = [np.where(planned, goal, start) for goal in goals]
    chosen = first_free(check, [goal for goal in kept if _within(goal, limits, workspace)])
    if isinstance(chosen, Refusal):
        return chosen
    inside = tool_inside(workspace, start, chosen)
    found = None
    for beyond in (NEARBY, np.inf):
        low, high = _ranges(limits, start, chosen, beyond)
        ends = start, np.clip(chosen, low, high)
        if found is None and not given_up():
            found = _search(check, inside, ends, (low, high), planned, seconds / 2, seed, given_up)
    if found is None:
        return Refusal(reason=f'way around: found none in {seconds:.2f} s')
    return Way(points=found)


def moved_on_ways(robot: RobotModel, joints: Sequence[str], grippers: Collection[str]) -> np.ndarray:
    """Return which of ``joints`` (A,) a way moves: neither ``grippers`` nor fingers, which may hold something."""
    kept = {*grippers, *robot.fingers(joints)}
    return np.array([name not in kept for name in joints])


def first_free(check: CollisionCheck, goals: Sequence[np.ndarray]) -> np.ndarray | Refusal:
    """Return the first of the places (A,) that is clear."""
    chosen = next((goal for goal in goals if check.free(goal, MARGIN, ahead=AHEAD)), None)
    if chosen is None:
        return Refusal(reason=f'way around: got {len(goals)} places to go on at, allowed one that is clear')
    return chosen


def _within(goal: np.ndarray, limits: JointLimits, workspace: Workspace | None) -> bool:
    """Return whether joint positions (A,) are within limits, but for `TOLERANCE`, and the tool is where it may be."""
    if (goal < limits.lowest - TOLERANCE).any() or (goal > limits.highest + TOLERANCE).any():
        return False
    if workspace is None:
        return True
    (tool,) = workspace.chain.points(goal[np.newaxis])
    return bool((tool >= workspace.lower).all() and (tool <= workspace.upper).all())


def _ranges(
    limits: JointLimits, start: np.ndarray, goal: np.ndarray, beyond: float
) -> tuple[np.ndarray, np.ndarray]:
    least, most = np.minimum(start, goal), np.maximum(start, goal)
    low = np.where(np.isfinite(limits.lowest), np.minimum(limits.lowest, least), least - 2 * np.pi)
    high = np.where(np.isfinite(limits.highest), np.maximum(limits.highest, most), most + 2 * np.pi)
    return np.maximum(low, least - beyond), np.minimum(high, most + beyond)


def tool_inside(
    workspace: Workspace | None, start: np.ndarray, goal: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], bool]:
    """Return what tells whether the tool is inside on the straight way between joint positions (A,)."""
    if workspace is None:
        return lambda _first, _last: True
    ends = workspace.chain.points(np.stack([start, goal]))
    low = np.minimum(np.array(workspace.lower) + INSIDE, ends.min(axis=0))
    high = np.maximum(np.array(workspace.upper) - INSIDE, ends.max(axis=0))

    def inside(first: np.ndarray, last: np.ndarray) -> bool:
        count = 1 + int(np.ceil(np.abs(last - first).max() / STEP))
        tool = workspace.chain.points(first + np.linspace(0.0, 1.0, count)[:, None] * (last - first))
        return bool((tool >= low).all() and (tool <= high).all())

    return inside


def _search(
    check: CollisionCheck,
    inside: Callable[[np.ndarray, np.ndarray], bool],
    ends: tuple[np.ndarray, np.ndarray],
    ranges: tuple[np.ndarray, np.ndarray],
    planned: np.ndarray,
    seconds: float,
    seed: int,
    given_up: Callable[[], bool],
) -> np.ndarray | None:
    """Return the shortest path (N, A) between ``ends`` of some; all joints but the ``planned`` ones (A,) stay."""
    from ompl import base, geometric, util

    util.noOutputHandler()
    util.RNG.setSeed(seed + 1)
    columns = np.flatnonzero(planned)

    def vector(state: Any) -> np.ndarray:
        place = ends[0].copy()
        place[columns] = [state[i] for i in range(len(columns))]
        return place

    # The robot may rest closer to an obstacle than a path should be: from there it may leave, and not come closer.
    close = not check.free(ends[0], MARGIN, ahead=AHEAD)

    class Validity(base.StateValidityChecker):
        def isValid(self, state: Any) -> bool:
            place = vector(state)
            if not inside(place, place):
                return False
            return bool(np.array_equal(place, ends[0])) or check.free(place, MARGIN, ahead=AHEAD)

    class Motions(base.MotionValidator):
        def checkMotion(self, one: Any, two: Any, *_: Any) -> bool:
            first, last = vector(one), vector(two)
            if np.array_equal(last, ends[0]):
                first, last = last, first
            leaving = close and np.array_equal(first, ends[0])
            return inside(first, last) and check.free_way(first, last, MARGIN, ahead=AHEAD, leaving=leaving)

    space = base.RealVectorStateSpace(len(columns))
    bounds = base.RealVectorBounds(len(columns))
    for number, joint in enumerate(columns):
        bounds.setLow(number, float(ranges[0][joint]))
        bounds.setHigh(number, float(ranges[1][joint]))
    space.setBounds(bounds)
    info = base.SpaceInformation(space)
    validity, motions = Validity(info), Motions(info)
    info.setStateValidityChecker(validity)
    info.setMotionValidator(motions)
    info.setup()
    problem = base.ProblemDefinition(info)
    problem.setStartAndGoalStates(*(_state(info, end[columns]) for end in ends))
    planner = geometric.RRTConnect(info)
    planner.setProblemDefinition(problem)
    planner.setup()
    simplifier = geometric.PathSimplifier(info)
    found: list[np.ndarray] = []
    until, began = time.monotonic() + seconds, time.monotonic()
    for number in range(PATHS):
        if number and time.monotonic() - began > seconds / 2:
            break
        problem.clearSolutionPaths()
        planner.clear()
        while not problem.hasExactSolution() and time.monotonic() < until and not given_up():
            planner.solve(max(0.0, min(ATTENTION, until - time.monotonic())))  # goes on where it was
        if not problem.hasExactSolution() or given_up():
            break
        path = problem.getSolutionPath()
        for _ in range(ROUNDS):
            simplifier.reduceVertices(path)
            simplifier.partialShortcutPath(path)
        straight = _points(path, vector)
        simplifier.smoothBSpline(path, ROUNDS)
        found += [points for points in (_points(path, vector), straight) if _clear(check, inside, points, close)][:1]
    return min(found, key=_length) if found else None


def _length(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _points(path: Any, vector: Callable[[Any], np.ndarray]) -> np.ndarray:
    return np.array([vector(path.getState(number)) for number in range(path.getStateCount())])


def _clear(
    check: CollisionCheck, inside: Callable[[np.ndarray, np.ndarray], bool], points: np.ndarray, close: bool
) -> bool:
    """Return whether a whole path is clear, whatever OMPL thinks of it; ``close``: it begins closer, and leaves."""
    for first, last in pairwise(points):
        if not inside(first, last) or not check.free_way(first, last, MARGIN / 2, ahead=AHEAD, leaving=close):
            return False
        close = close and not check.free(last, MARGIN, ahead=AHEAD)
    return True


def _state(info: Any, place: np.ndarray) -> Any:
    state = info.allocState()
    for joint, value in enumerate(place):
        state[joint] = float(value)
    return state


def timed(way: Way, limits: JointLimits, control_dt: float, effort: float = EFFORT) -> np.ndarray:
    """Return positions (T, A) every ``control_dt`` [s] along a way, within a part ``effort`` of the limits.

    With s the length of the path and q' and q'' its derivatives by it, |q' ds/dt| is kept below the speed limit, and
    |q'' (ds/dt)^2| and |q' d2s/dt2| each below half of the acceleration limit.
    """
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way.points, axis=0), axis=1))])
    kept = np.append(True, np.diff(lengths) > 1e-9)
    lengths, points = lengths[kept], way.points[kept]
    if len(points) < 2:
        return points
    count = max(8, int(np.ceil(lengths[-1] / STEP)) + 1)
    s = np.linspace(0.0, lengths[-1], count)
    path = np.stack([np.interp(s, lengths, column) for column in points.T], axis=1)
    path[1:-1] = (path[:-2] + 2 * path[1:-1] + path[2:]) / 4  # corners of the polygon, by less than the margin
    first, second = np.abs(np.gradient(path, s, axis=0)), np.abs(np.gradient(np.gradient(path, s, axis=0), s, axis=0))
    speed = effort * np.where(np.isfinite(limits.top_speed), limits.top_speed, 1.0)
    weakest = np.where(np.isfinite(limits.weakest), limits.weakest, BRISK * speed / effort)
    room = effort * weakest / 2
    with np.errstate(divide='ignore'):
        fastest = np.minimum((speed / first).min(axis=1), np.sqrt((room / second).min(axis=1)))
        slope = (room / first).min(axis=1)
    fastest[0] = fastest[-1] = 0.0
    step = s[1] - s[0]
    for i in range(1, count):
        fastest[i] = min(fastest[i], np.sqrt(fastest[i - 1] ** 2 + 2 * slope[i - 1] * step))
    for i in reversed(range(count - 1)):
        fastest[i] = min(fastest[i], np.sqrt(fastest[i + 1] ** 2 + 2 * slope[i] * step))
    times = np.concatenate([[0.0], np.cumsum(2 * step / np.maximum(fastest[1:] + fastest[:-1], 1e-9))])
    ticks = np.append(np.arange(0.0, times[-1], control_dt), times[-1])
    return np.stack([np.interp(np.interp(ticks, times, s), s, column) for column in path.T], axis=1)
