from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from dp_ros.errors import ConfigError
from dp_ros.robot.controller_settings import WORDS, Expected, Finding, compare, refusal

EXPECTED = Expected(
    joints=('a', 'b'), units=('rad', 'm'), control_dt=0.1, splice_margin=0.03, tail=0.5, follow_tolerance=0.2
)
# What a real controller has if only what must be set is set.
REAL: dict[str, Any] = {
    'joints': ('b', 'a'),
    'command_joints': (),
    'command_interfaces': ('position',),
    'state_interfaces': ('position', 'velocity'),
    'interpolation_method': 'splines',
    'interpolate_from_desired_state': False,
    'open_loop_control': False,
    'allow_nonzero_velocity_at_trajectory_end': False,
    'allow_partial_joints_goal': False,
    'cmd_timeout': 0.0,
    'constraints.goal_time': 0.0,
    'constraints.a.trajectory': 0.0,
    'constraints.b.goal': 0.0,
    'speed_scaling.initial_scaling_factor': 1.0,
    'speed_scaling.state_interface': '',
    'update_rate': 100,
    'use_sim_time': False,
}


def _found(settings: dict[str, Any], **expected: Any) -> list[Finding]:
    return compare(REAL | settings, replace(EXPECTED, **expected))


def test_a_plain_controller_suits() -> None:
    assert compare(REAL, EXPECTED) == []
    assert compare({'joints': ('a', 'b')}, EXPECTED) == []  # what is missing is not judged


@pytest.mark.parametrize(
    ('settings', 'expected', 'what', 'allowed'),
    [
        ({'joints': ('a', 'c')}, {}, 'joints', 'a, b'),
        ({'joints': ('a', 'b', 'c')}, {}, 'joints', 'a, b'),
        ({'command_interfaces': ('velocity',)}, {}, 'command_interfaces', 'position among them'),
        ({'interpolation_method': 'none'}, {}, 'interpolation_method', "'splines'"),
        ({}, {'ends_at_rest': False}, 'allow_nonzero_velocity_at_trajectory_end', 'True'),
        ({'allow_trajectory_replacement': True}, {}, 'allow_trajectory_replacement', 'False'),
        ({'use_sim_time': True}, {}, 'use_sim_time', 'False'),
        ({}, {'use_sim_time': True}, 'use_sim_time', 'True'),
        ({'update_rate': 25}, {}, 'update_rate', '33.3333 Hz or more'),
        ({'update_rate': 5}, {'splice_margin': 0.0}, 'update_rate', '10 Hz or more'),
        ({'cmd_timeout': 0.05}, {}, 'cmd_timeout', '0 or 0.1 s or more'),
        ({'cmd_timeout': 0.3}, {'splice_margin': 0.9}, 'cmd_timeout', '0 or 0.4 s or more'),
        ({'speed_scaling.initial_scaling_factor': 0.5}, {}, 'speed_scaling.initial_scaling_factor', '1.0'),
        ({'constraints.a.trajectory': 0.0009}, {}, 'constraints.a.trajectory', '0 or 0.001 rad or more'),
        ({'constraints.b.trajectory': 0.00009}, {}, 'constraints.b.trajectory', '0 or 0.0001 m or more'),
    ],
)
def test_what_would_move_wrongly_is_fatal(settings: Any, expected: Any, what: str, allowed: str) -> None:
    (finding,) = _found(settings, **expected)
    assert (finding.what, finding.allowed, finding.fatal) == (what, allowed, True)
    assert re.match(f'controller /arm: {re.escape(what)}: got .*, allowed .*', refusal('/arm', [finding]))


@pytest.mark.parametrize(
    ('settings', 'what'),
    [
        ({'joints': ('a', 'b', 'c'), 'allow_partial_joints_goal': True}, 'joints'),
        ({'command_joints': ('a',)}, 'command_joints'),
        ({'state_interfaces': ('position',)}, 'state_interfaces'),
        ({'allow_nonzero_velocity_at_trajectory_end': True}, 'allow_nonzero_velocity_at_trajectory_end'),
        ({'interpolate_from_desired_state': True}, 'interpolate_from_desired_state'),
        ({'open_loop_control': True}, 'interpolate_from_desired_state'),
        ({'cmd_timeout': 0.05, 'constraints.goal_time': 0.05}, 'cmd_timeout'),
        ({'speed_scaling.state_interface': 'speed/factor'}, 'speed_scaling.state_interface'),
        ({'constraints.a.trajectory': 0.1}, 'constraints.a.trajectory'),
    ],
)
def test_what_only_differs_is_told(settings: Any, what: str) -> None:
    (finding,) = _found(settings)
    assert (finding.what, finding.fatal) == (what, False)
    assert refusal('/arm', [finding]) == ''


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        ({'allow_trajectory_replacement': False}, {}),
        ({'cmd_timeout': 0.1}, {}),
        ({'update_rate': 0}, {}),
        ({'constraints.a.trajectory': 0.2}, {}),
        ({'use_sim_time': True}, {'use_sim_time': True}),
        ({'allow_nonzero_velocity_at_trajectory_end': True}, {'ends_at_rest': False}),
        ({'command_interfaces': ('position', 'velocity')}, {}),
    ],
)
def test_what_suits_is_not_told(settings: Any, expected: Any) -> None:
    assert _found(settings, **expected) == []


def test_a_node_without_joints_is_no_controller_and_is_not_judged_by_what_it_lacks() -> None:
    (finding,) = compare({'use_sim_time': False}, EXPECTED)
    assert not finding.fatal
    assert str(finding).startswith('joints: got None, allowed a, b (it is no joint_trajectory_controller')


def test_what_a_node_without_joints_does_have_counts() -> None:
    first, second = compare({'use_sim_time': True}, EXPECTED)
    assert (first.what, first.fatal) == ('use_sim_time', True)
    assert (second.what, second.fatal) == ('joints', False)


@pytest.mark.parametrize('value', [None, 3, 2.5, True, 'a', (), (1, 2), ('a', 'b'), (2.0,), (True,)])
def test_settings_of_any_kind_are_compared(value: Any) -> None:
    for name, kind in EXPECTED.kinds.items():
        odd = [f for f in _found({name: value}) if f.what == name and f.allowed == WORDS[kind]]
        assert all(not finding.fatal and 'not judged' in str(finding) for finding in odd)
        fits = {'names': isinstance(value, tuple) and all(isinstance(v, str) for v in value)}
        fits |= {'number': type(value) in (int, float), 'text': type(value) is str, 'switch': type(value) is bool}
        assert len(odd) == (0 if fits[kind] else 1), (name, value)


def test_a_long_value_is_cut_short() -> None:
    (finding,) = _found({'joints': tuple(f'joint_{number}' for number in range(10_000))})
    assert len(str(finding)) < 600 and 'joint_1, joint_2' in str(finding)


def test_fatal_findings_come_first_and_the_refusal_names_each() -> None:
    findings = _found({'state_interfaces': ('position',), 'use_sim_time': True, 'interpolation_method': 'none'})
    assert [finding.fatal for finding in findings] == [True, True, False]
    text = refusal('/arm', findings)
    assert text.startswith('controller /arm: interpolation_method: got')
    assert '; use_sim_time: got True, allowed False' in text
    assert 'state_interfaces' not in text


def test_the_tolerances_of_every_joint_are_asked_for() -> None:
    assert {'constraints.a.trajectory', 'constraints.b.goal', 'joints'} <= set(EXPECTED.names)


def test_impossible_expectations_are_refused() -> None:
    with pytest.raises(ConfigError, match='units: got 1, allowed one for each of 2 joints'):
        replace(EXPECTED, units=('rad',))
