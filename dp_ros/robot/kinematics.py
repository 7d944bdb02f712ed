"""Where a chain of joints puts a point of its last link, and how strongly that point can accelerate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class ChainJoint:
    """A moving joint of a chain.

    Attributes
    ----------
    column
        Which of the robot's positions moves it: by ``multiplier`` times that, plus ``offset`` [rad or m].
    sliding
        Whether it moves along ``axis`` (3,), a unit vector in its own frame, or turns about it.
    rotation, place
        Its frame in that of the joint before, when it is at 0: (3, 3) and (3,) [m].

    """

    column: int
    sliding: bool
    axis: np.ndarray
    rotation: np.ndarray
    place: np.ndarray
    multiplier: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """Moving joints from a base to ``link``, and the point (3,) [m] in the frame of the last of them.

    ``joints`` are the names that the columns of positions have.
    """

    joints: tuple[str, ...]
    link: str
    chain_joints: tuple[ChainJoint, ...]
    point: np.ndarray

    def points(self, positions: np.ndarray) -> np.ndarray:
        """Return where the point is (M, 3) [m] in the base's frame, at joint positions (M, A)."""
        at = np.broadcast_to(self.point, (len(positions), 3))
        columns, multipliers, offsets, _ = self._moves
        moved = positions[:, columns] * multipliers + offsets
        cosines, sines = np.cos(moved)[:, :, None], np.sin(moved)[:, :, None]
        for number in reversed(range(len(self.chain_joints))):
            turn = self.chain_joints[number]
            if turn.sliding:
                at = (at + turn.axis * moved[:, number, None]) @ turn.rotation.T + turn.place
            else:
                parts = at @ self._rodrigues[number]
                at = parts[:, :3] + parts[:, 3:6] * cosines[:, number] + parts[:, 6:] * sines[:, number] + turn.place
        return np.asarray(at)

    @cached_property
    def _moves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Column, multiplier and offset of each moving joint, and whether it slides."""
        columns = np.array([turn.column for turn in self.chain_joints], dtype=np.int64)
        multipliers = np.array([turn.multiplier for turn in self.chain_joints])
        offsets = np.array([turn.offset for turn in self.chain_joints])
        return columns, multipliers, offsets, np.array([turn.sliding for turn in self.chain_joints], dtype=bool)

    @cached_property
    def _rodrigues(self) -> list[np.ndarray]:
        """Per joint (3, 9): what of a row vector stays, what goes with the cosine, and what with the sine."""
        return [_rodrigues(turn) for turn in self.chain_joints]

    def levers(self, positions: np.ndarray) -> np.ndarray:
        """Return the longest lever of each moving joint [m per unit], no joint farther than ``positions`` (A,)."""
        if not any(turn.sliding for turn in self.chain_joints):
            return self._levers
        return self._levers_at(positions)

    @cached_property
    def _levers(self) -> np.ndarray:
        return self._levers_at(np.zeros(len(self.joints)))

    def _levers_at(self, positions: np.ndarray) -> np.ndarray:
        longest, levers = float(np.linalg.norm(self.point)), []
        for turn in reversed(self.chain_joints):
            levers.append(1.0 if turn.sliding else longest)
            if turn.sliding:
                longest += abs(turn.multiplier) * float(positions[turn.column]) + abs(turn.offset)
            longest += float(np.linalg.norm(turn.place))
        return np.array(levers[::-1])

    def acceleration_bound(self, speeds: np.ndarray, accelerations: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return what the point's acceleration cannot exceed [m/s^2], (S,), from magnitudes of the joints.

        Velocities and accelerations (S, A), positions (A,).
        """
        if not self.chain_joints:
            return np.zeros(len(speeds))
        columns, multipliers, _, sliding = self._moves
        factors, levers = np.abs(multipliers), self.levers(positions)
        speed, acceleration = speeds[:, columns] * factors, accelerations[:, columns] * factors
        turning = np.where(sliding, 0.0, speed)
        before = np.cumsum(turning, axis=1) - turning
        return np.asarray((levers * (acceleration + speed * (2.0 * before + turning))).sum(axis=1))


def _rodrigues(turn: ChainJoint) -> np.ndarray:
    along = np.outer(turn.axis, turn.axis)
    x, y, z = turn.axis
    crossing = np.array([[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]])  # v K = axis x v for row vectors v
    return np.concatenate([part @ turn.rotation.T for part in (along, np.eye(3) - along, crossing)], axis=1)
