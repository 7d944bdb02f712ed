"""The judge itself: it must find what it is there to find."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from .loading import load

sent_motion, oracle = load('sent_motion'), load('controller_oracle')
SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
BOUNDS = sent_motion.Bounds(lower=0.0, upper=1.0, speed=0.5, acceleration=2.0)


def header(stamp: int) -> Any:
    return SimpleNamespace(stamp=SimpleNamespace(sec=stamp // SECOND, nanosec=stamp % SECOND))


def sent(heard: int, stamp: int, times: Any, positions: Any, velocities: Any = None) -> Any:
    """A message of one joint; cubic where there are velocities."""
    points = [
        SimpleNamespace(
            time_from_start=SimpleNamespace(sec=int(t), nanosec=round((t - int(t)) * 1e9)),
            positions=[p],
            velocities=[] if velocities is None else [velocities[i]],
            accelerations=[],
        )
        for i, (t, p) in enumerate(zip(times, positions, strict=True))
    ]
    message = SimpleNamespace(header=header(stamp), joint_names=['a'], points=points)
    return sent_motion.Sent(heard, message)


def smooth(heard: int = T0, *, speed: float = 0.3, shift: float = 0.0, first: float = -0.2) -> Any:
    """A sine sent ``-first`` seconds after it began; it rests at its end."""
    times = np.arange(0.0, 2.01, 0.1)
    # From rest to rest within two seconds, at its fastest in the middle.
    positions = 0.5 + shift - speed * np.cos(np.pi * times / 2) * 2 / np.pi
    velocities = speed * np.sin(np.pi * times / 2)
    velocities[-1] = 0.0
    return sent(heard, heard + round(first * SECOND), times, positions, velocities)


def joint_states(place: Any, *, seconds: float = 1.5, rate: float = 100.0) -> list[Any]:
    """Joint states from T0 on; ``place`` gives positions for seconds since T0."""
    times = np.arange(0.0, seconds, 1 / rate)
    positions = place(times)
    speeds = np.gradient(positions, times)
    return [
        SimpleNamespace(header=header(T0 + round(t * SECOND)), name=['a'], position=[p], velocity=[v])
        for t, p, v in zip(times, positions, speeds, strict=True)
    ]


def test_what_keeps_to_the_bounds_is_let_through():
    assert sent_motion.excesses([smooth()], BOUNDS) == []


@pytest.mark.parametrize(
    ('message', 'found'),
    [
        (smooth(speed=0.6), 'speed'),
        (smooth(shift=0.5), 'position'),
        (smooth(shift=-0.5), '-position'),
        (smooth(shift=float('nan')), 'position'),
        (sent(T0, 0, (0.0, 0.2), (0.5, 0.55), (0.0, 0.0)), 'acceleration'),
        (sent(T0, 0, (0.0, 1.0), (0.5, 0.6), (0.0, 0.1)), 'speed at its end'),
        (sent(T0, 0, (0.0, 0.0), (0.5, 0.5), (0.0, 0.0)), 'times'),
        (sent(T0, 0, (), ()), 'no points'),
    ],
)
def test_each_excess_is_found(message, found):
    assert any(found in line for line in sent_motion.excesses([smooth(), message], BOUNDS))


def test_an_excess_between_points_is_found():
    overshoot = sent(T0, 0, (0.0, 1.0, 2.0), (0.9, 0.98, 0.9), (0.0, 0.0, 0.0))
    assert sent_motion.excesses([overshoot], BOUNDS) == []
    overshoot.message.points[1].velocities = [0.4]
    assert any(' position' in line for line in sent_motion.excesses([overshoot], BOUNDS))


def test_a_plan_that_goes_on_has_no_seam_and_one_that_jumps_has():
    before, after = smooth(T0), smooth(T0 + SECOND // 2, first=-0.7)
    assert sent_motion.seams([before, after], BOUNDS, 0.01) == []
    (line,) = sent_motion.seams([before, smooth(T0 + SECOND // 2, first=-0.7, shift=0.02)], BOUNDS, 0.01)
    assert 'set point jumps by 0.02' in line


def test_a_robot_that_follows_is_no_leap_and_one_that_is_elsewhere_is():
    follow = joint_states(lambda t: 0.5 - 0.3 * np.cos(np.pi * (t + 0.2) / 2) * 2 / np.pi)
    late = smooth(T0 + SECOND, first=-1.2)
    assert sent_motion.leaps([late], follow, 0.05) == []
    assert len(sent_motion.leaps([late], joint_states(lambda t: 0.4 + 0 * t), 0.05)) == 1


def test_joints_that_are_too_fast_are_found():
    assert sent_motion.motion(joint_states(lambda t: 0.5 + 0.2 * np.sin(t)), BOUNDS, 0.1) == []
    assert 'speed' in sent_motion.motion(joint_states(lambda t: 0.5 + 0.2 * np.sin(4 * t)), BOUNDS, 0.1)[0]
    assert 'position' in sent_motion.motion(joint_states(lambda t: 1.0 + 0.2 * np.sin(t)), BOUNDS, 0.1)[0]


def commanded(*messages: Any) -> list[str]:
    states = joint_states(lambda t: 0.309 + 0 * t)
    times, places, judged = sent_motion.set_points(oracle, messages[:1], messages[1:], states)
    assert places.shape == (len(states), 1)
    assert judged.mean() > 0.9
    return list(sent_motion.jerks(times, places, judged, BOUNDS, 0.1))


def test_set_points_across_messages_keep_to_the_bounds_only_if_plans_go_on():
    going = smooth(T0 - SECOND // 10, first=-0.1)
    assert commanded(going, smooth(T0 + SECOND // 2, first=-0.7)) == []
    assert any('acceleration' in e for e in commanded(going, smooth(T0 + SECOND // 2, first=-0.7, shift=0.01)))
