"""What a policy lived through, kept small: what its encoder said, in as few numbers as tell it, and what came of it.

An encoder's output is as wide as the network likes it (`dp_ros.networks.prepared`), and made of far fewer numbers. Its
principal components that say something, each scaled to be as large as the others, are kept instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dp_ros.networks.critic import steps
from dp_ros.training.critic_rollouts import Decisions

ENOUGH = 2000
"""Decisions from which the components are found."""
SMALLEST = 1e-4
"""A component whose spread is this small a share of the largest one's is rounding."""
STILL = 1e-4
"""What an action's number varies less than, it is not scaled by: normalized ones are between -1 and 1."""


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
    """Return the components of (N, D) that are not rounding, scaled to a standard deviation of 1, in half precision."""
    center = cond.mean(axis=0)
    _, spread, axes = np.linalg.svd((cond - center).astype(np.float64), full_matrices=False)
    kept = spread > SMALLEST * max(spread[0], 1e-12)
    scale = np.sqrt(len(cond)) / spread[kept]
    return Projection(center=center, project=(axes[kept].T * scale).astype(np.float16).astype(np.float32))


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
        self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, decisions: Decisions) -> None:
        """Take an episode's decisions."""
        self._waiting.append(decisions)
        if self.projection is not None or sum(len(d.cond) for d in self._waiting) >= ENOUGH:
            self._settle()

    def _settle(self) -> Projection:
        if self.projection is None:
            self.projection = find_projection(np.concatenate([d.cond for d in self._waiting]))
        for decisions in self._waiting:
            known = decisions.known(self.unknown)
            episode = np.full(len(known), self.episodes)
            worth = decisions.worth(self.discount)
            for cond, actions in filter(None, ((decisions.cond, decisions.actions), decisions.mirrored)):
                low = self.projection(cond)
                self._rows.append((low[known], actions[known], worth[known], episode[known]))
            self.episodes += 1
        self._waiting.clear()
        return self.projection

    def tensors(self) -> tuple[Projection, Tensor, Tensor, Tensor, Tensor]:
        """Return the projection; of N decisions what is projected (N, C), `steps` of the actions, worth and episode."""
        projection = self._settle()
        low, actions, worth, episode = (torch.from_numpy(np.concatenate(c)) for c in zip(*self._rows, strict=True))
        return projection, low.float(), steps(actions), worth, episode
