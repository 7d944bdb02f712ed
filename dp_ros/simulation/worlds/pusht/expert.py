"""A scripted demonstrator for PushT: go around the block, push where that helps most, back off, look again.

The block stops as soon as nothing pushes it and its sides are smooth, so a push at a point p with inward normal n turns
and shifts it by a known twist. With the centre of mass c, r = p - c, mass m and inertia I about c, for a unit of way:

    v = n / (1 + m (r x n)^2 / I)          w = (r x n) m / I / (1 + m (r x n)^2 / I)

Inside this module lengths are in [mm], the benchmark's pixels; the frame is the picture's, y down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dp_ros.errors import check_range
from dp_ros.motion.trajectory import Trajectory
from dp_ros.simulation.world import Pose
from dp_ros.simulation.worlds.pusht.spec import JOINTS

GOAL = (256.0, 256.0, np.pi / 4)  # x, y, yaw of the block's origin
RADIUS = 15.0  # of the pusher
CENTRE = np.array([0.0, 45.0])  # of mass, in the block's frame
GYRATION = 3000.0  # I / m [mm^2]
BOXES = np.array([[[-60.0, 0.0], [60.0, 30.0]], [[-15.0, 30.0], [15.0, 120.0]]])  # low and high corners: bar, stem
OUTLINE = np.array([[-60, 0], [60, 0], [60, 30], [15, 30], [15, 120], [-15, 120], [-15, 30], [-60, 30]], dtype=float)
PUSHES = np.array([1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 24.0, 36.0, 50.0, 70.0])  # lengths that are considered

CLEAR = RADIUS + 4.0  # from the block, on the way
STANDOFF = RADIUS + 12.0  # before and after a push
AREA = (22.0, 490.0)  # where the pusher may go: inside the walls
SPACING = 13.0  # of the grid of ways
LEAD = 25.0  # how far ahead of the pusher the set point is while pushing
GAIN_MIN = 0.1  # smallest improvement that is worth a push [mm, mean over the corners]
PUSH_SECONDS = 4.0  # longest push
RETREAT_SECONDS = 0.6

GRID = np.stack(np.meshgrid(*[np.arange(*AREA, SPACING)] * 2, indexing='ij'), axis=-1)
_STEPS = SPACING * np.hypot(*np.mgrid[-1:2, -1:2])


@dataclass(frozen=True, kw_only=True, eq=False)
class Contact:
    """A place to push, in the block's frame: a point on the outline and the normal into the block."""

    point: np.ndarray
    normal: np.ndarray


def _contacts(spacing: float = 7.5, margin: float = 4.0) -> list[Contact]:
    found = []
    for a, b in zip(OUTLINE, np.roll(OUTLINE, -1, axis=0), strict=True):
        along = (b - a) / np.linalg.norm(b - a)
        inward = np.array([-along[1], along[0]])
        for way in np.arange(margin, np.linalg.norm(b - a), spacing):
            point = a + way * along
            fits = _distance(point - RADIUS * inward) > RADIUS - 0.5  # not in an inner corner
            if fits and _distance(point - STANDOFF * inward) > CLEAR + 1.0:
                found.append(Contact(point=point, normal=inward))
    return found


def _distance(points: np.ndarray) -> np.ndarray:
    """Distance of points (..., 2) in the block's frame from the block."""
    outside = np.maximum(np.maximum(BOXES[:, 0] - points[..., None, :], points[..., None, :] - BOXES[:, 1]), 0.0)
    return np.linalg.norm(outside, axis=-1).min(axis=-1)


def _rotation(yaw: float | np.ndarray) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)], axis=-2)


CONTACTS = _contacts()
_GOAL_CORNERS = OUTLINE @ _rotation(GOAL[2]).T + GOAL[:2]


class PushTExpert:
    """Gives the pusher's next target from what is seen; ask it every ``control_dt`` [s]. One for each episode."""

    finishes = False

    def __init__(self, rng: np.random.Generator, *, control_dt: float = 0.1) -> None:
        check_range('expert control_dt', control_dt, 0.01, 1.0, unit='s')
        self._rng = rng
        self._push_steps = max(2, round(PUSH_SECONDS / control_dt))
        self._retreat_steps = max(1, round(RETREAT_SECONDS / control_dt))
        # The pusher follows 0.2 s late, so this is a speed of 0.2 to 0.32 m/s.
        self._reach = rng.uniform(40.0, 64.0)
        self._contact: Contact | None = None
        self._barred: list[Contact] = []  # no way to them, where the block lies now
        self._pushing = 0
        self._retreat: np.ndarray | None = None

    @property
    def finished(self) -> bool:
        """Never."""
        return False

    def trajectory(self, stamp: int, joints: Sequence[float] | np.ndarray, poses: Mapping[str, Pose]) -> Trajectory:
        """Return the command that answers what was seen at ``stamp``: one point, due when it is received.

        That is a step of the set point, as the person's mouse made it in the benchmark's demonstrations.
        """
        block = poses['block']
        target = self.target(tuple(joints), block.position, block.orientation)
        return Trajectory(stamp=0, joints=JOINTS, times=np.zeros(1, dtype=np.int64), positions=target[np.newaxis])

    def target(self, pusher: Sequence[float], block: Sequence[float], orientation: Sequence[float]) -> np.ndarray:
        """Return the target (2,) [m], given the pusher's and the block's position [m] and the quaternion x, y, z, w."""
        here = np.asarray(pusher, dtype=np.float64)[:2] * 1e3
        origin = np.asarray(block, dtype=np.float64)[:2] * 1e3
        yaw = 2.0 * np.arctan2(orientation[2], orientation[3])
        wanted = self._wanted(here, origin, float(yaw))
        step = wanted - here
        step *= min(1.0, self._reach / max(float(np.linalg.norm(step)), 1e-9))
        return np.clip(here + step, *AREA) / 1e3

    def _wanted(self, here: np.ndarray, origin: np.ndarray, yaw: float) -> np.ndarray:
        turn = _rotation(yaw)
        if self._retreat is not None:
            if np.linalg.norm(self._retreat - here) > 4.0 and self._pushing < self._push_steps:
                self._pushing += 1
                return self._retreat
            self._retreat, self._contact = None, None
        if self._contact is None:
            self._contact, self._pushing = self._choose(here, origin, yaw), 0
        if self._contact is None:
            self._barred.clear()
            return here
        surface = turn @ self._contact.point + origin
        inward = turn @ self._contact.normal
        start = surface - STANDOFF * inward
        if not self._pushing and np.linalg.norm(start - here) > 5.0:
            way = self._way_to(start, here, origin, turn)
            if way is None:
                self._barred.append(self._contact)
                self._contact = None
            return here if way is None else way
        return self._push(here, origin, yaw, surface, inward)

    def _push(
        self, here: np.ndarray, origin: np.ndarray, yaw: float, surface: np.ndarray, inward: np.ndarray
    ) -> np.ndarray:
        """Return a target further in, or begin the retreat when the push has done its work or slipped."""
        assert self._contact is not None
        self._barred.clear()
        self._pushing += 1
        gap = float((surface - here) @ inward) - RADIUS
        aside = surface - here - ((surface - here) @ inward) * inward
        after = _errors([self._contact], origin, yaw)[0]
        best = int(np.argmin(after))
        helps = after[best] < _error(origin, yaw) - 0.05
        if not helps or np.linalg.norm(aside) > 12.0 or self._pushing > self._push_steps:
            self._retreat, self._pushing = here - 20.0 * inward, self._push_steps - self._retreat_steps
            return self._retreat
        return here + 0.5 * aside + np.clip(gap + PUSHES[best], 4.0, LEAD) * inward

    def _choose(self, here: np.ndarray, origin: np.ndarray, yaw: float) -> Contact | None:
        """Return the contact whose best push helps most; a long way to it counts against it, and taste a little."""
        turn = _rotation(yaw)
        points = np.stack([c.point for c in CONTACTS]) @ turn.T + origin
        starts = points - STANDOFF * np.stack([c.normal for c in CONTACTS]) @ turn.T
        reachable = ((starts > AREA[0]) & (starts < AREA[1])).all(axis=1)
        gains = _error(origin, yaw) - _errors(CONTACTS, origin, yaw).min(axis=1)
        reachable &= np.array([contact not in self._barred for contact in CONTACTS]) & (gains > GAIN_MIN)
        if not reachable.any():
            return None
        taste = self._rng.uniform(0.85, 1.0, size=len(gains)) / (1.0 + np.linalg.norm(starts - here, axis=1) / 500.0)
        return CONTACTS[int(np.argmax(np.where(reachable, gains * taste, -np.inf)))]

    def _way_to(self, start: np.ndarray, here: np.ndarray, origin: np.ndarray, turn: np.ndarray) -> np.ndarray | None:
        """Return ``start`` if the way there is free, else the next point of the shortest way around, if any."""
        line = here + np.linspace(0.0, 1.0, 24)[1:, None] * (start - here)
        # Between two free points of the grid a corner of the block may come 3 mm nearer.
        room = min(CLEAR, float(_distance((here - origin) @ turn))) - 3.0
        if (_distance((line - origin) @ turn) > room).all():
            return start
        free = _distance((GRID - origin) @ turn) > CLEAR
        near = np.linalg.norm(GRID - here, axis=-1)
        ways = _ways(free, start) + near
        legs = here + np.linspace(0.2, 1.0, 8)[:, None, None, None] * (GRID - here)
        seen = (_distance((legs - origin) @ turn) > room).all(axis=0) & (near < 45.0)
        ways = np.where(seen & free, ways, np.inf)
        if not np.isfinite(ways).any():
            return None
        return GRID[np.unravel_index(int(np.argmin(ways)), free.shape)]


def _ways(free: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the length of the way from each free point of the grid to ``end``, infinite where there is none."""
    ways = np.where(free & (np.linalg.norm(GRID - end, axis=-1) < 1.5 * SPACING), 0.0, np.inf)
    while True:
        around = np.lib.stride_tricks.sliding_window_view(np.pad(ways, 1, constant_values=np.inf), (3, 3))
        shorter = np.where(free, (around + _STEPS).min(axis=(2, 3)), np.inf)
        if np.array_equal(shorter, ways):
            return ways
        ways = shorter


def _error(origin: np.ndarray, yaw: float) -> float:
    """Mean distance of the block's corners from where they should be [mm]."""
    corners = OUTLINE @ _rotation(yaw).T + origin
    return float(np.linalg.norm(corners - _GOAL_CORNERS, axis=1).mean())


def _errors(contacts: Sequence[Contact], origin: np.ndarray, yaw: float) -> np.ndarray:
    """Return the error after each push of each contact, (contacts, pushes)."""
    points, normals = np.stack([c.point for c in contacts]) - CENTRE, np.stack([c.normal for c in contacts])
    lever = points[:, 0] * normals[:, 1] - points[:, 1] * normals[:, 0]
    give = 1.0 / (1.0 + lever**2 / GYRATION)
    turned = _rotation(yaw + PUSHES * (lever * give / GYRATION)[:, None])
    moved = PUSHES[:, None] * (give[:, None] * (normals @ _rotation(yaw).T))[:, None, :]
    centre = _rotation(yaw) @ CENTRE + origin
    corners = np.einsum('mpij,kj->mpki', turned, OUTLINE - CENTRE) + (centre + moved)[:, :, None, :]
    return np.linalg.norm(corners - _GOAL_CORNERS, axis=-1).mean(axis=-1)
