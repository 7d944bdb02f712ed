"""The model against the one that was written apart from it, test/controller_oracle.py, on messages drawn at random."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_ros.motion.trajectory import Trajectory
from dp_ros.simulation.controller.controller import Accepted, Ignored, JointTrajectoryController

_spec = importlib.util.spec_from_file_location('controller_oracle', Path(__file__).parents[1] / 'controller_oracle.py')
assert _spec is not None and _spec.loader is not None
oracle: Any = importlib.util.module_from_spec(_spec)
sys.modules['controller_oracle'] = oracle
_spec.loader.exec_module(oracle)

SECOND = 1_000_000_000
JOINTS = ('a', 'b', 'c')
START = 1_000 * SECOND
ORIGIN = START - 10 * SECOND


def _message(draw: np.random.Generator, now: int, fields: int) -> Trajectory:
    """Return a message as wild as the controller takes them: from the past, of now, for later; of 1 to 12 points."""
    count = int(draw.integers(1, 13))
    times = np.cumsum(draw.integers(5_000_001, 150_000_001, count))
    stamp = 0 if draw.random() < 0.3 else int(now + draw.integers(-300_000_001, 200_000_001))
    while stamp and stamp + times[-1] < now + SECOND // 20:
        stamp += SECOND // 7
    rows = draw.normal(0.0, 1.0, (3, count, len(JOINTS)))
    rows[1, -1] = 0.0
    return Trajectory(
        stamp=stamp,
        joints=tuple(draw.permutation(JOINTS)),
        times=times,
        positions=rows[0],
        velocities=rows[1] if fields > 1 else None,
        accelerations=rows[2] if fields > 2 else None,
    )


@pytest.mark.parametrize('rate', [100, 250, 1000])
@pytest.mark.parametrize(('fields', 'desired'), [(1, False), (2, False), (3, False), (1, True), (2, True)])
def test_both_models_command_the_same(rate: int, fields: int, desired: bool) -> None:
    draw = np.random.default_rng(100 * rate + 10 * fields + desired)
    start: np.ndarray = draw.normal(size=3)
    model = JointTrajectoryController(JOINTS, rate=float(rate), interpolate_from_desired_state=desired)
    model.reset(start)
    other = oracle.ControllerOracle(JOINTS, rate, start, from_desired=desired)
    measured: np.ndarray = start
    speeds: np.ndarray = np.zeros(3)
    due, sent = START, 0
    for now in range(START, START + 4 * SECOND, model.period):
        if now >= due:
            message = _message(draw, now, fields)
            assert isinstance(model.command(message, now), Accepted)
            other.receive(oracle.message_of(message, ORIGIN), (now - ORIGIN) / SECOND)
            due, sent = now + int(draw.integers(1, 400_000_000)), sent + 1
        set_point = model.update(now, measured, speeds)
        expected = other.cycle((now - ORIGIN) / SECOND, measured, speeds)
        np.testing.assert_allclose(set_point, expected, rtol=1e-6, atol=1e-6)
        measured, speeds = measured + 0.1 * (set_point - measured), draw.normal(size=3)
    assert sent > 10
    assert not other.rejected


@pytest.mark.parametrize(('last', 'desired'), [(True, False), (False, False), (True, True)])
def test_both_models_command_the_same_when_they_are_deactivated_and_activated_again(last: bool, desired: bool) -> None:
    draw = np.random.default_rng(2 * last + desired)
    measured: np.ndarray = draw.normal(size=3)
    speeds: np.ndarray = np.zeros(3)
    settings = {'set_last_command_interface_value_as_state_on_activation': last}
    model = JointTrajectoryController(JOINTS, rate=250.0, interpolate_from_desired_state=desired, **settings)
    model.reset(measured)
    other = oracle.ControllerOracle(JOINTS, 250, measured, from_desired=desired)
    switched = ignored = 0
    for now in range(START, START + 8 * SECOND, model.period):
        if draw.random() < 0.02:
            message = _message(draw, now, 2)
            ignored += isinstance(model.command(message, now), Ignored)
            other.receive(oracle.message_of(message, ORIGIN), (now - ORIGIN) / SECOND)
        elif draw.random() < 0.01:
            switched += 1
            if model.active:
                model.deactivate()
                other.deactivate()
            else:
                model.activate(measured)
                other.activate(None if last else measured)
        set_point = model.update(now, measured, speeds)
        expected = other.cycle((now - ORIGIN) / SECOND, measured, speeds)
        np.testing.assert_allclose(set_point, expected, rtol=1e-6, atol=1e-6)
        measured, speeds = measured + 0.1 * (set_point - measured), draw.normal(size=3)
    assert switched > 4 and ignored == other.ignored > 4
    assert not other.rejected
