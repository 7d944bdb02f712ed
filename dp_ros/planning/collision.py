"""Distances of a robot's shapes from what is around it and from each other: of trajectories, paths and positions.

`sweep` has how a whole trajectory is checked.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.motion.obstacles import Contact
from dp_ros.motion.trajectory import Trajectory
from dp_ros.planning.forecast import Forecast
from dp_ros.planning.robot_geometry import RobotGeometry
from dp_ros.planning.scene import LiveScene
from dp_ros.planning.shapes import Balls, Placed, Poses, libraries
from dp_ros.planning.sweep import Pairs, Sweep

COARSE = 0.01
"""Way of a shape between two samples of a path [m]."""
AHEAD = 0.6
"""For which planners of paths count all that moving obstacles can do [s]: about a look and a stop."""
PARTS = 3
"""Of such a time that are looked at one by one where the velocity of an obstacle is known."""


class CollisionCheck:
    """Checks trajectories of a robot among the obstacles of a scene.

    Parameters
    ----------
    robot, scene
        What moves, and what is around.
    clearance
        Least distance from obstacles [m].
    self_clearance
        Least distance of links from each other [m].
    lag
        By how much the robot may follow its commands late [ns]: obstacles have so much longer to move.

    Attributes
    ----------
    exact
        Distances that were computed since it was made.

    """

    def __init__(
        self, robot: RobotGeometry, scene: LiveScene, *, clearance: float, self_clearance: float = 0.0, lag: int = 0
    ) -> None:
        self.robot, self.scene = robot, scene
        self.clearance, self._self_clearance, self._lag = clearance, self_clearance, lag
        _, self._coal = libraries()
        self._shapes = [shape.geometry for shape in robot.shapes.geometryObjects]
        self._balls = Balls.around(self._shapes)
        self._request, self._result = self._coal.DistanceRequest(), self._coal.DistanceResult()
        self.exact = 0
        self._built = -1
        self._moving = [Placed.of(name, part.shape) for name, part in scene.moving.items()]
        self._build()

    # What `dp_ros.motion.obstacles.ObstacleCheck` asks for.

    @property
    def version(self) -> int:
        """Changes when what stands still has changed."""
        return self.scene.version

    @property
    def moves(self) -> bool:
        """Whether any obstacle moves."""
        return bool(self._moving)

    def fault(self, now: int) -> str:
        """Return why the scene cannot be relied on at ``now`` [ns], or ''."""
        return self.scene.fault(now)

    def start_contact(self, trajectory: Trajectory, at: int) -> Contact | None:
        """Return what a trajectory is in contact with at ``at`` [ns], or within half the clearance of."""
        positions = trajectory.positions_at(np.array([at - trajectory.stamp]))
        found = self.nearest(positions[0])
        allowed = self.clearance / 2 if found is not None and found.obstacle not in self.robot.links else 0.0
        if found is None or found.distance > allowed:
            return None
        return Contact(link=found.link, obstacle=found.obstacle, distance=found.distance, allowed=allowed, at=at)

    def still_contact(self, trajectory: Trajectory, begin: int, slack: float = 0.0) -> Contact | None:
        """Return the first contact with what stands still, the robot itself included, from ``begin`` [ns] on.

        Where it begins closer than the clearance, it must only not come closer.
        """
        self._build()
        pairs = self._still_pairs(slack)
        return Sweep(self, trajectory, begin, pairs, self._standing, slack=slack).first()

    def moving_contact(self, trajectory: Trajectory, begin: int, resting: int = 0) -> Contact | None:
        """Return the first contact with anywhere that moving obstacles can be, from ``begin`` [ns] to its rest.

        And for so long after that, ``resting`` [ns].
        """
        if not self._moving or trajectory.end <= begin:
            return None
        pairs = self._moving_pairs(begin, trajectory.end + resting)
        if pairs is None:
            name = self._moving[0].name
            return Contact(link='robot', obstacle=name, distance=0.0, allowed=self.clearance, at=begin)
        return Sweep(self, trajectory, begin, pairs, self._moving, resting=resting).first()

    # For planners of paths, and for people.

    def nearest(self, positions: np.ndarray) -> Contact | None:
        """Return the closest pair at joint positions (A,), of what stands still and the robot itself."""
        self._build()
        pairs = self._still_pairs(0.0)
        if not len(pairs.shape):
            return None
        placed = self.robot.placements(positions[None])
        poses = self.poses(placed, 0)
        distances = np.array([self.distance(pairs, p, self._standing, poses, 0) for p in range(len(pairs.shape))])
        worst = int((distances - pairs.needed).argmin())
        return self.contact(pairs, worst, self._standing, float(distances[worst]), float(pairs.needed[worst]), 0)

    def free(self, positions: np.ndarray, margin: float, *, ahead: float = 0.0) -> bool:
        """Return whether joint positions (A,) are ``margin`` [m] farther from everything than asked for.

        What moves is wherever it can be within ``ahead`` [s] from when it was seen.
        """
        return self.free_way(positions, positions, margin, ahead=ahead)

    def free_way(
        self, start: np.ndarray, end: np.ndarray, margin: float, *, ahead: float | None = 0.0, leaving: bool = False
    ) -> bool:
        """Return the same of the straight way between joint positions (A,); ``leaving``: it may begin closer.

        With ``ahead`` None, what moves does not count.
        """
        self._build()
        change = np.abs(end - start)
        longest = float((self.robot.levers @ change).max(initial=0.0))
        count = max(2, int(np.ceil(longest / COARSE)) + 1) if longest > 0.0 else 1
        at = start + np.linspace(0.0, 1.0, count)[:, None] * (end - start)
        placed = self.robot.placements(at)

        def far(pairs: Pairs | None, others: list[Placed]) -> bool:
            if pairs is None:
                return False
            way = pairs.levers @ change / max(1, count - 1)
            return self._all_far(placed, pairs, others, pairs.needed + way / 2, leaving)

        if not far(self._still_pairs(margin), self._standing):
            return False
        if not self._moving or ahead is None:
            return True
        return all(far(self._ahead(margin, *part), self._moving) for part in self._parts(ahead))

    def room(self, positions: np.ndarray, now: int, seconds: np.ndarray, *, ahead: float = AHEAD) -> np.ndarray:
        """Return how much farther from what moves than asked for joint positions (M, A) are, (M,) [m]; below 0: closer.

        That is ``seconds`` (M,) [s] after ``now`` [ns], where each thing goes on with its velocity. What its bounds
        allow it besides counts as after ``ahead`` [s], from then on: later that would be anywhere.
        """
        latest = int(ahead * NANOSECONDS)
        pairs = self._moving_pairs(now, now + latest)
        if pairs is None or not len(pairs.shape):
            return np.full(len(positions), np.inf if pairs is not None else -np.inf)
        times = now + (seconds * NANOSECONDS).astype(np.int64)
        needed = pairs.needed + pairs.growth(np.minimum(times, now + latest))
        placed = self.robot.placements(positions)
        found = self.bounds(placed, pairs, self._moving, times)
        for sample, pair in np.argwhere(found < needed):
            poses = self.poses(placed, int(sample))
            found[sample, pair] = self.distance(pairs, int(pair), self._moving, poses, int(times[sample]))
        return np.asarray((found - needed).min(axis=1))

    def _all_far(
        self,
        placed: tuple[np.ndarray, np.ndarray],
        pairs: Pairs,
        others: list[Placed],
        needed: np.ndarray,
        leaving: bool,
    ) -> bool:
        """Return whether all samples are far enough, by ``needed`` (P,) [m]; ``leaving``: or get farther each."""
        close = self.bounds(placed, pairs, others, np.zeros(len(placed[1]), dtype=np.int64)) < needed
        before = np.full(len(needed), 0.0)
        for sample in np.flatnonzero(close.any(axis=1)):
            poses = self.poses(placed, int(sample))
            for pair in np.flatnonzero(close[sample]):
                distance = self.distance(pairs, int(pair), others, poses, 0)
                if not distance >= needed[pair] and not (leaving and distance > before[pair]):
                    return False
                before[pair] = distance
        return True

    def _moving_pairs(self, begin: int, end: int) -> Pairs | None:
        """Return the pairs with what moves, as it can from when it was seen until ``end`` [ns]; None if it was not.

        By its speed, or around where its velocity leads: whichever tells more. Where the robot follows its commands
        late by up to the lag, all of that time counts.
        """
        found: list[tuple[Forecast, float, int]] = []
        lag = self._lag / NANOSECONDS
        for placed in self._moving:
            seen, part = self.scene.sighting(placed.name), self.scene.moving[placed.name]
            if seen is None:
                return None
            stamp, bound = min(seen.stamp, begin), Forecast.within(part.speed)
            forecast, horizon = self.scene.forecast(placed.name) or bound, (end - stamp) / NANOSECONDS + lag
            swept = float(np.linalg.norm(forecast.velocity)) * lag / 2
            if forecast.spread(horizon) + swept >= bound.spread(horizon):
                forecast, swept = bound, 0.0
            placed.put(seen.position, seen.orientation)
            placed.move(forecast.velocity, stamp - self._lag // 2)
            found.append((forecast, swept, stamp - self._lag))
        return self._pairs_around(found, 0.0)

    def _parts(self, ahead: float) -> list[tuple[float, float]]:
        """Return the parts of a time ``ahead`` [s] that are looked at one by one; one, where no velocity is known."""
        count = PARTS if any(self.scene.forecast(name) is not None for name in self.scene.moving) else 1
        edges = np.linspace(0.0, ahead, count + 1)
        return list(pairwise(edges.tolist()))

    def _ahead(self, margin: float, first: float, last: float) -> Pairs | None:
        """Return the pairs with what moves, between ``first`` and ``last`` [s] from when it was seen."""
        found: list[tuple[Forecast, float, int]] = []
        for placed in self._moving:
            seen, part = self.scene.sighting(placed.name), self.scene.moving[placed.name]
            if seen is None:
                return None
            bound = Forecast.within(part.speed)
            forecast = self.scene.forecast(placed.name) or bound
            swept = float(np.linalg.norm(forecast.velocity)) * (last - first) / 2
            if forecast.spread(last) + swept >= bound.spread(last):
                forecast, swept = bound, 0.0
            placed.put(seen.position + forecast.velocity * (first + last) / 2, seen.orientation)
            found.append((Forecast.within(0.0), forecast.spread(last) + swept, 0))
        return self._pairs_around(found, margin)

    def _pairs_around(self, found: list[tuple[Forecast, float, int]], margin: float) -> Pairs:
        """Return the pairs with what moves: each one's forecast, what is needed besides [m], and since when [ns]."""
        count, others = len(self._shapes), len(self._moving)
        shape, other = np.repeat(np.arange(count), others), np.tile(np.arange(others), count)
        forecasts, swept, stamps = zip(*found, strict=True)
        needed = self.clearance + margin + np.array([f.error for f in forecasts]) + np.array(swept)
        return Pairs(
            shape=shape,
            other=other,
            levers=self.robot.levers[shape],
            needed=needed[other],
            drift=np.array([np.linalg.norm(f.velocity) for f in forecasts])[other],
            rate=np.array([f.rate for f in forecasts])[other],
            half=np.array([f.half for f in forecasts])[other],
            stamp=np.array(stamps, dtype=np.int64)[other],
        )

    # What a sweep needs.

    def bounds(
        self, placed: tuple[np.ndarray, np.ndarray], pairs: Pairs, others: list[Placed], times: np.ndarray
    ) -> np.ndarray:
        """Return lower bounds of the distances (M, P) [m], for shapes placed as `RobotGeometry.placements` does.

        What moves is where it is at ``times`` (M,) [ns].
        """
        centres = self._balls.centres(*placed)
        found = np.empty((len(centres), len(pairs.shape)))
        outside = pairs.other < len(others)
        if outside.any():
            # All into the axes of all obstacles: (M, S, 3) times (3, O 3).
            turn = np.concatenate([other.rotation for other in others], axis=1)
            offset = np.concatenate([other.place @ other.rotation + other.middle for other in others])
            if any(other.velocity.any() for other in others):
                moved = np.concatenate([other.moved(times) @ other.rotation for other in others], axis=1)
                offset = (offset + moved)[:, np.newaxis]
            half = np.concatenate([other.half for other in others])
            beyond = np.maximum(np.abs(centres @ turn - offset) - half, 0.0)
            np.square(beyond, out=beyond)
            square = beyond[..., 0::3] + beyond[..., 1::3] + beyond[..., 2::3]
            gap = np.sqrt(square) - self._balls.radii[:, None]
            gaps = np.minimum.reduceat(gap, self._balls.starts, axis=1)
            found[:, outside] = gaps[:, pairs.shape[outside], pairs.other[outside]]
        if not outside.all():
            one, two = pairs.shape[~outside], pairs.other[~outside] - len(others)
            found[:, ~outside] = self._balls.gaps(centres, one, two)
        return found

    def distance(self, pairs: Pairs, pair: int, others: list[Placed], poses: Poses, time: int) -> float:
        """Return the distance of a pair at a ``time`` [ns], where shapes have been placed [m]; below 0 they overlap."""
        self.exact += 1
        shape, other = int(pairs.shape[pair]), int(pairs.other[pair])
        if other < len(others):
            second, pose = others[other].shape, others[other].pose_at(time)
        else:
            other -= len(others)
            second, pose = self._shapes[other], poses[other]
        self._result.clear()
        found = self._coal.distance(self._shapes[shape], poses[shape], second, pose, self._request, self._result)
        return float(found)

    def poses(self, placed: tuple[np.ndarray, np.ndarray], sample: int) -> Poses:
        """Return Coal's poses of the shapes at a sample."""
        return Poses(placed, self._coal, sample)

    def contact(
        self, pairs: Pairs, pair: int, others: list[Placed], distance: float, allowed: float, at: int
    ) -> Contact:
        """Return a contact of a pair, by the names of its sides."""
        other, links = int(pairs.other[pair]), self.robot.links
        name = others[other].name if other < len(others) else links[other - len(others)]
        return Contact(
            link=links[int(pairs.shape[pair])], obstacle=name, distance=distance, allowed=allowed, at=int(at)
        )

    def _build(self) -> None:
        """Take what stands as the scene has it now."""
        if self._built == self.scene.version:
            return
        self._standing = []
        for name, part in self.scene.standing.items():
            placed = Placed.of(name, part.shape)
            placed.put(part.position, part.orientation)
            self._standing.append(placed)
        others, own = len(self._standing), self.robot.pairs
        # A shape that no joint moves stands as obstacles do: a base on its table.
        moved = np.flatnonzero(self.robot.levers.any(axis=1))
        shape, other = np.repeat(moved, others), np.tile(np.arange(others), len(moved))
        levers = np.concatenate([self.robot.levers[shape], self.robot.relative_levers])
        self._shape = np.concatenate([shape, own[:, 0]])
        self._other = np.concatenate([other, own[:, 1] + others])
        self._levers, self._outside = levers, np.arange(len(levers)) < len(shape)
        self._built = self.scene.version

    def _still_pairs(self, slack: float) -> Pairs:
        needed = np.where(self._outside, self.clearance + slack, self._self_clearance + slack)
        still = np.zeros(len(needed))
        return Pairs(
            shape=self._shape,
            other=self._other,
            levers=self._levers,
            needed=needed,
            drift=still,
            rate=still,
            half=still,
            stamp=still.astype(np.int64),
        )
