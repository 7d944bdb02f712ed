"""A joint_trajectory_controller written a second time, for tests: from its documentation and sources, in plain loops.

It shares no code with `dp_ros`. What a test sends is a `Message`; what comes back are set points, from which a test
takes finite differences as a drive would see them. Times are seconds from an origin that the test chooses.

- Jazzy (4.42): a new message replaces the old trajectory whole. The first point not yet due: a bridge from the start
  state, which is the measured one or, with `interpolate_from_desired_state`, the last command with the time at which
  it was given. The first point due: no bridge.
- Each cycle commands the state one period ahead. Behind the last point, that is held.
- A message with a stamp below 0 ends the process, also while the controller is inactive: `Died`.
- Inactive, it forgets every message, and the hardware keeps the last command. Activated, it holds that command, or with
  `set_last_command_interface_value_as_state_on_activation: false` what is measured at that moment.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np


class Died(Exception):
    """What the real controller throws, and nobody catches."""


@dataclass
class Point:
    time: float
    positions: np.ndarray
    velocities: np.ndarray | None = None
    accelerations: np.ndarray | None = None


@dataclass
class Message:
    stamp: float  # 0: from the first cycle on
    joints: tuple[str, ...]
    points: list[Point] = field(default_factory=list)


def message_of(trajectory, origin: int) -> Message:
    """Read the fields of a trajectory as ROS would carry them; ``origin`` [ns] becomes time 0."""
    points = []
    for i, time in enumerate(trajectory.times):
        bends = trajectory.accelerations
        points.append(
            Point(
                int(time) / 1e9,
                np.array(trajectory.positions[i]),
                None if trajectory.velocities is None else np.array(trajectory.velocities[i]),
                None if bends is None else np.array(bends[i]),
            )
        )
    stamp = (trajectory.stamp - origin) / 1e9 if trajectory.stamp else 0.0
    return Message(stamp, tuple(trajectory.joints), points)


def between(start: Point, end: Point, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position, velocity and acceleration on the segment between two points, by the degree that they allow."""
    h, x = end.time - start.time, time - start.time
    p0, p1 = start.positions, end.positions
    conditions = [(0, 0.0, p0), (0, h, p1)]
    if start.velocities is not None and end.velocities is not None:
        conditions += [(1, 0.0, start.velocities), (1, h, end.velocities)]
        if start.accelerations is not None and end.accelerations is not None:
            conditions += [(2, 0.0, start.accelerations), (2, h, end.accelerations)]
    # The polynomial is solved for, in units of the duration, rather than written down.
    n = len(conditions)
    rows, right = [], []
    for order, at, value in conditions:
        rows.append([_falling(k, order) * (at / h) ** (k - order) if k >= order else 0.0 for k in range(n)])
        right.append(np.asarray(value) * h**order)
    powers = np.linalg.solve(np.array(rows), np.array(right))
    result = []
    for order in range(3):
        terms = [_falling(k, order) * (x / h) ** (k - order) * powers[k] for k in range(order, n)]
        result.append(sum(terms, np.zeros_like(p0)) / h**order)
    return result[0], result[1], result[2]


def _falling(k: int, order: int) -> float:
    value = 1.0
    for i in range(order):
        value *= k - i
    return value


class ControllerOracle:
    """See the module's text. ``rate`` [Hz]; ``start`` (A,) is held at first."""

    def __init__(self, joints, rate, start, *, from_desired=False):
        self.joints, self.period = tuple(joints), 1.0 / rate
        self.from_desired = from_desired
        self.points: list[Point] = []
        self.holding = np.array(start, dtype=float)
        self.waiting: Message | None = None
        self.last: Point | None = None
        self.rejected: list[str] = []
        self.active, self.ignored = True, 0

    def deactivate(self) -> None:
        """The command interfaces keep what was written last."""
        if self.active and self.last is not None:
            self.holding = self.last.positions
        self.active = False

    def activate(self, measured=None) -> None:
        """Hold the last command, or ``measured`` (A,) where that is given."""
        if self.active:
            return
        if measured is not None:
            self.holding = np.array(measured, dtype=float)
        self.points, self.waiting, self.last, self.active = [], None, None, True

    def receive(self, message: Message, now: float) -> None:
        if message.stamp < 0.0:
            raise Died(f'stamp {message.stamp}')
        reason = self._refusal(message, now)
        if reason:
            self.rejected.append(reason)
        elif not self.active:
            self.ignored += 1
        else:
            self.waiting = message

    def _refusal(self, message, now):
        times = [point.time for point in message.points]
        if sorted(message.joints) != sorted(self.joints):
            return f'joints {message.joints}'
        if not times:
            return 'no points'
        if message.stamp and message.stamp + times[-1] < now:
            return 'ends in the past'
        if times[0] < 0.0 or any(b <= a for a, b in itertools.pairwise(times)):
            return 'times do not increase'
        if message.points[-1].velocities is not None and np.abs(message.points[-1].velocities).max() > 1e-7:
            return 'ends in motion'
        for point in message.points:
            for values in (point.positions, point.velocities, point.accelerations):
                if values is not None and (len(values) != len(self.joints) or not np.isfinite(values).all()):
                    return 'a point that is not whole'
        kinds = {(p.velocities is None, p.accelerations is None) for p in message.points}
        return '' if len(kinds) == 1 else 'points of different kinds'

    def cycle(self, now: float, measured: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        """One control cycle: the set point for the next period."""
        if not self.active:
            return self.holding
        if self.waiting is not None:
            self._take(self.waiting, now, measured, speeds)
            self.waiting = None
        if not self.points:
            self.last = Point(now, self.holding, np.zeros(len(self.joints)))
            return self.holding
        place, speed, _ = self.state(now + self.period)
        self.last = Point(now, place, speed, None)
        return place

    def _take(self, message, now, measured, speeds):
        order = [message.joints.index(joint) for joint in self.joints]
        start = message.stamp if message.stamp else now
        new = [
            Point(
                start + point.time,
                point.positions[order],
                None if point.velocities is None else point.velocities[order],
                None if point.accelerations is None else point.accelerations[order],
            )
            for point in message.points
        ]
        before = Point(now, np.array(measured), np.array(speeds))
        if self.from_desired:
            before = self.last or Point(now, self.holding, np.zeros(len(self.joints)))
        if new[0].time > before.time:
            first = new[0]
            bridge = Point(
                before.time,
                before.positions,
                None if first.velocities is None else before.velocities,
                None if first.accelerations is None else np.zeros(len(self.joints)),
            )
            new = [bridge, *new]
        self.points = new

    def state(self, time: float):
        """Position, velocity and acceleration at ``time``; held before the first point and behind the last."""
        points = self.points
        if time >= points[-1].time or len(points) == 1:
            rest = np.zeros(len(self.joints))
            return points[-1].positions, rest, rest
        for start, end in itertools.pairwise(points):
            if start.time <= time < end.time:
                return between(start, end, time)
        rest = np.zeros(len(self.joints))
        return points[0].positions, rest, rest


def excesses(points: list[Point], limits: dict[str, np.ndarray], *, tool=None, box=None, samples: int = 25):
    """Say where the motion through ``points`` leaves the limits: densely sampled, and at the extremes of each joint.

    ``limits`` has arrays (A,): lower, upper, velocity, acceleration, deceleration, jerk. ``tool`` maps positions
    (M, A) to points (M, 3), which must stay in ``box``, an array (2, 3).
    """
    found = []
    count = len(points[0].positions)
    for start, end in itertools.pairwise(points):
        shifted = Point(end.time - start.time, end.positions, end.velocities, end.accelerations)
        powers = _powers(Point(0.0, start.positions, start.velocities, start.accelerations), shifted)
        h = shifted.time
        x = np.linspace(0.0, 1.0, samples)
        if tool is not None:
            along = tool(np.polynomial.polynomial.polyval(x, powers).T)
            beyond = np.maximum(along - box[1], box[0] - along).max()
            if beyond > 1e-9:
                found.append(f'tool {beyond} outside')
        for a in range(count):
            found += [f'{start.time} joint {a} {reason}' for reason in _joint(powers[:, a], h, x, limits, a)]
    for point in points[:1] if len(points) == 1 else []:
        outside = np.maximum(point.positions - limits['upper'], limits['lower'] - point.positions)
        if outside.max() > 1e-8:
            found.append(f'point {outside.max()} outside')
        if tool is not None:
            place = tool(point.positions[None])[0]
            if np.maximum(place - box[1], box[0] - place).max() > 1e-9:
                found.append('held tool outside')
    return found


def _powers(start: Point, end: Point) -> np.ndarray:
    """Coefficients (n, A) of powers of time over duration."""
    h = end.time
    ends = [(0, start.positions, end.positions), (1, start.velocities, end.velocities)]
    ends.append((2, start.accelerations, end.accelerations))
    given = [(order, a, b) for order, a, b in ends if a is not None and b is not None]
    n = 2 * len(given)
    rows = [[_falling(k, order) * at ** (k - order) if k >= order else 0.0 for k in range(n)]
            for at in (0.0, 1.0) for order, _, _ in given]  # fmt: skip
    right = [np.asarray((a, b)[at]) * h**order for at in (0, 1) for order, a, b in given]
    return np.linalg.solve(np.array(rows), np.array(right))


def _joint(powers, h, x, limits, a):
    curve = np.polynomial.Polynomial(powers)
    derivatives = [curve, curve.deriv(1), curve.deriv(2), curve.deriv(3)]
    instants = [x]
    for derivative in derivatives[1:]:
        if derivative.degree() > 0 and np.abs(derivative.coef).max() > 1e-12:
            roots = derivative.roots()
            real = roots[np.abs(roots.imag) < 1e-6].real
            instants.append(np.clip(real, 0.0, 1.0))
    at = np.concatenate(instants)
    q, v, b, j = (derivative(at) / h**order for order, derivative in enumerate(derivatives))
    if (q > limits['upper'][a] + 1e-7).any() or (q < limits['lower'][a] - 1e-7).any():
        yield f'position {q.min()} to {q.max()}'
    if np.abs(v).max() > limits['velocity'][a] * (1 + 1e-6) + 1e-9:
        yield f'velocity {np.abs(v).max()}'
    # A quintic's rounding in position, over its duration squared and cubed.
    noise = 1e-14 / h**2
    speeding, braking = b * v > 1e-7 * np.abs(b), b * v < -1e-7 * np.abs(b)
    top = np.maximum(limits['acceleration'][a], limits['deceleration'][a])
    for where, limit in ((speeding, limits['acceleration'][a]), (braking, limits['deceleration'][a]), (b == b, top)):
        if np.abs(b[where]).max(initial=0.0) > limit * (1 + 1e-6) + noise:
            yield f'acceleration {np.abs(b[where]).max()} of {limit}'
    if np.abs(j).max() > limits['jerk'][a] * (1 + 1e-5) + 10 * noise / h:
        yield f'jerk {np.abs(j).max()}'
