"""What a policy lived through, kept small: what its encoder said, in as few numbers as tell it, and what came of it.

An encoder's output is as wide as the network likes it (`dp_ros.networks.prepared`), and made of far fewer numbers. Its
principal components that say something are kept instead.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

ENOUGH = 2000
"""Decisions from which the components are found."""
SMALLEST = 1e-4
"""A component whose spread is this small a share of the largest one's is rounding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """``(cond - center) @ project``: (D,) and (D, C)."""

    center: np.ndarray
    project: np.ndarray

    def __call__(self, cond: np.ndarray) -> np.ndarray:
        """Project (N, D)."""
        low: np.ndarray = (cond - self.center) @ self.project
        return low


def find_projection(cond: np.ndarray) -> Projection:
    """Return the components of (N, D) that are not rounding, in half precision."""
    center = cond.mean(axis=0)
    _, spread, axes = np.linalg.svd((cond - center).astype(np.float64), full_matrices=False)
    kept = spread > SMALLEST * max(spread[0], 1e-12)
    return Projection(center=center, project=axes[kept].T.astype(np.float16).astype(np.float32))


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """N decisions whose outcome is known.

    Attributes
    ----------
    low
        What the encoder said, projected, (N, C).
    state, actions
        As in `dp_ros.evaluation.critic.episodes.Decision`, (N, S) and (N, P, A).
    worth, near
        What came of it, (N,): see `Decisions`.
    episode
        Which episode it was in, (N,).

    """

    low: Tensor
    state: Tensor
    actions: Tensor
    worth: Tensor
    near: Tensor
    episode: Tensor


class Experience:
    """Decisions of many episodes.

    Parameters
    ----------
    discount, unknown
        See `Decisions.worth` and `Decisions.known`.

    """

    def __init__(self, discount: float, unknown: int) -> None:
        self.discount, self.unknown = discount, unknown
        self.projection: Projection | None = None
        self.episodes = 0
        self._waiting: list[Decisions] = []
        self._rows: list[tuple[np.ndarray, ...]] = []

    def add(self, decisions: Decisions) -> None:
        """Take an episode's decisions."""
        self._waiting.append(decisions)
        if self.projection is not None or sum(len(d.near) for d in self._waiting) >= ENOUGH:
            self._settle()

    def _settle(self) -> Projection:
        if self.projection is None:
            self.projection = find_projection(np.concatenate([d.taken[0] for d in self._waiting]))
        for decisions in self._waiting:
            known = decisions.known(self.unknown)
            outcome = (decisions.worth(self.discount), decisions.near, np.full(len(known), self.episodes))
            for taken in (decisions.taken, decisions.mirrored):
                if taken is not None:
                    row = (self.projection(taken[0]), *taken[1:], *outcome)
                    self._rows.append(tuple(values[known] for values in row))
            self.episodes += 1
        self._waiting.clear()
        return self.projection

    def rows(self) -> tuple[Projection, Rows]:
        """Return the projection, and all rows."""
        projection = self._settle()
        arrays = [torch.from_numpy(np.concatenate(column)) for column in zip(*self._rows, strict=True)]
        names = [f.name for f in fields(Rows)]
        return projection, Rows(**dict(zip(names, arrays, strict=True)))


Decision = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decisions:
    """What was decided in one episode, chunk by chunk: N of them.

    Attributes
    ----------
    taken
        Arrays as in `Decision`, each with N in front.
    near
        How near the task came to success until the chunk after the next was decided, 0 to 1, (N,) float32.
    success
        Whether the episode ended in success.
    mirrored
        `taken` as it would have been in the mirror that the policy was trained with, if there was one.

    """

    taken: Decision
    near: np.ndarray
    success: bool
    mirrored: Decision | None = None

    def worth(self, discount: float) -> np.ndarray:
        """Return ``discount`` to the power of the chunks that still came until success, or 0, each (N,) float32."""
        left = np.arange(len(self.near))[::-1]
        return (discount**left if self.success else np.zeros(len(left))).astype(np.float32)

    def known(self, unknown: int) -> np.ndarray:
        """Return whose outcome is known, (N,) bool: had there been more time, the last ones might have succeeded."""
        left = np.arange(len(self.near))[::-1]
        return np.full(len(left), True) if self.success else left >= unknown
