"""Numbers into the network: bounded for a joint that hardly moved, and named where they are far from the training's."""

import json
from pathlib import Path

import numpy as np
import pytest

from dp_ros.cli.inspect import describe
from dp_ros.errors import BundleError
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.normalizer import ACTION, Normalizer, TrainingRange, channels_of, trembling
from dp_ros.task.spec import ActionSpec, JointStream, PoseStream, TaskSpec
from test import tiny_bundle as tiny

TASK = TaskSpec(
    streams=(
        JointStream(name='arm', topic='/s', joints=('a', 'b'), units=('rad', 'm'), fields=('position', 'velocity')),
        PoseStream(name='block', topic='/b', features=('x', 'qw', 'sin_yaw')),
    ),
    action=ActionSpec(topic='/c', joints=('a', 'b'), units=('rad', 'm')),
)
FLOORS = {name: [c.floor for c in channels] for name, channels in channels_of(TASK).items()}
# a trembles by 0.15 mrad, b moves by 0.4 m, velocities by 2 rad/s and m/s; the block by 0.2 mm, and it turns.
ARRAYS = {
    'arm': np.array([[0.7, 0.1, -1.0, -1.0], [0.70015, 0.5, 1.0, 1.0]]),
    'block': np.array([[0.3, 0.2, -1.0], [0.3002, 0.9, 1.0]]),
    ACTION: np.array([[0.7, 0.1], [0.7, 0.5]]),
}


def fitted() -> Normalizer:
    return Normalizer.fit(ARRAYS, FLOORS)


def test_a_joint_that_trembles_is_scaled_by_the_floor_of_its_unit():
    normalizer = fitted()
    assert np.ptp([normalizer.low['arm'][0], normalizer.high['arm'][0]]) == pytest.approx(5e-3)
    assert np.ptp([normalizer.low['block'][0], normalizer.high['block'][0]]) == pytest.approx(1e-3)
    assert (normalizer.low['arm'][1], normalizer.high['arm'][1]) == (0.1, 0.5)
    assert np.abs(normalizer.normalize('arm', ARRAYS['arm'])[:, 0]).max() == pytest.approx(0.03, abs=1e-6)
    # A command that never changed can be off by half its floor at most, whatever the network says.
    assert normalizer.denormalize(ACTION, np.array([1.0, 0.0]))[0] == pytest.approx(0.7025)


def test_what_is_observed_is_bounded_and_what_is_commanded_is_not():
    normalizer = fitted()
    assert normalizer.normalize('arm', np.array([1.2, 0.3, 0.0, -9.0])).tolist() == [2.0, 0.0, 0.0, -2.0]
    assert normalizer.normalize(ACTION, np.array([0.7, 0.9]))[1] == pytest.approx(3.0)


def test_recordings_are_as_they_were_without_clipping():
    plain = Normalizer(low=fitted().low, high=fitted().high)
    for name, values in ARRAYS.items():
        assert np.array_equal(fitted().normalize(name, values), plain.normalize(name, values))


def test_a_bundle_from_before_keeps_its_numbers_and_a_new_one_its_clip(tmp_path: Path):
    old = load_bundle(tiny.write_tiny_bundle(tmp_path / 'old'))
    assert 'clip' not in json.loads((tmp_path / 'old' / 'bundle.json').read_text())['normalizer']
    name = old.task.streams[0].name
    far = np.full(old.task.streams[0].shape, 1e3)
    assert np.abs(old.normalizer.normalize(name, far)).max() > 100.0
    clipped = Normalizer(low=old.normalizer.low, high=old.normalizer.high, clip=2.0)
    new = load_bundle(tiny.write_tiny_bundle(tmp_path / 'new', normalizer=clipped))
    assert np.abs(new.normalizer.normalize(name, far)).max() == 2.0


@pytest.mark.parametrize('clip', [0.5, -1.0, 1e9])
def test_a_clip_that_would_change_recordings_is_refused(clip: float):
    with pytest.raises(BundleError, match='normalizer clip: got'):
        Normalizer(low=fitted().low, high=fitted().high, clip=clip)


def test_what_hardly_moved_is_named():
    assert trembling(TASK, fitted()) == ['arm a', 'block x', 'action a']


def test_what_is_far_from_training_is_named_with_value_and_range():
    known = TrainingRange(TASK, fitted())
    assert known.far_outside('arm', np.array([0.74, 0.6, 1.9, 0.0])) == ''
    assert known.far_outside('arm', np.array([1.2, 0.8, 0.0, 0.0])) == (
        'a: got 1.2 rad, far from the 0.6976 to 0.7026 of the training; '
        'b: got 0.8 m, far from the 0.1 to 0.5 of the training'
    )
    assert known.far_outside('arm', np.array([0.7, 0.3, 2.1, 0.0])).startswith('velocity of a: got 2.1 rad/s')
    assert known.far_outside('block', np.array([0.3, -0.9, 0.0])) == ''  # what turns is nowhere far


def test_inspect_names_what_hardly_moved(tmp_path: Path):
    low = {name: (0.5,) * len(low) for name, low in tiny.NORMALIZER.low.items()}
    tiny.write_tiny_bundle(tmp_path / 'still', normalizer=Normalizer(low=low, high=low))
    assert 'hardly moved in the recordings: ' in describe(tmp_path / 'still')
