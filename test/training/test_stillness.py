"""A robot at rest is at rest though its sensors tremble, and a slow motion is none of noise."""

from __future__ import annotations

import numpy as np
import pytest

from dp_ros.recordings.episodes.segmentation import CutSettings, busy_parts
from dp_ros.recordings.episodes.stillness import moving_steps, noise_of

DT = 0.1
SLOWEST = CutSettings().idle_speed * DT
IDLE = CutSettings(by='idle')


def ramps(speed: float = 0.2, joints: int = 7) -> np.ndarray:
    """Return joints that move for 10 s, rest for 20 s, move for 10 s, at 10 Hz."""
    rate = np.concatenate([np.full(100, speed), np.zeros(200), np.full(100, -speed)])
    return np.cumsum(rate * DT)[:, None] * np.linspace(0.5, 1.0, joints)


@pytest.mark.parametrize('noise', [0.0, 1e-4, 1e-3])
@pytest.mark.parametrize('seed', range(5))
def test_a_rest_is_found_under_noise(noise: float, seed: int):
    values = ramps() + noise * np.random.default_rng(seed).standard_normal((400, 7))
    moving = moving_steps(values, SLOWEST)
    assert not moving[110:289].any()
    assert moving[:98].mean() > 0.9 and moving[301:].mean() > 0.9
    parts = busy_parts(ramps(), [values], DT, IDLE)
    assert len(parts) == 2
    assert parts[0][0] == 0 and 100 <= parts[0][1] <= 116 and 284 <= parts[1][0] <= 300 and parts[1][1] == 400


@pytest.mark.parametrize('noise', [0.0, 1e-3])
def test_a_slow_motion_is_no_rest(noise: float):
    slow = np.cumsum(np.full(300, 0.01 * DT)) + noise * np.random.default_rng(1).standard_normal(300)
    moving = moving_steps(slow[:, None], SLOWEST)
    assert moving[20:-20].mean() > 0.5
    assert busy_parts(np.zeros((300, 1)), [slow[:, None]], DT, IDLE)[0][1] - 0 > 280


def test_without_noise_it_is_each_step_by_itself():
    values = np.array([0.0, 0.0, 0.1, 0.1, 0.1004, 0.101, 0.101])[:, None]
    assert moving_steps(values, 5e-4).tolist() == [False, True, False, False, True, False]


def test_noise_is_measured_beside_motion():
    trembling = ramps()[:, 0] + 1e-3 * np.random.default_rng(3).standard_normal(400)
    assert noise_of(trembling) == pytest.approx(1e-3, rel=0.25)
    smooth = 0.5 * np.sin(2 * np.pi * 0.3 * DT * np.arange(400))
    assert noise_of(smooth) < 1e-4
    assert noise_of(np.zeros(3)) == 0.0
