from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.nodes import policy_container
from dp_ros.nodes.observation_buffer import main
from dp_ros.ros.usage import wants_help

pytestmark = pytest.mark.ros


def test_help_shows_what_a_node_does_and_its_parameters_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--help']) == 0
    shown = capsys.readouterr().out
    assert 'one aligned observation per control tick' in shown and 'max_skew  (' in shown
    assert "bundle  ('')" in shown and 'trajectory_publisher' not in shown.partition('Parameters of')[0]


def test_help_of_the_container_has_the_parameters_of_all_three(capsys: pytest.CaptureFixture[str]) -> None:
    assert policy_container.main(['-h', '--ros-args', '-p', 'x:=1']) == 0
    shown = capsys.readouterr().out
    for name, parameter in (
        ('observation_buffer', 'max_skew'), ('policy_executor', 'sampling_steps'), ('trajectory_publisher', 'deadline'),
    ):  # fmt: skip
        part = shown.partition(f'Parameters of {name}')[2].partition('Parameters of')[0]
        assert f'\n  {parameter}  (' in part


@pytest.mark.parametrize('args', [[], ['--ros-args', '-r', '__ns:=/--help'], ['--ros-args', '--help']])
def test_what_ros_gets_is_no_question_for_help(args: list[str]) -> None:
    assert not wants_help(args)
