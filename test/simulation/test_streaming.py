"""The measured table of ways to stream a plan; the numbers were found with another model, on the same motion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dp_ros.evaluation.streaming_baselines import DESIRED, IDEAL, PATTERNS, stream, streaming_table

TABLE = {
    'one point, time_from_start 0': (23.5, 5879.0, 0.01),
    'one point, + control_dt': (11.1, 3153.0, 0.2),
    '8 points, positions, stamp 0, measured start, every 4 steps': (7.2, 2114.0, 0.2),
    '16 points, positions and velocities, stamp 0, desired start': (1.85, 237.0, 0.03),
    'anchored, positions and velocities': (0.94, 1.78, 0.01),
    'anchored, positions only': (0.94, 44.0, 0.02),
}
ANCHORED = PATTERNS['anchored, positions and velocities']


def test_the_motion_has_the_peaks_of_its_closed_form() -> None:
    assert IDEAL.speed == pytest.approx(0.94, rel=0.01)
    assert IDEAL.acceleration == pytest.approx(1.78, rel=0.01)


@pytest.mark.parametrize('name', PATTERNS)
def test_each_pattern_has_its_measured_peaks(name: str) -> None:
    speed, acceleration, tolerance = TABLE[name]
    found = stream(PATTERNS[name])
    assert found.speed == pytest.approx(speed, rel=tolerance)
    assert found.acceleration == pytest.approx(acceleration, rel=tolerance)


@pytest.mark.parametrize('settings', [{}, DESIRED], ids=['measured', 'desired'])
@pytest.mark.parametrize('rate', [100.0, 250.0, 500.0])
@pytest.mark.parametrize('every', [1, 8])
def test_an_anchored_plan_is_as_smooth_as_its_motion_in_every_mode(
    settings: dict[str, bool], rate: float, every: int
) -> None:
    found = stream(replace(ANCHORED, every=every, settings=settings), rate=rate)
    assert found.speed < 1.01 * IDEAL.speed
    assert found.acceleration < 1.02 * IDEAL.acceleration


def test_the_table_has_a_row_for_each() -> None:
    lines = streaming_table(duration=3.0).splitlines()
    assert len(lines) == 2 + 1 + len(PATTERNS)
    assert all(line.startswith('| ') and line.count('|') == 4 for line in lines[2:])
    assert '0.9425' in lines[2]
