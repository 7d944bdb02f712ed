"""Ways of the block around the post in the world push_block: the demonstrator's arc, and the shortest one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.simulation.worlds.push_block.spec import GOAL, POST, START

AHEAD = 0.075  # how far along the arc the push aims [m]
AROUND = 0.080  # how far the block's middle stays from the post's on the shortest way [m]


@dataclass(frozen=True, kw_only=True)
class Arc:
    """The way of the block: a part of a circle from the start by the post to the goal, on one side."""

    centre: np.ndarray
    radius: float
    side: float

    def heading(self, block: np.ndarray) -> float:
        """Return the direction from the block to a point ahead of it on the arc [rad]."""
        spoke = block - self.centre
        angle = np.arctan2(spoke[1], spoke[0]) - self.side * AHEAD / self.radius
        aim = self.centre + self.radius * np.array([np.cos(angle), np.sin(angle)])
        if self.along(block) < AHEAD:
            aim = np.array(GOAL)
        return float(np.arctan2(*(aim - block)[::-1]))

    def angle(self, along: float) -> float:
        """Return at which angle around the centre it is ``along`` [m] to the goal [rad]."""
        end = np.array(GOAL) - self.centre
        return float(np.arctan2(end[1], end[0]) + self.side * along / self.radius)

    def along(self, block: np.ndarray) -> float:
        """Return how far it is along the arc to the goal [m]; negative beyond it."""
        spoke, end = block - self.centre, np.array(GOAL) - self.centre
        cross = spoke[0] * end[1] - spoke[1] * end[0]
        return float(-self.side * np.arctan2(cross, spoke @ end) * self.radius)


def make_arc(side: float, width: float) -> Arc:
    """Return the arc that passes the post at a distance ``width`` [m]; ``side`` 1 is left, -1 right."""
    half = (GOAL[0] - START[0]) / 2.0
    radius = (half**2 + width**2) / (2.0 * width)
    return Arc(centre=np.array([POST[0], side * (width - radius)]), radius=radius, side=side)


def way_left(block: np.ndarray) -> float:
    """Return the length of the shortest way of the block's middle to the goal, around the post [m]."""
    post, goal = np.array(POST), np.array(GOAL)
    a, b = block - post, goal - post
    near, far = max(float(np.hypot(*a)), AROUND), float(np.hypot(*b))
    apart = abs(float(np.arctan2(a[0] * b[1] - a[1] * b[0], a @ b)))
    # Both tangents to the circle, and the arc between where they touch it, if there is any.
    arc = apart - np.arccos(AROUND / near) - np.arccos(AROUND / far)
    if arc <= 0.0:
        return float(np.hypot(*(goal - block)))
    return float(np.sqrt(near**2 - AROUND**2) + np.sqrt(far**2 - AROUND**2) + arc * AROUND)
