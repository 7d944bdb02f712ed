"""The points of a message over the controller's own joints, as joint_trajectory_controller puts them in order."""

from __future__ import annotations

from typing import Any

import numpy as np

from dp_ros.simulation.controller.playback import Point
from dp_ros.simulation.controller.validation import TrajectoryCommand


class JointOrder:
    """Put the rows of messages in the order of ``joints``, in one buffer that is never cleared.

    So where a name stands twice, its last value counts, and the joint in whose place it stands gets what the row before
    left there: mostly the last velocity of the message before, 0, as a position.
    """

    def __init__(self, joints: tuple[str, ...]) -> None:
        self._joints = joints
        self._buffer: np.ndarray = np.zeros(len(joints))

    def held(self, positions: np.ndarray) -> None:
        """Take note of positions (A,) to hold, which pass through the buffer as well."""
        self._buffer = np.array(positions, dtype=np.float64)

    def points(self, command: TrajectoryCommand, set_point: np.ndarray) -> list[Point]:
        """Return the points of a valid message; joints that it leaves out rest at ``set_point`` (A,).

        Where one of fewer names stands twice, those left out make too many, and nothing is put in order.
        """
        count = len(self._joints)
        whole = len(command.joints) == count
        left_out = [] if whole else [joint for joint in self._joints if joint not in command.joints]
        places = [self._joints.index(joint) for joint in (*command.joints, *left_out)]
        behind = places[len(command.joints) :]
        still = np.zeros(count)

        def row(rows: Any, i: int, rest: np.ndarray) -> np.ndarray | None:
            if rows is None or len(rows[i]) == 0:
                return None
            values = np.concatenate([np.asarray(rows[i], dtype=np.float64), rest[behind]])
            if len(places) > count:
                return values[:count]
            self._buffer[places] = values
            return self._buffer.copy()

        points = []
        for i in range(len(command.times)):
            positions = row(command.positions, i, set_point)
            assert positions is not None  # the message is valid
            velocities, accelerations = row(command.velocities, i, still), row(command.accelerations, i, still)
            points.append(Point(positions=positions, velocities=velocities, accelerations=accelerations))
        return points
