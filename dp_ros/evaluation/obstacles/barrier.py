"""The literature's rival: a control-barrier filter that pushes the policy's motion aside, at every control step.

    h(x) = |x - c| - r,    dh/dt >= -ALPHA h,    dh/dt = n . (u - v)

for the point x with velocity u, an obstacle with centre c, radius r (clearance included) and velocity v, and n the
direction from c to x (Ames and others 2019, Control Barrier Functions: Theory and Applications; for diffusion policies
Xiao and others 2023, SafeDiffuser). The nearest u to the policy's is found by projections onto the half-planes in turn.
It is for evaluation only: it leads the policy to where it has never been, and knows no limits of acceleration.
"""

from __future__ import annotations

import numpy as np

ALPHA = 2.0
"""How fast an obstacle may be approached, as a part of the distance [1/s]."""
ROUNDS = 10


def filtered(
    steps: np.ndarray, start: np.ndarray, centres: np.ndarray, radii: np.ndarray, speeds: np.ndarray, control_dt: float
) -> np.ndarray:
    """Return a chunk's steps (T, 2) [m] with each velocity filtered, beginning at ``start`` (2,).

    Obstacles have ``centres`` (N, 2) [m], ``radii`` (N,) [m], and velocities ``speeds`` (N, 2) [m/s].
    """
    at, found = np.array(start, dtype=np.float64), []
    for number, step in enumerate(steps):
        velocity = (step - at) / control_dt
        moved = centres + speeds * (number * control_dt)
        for _ in range(ROUNDS):
            for centre, radius, speed in zip(moved, radii, speeds, strict=True):
                away = at - centre
                distance = max(float(np.linalg.norm(away)), 1e-9)
                normal = away / distance
                missing = -ALPHA * (distance - radius) - float(normal @ (velocity - speed))
                if missing > 0.0:
                    velocity = velocity + missing * normal
        at = at + velocity * control_dt
        found.append(at)
    return np.array(found)
