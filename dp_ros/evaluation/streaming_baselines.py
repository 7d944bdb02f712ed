"""What ways of streaming a plan do to a motion: one joint on a sine, the modelled controller, a lagging plant.

The plan is the same in every pattern; what differs is which of its points are sent, and how they are stamped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS, Refusal
from dp_ros.motion.trajectory import Trajectory
from dp_ros.simulation.controller.controller import JointTrajectoryController
from dp_ros.simulation.controller.plant import LaggingPlant
from dp_ros.simulation.controller.spec import ControllerSpec

AMPLITUDE, OMEGA = 0.5, 2.0 * np.pi * 0.3  # of the sine [rad], [rad/s]
STEP = NANOSECONDS // 10  # between points [ns]
LATENCY = (0.03, 0.05)  # after which a message arrives, drawn evenly [s]
LAG = 0.04  # of the plant [s]
RATE = 250.0  # of the controller [Hz]
DURATION = 10.0  # [s]
SETTLING = 2 * NANOSECONDS  # [ns] at the start that the peaks leave out


def sine(times: np.ndarray, order: int = 0) -> np.ndarray:
    """Return the motion's derivative of an order at ``times`` (N,) [ns], (N, 1)."""
    angle = OMEGA * times / NANOSECONDS + order * np.pi / 2.0
    return np.asarray(AMPLITUDE * OMEGA**order * np.sin(angle))[:, None]


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A way to send the plan.

    Attributes
    ----------
    first
        The first point sent, in control steps from the moment of sending; below 0 it is due already.
    points
        How many.
    every
        Control steps between two messages.
    anchored
        Whether the stamp is the first point's time; if not it is 0 and times are counted from receipt.
    velocities
        Whether points have them; the last one's is 0.
    at_once
        Whether the first point's ``time_from_start`` is 0 although it is not due yet.
    settings
        What the controller's settings differ in.

    """

    first: int
    points: int
    every: int = 1
    anchored: bool = False
    velocities: bool = False
    at_once: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def message(self, sent: int) -> Trajectory:
        """Return what is sent at ``sent`` [ns]."""
        due = sent + STEP * (self.first + np.arange(self.points))
        speeds = sine(due, 1)
        speeds[-1] = 0.0
        start = due[0] if self.anchored or self.at_once else sent
        return Trajectory(
            stamp=int(due[0]) if self.anchored else 0,
            joints=('joint',),
            times=due - start,
            positions=sine(due),
            velocities=speeds if self.velocities else None,
        )


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Highest speed [rad/s] and acceleration [rad/s^2] of the set points, from differences."""

    speed: float
    acceleration: float


IDEAL = Peaks(speed=AMPLITUDE * OMEGA, acceleration=AMPLITUDE * OMEGA**2)
"""The sine's own."""
DESIRED = {'interpolate_from_desired_state': True}
PATTERNS: dict[str, Pattern] = {
    'one point, time_from_start 0': Pattern(first=1, points=1, at_once=True),
    'one point, + control_dt': Pattern(first=1, points=1),
    '8 points, positions, stamp 0, measured start, every 4 steps': Pattern(first=1, points=8, every=4),
    '16 points, positions and velocities, stamp 0, desired start': Pattern(
        first=1, points=16, velocities=True, settings=DESIRED
    ),
    'anchored, positions and velocities': Pattern(first=-2, points=16, anchored=True, velocities=True),
    'anchored, positions only': Pattern(first=-2, points=16, anchored=True),
}


def stream(pattern: Pattern, *, rate: float = RATE, duration: float = DURATION) -> Peaks:
    """Return the peaks of the set points after 2 s. A rejected message is an error of the pattern: AssertionError."""
    controller = JointTrajectoryController(('joint',), spec=ControllerSpec(rate=rate), **pattern.settings)
    begin, end = NANOSECONDS, NANOSECONDS + round(duration * NANOSECONDS)
    draw = np.random.default_rng(0)
    sent = range(begin, end, pattern.every * STEP)
    waiting = [(t + round(draw.uniform(*LATENCY) * NANOSECONDS), t) for t in sent]
    plant = LaggingPlant(sine(np.array([begin]))[0], time_constant=LAG)
    controller.reset(plant.positions)
    set_points = []
    for now in range(begin, end, controller.period):
        while waiting and waiting[0][0] <= now:
            verdict = controller.command(pattern.message(waiting.pop(0)[1]), now)
            assert not isinstance(verdict, Refusal), verdict
        set_points.append(controller.update(now, plant.positions, plant.velocities)[0])
        plant.step(controller.set_point, controller.period / NANOSECONDS)
    return peaks(np.array(set_points)[SETTLING // controller.period :], controller.period)


def peaks(set_points: np.ndarray, period: int) -> Peaks:
    """Return the peaks of set points (N,) that are ``period`` [ns] apart."""
    seconds = period / NANOSECONDS
    return Peaks(
        speed=float(np.abs(np.diff(set_points)).max() / seconds),
        acceleration=float(np.abs(np.diff(set_points, n=2)).max() / seconds**2),
    )


def streaming_table(*, duration: float = DURATION) -> str:
    """Return the peaks of every pattern as a Markdown table, the motion's own first."""
    rows = {'the motion itself': IDEAL}
    rows |= {name: stream(pattern, duration=duration) for name, pattern in PATTERNS.items()}
    width = max(map(len, rows))
    lines = [f'| {"pattern":{width}} | peak speed | peak acceleration |', f'|{"-" * (width + 2)}|---|---|']
    lines += [f'| {name:{width}} | {p.speed:10.4g} | {p.acceleration:17.4g} |' for name, p in rows.items()]
    return '\n'.join(lines)
