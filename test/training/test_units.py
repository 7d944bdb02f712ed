"""Sources that count in degrees, millimetres or percent: converted once, the same everywhere, or refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_ros.errors import ConfigError, DataError
from dp_ros.messages.encoding import decode
from dp_ros.recordings.datasets.tables import Table, episode_from_table
from dp_ros.recordings.episodes.episode import read_episode
from dp_ros.recordings.episodes.readers import read_recordings
from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec
from dp_ros.task.yaml_reader import parse, to_plain
from test.training.bag_maker import JOINTS, TASK, arm, changed, command, path_at, save, state
from test.training.test_check_bag import audited, wrong


def counted(factor: Any) -> list[Any]:
    """Record the arm in a unit of which ``factor`` are a radian or a metre."""
    made = changed(arm(), '/joint_states', lambda i, m: state(m[1], factor * path_at(i * 0.02)))
    return changed(made, '/command', lambda i, m: command(m[1], factor * path_at(i * 0.1, 0.0)))


def task_in(units: Any, scale: Any = ()) -> TaskSpec:
    stream = JointStream(name='arm', topic='/joint_states', joints=JOINTS, units=units, scale=scale)
    action = ActionSpec(topic='/command', joints=JOINTS, units=units, scale=scale)
    return replace(TASK, streams=(stream,), action=action)


DEGREES, MILLIMETRES = 180.0 / np.pi, 1000.0


@pytest.mark.parametrize(
    ('task', 'factor', 'units'),
    [
        (task_in(('deg', 'mm')), np.array([DEGREES, MILLIMETRES]), ('rad', 'm')),
        (task_in(('rad', 'm'), (1.0, 0.0008)), np.array([1.0, 1 / 0.0008]), ('rad', 'm')),
    ],
    ids=['deg and mm', 'percent'],
)
def test_a_source_is_converted_in_bags_datasets_and_live_alike(tmp_path: Path, task: Any, factor: Any, units: Any):
    assert task.streams[0].units == task.action.units == units
    (found,) = read_episode(save(tmp_path / 'bag', counted(factor)), task)
    (usual,) = read_episode(save(tmp_path / 'usual', arm()), task_in(units))
    np.testing.assert_allclose(found.streams['arm'], usual.streams['arm'], atol=1e-12)
    np.testing.assert_allclose(found.actions, usual.actions, atol=1e-12)
    rows = usual.streams['arm'] * factor
    messages = [state(1, row)[2] for row in rows]
    table = Table(
        name='t', rate=10.0, columns={'/joint_states': rows, '/command': rows}, labels={}, cameras=(),
        pictures=lambda *_: (),
    )  # fmt: skip
    imported = episode_from_table(table, task)
    live = np.stack([decode(task.streams[0], message) for message in messages])
    assert np.array_equal(imported.streams['arm'], live) and np.array_equal(imported.actions, live)


def test_velocities_are_converted_and_efforts_are_not():
    stream = JointStream(name='s', topic='/s', joints=('a',), units=('deg',), fields=('position', 'velocity', 'effort'))
    message = state(1, [180.0], name=['a'])[2]
    message.velocity, message.effort = np.array([90.0]), np.array([2.0])
    assert decode(stream, message) == pytest.approx([np.pi, np.pi / 2, 2.0])


def test_the_conversion_travels_in_the_task():
    given = task_in(('deg', 'mm'))
    again = parse(TaskSpec, to_plain(given))
    assert again == given and again.streams[0].units == ('rad', 'm')
    assert again.streams[0].scale == pytest.approx((np.pi / 180, 1e-3))


@pytest.mark.parametrize(
    ('units', 'scale', 'reason'),
    [
        (('rad',), (), 'units: got 1 for 2 joints'),
        (('rad', 'm'), (1.0,), 'scale: got 1 for 2 joints'),
        (('deg', 'm'), (1.0, 2.0), 'scale: got one with units deg, m, allowed with m and rad only'),
        (('rad', 'm'), (0.0, 1.0), 'scale: got 0.0, 1.0, allowed finite numbers other than 0'),
    ],
)
def test_a_scale_that_cannot_be_is_refused(units: Any, scale: Any, reason: str):
    with pytest.raises(ConfigError, match=reason):
        task_in(units, scale)


@pytest.mark.parametrize(
    ('units', 'factor', 'reason'),
    [
        (('rad', 'm'), np.array([1.0, 200.0]), 'got up to 100 for b, allowed 5 m; that looks like millimetres or per'),
        (('rad', 'm'), np.array([1.0, 600.0]), 'got up to 300 for b, allowed 5 m; that looks like millimetres: give'),
        (('rad', 'm'), np.array([170.0, 1.0]), 'got up to 170 for a, allowed 25 rad; that looks like degrees: give'),
        (
            ('rad', 'rad'),
            np.array([90.0, 1.0]),
            'for a, allowed 25 rad; that looks like degrees or percent: give',
        ),
    ],
)
def test_what_no_arm_can_reach_is_refused_by_training_and_the_check(
    tmp_path: Path, units: Any, factor: Any, reason: str
):
    bag = save(tmp_path / 'bag', counted(factor))
    with pytest.raises(DataError, match=reason):
        list(read_recordings(bag, task_in(units)))
    _, found = audited(bag, task_in(units))
    assert any(text.startswith('error /command') and 'too far for its unit' in text for text in wrong(found))


def test_a_joint_that_only_trembles_is_named(tmp_path: Path):
    def still(i: int, position: Any) -> np.ndarray:
        return np.array([position[0], 0.7 + 7e-5 * np.sin(i)])

    made = changed(arm(), '/joint_states', lambda i, m: state(m[1], still(i, m[2].position)))
    _, found = audited(save(tmp_path / 'bag', made))
    assert any('warning /joint_states b: only trembles: 0.69993 to 0.70007 rad' in text for text in wrong(found))
