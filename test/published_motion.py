"""What a controller makes of the trajectories that the nodes published, replayed through `controller_oracle`.

Each message arrives a little after it was sent. The set points' acceleration, by second differences over the control
cycle, is compared with what the messages themselves have while they are followed: more of it would come from a seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

ON_THE_WAY = 0.012  # [s] that a message takes at most
LED_IN = 0.15  # [s] behind the first plan: until then its start, and the hold before it, are from a measured state


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Greatest accelerations (A,) of the set points and of the messages followed, and why any was rejected."""

    set_points: np.ndarray
    messages: np.ndarray
    rejected: list[str]

    @property
    def ratio(self) -> float:
        """The set points' to the messages', of the worst joint."""
        return float((self.set_points / self.messages).max())


def replayed(
    oracle: Any, commands: Sequence[tuple[int, Any]], joints: Sequence[Any], *, rate: int, from_desired: bool
) -> Replayed:
    """Replay messages, each with the time it was sent [ns], of one episode, on a controller at ``rate`` [Hz]."""
    origin = commands[0][0] - 10_000_000_000
    sent = [((at - origin) / 1e9, _message(oracle, message, origin)) for at, message in commands]
    measured = np.array([(_seconds(joint, origin), *joint.position) for joint in joints])
    speeds = np.array([joint.velocity for joint in joints])
    rng = np.random.default_rng(0)
    arrivals = [(at + rng.uniform(0.0, ON_THE_WAY), message) for at, message in sent]
    begin, end = sent[0][0], sent[-1][0] + 0.5

    def row(now: float) -> int:
        return min(max(int(np.searchsorted(measured[:, 0], now)) - 1, 0), len(measured) - 1)

    controller = oracle.ControllerOracle(joints[0].name, rate, measured[row(begin), 1:], from_desired=from_desired)
    times = np.arange(np.floor(begin * rate) / rate, end, 1 / rate)
    places = []
    for now in times:
        while arrivals and arrivals[0][0] <= now:
            controller.receive(arrivals.pop(0)[1], now)
        i = row(now)
        places.append(np.array(controller.cycle(now, measured[i, 1:], speeds[i])))
    bends = np.abs(np.diff(places, 2, axis=0)) * rate**2
    plans = [(at, message) for at, message in sent if message.stamp]  # others hold where the robot stands
    judged = times[2:] > plans[0][0] + LED_IN
    own = [_bends(oracle, message, at, until) for (at, message), (until, _) in pairwise([*plans, (end, None)])]
    return Replayed(
        set_points=bends[judged].max(axis=0), messages=np.array(own).max(axis=0), rejected=list(controller.rejected)
    )


def _seconds(message: Any, origin: int) -> float:
    stamp = message.header.stamp
    return float((stamp.sec * 1_000_000_000 + stamp.nanosec - origin) * 1e-9)


def _message(oracle: Any, message: Any, origin: int) -> Any:
    points = [
        oracle.Point(
            p.time_from_start.sec + p.time_from_start.nanosec * 1e-9, np.array(p.positions), np.array(p.velocities)
        )
        for p in message.points
    ]
    stamp = message.header.stamp
    begins = _seconds(message, origin) if stamp.sec or stamp.nanosec else 0.0
    return oracle.Message(begins, tuple(message.joint_names), points)


def _bends(oracle: Any, message: Any, since: float, until: float) -> np.ndarray:
    """Return a message's own greatest accelerations (A,) in the segments that are followed between two times [s].

    One that is over when it comes, on a machine that is behind, has none.
    """
    found = [np.zeros_like(message.points[0].positions)]
    for start, end in pairwise(message.points):
        first, last = message.stamp + start.time, message.stamp + end.time
        if first < until and last > since:
            inside = max(start.time, since - message.stamp), min(end.time, until - message.stamp)
            found += [np.abs(oracle.between(start, end, at)[2]) for at in inside]
    return np.array(found).max(axis=0)
