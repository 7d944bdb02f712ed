from __future__ import annotations

from itertools import pairwise

import pytest

from dp_ros.errors import ConfigError
from dp_ros.policy.step_budget import Cost, StepBudget, check_deadline, cost_from, step_choices

COST = Cost(fixed=0.004, step=0.002)


def test_cost_is_the_line_through_two_measurements():
    cost = cost_from((1, 0.006), (4, 0.012))
    assert cost.fixed == pytest.approx(0.004)
    assert cost.step == pytest.approx(0.002)
    assert cost.of(10) == pytest.approx(0.024)


@pytest.mark.parametrize(
    ('few', 'many', 'expected'),
    [
        ((1, 0.006), (1, 0.006), Cost(fixed=0.006, step=0.0)),  # regression: one step is all
        ((1, 0.006), (4, 0.005), Cost(fixed=0.006, step=0.0)),  # measured upside down
    ],
)
def test_cost_without_a_slope_is_fixed(few, many, expected):
    assert cost_from(few, many) == expected


def test_there_are_all_small_numbers_of_steps_and_fewer_large_ones():
    assert step_choices(1, 10) == tuple(range(1, 11))
    choices = step_choices(2, 100)
    assert choices[0] == 2 and choices[-1] == 100
    assert len(choices) < 25
    assert all(b <= max(a + 1, 1.2 * a) for a, b in pairwise(choices))


def test_fewer_steps_than_the_least_are_refused():
    with pytest.raises(ConfigError, match=r'least_steps: got 11, allowed 1 to sampling_steps \(10\)'):
        step_choices(11, 10)


@pytest.mark.parametrize(('seconds', 'steps'), [(1.0, 10), (0.0241, 10), (0.0239, 9), (0.0081, 2), (0.001, 1), (-1, 1)])
def test_the_most_steps_that_fit_are_chosen(seconds, steps):
    assert StepBudget().choose(COST, step_choices(1, 10), seconds) == steps


def test_chunks_that_got_slower_leave_time_for_fewer_steps_and_one_alone_does_not():
    pace, choices = StepBudget(), step_choices(1, 10)
    for _ in range(9):
        pace.took(COST, 10, COST.of(10))
    pace.took(COST, 10, 5 * COST.of(10))
    assert pace.choose(COST, choices, COST.of(10) * 1.01) == 10
    pace.took(COST, 10, 2 * COST.of(10))
    assert pace.slowdown == pytest.approx(2.0)
    assert pace.choose(COST, choices, 2.01 * COST.of(4)) == 4


def test_what_was_slow_is_forgotten_after_ten_chunks():
    pace = StepBudget()
    for seconds in [1.0] * 5 + [COST.of(3)] * 9:
        pace.took(COST, 3, seconds)
    assert pace.slowdown == pytest.approx(1.0)


def test_a_deadline_that_cannot_be_met_is_refused_with_what_could_be():
    check_deadline(COST, 3, 0.0101)
    with pytest.raises(ConfigError, match=r'got 0\.009, allowed 0.0100 or more with anytime: 3 sampling steps'):
        check_deadline(COST, 3, 0.009)


@pytest.mark.parametrize('values', [(-1.0, 1.0), (0.0, 0.0), (float('nan'), 1.0)])
def test_a_cost_that_is_none_is_refused(values):
    with pytest.raises(ConfigError, match='cost'):
        Cost(fixed=values[0], step=values[1])


def test_guidance_other_than_1_costs_what_was_measured_with_it():
    guided = Cost(fixed=0.005, step=0.004)
    cost = Cost(fixed=0.004, step=0.002, guided=guided)
    assert cost.at(1.0) is cost
    assert cost.at(0.0) is cost.at(2.5) is guided
    assert COST.at(2.0) is COST, 'a bundle without guidance'
