"""What goes over the topics, apart from its types: joint states, chunks, and the smooth policy that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .curves import SECOND
from .judge import Box, Limits


@dataclass(frozen=True, kw_only=True)
class JointState:
    """As on the wire; ``stamp`` is robot time [ns]."""

    names: tuple[str, ...]
    positions: Sequence[float]
    velocities: Sequence[float]
    stamp: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """As on the wire: ``stamp`` is robot time, ``times`` (N,) count from it [ns], actions (N, A)."""

    stamp: int
    joints: tuple[str, ...]
    times: np.ndarray
    actions: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A smooth motion of each joint, (A,): centres, amplitudes, angular speeds [rad/s], phases."""

    centre: np.ndarray
    amplitude: np.ndarray
    speed: np.ndarray
    phase: np.ndarray
    control_dt: int
    steps: int = 16

    @classmethod
    def drawn(cls, rng: np.random.Generator, limits: Limits, control_dt: int) -> Policy:
        """Draw one whose speed is a good part of what is allowed, or a little more."""
        count = len(limits.upper)
        room = np.minimum(np.where(np.isfinite(limits.upper), limits.upper, 3.0), 2.5)
        speed = rng.uniform(0.5, 2.5, count)
        amplitude = np.minimum(rng.uniform(0.1, 1.1, count) * limits.velocity / speed, 0.8 * room)
        amplitude *= rng.random(count) < 0.7
        amplitude[0] = max(float(amplitude[0]), 0.2)
        return cls(
            centre=np.zeros(count),
            amplitude=amplitude,
            speed=speed,
            phase=rng.uniform(0.0, 6.28, count),
            control_dt=control_dt,
        )

    def inside(self, box: Box) -> Policy:
        """Return a calmer one, with which the tool stays in the box."""
        calmer = self
        for _ in range(80):
            tool = box.tool(calmer.actions(SECOND, 4000))
            if (tool > box.lower + 0.02).all() and (tool < box.upper - 0.02).all():
                return calmer
            calmer = replace(calmer, amplitude=0.9 * calmer.amplitude)
        return calmer

    def actions(self, stamp: int, steps: int) -> np.ndarray:
        """Return actions (steps, A) due from ``stamp`` [ns] on."""
        t = (stamp + self.control_dt * np.arange(steps)) / SECOND % 1e6
        return self.centre + self.amplitude * np.sin(np.outer(t, self.speed) + self.phase)
