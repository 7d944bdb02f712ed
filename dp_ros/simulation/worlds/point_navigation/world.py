"""Simulate a point in a square of two metres: two prismatic joints that follow their set points like a damped spring.

The axes are x to the right and y up. The drives' law, with position p, velocity v and set point u:

    a = w^2 (u - p) - 2 w v,    |a| <= ACCELERATION,    |v| <= VELOCITY, of each joint
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from dp_ros.errors import ConfigError, check_finite, check_shape
from dp_ros.simulation.world import Pose, Progress, Scene, flat_pose
from dp_ros.simulation.worlds.point_navigation.spec import JOINTS, OBSTACLE, Obstacle, target_names

STEP_DURATION = 10_000_000  # [ns]
SIDE = 1.0  # from the middle to a wall [m]
FREQUENCY = 20.0  # w, of the drives [rad/s]: they are 2 / w = 0.1 s behind their set points
VELOCITY = 2.0  # of a joint at most [m/s]
ACCELERATION = 15.0  # of a joint at most [m/s^2]
MASS = 1.0  # [kg], for efforts
TOLERANCE = 0.05  # of success [m]
AT_REST = 0.1  # of success [m/s]
CLEAR = 0.15  # of starts and targets from obstacles [m]
# Lowest and highest of start and targets (2 or 3, 2) [m]: anywhere, from the left to the right of obstacles, and back.
ANYWHERE = (np.full((2, 2), -0.9), np.full((2, 2), 0.9))
ACROSS = (np.array([[-0.9, -0.4], [0.5, -0.4]]), np.array([[-0.5, 0.4], [0.9, 0.4]]))
THERE_AND_BACK = (
    np.array([[-0.9, -0.8], [0.7, -0.8], [-0.9, -0.8]]),
    np.array([[-0.7, 0.8], [0.9, 0.8], [-0.7, 0.8]]),
)
APART = 0.4  # smallest distance of start and target, and of two targets [m]
DRAWS = 1_000  # of a start, at most
WIDE_SHARE, BESIDE_SHARE = 0.7, 0.3  # of episodes that begin elsewhere, and of those beside a target
BESIDE = 0.2  # so far, at most, along each axis [m]
NARROW = 0.04  # of such starts from obstacles [m]
POINT_RADIUS, RING = 0.03, 0.015  # as drawn [m]
GROUND, INK, GREEN, RED = (250, 250, 250), (40, 90, 200), (60, 160, 80), (190, 70, 60)  # RGB
AMBER, GREY = (225, 160, 40), (185, 185, 185)  # of a target that comes later, and of one that has been reached
BODY = 0.01
"""Radius of the point's collision geometry [m]; the world counts a contact where its middle is in an obstacle."""
URDF = f"""<?xml version="1.0"?>
<robot name="point">
  <link name="ground"/>
  <link name="slide"/>
  <link name="point">
    <collision><geometry><sphere radius="{BODY}"/></geometry></collision>
  </link>
  <joint name="point_x" type="prismatic">
    <parent link="ground"/>
    <child link="slide"/>
    <axis xyz="1 0 0"/>
    <limit lower="-1.0" upper="1.0" velocity="2.0" effort="15.0"/>
  </joint>
  <joint name="point_y" type="prismatic">
    <parent link="slide"/>
    <child link="point"/>
    <axis xyz="0 1 0"/>
    <limit lower="-1.0" upper="1.0" velocity="2.0" effort="15.0"/>
  </joint>
</robot>
"""


class PointWorld:
    """The physics, one step of 10 ms at a time. Positions in [m].

    Parameters
    ----------
    obstacles
        What it must not touch.
    two_targets
        Whether there are two, to be reached one after the other.
    wide_starts
        Whether most episodes begin elsewhere: anywhere that is free, or beside a target, with the first of two targets
        reached or not. For demonstrations that show how to go on from there.

    """

    joints: tuple[str, ...] = JOINTS
    units: tuple[str, ...] = ('m', 'm')
    step_duration = STEP_DURATION
    cameras: tuple[str, ...] = ()
    robot_description = URDF
    lower: tuple[float, ...] = (-SIDE, -SIDE)
    upper: tuple[float, ...] = (SIDE, SIDE)

    def __init__(
        self, obstacles: Sequence[Obstacle] = (), *, two_targets: bool = False, wide_starts: bool = False
    ) -> None:
        self._obstacles, self._wide = tuple(obstacles), wide_starts
        self._names = target_names(two_targets)
        self.tracked: tuple[str, ...] = (*self._names, *(f'{OBSTACLE}{number}' for number in range(len(obstacles))))
        self._radii = np.array([obstacle.radius for obstacle in obstacles])
        self._swings = np.array([obstacle.swing for obstacle in obstacles]).reshape(-1, 2)
        self._rates = np.array([2.0 * np.pi / obstacle.period for obstacle in obstacles])
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode at the start that belongs to ``seed``.

        With obstacles it goes from the left to the right, and the first of them is between start and target. With two
        targets it goes back to the left, too, and some obstacle is in each of both ways.
        """
        rng = np.random.default_rng(seed)
        low, high = THERE_AND_BACK if len(self._names) > 1 else ACROSS if self._obstacles else ANYWHERE
        for _ in range(DRAWS):
            centres = np.array([o.centre + rng.uniform(-o.spread, o.spread, 2) for o in self._obstacles]).reshape(-1, 2)
            places = rng.uniform(low, high)
            if self._fits(places, centres):
                self._put(places[0], places[1:], centres, self._swings)
                if self._wide and rng.random() < WIDE_SHARE:
                    self._begin_elsewhere(rng, places[1:], centres)
                return
        raise ConfigError(f'obstacles: got none of {DRAWS} starts that is free of them, allowed ones that leave room')

    def _begin_elsewhere(self, rng: np.random.Generator, targets: np.ndarray, centres: np.ndarray) -> None:
        """Put the point where no episode begins, maybe after the first of two targets.

        Among several obstacles one is in its way, unless it begins beside a target.
        """
        reached = int(rng.integers(len(targets)))
        while True:
            near = targets[reached] + rng.uniform(-BESIDE, BESIDE, 2)
            beside = rng.random() < BESIDE_SHARE
            start = near if beside else rng.uniform(-0.95, 0.95, 2)
            if (np.abs(start) > 0.95).any() or (np.linalg.norm(start - centres, axis=-1) <= self._radii + NARROW).any():
                continue
            if beside or len(centres) < 2 or self._blocked(start, targets[reached], centres):
                break
        self._put(start, targets, centres, self._swings, reached)

    def _fits(self, places: np.ndarray, centres: np.ndarray) -> bool:
        """Return whether start and targets (2 or 3, 2) are apart and free, with an obstacle in each way."""
        ways = [*itertools.pairwise(places)]
        ends = np.linalg.norm(places[:, np.newaxis] - centres, axis=-1)
        if min(np.linalg.norm(end - start) for start, end in ways) < APART or (ends < self._radii + CLEAR).any():
            return False
        blocking = centres[: None if len(ways) > 1 else 1]
        return not len(blocking) or all(self._blocked(*way, blocking) for way in ways)

    def _blocked(self, start: np.ndarray, end: np.ndarray, centres: np.ndarray) -> bool:
        """Return whether one of the obstacles with these centres is in the straight way."""
        return any(_distance(start, end, c) < radius for c, radius in zip(centres, self._radii, strict=False))

    def set_scene(self, scene: Scene) -> None:
        """Put point, targets and obstacles where they are asked for, at rest; there they stay."""
        point = np.asarray(scene.joints, dtype=np.float64)
        check_shape('joints', point, (len(JOINTS),))
        check_finite('joints', point)
        places = np.array([scene.poses[name].position[:2] for name in self.tracked])
        targets, centres = np.split(places, [len(self._names)])
        reached = int(len(targets) > 1 and np.array_equal(*targets))
        self._put(point, targets, centres, np.zeros_like(self._swings), reached)

    def _put(
        self, point: np.ndarray, targets: np.ndarray, centres: np.ndarray, swings: np.ndarray, reached: int = 0
    ) -> None:
        self._start, self._position = point.copy(), point.copy()
        self._targets, self._reached = targets, reached
        self._velocity, self._acceleration = np.zeros(2), np.zeros(2)
        self._middles, self._moves, self._time = centres, swings, 0.0
        self._ahead: list[float] = (targets[reached] - point).tolist()
        self._inside = [False] * len(centres)
        self._collisions, self._side, self._passed = 0, '', True

    @property
    def _target(self) -> np.ndarray:
        return self._targets[self._reached]

    @property
    def _centres(self) -> np.ndarray:
        if not self._moves.any():
            return self._middles
        return self._middles + self._moves * np.sin(self._rates * self._time)[:, np.newaxis]

    def step(self, set_point: np.ndarray) -> None:
        """Advance by one step of 10 ms with the point driven towards ``set_point`` (2,) [m]."""
        # Plain numbers: on two of them NumPy is several times as slow.
        dt = STEP_DURATION / 1e9
        position, velocity, before = self._position.tolist(), self._velocity.tolist(), self._velocity
        for joint, wanted in enumerate(np.asarray(set_point).tolist()):
            at, speed = position[joint], velocity[joint]
            pull = FREQUENCY**2 * (wanted - at) - 2.0 * FREQUENCY * speed
            faster = _clip(speed + _clip(pull, ACCELERATION) * dt, VELOCITY)
            position[joint] = _clip(at + faster * dt, SIDE)
            velocity[joint] = (position[joint] - at) / dt  # a wall ends it
        self._position, self._velocity = np.array(position), np.array(velocity)
        self._acceleration = (self._velocity - before) / dt
        self._time += dt
        self._watch(*position)
        if self._reached < len(self._targets) - 1 and float(np.linalg.norm(self._target - self._position)) <= TOLERANCE:
            self._reached += 1

    def _watch(self, x: float, y: float) -> None:
        """Count collisions, and see on which side the point goes by the first obstacle."""
        for number, ((centre_x, centre_y), radius) in enumerate(zip(self._centres.tolist(), self._radii, strict=True)):
            off_x, off_y = x - centre_x, y - centre_y
            inside = math.hypot(off_x, off_y) < radius
            self._collisions += inside and not self._inside[number]
            self._inside[number] = inside
            if number == 0:
                ahead_x, ahead_y = self._ahead
                passed = ahead_x * off_x + ahead_y * off_y >= 0.0
                if passed and not self._passed:
                    self._side = 'left' if ahead_x * off_y - ahead_y * off_x > 0.0 else 'right'
                self._passed = passed

    @property
    def joint_positions(self) -> np.ndarray:
        """Positions of the joints [m]."""
        return self._position.copy()

    @property
    def joint_velocities(self) -> np.ndarray:
        """Velocities of the joints [m/s]."""
        return self._velocity.copy()

    @property
    def joint_efforts(self) -> np.ndarray:
        """Forces of the drives in the last step [N]."""
        return MASS * self._acceleration

    @property
    def poses(self) -> dict[str, Pose]:
        """Poses of the targets and of the obstacles."""
        shown = [self._target, self._targets[-1]][: len(self._names)]
        places = np.vstack([*shown, self._centres]).tolist()
        return {name: flat_pose(x, y, 0.0) for name, (x, y) in zip(self.tracked, places, strict=True)}

    @property
    def progress(self) -> Progress:
        """Return how much of the straight ways to the targets is done; after a collision that counts half."""
        off, speed = float(np.linalg.norm(self._target - self._position)), float(np.linalg.norm(self._velocity))
        last = self._reached == len(self._targets) - 1
        success = last and off <= TOLERANCE and speed <= AT_REST and not self._collisions
        whole = max(_length(np.vstack([self._start, self._targets])) - TOLERANCE, 1e-6)
        left = _length(np.vstack([self._position, self._targets[self._reached :]])) - TOLERANCE
        share = min(0.99, max(0.0, 1.0 - max(0.0, left) / whole))
        score = 1.0 if success else share / 2.0 if self._collisions else share
        details: dict[str, float | str] = {'distance': off}
        if len(self._targets) > 1:
            details['targets_reached'] = float(self._reached + success)
        if self._obstacles:
            collided = str(self._collisions > 0)
            details |= {'side': self._side, 'collided': collided, 'collisions': float(self._collisions)}
        return Progress(score=score, success=success, details=details)

    def render(self, camera: str) -> np.ndarray:
        """Refuse: there are no cameras."""
        raise ConfigError(f'camera: got {camera!r}, allowed none in this world')

    def tool_pixels(self, joints: np.ndarray, height: int) -> np.ndarray:
        """Return where the point at ``joints`` (N, 2) [m] is in such a picture: column, row (N, 2) [pixels]."""
        return (np.asarray(joints) * [1.0, -1.0] + SIDE) * (height / (2.0 * SIDE))

    def render_large(self, height: int) -> np.ndarray:
        """Return a picture of ``height`` x ``height`` pixels, uint8 RGB: the square from above."""
        picture = np.full((height, height, 3), GROUND, dtype=np.float64)
        for centre, radius in zip(self._centres, self._radii, strict=True):
            self._draw(picture, centre, (0.0, radius), RED)
        for number, target in enumerate(self._targets):
            colour = GREEN if number == self._reached else GREY if number < self._reached else AMBER
            self._draw(picture, target, (TOLERANCE - RING, TOLERANCE), colour)
        self._draw(picture, self._position, (0.0, POINT_RADIUS), INK)
        return np.round(picture).astype(np.uint8)

    def _draw(
        self, picture: np.ndarray, centre: np.ndarray, radii: tuple[float, float], colour: tuple[int, ...]
    ) -> None:
        """Draw a disc, or a ring between two ``radii`` [m], with soft edges."""
        height = len(picture)
        column, row = self.tool_pixels(centre, height)
        rows, columns = np.ogrid[:height, :height]
        distance = np.hypot(columns + 0.5 - column, rows + 0.5 - row)
        inner, outer = (radius * height / (2.0 * SIDE) for radius in radii)
        cover = np.clip(outer - distance + 0.5, 0.0, 1.0)
        if inner:
            cover *= np.clip(distance - inner + 0.5, 0.0, 1.0)
        picture += cover[..., np.newaxis] * (np.array(colour) - picture)


def _clip(value: float, most: float) -> float:
    return max(-most, min(most, value))


def _length(places: np.ndarray) -> float:
    """Return the length of the straight ways from each place (N, 2) to the next [m]."""
    return float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())


def _distance(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> float:
    """Return the distance of a point from the straight way between two others [m]."""
    way = end - start
    share = np.clip((point - start) @ way / (way @ way), 0.0, 1.0)
    return float(np.linalg.norm(start + share * way - point))
