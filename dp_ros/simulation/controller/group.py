"""The controllers of one robot, an arm's and a gripper's say: each has some of the joints, and all run together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dp_ros.data import Refusal
from dp_ros.errors import ConfigError, listed, order_advice
from dp_ros.motion.outputs import Output, split
from dp_ros.simulation.controller.controller import Accepted, Ignored, JointTrajectoryController
from dp_ros.simulation.controller.plant import run_cycles

Verdict = Accepted | Refusal | Ignored


class ControllerGroup:
    """Controllers that together have each joint of a robot once.

    Parameters
    ----------
    joints
        The robot's, in the order of its set points.
    controllers
        One or more; a single one has the joints in the robot's order, several have theirs in any.

    """

    def __init__(self, joints: Sequence[str], controllers: Sequence[JointTrajectoryController]) -> None:
        self.controllers = tuple(controllers)
        given = tuple(joint for controller in self.controllers for joint in controller.joints)
        if given != tuple(joints) and (len(self.controllers) == 1 or sorted(given) != sorted(joints)):
            raise ConfigError(
                f'controller joints: got {listed(given)}, allowed {listed(joints)}{order_advice(given, tuple(joints))}'
            )
        self._columns = [[list(joints).index(joint) for joint in c.joints] for c in self.controllers]
        self._outputs = [Output(name='', topic='', joints=controller.joints) for controller in self.controllers]
        self._joints = frozenset(joints)

    @property
    def set_point(self) -> np.ndarray:
        """What the last cycles commanded, (A,)."""
        return self._merged([controller.set_point for controller in self.controllers])

    def reset(self, positions: np.ndarray) -> None:
        """Hold ``positions`` (A,), as after a first activation."""
        for controller, columns in zip(self.controllers, self._columns, strict=True):
            controller.reset(positions[columns])

    def activate(self, measured: np.ndarray) -> None:
        """Activate all where the robot is now, ``measured`` (A,)."""
        for controller, columns in zip(self.controllers, self._columns, strict=True):
            controller.activate(measured[columns])

    def deactivate(self) -> None:
        """Deactivate all: the drives hold their last commands."""
        for controller in self.controllers:
            controller.deactivate()

    def command(self, trajectory: Any, now: int) -> Verdict:
        """Hand each controller its part of a trajectory of all joints; return the first verdict that is no acceptance.

        A single controller gets the trajectory as it is, and judges the names of its joints itself.
        """
        if len(self.controllers) == 1:
            return self.controllers[0].command(trajectory, now)
        if set(trajectory.joints) != self._joints:
            return Refusal(reason=f'joints: got {listed(trajectory.joints)}, allowed {listed(sorted(self._joints))}')
        parts = zip(self.controllers, split(trajectory, self._outputs), strict=True)
        verdicts = [controller.command(part, now) for controller, part in parts]
        return next((verdict for verdict in verdicts if not isinstance(verdict, Accepted)), verdicts[0])

    def run(self, begin: int, end: int, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        """Run the cycles due from ``begin`` to before ``end`` [ns], as `run_cycles` does; return the set point (A,)."""
        return self._merged([
            run_cycles(controller, begin, end, positions[columns], velocities[columns])
            for controller, columns in zip(self.controllers, self._columns, strict=True)
        ])  # fmt: skip

    def _merged(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        whole = np.empty(len(self._joints))
        for part, columns in zip(parts, self._columns, strict=True):
            whole[columns] = part
        return whole
