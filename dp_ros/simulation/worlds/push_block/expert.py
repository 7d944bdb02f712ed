"""A scripted demonstrator for push_block: go behind the block, push it along an arc around the post, back off.

It decides from the block's pose, ten times a second, where the tool should be next: behind the block as seen along the
way, and ahead of where it is by as much as the drives lag. Side, width of the arc and speed are each episode's own. A
block that slips away is approached anew, so where the world disturbs the arm, its demonstrations show how to recover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dp_ros.errors import check_range
from dp_ros.motion.trajectory import Trajectory
from dp_ros.simulation.arm.kinematics import Arm, ToolPose
from dp_ros.simulation.expert import approach, ramp, wrapped
from dp_ros.simulation.world import Pose
from dp_ros.simulation.worlds.push_block.spec import BLOCK, GOAL, JOINTS, POST
from dp_ros.simulation.worlds.push_block.way import make_arc
from dp_ros.simulation.worlds.push_block.world import model

BEHIND = 0.0395  # from the tool's axis to the middle of a block that lies against the plate [m]
STANDOFF = 0.090  # of the tool from the middle of the block, before the push
LAG = 0.16  # how far the tool is behind what is asked for: drives, and the control step [s]
ARRIVED = 0.010  # the block is at the goal [m]
NEAR = 0.022  # ... or as near as pushing on makes it [m]
SIDEWAYS = 0.04  # a block that lies this far to a side passes the post there [m]
CIRCLING = 0.7  # of the next point on the way around the block [rad]
AREA = ((0.27, -0.22, -2.3), (0.76, 0.22, 2.3))  # x, y, yaw that are asked for, lowest and highest [m], [rad]
AWAY = 0.035  # how far the tool backs off [m]
ACCELERATION = 0.45  # of the tool [m/s^2]
TURN_RATE, TURN_ACCELERATION = 1.4, 5.0  # of the tool [rad/s], [rad/s^2]
APPROACH, PUSH, RETREAT, REST = 'approach', 'push', 'retreat', 'rest'


class PushBlockExpert:
    """Gives the next tool poses as joint trajectories; ask it every ``control_dt`` [s]. One for each episode."""

    finishes = True

    def __init__(self, rng: np.random.Generator, *, control_dt: float = 0.1) -> None:
        check_range('expert control_dt', control_dt, 0.02, 0.5, unit='s')
        self._dt = control_dt
        self._arm = Arm(model())
        self.side = 1.0 if rng.random() < 0.5 else -1.0
        self._width = rng.uniform(0.108, 0.120)
        self._arc = make_arc(self.side, self._width)
        self._speed = rng.uniform(0.10, 0.125)
        self._stage = APPROACH
        self._asked: np.ndarray | None = None  # x, y, yaw of the tool as commanded last
        self._rate: np.ndarray = np.zeros(3)
        self._joints: np.ndarray = np.zeros(len(JOINTS))
        self._rested = 0.0

    @property
    def finished(self) -> bool:
        """Whether the block is where it should be and the tool has backed off for a while."""
        return self._stage == REST and self._rested >= 0.8

    def trajectory(self, stamp: int, joints: Sequence[float] | np.ndarray, poses: Mapping[str, Pose]) -> Trajectory:
        """Return the command that answers what was seen at ``stamp`` [ns]: from the last set point to the next."""
        measured = np.asarray(joints, dtype=np.float64)
        if self._asked is None:
            seen = self._arm.pose(measured)
            self._asked = np.array([seen.x, seen.y, seen.yaw])
            self._joints = measured.copy()
            self._choose(poses[BLOCK])
        before = self._joints
        self._advance(self._wanted(poses[BLOCK]))
        x, y, yaw = self._asked
        self._joints = self._arm.solve(ToolPose(x=x, y=y, yaw=yaw), before)
        return ramp(stamp, JOINTS, before, self._joints, self._dt)

    def _choose(self, pose: Pose) -> None:
        x, y, _ = pose.position
        if abs(y) > SIDEWAYS or x > POST[0]:
            self.side = 1.0 if y > 0 else -1.0
            self._arc = make_arc(self.side, self._width)

    def _wanted(self, pose: Pose) -> np.ndarray:
        """Return where the tool should be, were there no limits: x, y, yaw."""
        block = np.array(pose.position[:2])
        assert self._asked is not None
        heading = self._arc.heading(block)
        ahead = np.array([np.cos(heading), np.sin(heading)])
        tool = self._asked[:2]
        gap = float((block - tool) @ ahead)
        aside = float(np.hypot(*(block - tool - gap * ahead)))
        turned = abs(wrapped(heading - self._asked[2]))
        if self._stage in (RETREAT, REST):
            return self._leave(heading)
        if self._arrived(block):
            self._stage, self._left = RETREAT, self._asked.copy()
            return self._leave(heading)
        if self._stage == APPROACH and gap > 0.0 and aside < 0.012 and turned < 0.15:
            self._stage = PUSH
        elif self._stage == PUSH and (aside > 0.035 or gap < 0.0):
            self._stage = APPROACH
        if self._stage == APPROACH:
            return self._around(block, heading)
        return np.array([*(block + (self._speed * LAG - BEHIND) * ahead), heading])

    def _arrived(self, block: np.ndarray) -> bool:
        """Whether the block is at the goal, or so near it that pushing on would take it farther away."""
        assert self._asked is not None
        left = np.array(GOAL) - block
        beyond = left @ np.array([np.cos(self._asked[2]), np.sin(self._asked[2])]) < 0.0
        return bool(np.hypot(*left) < (NEAR if beyond else ARRIVED))

    def _around(self, block: np.ndarray, heading: float) -> np.ndarray:
        """Return a point further on a circle around the block, that ends behind it; the plate faces the block."""
        assert self._asked is not None
        spoke = self._asked[:2] - block
        now = float(np.arctan2(spoke[1], spoke[0]))
        angle = now + np.clip(wrapped(heading + np.pi - now), -CIRCLING, CIRCLING)
        spot = block + STANDOFF * np.array([np.cos(angle), np.sin(angle)])
        return np.array([*spot, wrapped(angle + np.pi)])

    def _leave(self, heading: float) -> np.ndarray:
        yaw = self._left[2]
        goal = self._left[:2] - AWAY * np.array([np.cos(yaw), np.sin(yaw)])
        assert self._asked is not None
        if np.hypot(*(goal - self._asked[:2])) < 0.002:
            self._stage = REST
            self._rested += self._dt
        return np.array([*goal, yaw])

    def _advance(self, wanted: np.ndarray) -> None:
        """Move what is asked for towards what is wanted, within limits of speed and acceleration."""
        assert self._asked is not None
        way = wanted - self._asked
        way[2] = wrapped(way[2])
        self._rate[:2] = approach(way[:2], self._rate[:2], self._speed * 1.15, ACCELERATION, self._dt)
        self._rate[2:] = approach(way[2:], self._rate[2:], TURN_RATE, TURN_ACCELERATION, self._dt)
        self._asked = np.clip(self._asked + self._rate * self._dt, *AREA)
