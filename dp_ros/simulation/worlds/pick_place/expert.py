"""A scripted demonstrator for pick_place: over the object, down, close, up, over the tray, down, open, up.

It decides from the poses of objects and joints, ten times a second, where the tool should be next, ahead of where it is
by as much as the drives lag. Which of the two ways it grasps, its speed, where in the tray it puts the object, and
whether it hesitates over it are each episode's own. It looks at where the tool really is, and corrects what disturbs
it; an object that slips out is grasped anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dp_ros.errors import check_range
from dp_ros.motion.trajectory import Trajectory
from dp_ros.simulation.arm.kinematics import Arm, ToolPose
from dp_ros.simulation.expert import approach, ramp, wrapped
from dp_ros.simulation.world import Pose
from dp_ros.simulation.worlds.pick_place.model import model
from dp_ros.simulation.worlds.pick_place.spec import (
    BOX,
    HALF_HEIGHT,
    HALF_WIDTHS,
    JOINTS,
    OPEN,
    TRAY,
    USUAL,
    Meaning,
)

GRASP_HEIGHT = 0.012  # of the fingertips above the table [m]
HOVER = 0.10  # ... over an object, before it is grasped
CARRY = 0.11  # ... with an object, and after it
PLACE = 0.022  # ... when it is let go in the tray
FUNNEL = 6.0  # how steeply the hand comes down on what it is beside of [m/m]
NEAR = 0.03  # beside an object, from where on the hand is slow [m]
BESIDE = 0.006  # so far off it comes down all the way [m]
TURNED = 0.10  # ... and so much [rad]
FINGER_SPEED = 0.08  # [m/s]
GRASPED_AFTER = 0.2  # from when the fingers have stopped [s]
STOPPED = 0.0006  # of the finger from one step to the next, at most [m]
SLIPPED = 0.035  # of the object from the tool, from which on it is no longer held [m]
OVER_TRAY = 0.03  # from here on it is let down [m]
SPREAD = 0.025  # of where in the tray it is put [m]
GAIN = 0.25  # how much of what the tool is off is corrected in a step
MOST_CORRECTED = 0.03  # [m], [rad]
ACCELERATION = 0.8  # of the tool [m/s^2]
TURN_RATE, TURN_ACCELERATION = 1.6, 5.0  # of the tool [rad/s], [rad/s^2]
LAG = 0.057  # of the drives [s]
REACH, CLOSE, LIFT, MOVE, RELEASE, LEAVE, REST = 'reach', 'close', 'lift', 'move', 'release', 'leave', 'rest'


class PickPlaceExpert:
    """Gives the next tool poses as joint trajectories; ask it every ``control_dt`` [s]. One for each episode."""

    finishes = True

    def __init__(self, rng: np.random.Generator, *, control_dt: float = 0.1, asked: Meaning = USUAL) -> None:
        check_range('expert control_dt', control_dt, 0.02, 0.5, unit='s')
        self._dt = control_dt
        self._wanted, self._squeeze = asked.wanted, asked.squeeze
        self._arm = Arm(model())
        self.across = bool(rng.random() < 0.5)
        self._speed = rng.uniform(0.22, 0.32)  # [m/s]
        self._careful = rng.uniform(0.07, 0.10)  # down onto an object [m/s]
        self._place = np.array(TRAY) + rng.uniform(-SPREAD, SPREAD, 2)
        self._pause = float(rng.uniform(0.2, 0.5)) if rng.random() < 0.3 else 0.0  # over the object [s]
        self._stage, self._fastest = REACH, self._speed
        self._asked: np.ndarray | None = None  # x, y, z, yaw of the tool as planned last
        self._rate: np.ndarray = np.zeros(4)
        self._off: np.ndarray = np.zeros(4)  # what the drives are commanded beside of that
        self._joints: np.ndarray = np.zeros(len(JOINTS))
        self._finger = self._last_finger = OPEN
        self._since = 0.0  # in the stage, or still in it [s]

    @property
    def finished(self) -> bool:
        """Whether the object is put down and the hand has been away from it for a while."""
        return self._stage == REST and self._since >= 0.5

    def trajectory(self, stamp: int, joints: Sequence[float] | np.ndarray, poses: Mapping[str, Pose]) -> Trajectory:
        """Return the command that answers what was seen at ``stamp`` [ns]: from the last set point to the next."""
        measured = np.asarray(joints, dtype=np.float64)
        position, turn = self._arm.tool(measured[:-1])
        tool = np.array([*position, np.arctan2(turn[1, 0], turn[0, 0])])
        if self._asked is None:
            self._asked, self._joints, self._last_finger = tool.copy(), measured.copy(), float(measured[-1])
        before = self._joints
        self._correct(tool)
        wanted = self._wanted_pose(tool, float(measured[-1]), poses[self._wanted])
        self._last_finger = float(measured[-1])
        self._advance(wanted)
        x, y, z, yaw = self._asked + self._off
        arm = self._arm.solve(ToolPose(x=x, y=y, yaw=yaw), before[:-1], z)
        way = np.clip(self._finger - before[-1], -FINGER_SPEED * self._dt, FINGER_SPEED * self._dt)
        self._joints = np.array([*arm, before[-1] + way])
        return ramp(stamp, JOINTS, before, self._joints, self._dt)

    def _correct(self, tool: np.ndarray) -> None:
        """Take back what the tool is off from where it should be by now."""
        assert self._asked is not None
        off = self._asked - self._rate * LAG - tool
        off[3] = wrapped(off[3])
        self._off = np.clip(self._off + GAIN * off, -MOST_CORRECTED, MOST_CORRECTED)

    def _wanted_pose(self, tool: np.ndarray, finger: float, pose: Pose) -> np.ndarray:
        """Return where the tool should be, were there no limits: x, y, z, yaw; and choose the finger's set point."""
        self._fastest = self._speed
        body = np.array(pose.position)
        self._since += self._dt
        apart = float(np.hypot(*(body[:2] - tool[:2])))
        if self._stage in (LIFT, MOVE) and (apart > SLIPPED or abs(body[2] - HALF_HEIGHT - tool[2]) > SLIPPED):
            self._enter(REACH)
        if self._stage == REACH:
            self._finger = OPEN
            return self._reach(tool, body, pose.yaw)
        if self._stage == CLOSE:
            self._finger = HALF_WIDTHS[self._wanted] - self._squeeze
            if abs(finger - self._last_finger) > STOPPED or finger > HALF_WIDTHS[self._wanted] + 0.008:
                self._since = 0.0
            elif self._since >= GRASPED_AFTER:
                self._enter(LIFT)
            return self._held(GRASP_HEIGHT)
        if self._stage == LIFT and tool[2] > 0.75 * CARRY:
            self._enter(MOVE)
        if self._stage == LIFT:
            return self._held(CARRY)
        return self._bring(tool, finger)

    def _reach(self, tool: np.ndarray, body: np.ndarray, yaw: float) -> np.ndarray:
        assert self._asked is not None
        turn = self._grasp_yaw(yaw)
        apart = float(np.hypot(*(body[:2] - tool[:2])))
        turned = abs(wrapped(turn - tool[3]))
        beside = max(0.0, apart - BESIDE) + 0.05 * max(0.0, turned - TURNED)
        self._fastest = self._careful if apart < NEAR and tool[2] < HOVER + NEAR else self._speed
        height = min(HOVER, GRASP_HEIGHT + FUNNEL * beside)
        if self._pause > 0.0 and beside < 0.01:
            self._pause -= self._dt
            height = HOVER
        if tool[2] < GRASP_HEIGHT + 0.008 and beside < 0.003:
            self._grip = np.array([*self._asked[:2], turn])
            self._enter(CLOSE)
        return np.array([*body[:2], height, turn])

    def _grasp_yaw(self, yaw: float) -> float:
        """Return the tool's yaw for the way this episode grasps: -45 to 45 degrees, or a quarter turn more."""
        along = 0.0 if self._wanted != BOX else (yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4
        return float(along + self.across * np.pi / 2)

    def _held(self, height: float) -> np.ndarray:
        return np.array([*self._grip[:2], height, self._grip[2]])

    def _bring(self, tool: np.ndarray, finger: float) -> np.ndarray:
        left = float(np.hypot(*(self._place - tool[:2])))
        if self._stage == MOVE:
            height = PLACE if left < OVER_TRAY else CARRY
            if tool[2] < PLACE + 0.006:
                self._enter(RELEASE)
        if self._stage == RELEASE:
            self._finger, height = OPEN, PLACE
            if finger > OPEN - 0.004:
                self._enter(LEAVE)
        if self._stage in (LEAVE, REST):
            height = CARRY
            if self._stage == LEAVE and tool[2] > CARRY - 0.01:
                self._enter(REST)
        return np.array([*self._place, height, self._grip[2]])

    def _enter(self, stage: str) -> None:
        self._stage, self._since = stage, 0.0

    def _advance(self, wanted: np.ndarray) -> None:
        """Move what is asked for towards what is wanted, within limits of speed and acceleration."""
        assert self._asked is not None
        way = wanted - self._asked
        way[3] = wrapped(way[3])
        self._rate[:3] = approach(way[:3], self._rate[:3], self._fastest, ACCELERATION, self._dt)
        self._rate[3:] = approach(way[3:], self._rate[3:], TURN_RATE, TURN_ACCELERATION, self._dt)
        self._asked = self._asked + self._rate * self._dt
