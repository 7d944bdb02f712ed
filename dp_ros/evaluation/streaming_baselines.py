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

SETTLING = 2 * NANOSECONDS  # [ns] at the start that the peaks leave out


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The motion and the machinery: a sine of ``amplitude`` [rad] and ``frequency`` [Hz], and steps of ``step`` [ns].

    A message arrives ``latency`` [s] after it was sent, drawn evenly with ``seed``; the plant lags by ``lag`` [s]. It
    all takes ``duration`` [s], with a controller of ``spec``.
    """

    amplitude: float = 0.5
    frequency: float = 0.3
    step: int = NANOSECONDS // 10
    latency: tuple[float, float] = (0.03, 0.05)
    lag: float = 0.04
    duration: float = 10.0
    seed: int = 0
    spec: ControllerSpec = field(default_factory=lambda: ControllerSpec(rate=250.0))

    @property
    def ideal(self) -> Peaks:
        """The sine's own peaks."""
        omega = 2.0 * np.pi * self.frequency
        return Peaks(speed=self.amplitude * omega, acceleration=self.amplitude * omega**2)

    def sine(self, times: np.ndarray, order: int = 0) -> np.ndarray:
        """Return the sine's derivative of an order at ``times`` (N,) [ns], (N, 1)."""
        omega = 2.0 * np.pi * self.frequency
        angle = omega * times / NANOSECONDS + order * np.pi / 2.0
        return np.asarray(self.amplitude * omega**order * np.sin(angle))[:, None]


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

    def message(self, setup: Setup, sent: int) -> Trajectory:
        """Return what is sent at ``sent`` [ns]."""
        due = sent + setup.step * (self.first + np.arange(self.points))
        speeds = setup.sine(due, 1)
        speeds[-1] = 0.0
        start = due[0] if self.anchored or self.at_once else sent
        return Trajectory(
            stamp=int(due[0]) if self.anchored else 0,
            joints=('joint',),
            times=due - start,
            positions=setup.sine(due),
            velocities=speeds if self.velocities else None,
        )


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Highest speed [rad/s] and acceleration [rad/s^2] of the set points, from differences."""

    speed: float
    acceleration: float


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


def stream(pattern: Pattern, setup: Setup | None = None) -> Peaks:
    """Return the peaks of the set points after 2 s. A rejected message is an error of the pattern: AssertionError."""
    setup = setup or Setup()
    controller = JointTrajectoryController(('joint',), spec=setup.spec, **pattern.settings)
    begin, end = NANOSECONDS, NANOSECONDS + round(setup.duration * NANOSECONDS)
    draw = np.random.default_rng(setup.seed)
    sent = range(begin, end, pattern.every * setup.step)
    waiting = [(t + round(draw.uniform(*setup.latency) * NANOSECONDS), t) for t in sent]
    plant = LaggingPlant(setup.sine(np.array([begin]))[0], time_constant=setup.lag)
    controller.reset(plant.positions)
    set_points = []
    for now in range(begin, end, controller.period):
        while waiting and waiting[0][0] <= now:
            verdict = controller.command(pattern.message(setup, waiting.pop(0)[1]), now)
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


def streaming_table(setup: Setup | None = None) -> str:
    """Return the peaks of every pattern as a Markdown table, the motion's own first."""
    setup = setup or Setup()
    rows = {'the motion itself': setup.ideal} | {name: stream(pattern, setup) for name, pattern in PATTERNS.items()}
    width = max(map(len, rows))
    lines = [f'| {"pattern":{width}} | peak speed | peak acceleration |', f'|{"-" * (width + 2)}|---|---|']
    lines += [f'| {name:{width}} | {p.speed:10.4g} | {p.acceleration:17.4g} |' for name, p in rows.items()]
    return '\n'.join(lines)
