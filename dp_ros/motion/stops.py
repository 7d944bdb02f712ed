"""Ways to come to rest: braking along the committed path, on a chunk's own last steps, and at home.

Braking, the plan's time p runs slower behind the splice, from full speed to none. With q the plan and s = dp/dt,

    velocity q'(p) s        acceleration q''(p) s^2 + q'(p) ds/dt

so a joint that moves with speed |q'| may brake by ds/dt = -(D + q'' s^2 sign q') / |q'|, where D is its deceleration,
and all by what the least of them may. That is followed step by step: where the plan itself brakes or turns as hard as
it may, it is followed until it doesn't. One pass costs the same whatever the plan is, so a stop is ready in time.

A quintic plan brakes by s = 1 - 3 u^2 + 2 u^3 instead, which has no corner, in the shortest of a few times.

Where a chunk goes on along a curve, straight on beyond its last step is somewhere else: an arm that works close above a
table would be aimed at the table. So time runs slower evenly over its last n steps, down to none: with D = n control_dt
the plan time of these steps and T = 2 D the time they take, plan time p is reached at T (1 - sqrt(1 - p / D)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.motion.checks.extrema import extrema
from dp_ros.motion.checks.limits import check, hull, overspeed, verdict
from dp_ros.motion.committed_plan import behind, committed_head, known
from dp_ros.motion.splice import joined
from dp_ros.motion.spline import Ending, Knots
from dp_ros.motion.trajectory import Trajectory

EFFORTS = (
    (0.0, 0.9, 1.0), (0.0, 0.75, 4.0), (0.0, 0.55, 16.0), (0.5, 0.75, 4.0), (1.0, 0.75, 4.0), (2.0, 0.75, 4.0),
)  # fmt: skip
"""What is tried: control steps that the plan is followed before, part of the deceleration limit, times the least stop.

Cubics between knots take a little more than the pass. Where the plan turns as hard as it may, only time helps.
"""
KNOTS = 20
"""Knots of a stop, about."""
FINE = 4
"""Steps of the pass from one knot to the next."""
LONGEST = 400
"""Steps of one pass at most."""
WAITS = (0.0, 1.0, 4.0, 10.0)
"""Control steps that a quintic plan may be followed before it is stopped."""
TRIES = 6
HOME_KNOTS = 24
"""Points on the way home: enough that cubics between them are that way within a thousandth."""
HOME_ROUNDS = 10


def braking_trajectory(
    head: Knots, plan: Trajectory, *, control_dt: int, ending: Ending, closest: int
) -> Trajectory | None:
    """Decelerate along the plan's path behind ``head``; None where the plan's own end is the sooner stop."""
    if plan.end <= head.times[-1]:
        return None
    if ending.quintic:
        return _braked_smoothly(head, plan, control_dt=control_dt, ending=ending, closest=closest)
    for wait, effort, gentler in EFFORTS:
        later = int(head.times[-1]) + round(wait * control_dt)
        if later >= plan.end:
            return None
        if wait:
            head = committed_head(plan, oldest=int(head.times[0]), splice=later, closest=closest)
        gentle = replace(ending, least=gentler * ending.least)
        knots = _slowed(head, plan, ending=gentle, effort=effort, closest=closest)
        if knots is None:
            return None
        trajectory = joined(head, behind(head, knots), plan.joints)
        if ending.limits is None or check(trajectory, ending.limits) is None:
            return trajectory
    return None


def _slowed(head: Knots, plan: Trajectory, *, ending: Ending, effort: float, closest: int) -> Knots | None:
    """Return knots behind ``head`` that slow down along the plan; None if they come to rest no sooner than it does."""
    start = int(head.times[-1])
    assert plan.velocities is not None
    longest = ending.duration(np.abs(plan.velocities).max(axis=0))
    step = max(closest, to_nanoseconds(longest) // KNOTS) // FINE + 1
    count = min(LONGEST, (plan.end - start) // step)
    if count < 1:
        return None
    _, speeds, accelerations = plan.states(start + step * np.arange(count + 1) - plan.stamp)
    rates, passed, left = _rates(speeds, accelerations, step / NANOSECONDS, ending, effort)
    if rates[-1] > 0.0:
        return None
    last = len(rates) - 1
    chosen = np.append(np.arange(FINE, last - FINE + 1, FINE), last)
    times = start + chosen * step
    times[-1] = start + (last - 1) * step + max(1, to_nanoseconds(left))
    path = known(plan, start + np.rint(passed[chosen] * NANOSECONDS).astype(np.int64))
    return Knots(times=times, positions=path.positions, velocities=path.velocities * rates[chosen, None])


def _rates(
    speeds: np.ndarray, accelerations: np.ndarray, step: float, ending: Ending, effort: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Follow the plan's time; return its rate and how much of it has passed [s] at each step, and the last step [s].

    ``speeds`` and ``accelerations`` are the plan's (N, A), ``step`` [s] apart. The last rate is 0 unless that takes
    longer than they last.
    """
    limits, most = ending.limits, 1.0 / ending.least
    if limits is not None:
        size = np.maximum(np.abs(speeds), 1e-9)
        room = effort * limits.top_deceleration / size
        turning = accelerations * np.sign(speeds) / size
    rates, passed = [1.0], [0.0]
    for _ in range(len(speeds) - 1):
        rate, at = rates[-1], passed[-1]
        index = min(round(at / step), len(speeds) - 1)
        brake = most
        if limits is not None:
            brake = min(most, max(0.0, float((room[index] + turning[index] * (rate * rate)).min())))
        slower = rate - brake * step
        if slower <= 0.0:  # it rests within this step
            return np.array([*rates, 0.0]), np.array([*passed, at + rate * rate / (2.0 * brake)]), rate / brake
        rates.append(slower)
        passed.append(at + (rate + slower) / 2.0 * step)
    return np.array(rates), np.array(passed), step


def _braked_smoothly(
    head: Knots, plan: Trajectory, *, control_dt: int, ending: Ending, closest: int
) -> Trajectory | None:
    best: Trajectory | None = None
    for wait in WAITS:
        follow = int(head.times[-1]) + round(wait * control_dt)
        end = plan.end if best is None else best.end
        if follow >= end:
            break
        longer = head if not wait else committed_head(plan, oldest=int(head.times[0]), splice=follow, closest=closest)
        for knots in _smooth(longer, plan, control_dt=control_dt, ending=ending, before=end):
            trajectory = joined(longer, behind(longer, knots), plan.joints)
            if ending.limits is None or check(trajectory, ending.limits) is None:
                best = trajectory
                break
    return best


def _smooth(head: Knots, plan: Trajectory, *, control_dt: int, ending: Ending, before: int) -> Iterator[Knots]:
    """Go through stops that take longer and longer, until ``before`` [ns]: p = T (u - u^3 + u^4 / 2), u = t / T."""
    start = int(head.times[-1])
    duration = max(ending.duration(head.velocities[-1]), 2 * control_dt / NANOSECONDS)
    for _ in range(TRIES):
        if duration >= (before - start) / NANOSECONDS:
            return
        count = min(max(4, round(2 * duration * NANOSECONDS / control_dt)), 2 * KNOTS)
        u = (np.arange(1, count + 1) / count)[:, None]
        along, rate, slowing = u - u**3 + u**4 / 2, 1 - 3 * u**2 + 2 * u**3, 6 * (u**2 - u) / duration
        path = known(plan, start + np.rint(along[:, 0] * to_nanoseconds(duration)).astype(np.int64))
        assert path.accelerations is not None
        yield Knots(
            times=start + np.rint(u[:, 0] * to_nanoseconds(duration)).astype(np.int64),
            positions=path.positions,
            velocities=path.velocities * rate,
            accelerations=path.accelerations * rate**2 + path.velocities * slowing,
        )
        duration *= 1.3


def eased(due: np.ndarray, steps: np.ndarray, control_dt: int, ending: Ending) -> tuple[np.ndarray, Ending]:
    """Return when steps (n, A), due at ``due`` (n,) [ns], are reached if they end at rest, and what is left to stop.

    The deceleration takes as long as ``ending`` wants. Where there are too few steps for that, the rest is its tail,
    straight on.
    """
    if len(steps) < 2:
        return due, ending
    duration = ending.duration((steps[-1] - steps[-2]) * (NANOSECONDS / control_dt))
    count = min(len(steps) - 1, int(np.ceil(duration * NANOSECONDS / (2 * control_dt))))
    passed = np.arange(1, count + 1) / count
    late = 2 * count * control_dt * (1.0 - np.sqrt(1.0 - passed))
    slower = np.concatenate([due[: len(due) - count], due[len(due) - count - 1] + np.rint(late).astype(np.int64)])
    enough = 2 * count * control_dt >= duration * NANOSECONDS
    return slower, replace(ending, least=control_dt / NANOSECONDS) if enough else ending


def homing_trajectory(rest: Trajectory, goal: np.ndarray, duration: float, ending: Ending) -> Trajectory:
    """Return ``rest`` and the way from its end to ``goal`` (A,), with the least jerk there is.

    s(u) = 10 u^3 - 15 u^4 + 6 u^5 (Flash and Hogan 1985): straight in joint space, so no position limit is passed. It
    takes ``duration`` [s], or as much longer as the limits want.
    """
    u = (np.arange(1, HOME_KNOTS + 1) / HOME_KNOTS)[:, None]
    start, way = rest.positions[-1], goal - rest.positions[-1]
    for _ in range(HOME_ROUNDS):
        assert rest.velocities is not None
        knots = Knots(
            times=rest.end + np.rint(u[:, 0] * to_nanoseconds(duration)).astype(np.int64),
            positions=np.where(u < 1.0, start + way * u**3 * (10 + u * (6 * u - 15)), goal),
            velocities=way * 30 * u**2 * (1 - u) ** 2 / duration,
            accelerations=way * 60 * u * (1 - u) * (1 - 2 * u) / duration**2 if ending.quintic else None,
        )
        head = Knots(
            times=rest.stamp + rest.times,
            positions=rest.positions,
            velocities=rest.velocities,
            accelerations=rest.accelerations,
        )
        trajectory = joined(head, behind(head, knots), rest.joints)
        if ending.limits is None:
            return trajectory
        found = extrema(trajectory, hull(ending.limits))
        if verdict(trajectory, found, ending.limits) is None:
            return trajectory
        duration *= max(1.01, 1.01 * float(overspeed(found, ending.limits)[len(rest.times) - 1 :].max()))
    return trajectory
