"""Whether a trajectory keeps its distance from obstacles, at every instant of it and not only at samples.

    d(t)      distance of a shape from an obstacle, or of two shapes
    d_a, d_b  its values, or lower bounds of them, at the ends of an interval
    L         how far a point of the shape can move in the interval, by its joints' speeds

No point of the shape is farther than L from where it was, so d(t) >= (d_a + d_b - L) / 2 in the interval. Where that
is not enough, exact distances are put in place of bounds, and then the interval is halved. What cannot be told apart
from a contact by `CLOSEST` is one: nothing that comes too close passes.

The bounds are those between spheres around a shape and the box around an obstacle, for all samples at once. Distances
are Coal's, of the pairs and samples that need them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS
from dp_ros.motion.extrema import speed_bounds
from dp_ros.motion.obstacles import Contact
from dp_ros.motion.trajectory import Trajectory
from dp_ros.planning.robot_geometry import RobotGeometry, coal_shape, libraries
from dp_ros.planning.scene import LiveScene, Shape

CLOSEST = 0.0002
"""Way of a shape within an interval that is not halved any more [m]."""
COARSE = 0.02
"""Way of a shape between two samples of a path [m]."""
STRIDE = 0.08
"""Way of a shape within an interval that is looked at first [m]."""
MOST_BALLS = 4
"""Spheres along a shape."""
MOST_PARTS = 64
"""Intervals of a segment at first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """Pairs to be checked: shapes (P,), what they may meet (P,), its name, and the lever of each joint (P, A)."""

    shape: np.ndarray
    other: np.ndarray
    levers: np.ndarray
    needed: np.ndarray
    speed: np.ndarray
    stamp: np.ndarray


class ClearanceCheck:
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
        self._balls = _Balls.around(self._shapes)
        self._request, self._result = self._coal.DistanceRequest(), self._coal.DistanceResult()
        self.exact = 0
        self._built = -1
        self._moving = [_Placed.of(name, part.shape) for name, part in scene.moving.items()]
        self._speeds = np.array([part.speed for part in scene.moving.values()])
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
        return _Sweep(self, trajectory, begin, pairs, self._standing, slack=slack).first()

    def moving_contact(self, trajectory: Trajectory, begin: int) -> Contact | None:
        """Return the first contact with anywhere that moving obstacles can be, from ``begin`` [ns] to its rest."""
        if not self._moving or trajectory.end <= begin:
            return None
        pairs = self._moving_pairs(begin=begin)
        if pairs is None:
            name = self._moving[0].name
            return Contact(link='robot', obstacle=name, distance=0.0, allowed=self.clearance, at=begin)
        return _Sweep(self, trajectory, begin, pairs, self._moving).first()

    # For planners of paths, and for people.

    def nearest(self, positions: np.ndarray) -> Contact | None:
        """Return the closest pair at joint positions (A,), of what stands still and the robot itself."""
        self._build()
        pairs = self._still_pairs(0.0)
        if not len(pairs.shape):
            return None
        placed = self.robot.placements(positions[None])
        poses = self.poses(placed, 0)
        distances = np.array([self.distance(pairs, p, self._standing, poses) for p in range(len(pairs.shape))])
        worst = int((distances - pairs.needed).argmin())
        return self.contact(pairs, worst, self._standing, float(distances[worst]), float(pairs.needed[worst]), 0)

    def free(self, positions: np.ndarray, margin: float, *, ahead: float = 0.0) -> bool:
        """Return whether joint positions (A,) are ``margin`` [m] farther from everything than asked for.

        What moves is where it was seen, grown by its speed for ``ahead`` [s].
        """
        return self.free_way(positions, positions, margin, ahead=ahead)

    def free_way(
        self, start: np.ndarray, end: np.ndarray, margin: float, *, ahead: float = 0.0, leaving: bool = False
    ) -> bool:
        """Return the same of the straight way between joint positions (A,); ``leaving``: it may begin closer."""
        self._build()
        groups = [(self._still_pairs(margin), self._standing)]
        if self._moving:
            pairs = self._moving_pairs(margin + self._speeds * ahead)
            if pairs is None:
                return False
            groups.append((pairs, self._moving))
        change = np.abs(end - start)
        longest = float((self.robot.levers @ change).max(initial=0.0))
        count = max(2, int(np.ceil(longest / COARSE)) + 1) if longest > 0.0 else 1
        at = start + np.linspace(0.0, 1.0, count)[:, None] * (end - start)
        placed = self.robot.placements(at)
        for pairs, others in groups:
            way = pairs.levers @ change / max(1, count - 1)
            if not self._all_far(placed, pairs, others, pairs.needed + way / 2, leaving):
                return False
        return True

    def _all_far(
        self,
        placed: tuple[np.ndarray, np.ndarray],
        pairs: _Pairs,
        others: list[_Placed],
        needed: np.ndarray,
        leaving: bool,
    ) -> bool:
        close = self.bounds(placed, pairs, others) < needed
        before = np.full(len(needed), -np.inf)
        for sample in np.flatnonzero(close.any(axis=1)):
            poses = self.poses(placed, int(sample))
            for pair in np.flatnonzero(close[sample]):
                distance = self.distance(pairs, int(pair), others, poses)
                if not distance >= needed[pair] and not (leaving and distance > max(0.0, before[pair])):
                    return False
                before[pair] = distance
        return True

    def _moving_pairs(self, more: np.ndarray | float = 0.0, begin: int = 0) -> _Pairs | None:
        """Return the pairs with what moves, where that was seen last; None where something was not.

        ``more`` is what is needed besides the clearance, of each [m].
        """
        stamps = []
        for placed in self._moving:
            seen = self.scene.sighting(placed.name)
            if seen is None:
                return None
            placed.put(seen.position, seen.orientation)
            stamps.append(min(seen.stamp, begin))
        count, others = len(self._shapes), len(self._moving)
        shape, other = np.repeat(np.arange(count), others), np.tile(np.arange(others), count)
        return _Pairs(
            shape=shape,
            other=other,
            levers=self.robot.levers[shape],
            needed=(self.clearance + np.broadcast_to(more, others))[other],
            speed=self._speeds[other],
            stamp=np.array(stamps, dtype=np.int64)[other] - self._lag,
        )

    # What a sweep needs.

    def bounds(self, placed: tuple[np.ndarray, np.ndarray], pairs: _Pairs, others: list[_Placed]) -> np.ndarray:
        """Return lower bounds of the distances (M, P) [m], for shapes placed as `RobotGeometry.placements` does."""
        centres = self._balls.centres(*placed)
        found = np.empty((len(centres), len(pairs.shape)))
        outside = pairs.other < len(others)
        if outside.any():
            gaps = np.empty((len(centres), len(self._shapes), len(others)))
            for number, other in enumerate(others):
                beyond = np.abs((centres - other.place) @ other.rotation - other.middle) - other.half
                gap = np.sqrt((np.maximum(beyond, 0.0) ** 2).sum(axis=-1)) - self._balls.radii
                gaps[:, :, number] = np.minimum.reduceat(gap, self._balls.starts, axis=1)
            found[:, outside] = gaps[:, pairs.shape[outside], pairs.other[outside]]
        if not outside.all():
            one, two = pairs.shape[~outside], pairs.other[~outside] - len(others)
            found[:, ~outside] = self._balls.gaps(centres, one, two)
        return found

    def distance(self, pairs: _Pairs, pair: int, others: list[_Placed], poses: _Poses) -> float:
        """Return the distance of a pair where shapes have been placed [m]; below 0 they overlap."""
        self.exact += 1
        shape, other = int(pairs.shape[pair]), int(pairs.other[pair])
        if other < len(others):
            second, pose = others[other].shape, others[other].pose
        else:
            other -= len(others)
            second, pose = self._shapes[other], poses[other]
        self._result.clear()
        found = self._coal.distance(self._shapes[shape], poses[shape], second, pose, self._request, self._result)
        return float(found)

    def poses(self, placed: tuple[np.ndarray, np.ndarray], sample: int) -> _Poses:
        """Return Coal's poses of the shapes at a sample."""
        return _Poses(placed, self._coal, sample)

    def contact(
        self, pairs: _Pairs, pair: int, others: list[_Placed], distance: float, allowed: float, at: int
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
            placed = _Placed.of(name, part.shape)
            placed.put(part.position, part.orientation)
            self._standing.append(placed)
        count, others, own = len(self._shapes), len(self._standing), self.robot.pairs
        # A shape that no joint moves stands as obstacles do: a base on its table.
        moved = np.flatnonzero(self.robot.levers.any(axis=1))
        shape, other = np.repeat(moved, others), np.tile(np.arange(others), len(moved))
        levers = np.concatenate([self.robot.levers[shape], self.robot.relative_levers])
        self._shape = np.concatenate([shape, own[:, 0]])
        self._other = np.concatenate([other, own[:, 1] + others])
        self._levers, self._outside = levers, np.arange(len(levers)) < len(shape)
        assert count or not len(shape)
        self._built = self.scene.version

    def _still_pairs(self, slack: float) -> _Pairs:
        needed = np.where(self._outside, self.clearance + slack, self._self_clearance + slack)
        still = np.zeros(len(needed))
        return _Pairs(
            shape=self._shape,
            other=self._other,
            levers=self._levers,
            needed=needed,
            speed=still,
            stamp=still.astype(np.int64),
        )


class _Balls:
    """Spheres that hold the shapes of a robot: several along a long one. ``starts`` (G,) is each shape's first."""

    def __init__(self, owner: np.ndarray, middles: np.ndarray, radii: np.ndarray) -> None:
        self._owner, self._middles, self.radii = owner, middles, radii
        self.starts = np.unique(owner, return_index=True)[1]
        self._counts = np.bincount(owner)

    @classmethod
    def around(cls, shapes: list[Any]) -> _Balls:
        """Return spheres around Coal's shapes."""
        owner, middles, radii = [], [], []
        for number, shape in enumerate(shapes):
            shape.computeLocalAABB()
            low, high = (np.asarray(end).ravel() for end in (shape.aabb_local.min_, shape.aabb_local.max_))
            middle, half = (low + high) / 2, (high - low) / 2
            long = int(half.argmax())
            side = np.delete(half, long)
            # Of a round one the corners of its box are empty.
            wide = float(side.max()) if hasattr(shape, 'radius') and long == 2 else float(np.linalg.norm(side))
            count = int(np.clip(np.ceil(half[long] / max(wide, 1e-6)), 1, MOST_BALLS))
            for part in range(count):
                offset = np.zeros(3)
                offset[long] = half[long] * ((2 * part + 1) / count - 1)
                owner.append(number)
                middles.append(middle + offset)
                radii.append(min(float(np.hypot(half[long] / count, wide)), float(np.linalg.norm(half))))
        return cls(np.array(owner, dtype=np.int64), np.array(middles).reshape(-1, 3), np.array(radii))

    def centres(self, rotations: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return where the spheres are (M, S, 3) [m], for shapes at ``rotations`` and ``places``."""
        turned = (rotations[:, self._owner] @ self._middles[:, :, None])[..., 0]
        return np.asarray(places[:, self._owner] + turned)

    def gaps(self, centres: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """Return the least gap between the spheres of shapes ``one`` and ``two`` (P,), (M, P) [m]."""
        difference = centres[:, :, None] - centres[:, None]
        gap = np.sqrt((difference**2).sum(axis=-1)) - self.radii[:, None] - self.radii
        least = np.minimum.reduceat(np.minimum.reduceat(gap, self.starts, axis=1), self.starts, axis=2)
        return np.asarray(least[:, one, two])


class _Poses:
    """Coal's poses of a robot's shapes at one sample, each made when it is asked for."""

    def __init__(self, placed: tuple[np.ndarray, np.ndarray], coal: Any, sample: int) -> None:
        self._rotations, self._places = placed[0][sample], placed[1][sample]
        self._coal = coal
        self._made: dict[int, Any] = {}

    def __getitem__(self, shape: int) -> Any:
        made = self._made.get(shape)
        if made is None:
            made = self._made[shape] = self._coal.Transform3s(self._rotations[shape], self._places[shape])
        return made


class _Placed:
    """An obstacle where it is: Coal's shape and pose, and the box around it in its own axes."""

    def __init__(self, name: str, shape: Any) -> None:
        self.name, self.shape = name, shape
        box = shape.aabb_local
        low, high = np.asarray(box.min_).ravel(), np.asarray(box.max_).ravel()
        self.middle, self.half = (low + high) / 2, (high - low) / 2
        self.rotation, self.place = np.eye(3), np.zeros(3)
        self.pose: Any = None

    @classmethod
    def of(cls, name: str, shape: Shape) -> _Placed:
        """Return a shape that has not been put anywhere yet."""
        made = coal_shape(shape)
        made.computeLocalAABB()
        return cls(name, made)

    def put(self, position: Iterable[float], orientation: Iterable[float]) -> None:
        """Put it at a position [m] and an orientation x, y, z, w."""
        pinocchio, coal = libraries()
        x, y, z, w = orientation
        pose = pinocchio.SE3(pinocchio.Quaternion(w, x, y, z).normalized().matrix(), np.array([*position]))
        self.rotation, self.place = pose.rotation, pose.translation
        self.pose = coal.Transform3s(self.rotation, self.place)


class _Sweep:
    """One search through a trajectory; see the module's text."""

    def __init__(
        self,
        check: ClearanceCheck,
        trajectory: Trajectory,
        begin: int,
        pairs: _Pairs,
        others: list[_Placed],
        *,
        slack: float | None = None,
    ) -> None:
        self._check, self._trajectory, self._pairs, self._others = check, trajectory, pairs, others
        self._needed = pairs.needed
        self._found: Contact | None = None
        self._latest = 2**63 - 1
        self._times = self._edges(max(begin, trajectory.stamp))
        self._placed = check.robot.placements(self._at(self._times))
        self._bounds = check.bounds(self._placed, pairs, others) if len(pairs.shape) else None
        self._known = np.zeros((len(self._times), len(pairs.shape)), dtype=bool)
        if slack is not None and self._bounds is not None:
            self._ease(slack)

    def first(self) -> Contact | None:
        """Return the first contact, or None."""
        if self._bounds is None:
            return None
        first = np.arange(len(self._times) - 1)
        last = first + 1
        if not len(first):  # it only rests
            self._measure(np.zeros(1, dtype=np.int64), self._bounds[:1] < self._allowed(self._times[:1]))
        while len(first):
            way, allowed = self._way(self._times[first], self._times[last]), self._allowed(self._times[last])
            close = self._close(first, last, way, allowed)
            wanted = np.zeros_like(self._known)
            np.logical_or.at(wanted, first, close)
            np.logical_or.at(wanted, last, close)
            samples = np.flatnonzero(wanted.any(axis=1))
            samples = samples[np.argsort(self._times[samples], kind='stable')]
            self._measure(samples, wanted[samples])
            close = self._close(first, last, way, allowed) & (self._times[first] < self._latest)[:, None]
            tight = close & (way + allowed - self._allowed(self._times[first]) <= CLOSEST)
            if tight.any():
                row, pair = np.argwhere(tight)[0]
                distance = float(min(self._bounds[first[row], pair], self._bounds[last[row], pair]))
                self._find(int(pair), distance, float(allowed[row, pair]), int(self._times[first[row]]))
                close &= (self._times[first] < self._latest)[:, None]
            first, last = self._halved(first, last, np.asarray(close.any(axis=1)))
        return self._found

    def _edges(self, begin: int) -> np.ndarray:
        """Return the times between which is looked first [ns], the first ``begin`` and the last the end."""
        trajectory = self._trajectory
        end = trajectory.end
        if begin >= end or len(trajectory.times) == 1:
            self._speeds, self._starts = np.zeros((1, len(trajectory.joints))), np.array([begin])
            return np.array([begin], dtype=np.int64)
        knots = trajectory.stamp + trajectory.times
        self._speeds, self._starts = speed_bounds(trajectory), knots[:-1]
        inner = knots[(knots > begin) & (knots < end)]
        edges = np.concatenate([[begin], inner, [end]]).astype(np.int64)
        way = self._way(edges[:-1], edges[1:]).max(axis=1, initial=0.0)
        parts = np.clip(np.ceil(way / STRIDE), 1, MOST_PARTS).astype(np.int64)
        share = np.concatenate([np.arange(count) for count in parts]) / np.repeat(parts, parts)
        times = np.repeat(edges[:-1], parts) + (share * np.repeat(np.diff(edges), parts)).astype(np.int64)
        return np.unique(np.append(times, end))

    def _at(self, times: np.ndarray) -> np.ndarray:
        return self._trajectory.positions_at(times - self._trajectory.stamp)

    def _way(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return how far points of each pair can move between times (M,) [ns] within segments, (M, P) [m]."""
        segment = np.clip(np.searchsorted(self._starts, begin, side='right') - 1, 0, len(self._speeds) - 1)
        seconds = (end - begin) / NANOSECONDS
        return np.asarray((self._speeds[segment] * seconds[:, None]) @ self._pairs.levers.T)

    def _allowed(self, times: np.ndarray) -> np.ndarray:
        """Return what distance is needed until times (M,) [ns], (M, P) [m]."""
        pairs = self._pairs
        return np.asarray(self._needed + pairs.speed * (times[:, None] - pairs.stamp) / NANOSECONDS * (pairs.speed > 0))

    def _close(self, first: np.ndarray, last: np.ndarray, way: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        assert self._bounds is not None
        # Asked as "not at least", so that a NaN is close.
        return ~((self._bounds[first] + self._bounds[last] - way) / 2 >= allowed)

    def _measure(self, samples: np.ndarray, close: np.ndarray) -> None:
        """Put exact distances in place of bounds, at samples (M,) in order of time, of ``close`` pairs (M, P).

        Until there is a contact: what comes after it does not matter.
        """
        assert self._bounds is not None
        wanted = close & ~self._known[samples]
        for row in np.flatnonzero(wanted.any(axis=1)):
            sample = int(samples[row])
            if self._times[sample] >= self._latest:
                return
            poses, pairs = self._check.poses(self._placed, sample), np.flatnonzero(wanted[row])
            for pair in pairs:
                self._bounds[sample, pair] = self._check.distance(self._pairs, int(pair), self._others, poses)
            self._known[sample, pairs] = True
            allowed = self._allowed(self._times[sample : sample + 1])[0, pairs]
            worst = int((self._bounds[sample, pairs] - allowed).argmin())
            if not self._bounds[sample, pairs[worst]] >= allowed[worst]:
                distance = float(self._bounds[sample, pairs[worst]])
                self._find(int(pairs[worst]), distance, float(allowed[worst]), int(self._times[sample]))

    def _find(self, pair: int, distance: float, allowed: float, at: int) -> None:
        if at < self._latest:
            self._found = self._check.contact(self._pairs, pair, self._others, distance, allowed, at)
            self._latest = at

    def _halved(self, first: np.ndarray, last: np.ndarray, open_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, last = first[open_], last[open_]
        middles = (self._times[first] + self._times[last]) // 2
        whole = (middles > self._times[first]) & (middles < self._times[last])
        first, last, middles = first[whole], last[whole], middles[whole]
        if not len(first):
            return first, last
        number = len(self._times) + np.arange(len(middles))
        placed = self._check.robot.placements(self._at(middles))
        self._times = np.concatenate([self._times, middles])
        both = zip(self._placed, placed, strict=True)
        self._placed = np.concatenate(next(both)), np.concatenate(next(both))
        assert self._bounds is not None
        more = self._check.bounds(placed, self._pairs, self._others)
        self._bounds = np.concatenate([self._bounds, more])
        self._known = np.concatenate([self._known, np.zeros_like(more, dtype=bool)])
        begin, end = np.concatenate([first, number]), np.concatenate([number, last])
        order = np.argsort(self._times[begin], kind='stable')
        return begin[order], end[order]

    def _ease(self, slack: float) -> None:
        """Ask for no more distance than there is where it begins: from there it must only not come closer."""
        assert self._bounds is not None
        begins, kept = self._bounds[0], self._needed - slack
        poses = self._check.poses(self._placed, 0)
        near = np.flatnonzero(begins < self._needed + 2 * CLOSEST)
        for pair in near:
            begins[pair] = self._check.distance(self._pairs, int(pair), self._others, poses)
        self._known[0, near] = True
        eased = np.where(begins >= kept, np.maximum(kept, begins - 2 * CLOSEST), begins - 2 * CLOSEST)
        closer = self._known[0] & (begins < self._needed + 2 * CLOSEST) & (begins > 0.0)
        self._needed = np.where(closer, np.minimum(self._needed, eased), self._needed)
        for pair in near[begins[near] < self._needed[near]]:
            self._find(int(pair), float(begins[pair]), float(self._needed[pair]), int(self._times[0]))
