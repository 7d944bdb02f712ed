"""What trajectories and joint states amount to, looked at densely. Its own mathematics: nothing of `dp_ros.policy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

STEP = 0.001  # [s] between two looks
ROUNDING = 1e-6
SEEDED = 50_000_000  # [ns]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits of every joint alike: positions [m or rad], and magnitudes of speed [/s] and acceleration [/s^2]."""

    lower: float
    upper: float
    speed: float
    acceleration: float


@dataclass(frozen=True, eq=False)
class Sent:
    """A trajectory message with the time it was heard [ns]; 0 as a stamp means then.

    ``seeded``: whoever sent it said that it begins where the robot is measured.
    """

    heard: int
    message: Any
    seeded: bool = False

    @property
    def start(self) -> int:
        """When its time_from_start begins [ns]."""
        return _stamp(self.message) or self.heard

    @property
    def anchored(self) -> bool:
        """Whether it goes on with a plan: it began a while ago. Others begin now, where the robot is measured."""
        return not self.seeded and self.heard - self.start > SEEDED

    @property
    def times(self) -> np.ndarray:
        """The points' times from the start [s], shape (P,)."""
        points = self.message.points
        return np.array([p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in points])

    def column(self, name: str) -> np.ndarray:
        """Return ``positions``, ``velocities`` or ``accelerations`` of the points, (P, A); zeros for none."""
        joints = len(self.message.joint_names)
        rows = [list(getattr(p, name)) or [0.0] * joints for p in self.message.points]
        return np.array(rows, dtype=float).reshape(len(rows), joints)

    def sample(self, at: np.ndarray) -> np.ndarray:
        """Position, speed and acceleration at times from the start [s]: (3, N, A); at rest before and after."""
        times, positions, velocities = self.times, self.column('positions'), self.column('velocities')
        accelerations = self.column('accelerations')
        found = np.zeros((3, len(at), positions.shape[1]))
        if len(times) == 1:
            found[0] = positions[0]
            return found
        segment = np.clip(np.searchsorted(times, at, side='right') - 1, 0, len(times) - 2)
        length = np.diff(times)[segment][:, None]
        u = np.clip((at - times[segment])[:, None], 0.0, length)
        ends = [(c[segment], c[segment + 1]) for c in (positions, velocities, accelerations)]
        quintic = any(len(p.accelerations) for p in self.message.points)
        coefficients = _quintic(ends, length) if quintic else _cubic(ends, length)
        for order in range(3):
            found[order] = sum(_term(k, order) * c * u ** max(k - order, 0) for k, c in enumerate(coefficients))
        outside = (at < times[0]) | (at > times[-1])
        found[1:, outside] = 0.0
        return found


def _stamp(message: Any) -> int:
    return int(message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec)


def _term(power: int, order: int) -> float:
    return float(np.prod([power - i for i in range(order)]))


def _cubic(ends: Sequence[tuple[np.ndarray, np.ndarray]], length: np.ndarray) -> list[np.ndarray]:
    (p0, p1), (v0, v1), _ = ends
    return [p0, v0, (3 * (p1 - p0) / length - 2 * v0 - v1) / length, (2 * (p0 - p1) / length + v0 + v1) / length**2]


def _quintic(ends: Sequence[tuple[np.ndarray, np.ndarray]], length: np.ndarray) -> list[np.ndarray]:
    (p0, p1), (v0, v1), (a0, a1) = ends
    t, d = length, p1 - p0
    return [
        p0,
        v0,
        a0 / 2,
        (20 * d - (8 * v1 + 12 * v0) * t - (3 * a0 - a1) * t**2) / (2 * t**3),
        (-30 * d + (14 * v1 + 16 * v0) * t + (3 * a0 - 2 * a1) * t**2) / (2 * t**4),
        (12 * d - 6 * (v1 + v0) * t - (a0 - a1) * t**2) / (2 * t**5),
    ]


def excesses(sent: Sequence[Sent], bounds: Bounds) -> list[str]:
    """Return every way in which messages, each for itself, leave the bounds, end in motion or are not finite."""
    found = []
    for number, one in enumerate(sent):
        if not len(one.message.points):
            found.append(f'message {number}: no points')
            continue
        times = one.times
        if len(times) > 1 and not (np.diff(times) > 0).all():
            found.append(f'message {number}: times {times}')
            continue
        at = np.unique(np.concatenate([np.arange(times[0], times[-1], STEP), times]))
        position, speed, acceleration = one.sample(at)
        found += [
            f'message {number}: {what} {value:.6g}, allowed {allowed:.6g}'
            for what, value, allowed in (
                ('position', position.max(), bounds.upper),
                ('-position', (-position).max(), -bounds.lower),
                ('speed', np.abs(speed).max(), bounds.speed),
                ('acceleration', np.abs(acceleration).max(), bounds.acceleration),
                ('speed at its end', np.abs(one.column('velocities')[-1]).max(), 0.0),
            )
            # Asked as "not at most", so that NaN is an excess too.
            if not value <= allowed + ROUNDING * max(1.0, abs(allowed))
        ]
    return found


def seams(sent: Sequence[Sent], bounds: Bounds, period: float) -> list[str]:
    """Return where an anchored message does not go on where the one before it was, at the time it was heard."""
    found = []
    for number, (before, after) in enumerate(pairwise(sent), 1):
        if not after.anchored:
            continue
        p0, v0, _ = before.sample(np.array([(after.heard - before.start) * 1e-9]))[:, 0]
        p1, v1, _ = after.sample(np.array([(after.heard - after.start) * 1e-9]))[:, 0]
        jump, kick = np.abs(p1 - p0).max(), np.abs(v1 - v0).max()
        if jump > bounds.speed * period or kick > 2 * bounds.acceleration * period:
            found.append(f'message {number}: set point jumps by {jump:.4g}, its speed by {kick:.4g}')
    return found


def set_points(
    oracle: Any, before: Sequence[Sent], sent: Sequence[Sent], joints: Sequence[Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a controller would command: times [ns] (N,), set points (N, A), and whether they are to be judged (N,).

    ``oracle`` is the module `controller_oracle`. With ``before``, messages from before the first joint state, it is on
    its way when they begin. Not to be judged: the first cycles on a plan that begins where the robot is measured, which
    may be behind its set point, and those for which it is not known what the controller was doing.
    """
    first, names = _stamp(joints[0]), tuple(joints[0].name)
    rate = 1e9 / np.median(np.diff([_stamp(j) for j in joints]))
    controller = oracle.ControllerOracle(names, rate, joints[0].position)
    # A clock that began anew since leaves messages behind that are yet to come.
    waiting = [one for one in (*before, *sent) if one in sent or one.heard <= first]
    origin = min([first, *(one.start for one in waiting)]) - 1_000_000_000  # the oracle's time is above 0
    places, judged, blind, knows = [], [], 0, False
    for joint in joints:
        now = _stamp(joint)
        while waiting and waiting[0].heard <= now:
            one = waiting.pop(0)
            controller.receive(_message(oracle, one, origin), (one.heard - origin) * 1e-9)
            if not (one.anchored and knows):
                blind = now + SEEDED
            knows = True
        places.append(controller.cycle((now - origin) * 1e-9, np.array(joint.position), np.array(joint.velocity)))
        judged.append(now > blind)
    return np.array([_stamp(j) for j in joints]), np.array(places), np.array(judged)


def _message(oracle: Any, one: Sent, origin: int) -> Any:
    columns = one.times, one.column('positions'), one.column('velocities')
    points = [oracle.Point(float(t), p, v) for t, p, v in zip(*columns, strict=True)]
    stamp = (one.start - origin) * 1e-9 if _stamp(one.message) else 0.0
    return oracle.Message(stamp, tuple(one.message.joint_names), points)


def jerks(times: np.ndarray, places: np.ndarray, judged: np.ndarray, bounds: Bounds, slack: float) -> list[str]:
    """Return where set points, as a drive sees them, are faster or bend more than allowed."""
    step = np.diff(times) * 1e-9
    speed = np.diff(places, axis=0) / step[:, None]
    bend = np.abs(np.diff(speed, axis=0)).max(axis=1) / step[1:]
    even = np.abs(step - np.median(step)) < 1e-4
    looked = even[1:] & even[:-1] & judged[:-2] & judged[1:-1] & judged[2:]
    found = []
    for what, values, limit in (
        ('speed', np.abs(speed[1:]).max(axis=1), bounds.speed),
        ('acceleration', bend, bounds.acceleration),
    ):
        worst = int(np.where(looked, values, 0.0).argmax())
        if looked[worst] and values[worst] > limit * (1 + slack):
            at = (times[worst + 1] - times[0]) * 1e-9
            found.append(f'set point: {what} {values[worst]:.4g} after {at:.2f} s, allowed {limit}')
    return found


def leaps(sent: Sequence[Sent], joints: Sequence[Any], reach: float) -> list[str]:
    """Return where an anchored message starts farther from the measured joints than ``reach``: no way leads there."""
    found = []
    stamps = np.array([_stamp(j) for j in joints])
    for number, one in enumerate(sent):
        newest = int(np.searchsorted(stamps, one.heard)) - 1 if len(stamps) else -1
        if one.anchored and newest >= 0 and one.heard - stamps[newest] < 200_000_000:
            far = distance(joints[newest], one)
            found += [f'message {number}: {far:.4g} from the robot, allowed {reach}'] if far > reach else []
    return found


def motion(joints: Sequence[Any], bounds: Bounds, slack: float) -> list[str]:
    """Return where measured joint states leave the bounds by more than the share ``slack``, for what a plant adds."""
    if len(joints) < 3:
        return [f'only {len(joints)} joint states']
    stamps = np.array([_stamp(j) * 1e-9 for j in joints])
    position, speed = np.array([j.position for j in joints]), np.array([j.velocity for j in joints])
    gaps = np.diff(stamps)
    near = (gaps > 0) & (gaps < 0.05)
    acceleration = np.abs(np.diff(speed, axis=0))[near] / gaps[near][:, None]
    room = slack * (bounds.upper - bounds.lower)
    checks: Mapping[str, tuple[float, float]] = {
        'position': (float(position.max()), bounds.upper + room),
        '-position': (float(-position.min()), -bounds.lower + room),
        'speed': (float(np.abs(speed).max()), bounds.speed * (1 + slack)),
        'acceleration': (float(acceleration.max(initial=0.0)), bounds.acceleration * (1 + slack)),
    }
    return [f'joints: {what} {v:.4g}, allowed {a:.4g}' for what, (v, a) in checks.items() if not v <= a]


def distance(joint: Any, sent: Sent) -> float:
    """How far a measured joint state is from what was commanded for its stamp [m or rad]."""
    wanted = sent.sample(np.array([(_stamp(joint) - sent.start) * 1e-9]))[0, 0]
    order = [list(joint.name).index(name) for name in sent.message.joint_names]
    return float(np.abs(np.array(joint.position)[order] - wanted).max())
