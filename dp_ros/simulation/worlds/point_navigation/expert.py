"""Demonstrate in the worlds with a point: straight to the target, left or right around what is between.

Where the straight way is blocked, it goes along the tangent to a circle around the obstacle. The side is a coin's, so
that recordings show both; among several obstacles only where neither side is nearer. What is commanded strays from that
way by about 20 mm, smoothly, as a hand does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dp_ros.errors import check_range
from dp_ros.motion.trajectory import Trajectory
from dp_ros.simulation.expert import approach, ramp
from dp_ros.simulation.world import Pose
from dp_ros.simulation.worlds.point_navigation.spec import JOINTS, NOISE, OBSTACLE, TARGET

SPEED = 0.6  # [m/s]
ACCELERATION = 2.0  # [m/s^2]
CLEARANCE = 0.14  # of the way from an obstacle [m]
FADE = 0.3  # way from the start, and to the target, where the noise grows and fades [m]
ARRIVED = 0.005  # [m]
REST = 1.0  # how long it shows that the point stays [s]
SIDE = 0.98  # no command is farther from the middle along an axis [m]


class PointExpert:
    """Gives the next set points as joint trajectories; ask it every ``control_dt`` [s]. One for each episode.

    Parameters
    ----------
    rng
        Chooses the sides and the noise.
    radii
        Of the obstacles, in order [m].
    control_dt
        Time between two commands [s].
    noise
        Standard deviation of what is commanded from the way [m].
    coin_within
        So near to an obstacle's middle the straight way must go by for a coin to choose the side, which is the nearer
        one elsewhere [m].

    """

    finishes = True

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        radii: Sequence[float] = (),
        control_dt: float = 0.1,
        noise: float = NOISE,
        coin_within: float = np.inf,
    ) -> None:
        check_range('expert control_dt', control_dt, 0.02, 0.5, unit='s')
        check_range('expert noise', noise, 0.0, 0.1, unit='m')
        self._noise, self._coin_within = noise, coin_within
        self._dt = control_dt
        self._radii = np.asarray(radii, dtype=np.float64)
        self.sides = np.where(rng.random(len(self._radii)) < 0.5, 1.0, -1.0)  # 1: left of an obstacle; by coin
        self._phases, self._periods = rng.uniform(0.0, 2.0 * np.pi, 2), rng.uniform(2.0, 4.0, 2)
        self._velocity = np.zeros(2)
        self._way: np.ndarray | None = None  # where it would be without noise
        self._commanded = np.zeros(2)
        self._start = np.zeros(2)  # where it was when the target became the one it is
        self._target: np.ndarray | None = None
        self._steps = 0
        self._rested = 0.0

    @property
    def finished(self) -> bool:
        """Tell whether the point has been at the target for a while."""
        return self._rested >= REST

    def trajectory(self, stamp: int, joints: Sequence[float] | np.ndarray, poses: Mapping[str, Pose]) -> Trajectory:
        """Return the command that answers what was seen at ``stamp`` [ns]: from the last set point to the next."""
        if self._way is None:
            self._way = np.array(joints, dtype=np.float64)
            self._commanded = self._way.copy()
        before = self._commanded
        target = np.array(poses[TARGET].position[:2])
        if self._target is None or (target != self._target).any():
            self._target, self._start, self._rested = target, self._way.copy(), 0.0
        centres = np.array([poses[f'{OBSTACLE}{i}'].position[:2] for i in range(len(self._radii))]).reshape(-1, 2)
        self._way = self._advance(self._way, target, centres)
        self._steps += 1
        left, made = float(np.linalg.norm(target - self._way)), float(np.linalg.norm(self._way - self._start))
        if left < ARRIVED:
            self._rested += self._dt
        turns = self._phases + 2.0 * np.pi * self._steps * self._dt / self._periods
        noise = self._noise * np.sqrt(2.0) * np.sin(turns) * min(1.0, left / FADE) * min(1.0, made / FADE)
        self._commanded = np.clip(self._way + noise, -SIDE, SIDE)
        return ramp(stamp, JOINTS, before, self._commanded, self._dt)

    def _advance(self, here: np.ndarray, target: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Return the next point of the way, within limits of speed and acceleration."""
        heading = self._heading(here, target, centres)
        self._velocity = approach(target - here, self._velocity, SPEED, ACCELERATION, self._dt, heading)
        return here + self._velocity * self._dt

    def _heading(self, here: np.ndarray, target: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Return the direction (2,) to go: to the target, or past the nearest obstacle that is between."""
        way = target - here
        left = max(float(np.linalg.norm(way)), 1e-9)
        ahead = way / left
        best, heading = np.inf, ahead
        for centre, radius, coin in zip(centres, self._radii + CLEARANCE, self.sides, strict=True):
            to = centre - here
            along, aside = float(to @ ahead), float(ahead[0] * to[1] - ahead[1] * to[0])
            distance = max(float(np.linalg.norm(to)), 1e-9)
            if not 0.0 < along < left or abs(aside) >= radius or distance >= best:
                continue
            side = coin if abs(aside) < self._coin_within else -np.sign(aside)
            # The tangent to the circle; from inside of it, along the circle and outwards.
            angle = side * (np.arcsin(radius / distance) if distance > radius else np.pi / 2 + 1.0 - distance / radius)
            c, s = np.cos(angle), np.sin(angle)
            best, heading = distance, np.array([c * to[0] - s * to[1], s * to[0] + c * to[1]]) / distance
        return heading
