"""A policy played slower or faster than it was shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dp_ros.data import Chunk, Window
from dp_ros.errors import ConfigError
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.policy_speed import as_shown, at_speed
from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec

JOINTS = ('a', 'b')


def moving(tiny: ModuleType, folder: Path, *fields: str) -> Bundle:
    """Return a bundle of a policy that observes ``fields`` of two joints."""
    stream = JointStream(name='joints', topic='/j', joints=JOINTS, units=('rad', 'm'), fields=fields)
    task = TaskSpec(streams=(stream,), action=ActionSpec(topic='/c', joints=JOINTS, units=('rad', 'm')))
    # The second joint never moved: its velocity is centred, and not scaled.
    low = {'joints': (-1.0, 0.0, *(-2.0, 0.3) * (len(fields) - 1)), ACTION: (-1.0, 0.0)}
    high = {'joints': (1.0, 1.0, *(2.0, 0.30005) * (len(fields) - 1)), ACTION: (1.0, 1.0)}
    return load_bundle(tiny.write_tiny_bundle(folder, task=task, normalizer=Normalizer(low=low, high=high)))


def chunk(bundle: Bundle, *rows: tuple[float, ...]) -> Chunk:
    step = round(bundle.task.control_dt * 1e9)
    window = Window(stamps=step * np.array([7, 8]), streams={'joints': np.array(rows)})
    return DiffusionPolicy(bundle, open_backend(bundle)).chunk(window, np.random.default_rng(0))


def test_time_is_scaled_and_nothing_else(original: Path) -> None:
    bundle = load_bundle(original)
    faster = at_speed(bundle, 1.25)
    assert faster.task == replace(bundle.task, control_dt=0.08) and bundle.task.control_dt == 0.1
    assert replace(faster, task=bundle.task, policy_speed=1.0) == bundle
    assert at_speed(bundle, 0.5).task.control_dt == 0.2
    assert at_speed(bundle, 1.0) is bundle


@pytest.mark.parametrize('policy_speed', [0.1, 0.5, 1.25, 3.0])
def test_the_same_motion_at_another_speed_gives_the_same_actions_closer_together(
    tiny: ModuleType, tmp_path: Path, policy_speed: float
) -> None:
    bundle = moving(tiny, tmp_path / 'moving', 'position', 'velocity')
    s = policy_speed
    shown = chunk(bundle, (0.1, 0.2, 0.5, 0.3), (0.2, 0.3, -0.5, 0.30004))
    scaled = chunk(at_speed(bundle, s), (0.1, 0.2, s * 0.5, s * 0.3), (0.2, 0.3, s * -0.5, s * 0.30004))
    np.testing.assert_allclose(scaled.actions, shown.actions, atol=1e-6)
    assert scaled.control_dt == round(shown.control_dt / s)
    unscaled = chunk(at_speed(bundle, s), (0.1, 0.2, 0.5, 0.3), (0.2, 0.3, -0.5, 0.30004))
    assert np.abs(unscaled.actions - shown.actions).max() > 1e-3


def test_only_velocities_are_divided() -> None:
    stream = JointStream(name='j', topic='/j', joints=JOINTS, units=('rad', 'm'), fields=('velocity', 'position'))
    values = np.array([[1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_array_equal(as_shown(stream, values, 2.0), [[0.5, 1.0, 3.0, 4.0]])


@pytest.mark.parametrize('policy_speed', [0.09, 5.1, -1.0, 0.0, float('nan'), float('inf')])
def test_a_speed_out_of_range_is_refused(original: Path, policy_speed: float) -> None:
    with pytest.raises(ConfigError, match=r'policy_speed: got \S+, allowed 0.1 to 5.0'):
        at_speed(load_bundle(original), policy_speed)


def test_a_speed_that_leaves_messages_no_time_to_arrive_is_refused(original: Path) -> None:
    message = r'policy_speed: got 5.0, with which there is arrival_wait: got 0.02, allowed .* control_dt \(0.02 s\)'
    with pytest.raises(ConfigError, match=message):
        at_speed(load_bundle(original), 5.0)


def test_a_policy_that_observes_efforts_is_played_as_shown_only(tiny: ModuleType, tmp_path: Path) -> None:
    bundle = moving(tiny, tmp_path / 'moving', 'position', 'effort')
    assert at_speed(bundle, 1.0) is bundle
    with pytest.raises(ConfigError, match=r'policy_speed: got 1.2, allowed 1: .*observes efforts \(joints\)'):
        at_speed(bundle, 1.2)
