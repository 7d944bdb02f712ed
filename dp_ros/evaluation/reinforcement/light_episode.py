"""Play episodes without planner and controller: several times as fast, and nearly what they make of a chunk.

    u   part of the cross-fade that has passed       w   weight of the chunk, 6 u^5 - 15 u^4 + 10 u^3

A chunk is a line through its steps. From ``latency`` and the publisher's splice margin after its observation on, the
set points are ``old + w (new - old)``, with a cross-fade as long as `blend_steps` allows. Left out are the publisher's
slower way into its first chunk, its shorter cross-fades and curves between steps, limits and checks; physics, sensors,
alignment and delays are the same. A policy closes the loop over what is left out, as it does on a robot.
"""

from __future__ import annotations

import numpy as np

from dp_ros.data import NANOSECONDS, Chunk
from dp_ros.evaluation.episodes import READING_RATE, DirectRunner, Episode
from dp_ros.motion.blend import fade_weight
from dp_ros.policy.alignment import tick_at_or_after


class LightEpisode(Episode):
    """An episode whose set points are chunks, cross-faded."""

    def __init__(self, runner: DirectRunner, seed: int) -> None:
        # Of what sensors read between control ticks nothing is ever seen here. Rates are exact to thousandths.
        exact = 1000 * NANOSECONDS % runner.control_dt == 0
        super().__init__(runner, seed, rate=NANOSECONDS / runner.control_dt if exact else READING_RATE)
        joints, step = runner.task.action.joints, self.robot.step_duration
        self._order = [joints.index(joint) for joint in self.robot.world.joints]
        self._margin = runner.latency + self.planner.options.splice_margin
        self._fade = max(self.planner.blend_steps * runner.control_dt, step)
        self._plan = self.robot.set_point[None]  # what is due at the end of each step of the physics from now on
        self._passed = 0

    def advance(self) -> None:
        """Advance to the next control tick: nobody looks before."""
        robot, control_dt = self.robot, self.runner.control_dt
        tick = tick_at_or_after(robot.now + 1, control_dt)
        while robot.now < tick:
            set_point = self._plan[min(self._passed, len(self._plan) - 1)]
            self._passed += 1
            for reading in robot.step(set_point):
                self.sense(reading)

    def answer(self, chunk: Chunk) -> None:
        """Take the chunk that answers the newest window; it counts as late as a policy's would."""
        now, step = self.robot.now, self.robot.step_duration
        due = np.arange(now + step, chunk.due[-1] + step, step)
        actions = chunk.actions[:, self._order]
        new = np.stack([np.interp(due, chunk.due, column) for column in actions.T], axis=1)
        old = self._plan[np.minimum(self._passed + np.arange(len(due)), len(self._plan) - 1)]
        weight = fade_weight(((due - chunk.stamp - self._margin) / self._fade).clip(0.0, 1.0))[:, None]
        self._plan, self._passed = old + weight * (new - old), 0
        self.chunks += 1
