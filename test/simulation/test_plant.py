from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dp_ros.errors import ConfigError, DataError
from dp_ros.simulation.controller.plant import LaggingPlant


@pytest.mark.parametrize('step', [0.001, 0.01, 0.05])
def test_it_follows_the_closed_form_of_its_order_whatever_the_step(step: float) -> None:
    for order, left in ((1, lambda t: np.exp(-t / 0.04)), (2, lambda t: (1.0 + t / 0.04) * np.exp(-t / 0.04))):
        plant = LaggingPlant(np.array([1.0]), time_constant=0.04, order=order)
        for i in range(1, round(0.2 / step) + 1):
            plant.step(np.array([3.0]), step)
            assert plant.positions[0] == pytest.approx(3.0 - 2.0 * left(i * step))


def test_behind_a_ramp_it_stays_back_by_speed_times_lag() -> None:
    for order in (1, 2):
        plant = LaggingPlant(np.zeros(2), time_constant=np.array([0.04, 0.08]), order=order)
        for i in range(2000):
            plant.step(np.full(2, 0.5 * (i + 0.5) * 0.001), 0.001)
        np.testing.assert_allclose(1.0 - plant.positions, 0.5 * order * np.array([0.04, 0.08]), rtol=1e-3)
        np.testing.assert_allclose(plant.velocities, 0.5, rtol=1e-6)


@pytest.mark.parametrize('changes', [{'time_constant': 0.0}, {'time_constant': np.nan}, {'order': 3}])
def test_an_impossible_plant_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r'plant .*: got .*, allowed'):
        LaggingPlant(np.zeros(1), **({'time_constant': 0.1} | changes))


def test_a_step_needs_a_duration_and_positions_are_a_row() -> None:
    with pytest.raises(ConfigError, match=r'plant duration: got 0\.0'):
        LaggingPlant(np.zeros(1), time_constant=0.1).step(np.zeros(1), 0.0)
    with pytest.raises(DataError, match='plant positions'):
        LaggingPlant(np.zeros((1, 1)), time_constant=0.1)
