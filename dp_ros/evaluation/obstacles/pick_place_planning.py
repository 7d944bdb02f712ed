"""Pick and place without a policy: planned paths over the box and over the tray, and straight moves up and down there.

It knows where the objects are, which a policy of pictures does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from dp_ros.data import NANOSECONDS, Chunk
from dp_ros.evaluation.episode_bag import EpisodeBag
from dp_ros.evaluation.obstacles.episodes import PlanningEpisode
from dp_ros.motion.outcome import Planned
from dp_ros.simulation.arm.kinematics import BENT, Arm, ToolPose
from dp_ros.simulation.worlds.pick_place.expert import CARRY, FINGER_SPEED, GRASP_HEIGHT, HOVER, PLACE
from dp_ros.simulation.worlds.pick_place.model import model
from dp_ros.simulation.worlds.pick_place.spec import BOX, FIRMLY, HALF_WIDTHS, OPEN, TRAY

if TYPE_CHECKING:
    from dp_ros.evaluation.obstacles.bench import ObstacleRunner

Stage = Literal['over', 'down', 'close', 'lift', 'across', 'lower', 'open', 'leave']
STAGES: tuple[Stage, ...] = ('over', 'down', 'close', 'lift', 'across', 'lower', 'open', 'leave')
HEIGHTS: dict[Stage, float] = {'down': GRASP_HEIGHT, 'lift': CARRY, 'lower': PLACE, 'leave': CARRY}
CLOSED = HALF_WIDTHS[BOX] - FIRMLY
"""The finger around the box [m]."""
STRAIGHT_SPEED = 0.10
"""Mean, of the tool, up and down [m/s]."""
SETTLE = 400_000_000
"""From the end of a stage to the next: the drives lag, the gripper grips [ns]."""
NEAR = 0.005
"""Of a stage's end, where it is done [rad or m]."""


class PickPlacePlanning(PlanningEpisode):
    """Eight stages, and again from the first if the box is not in the tray then."""

    def __init__(self, runner: ObstacleRunner, seed: int, bag: EpisodeBag | None) -> None:
        super().__init__(runner, seed, bag)
        self._arm = Arm(model())
        self._number = 0
        self._goal: np.ndarray | None = None

    @property
    def stage(self) -> Stage:
        """Return what is done now."""
        return STAGES[self._number % len(STAGES)]

    def place(self, now: int) -> np.ndarray | None:
        """Return where the stage's path leads (A,); None for straight moves, and on the way there."""
        plan, goal = self.planner.plan, self._goal
        if self.stage not in ('over', 'across') or plan is None or goal is None:
            return None
        return goal if np.abs(plan.positions[-1] - goal).max() >= NEAR else None

    def look(self, now: int) -> None:
        """Go on to the next stage where one is done; begin it."""
        plan = self.planner.plan
        if plan is not None and self._goal is not None and now >= plan.end + SETTLE:
            if np.abs(plan.positions[-1] - self._goal).max() < NEAR:
                self._number, self._goal = self._number + 1, None
            elif self.stage not in ('over', 'across'):
                self._goal = None  # it was stopped: from there anew
        if plan is not None and self._goal is None:
            self._begin(plan.positions[-1], now)
        super().look(now)

    def _begin(self, at: np.ndarray, now: int) -> None:
        """Choose where the stage ends, and move there if that is straight."""
        if self.stage == 'over':
            pose = self.robot.world.poses[BOX]
            turn = (pose.yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4
            self._goal = self._at(ToolPose(x=pose.position[0], y=pose.position[1], yaw=turn), HOVER, OPEN)
        elif self.stage == 'across':
            self._goal = self._at(ToolPose(x=TRAY[0], y=TRAY[1], yaw=self._tool(at)[0].yaw), CARRY, float(at[-1]))
        else:
            actions = self._straight(at)
            dt = self.runner.control_dt
            chunk = Chunk(stamp=now, control_dt=dt, joints=self.planner.joints, actions=actions)
            planned = self.planner.accept(chunk, now, whole=True)
            if isinstance(planned, Planned):
                self._goal = actions[-1]
                self.send(planned.trajectory)

    def _straight(self, at: np.ndarray) -> np.ndarray:
        """Return the steps (N, A) of a stage from rest to rest: of the tool along z, or of the finger."""
        dt = self.runner.control_dt / NANOSECONDS
        pose, height = self._tool(at)
        end = HEIGHTS.get(self.stage, height)
        finger = {'close': CLOSED, 'open': OPEN}.get(self.stage, float(at[-1]))
        seconds = max(abs(end - height) / STRAIGHT_SPEED, abs(finger - at[-1]) / FINGER_SPEED, 4 * dt)
        part = np.linspace(0.0, 1.0, int(np.ceil(seconds / dt)) + 1)
        way, steps = part**2 * (3.0 - 2.0 * part), [at]
        for share in way[1:]:
            arm = at[:-1] if end == height else self._arm.solve(pose, steps[-1][:-1], height + share * (end - height))
            steps.append(np.array([*arm, at[-1] + share * (finger - at[-1])]))
        return np.array(steps)

    def _at(self, pose: ToolPose, height: float, finger: float) -> np.ndarray:
        return np.array([*self._arm.solve(pose, BENT, height), finger])

    def _tool(self, at: np.ndarray) -> tuple[ToolPose, float]:
        """Return where the tool is for joint positions, and its height [m]."""
        position, turn = self._arm.tool(at[:-1])
        yaw = float(np.arctan2(turn[1, 0], turn[0, 0]))
        return ToolPose(x=float(position[0]), y=float(position[1]), yaw=yaw), float(position[2])
