"""Demonstrations in a mirror: exact where the task is symmetrical, refused where the mirror cannot be one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.data import Window
from dp_ros.errors import ConfigError
from dp_ros.recordings.episodes.cache_store import JoinedFrames
from dp_ros.recordings.episodes.episode import Episode
from dp_ros.simulation.worlds.pusht.world import PushTWorld
from dp_ros.task.spec import ActionSpec, ImageStream, Instruction, JointStream, PoseStream, TaskSpec
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.training.samples.symmetry import MirrorSettings, check_mirror, mirrored, mirrored_window, with_mirrored
from dp_ros.training.settings import TrainSettings
from dp_ros.training.trainer import Trainer
from test.training.test_trainer import SETTINGS
from test.training.test_trainer import episodes as tiny_episodes

PUSHT = read_yaml(Path(__file__).parents[2] / 'config/train/pusht_mirror.yaml', TrainSettings).mirror
TASK = TaskSpec(
    streams=(
        JointStream(name='joints', topic='/joint_states', joints=('a', 'b'), units=('rad', 'm')),
        ImageStream(name='camera', topic='/camera', height=8, width=12),
    ),
    action=ActionSpec(topic='/command', joints=('a', 'b'), units=('rad', 'm')),
)
NEGATED = MirrorSettings(take=(0, 1), scale=(-1.0, 1.0))
MIRROR = {'joints': NEGATED, 'camera': MirrorSettings(flip='left_right'), 'action': NEGATED}


def pushed(mirror: bool) -> tuple[np.ndarray, np.ndarray, list[float], np.ndarray]:
    """Drive PushT's pusher through the block, here or in the mirror; return joints, block, coverages and a picture."""
    world = PushTWorld()
    pusher, block, yaw = np.array([0.35, 0.12]), np.array([0.3, 0.22]), 0.4
    way = [np.array([x, y]) for x, y in ((0.3, 0.3), (0.15, 0.3), (0.3, 0.15), (0.25, 0.4))]
    if mirror:
        x, y, sine, cosine = PUSHT['block_pose'].vector(np.array([*block, np.sin(yaw), np.cos(yaw)]))
        block, yaw = np.array([x, y]), float(np.arctan2(sine, cosine))
        pusher, way = PUSHT['joint_states'].vector(pusher), [PUSHT['action'].vector(p) for p in way]
    world.set_state(pusher=pusher, block=block, yaw=yaw)
    joints, blocks, coverages = [], [], []
    for point in way:
        for _ in range(60):
            world.step(point)
            pose = world.poses['block']
            joints.append(world.joint_positions)
            blocks.append([*pose.position[:2], np.sin(pose.yaw), np.cos(pose.yaw)])
            coverages.append(world.coverage)
    return np.array(joints), np.array(blocks), coverages, world.render()


def test_pushts_mirror_is_one_of_its_physics():
    joints, blocks, coverages, picture = pushed(mirror=False)
    there_joints, there_blocks, there_coverages, there_picture = pushed(mirror=True)
    assert np.ptp(blocks[:, 0]) > 0.05, 'the block was hardly moved: nothing is shown'
    np.testing.assert_allclose(there_joints, PUSHT['joint_states'].vector(joints), atol=1e-6)
    np.testing.assert_allclose(there_blocks, PUSHT['block_pose'].vector(blocks), atol=1e-4)
    np.testing.assert_allclose(there_coverages, coverages, atol=1e-4)
    flipped = MirrorSettings(flip='antidiagonal').pictures(picture).astype(int)
    close = (np.abs(flipped - there_picture).max(axis=-1) < 60).mean()
    unflipped = (np.abs(picture.astype(int) - there_picture).max(axis=-1) < 60).mean()
    assert close > 0.97 > unflipped


def test_an_episode_and_its_pictures_are_mirrored_when_asked_for():
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 255, (5, 8, 12, 3), dtype=np.uint8)
    joints = generator.normal(size=(5, 2))
    stamps = np.arange(5, dtype=np.int64)
    episode = Episode(name='e', stamps=stamps, streams={'joints': joints, 'camera': pictures}, actions=joints + 1)
    there = mirrored(episode, MIRROR)
    np.testing.assert_array_equal(there.streams['joints'], joints * [-1, 1])
    np.testing.assert_array_equal(there.actions, (joints + 1) * [-1, 1])
    np.testing.assert_array_equal(there.streams['camera'][:], pictures[:, :, ::-1])
    joined = JoinedFrames([e.streams['camera'] for e in with_mirrored([episode], MIRROR)])
    np.testing.assert_array_equal(joined[np.array([[1, 6]])][0], [pictures[1], pictures[1, :, ::-1]])


@pytest.mark.parametrize('flip', ['left_right', 'up_down', 'diagonal', 'antidiagonal'])
def test_each_flip_twice_is_none_and_lands_where_it_says(flip):
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    picture[1, 2] = 255
    once = MirrorSettings(flip=flip).pictures(picture)
    place = {'left_right': (1, 5), 'up_down': (6, 2), 'diagonal': (2, 1), 'antidiagonal': (5, 6)}[flip]
    assert tuple(np.argwhere(once[..., 0])[0]) == place
    np.testing.assert_array_equal(MirrorSettings(flip=flip).pictures(once), picture)


def test_training_sees_twice_the_windows_and_the_normalizer_both_sides(tmp_path):
    one = SETTINGS.task.streams[0].shape[0]
    mirror = {
        'joints': MirrorSettings(take=tuple(range(one)), scale=(-1.0,) * one, offset=(3.0,) * one),
        'action': MirrorSettings(take=(0, 1), scale=(-1.0, -1.0), offset=(3.0, 3.0)),
    }
    mirror = {s.name: mirror['joints'] for s in SETTINGS.task.streams} | {'action': mirror['action']}
    plain = Trainer(SETTINGS, tiny_episodes(), tmp_path / 'plain')
    both = Trainer(dataclasses.replace(SETTINGS, mirror=mirror), tiny_episodes(), tmp_path / 'both')
    assert len(both.train_set) == 2 * len(plain.train_set)
    assert len(both.validation_set) == len(plain.validation_set)
    for name, low in both.normalizer.low.items():
        np.testing.assert_allclose(low, 3.0 - np.array(both.normalizer.high[name]), atol=1e-6)
    half = len(plain.train_set)
    (*_, here), (*_, there) = (both.train_set.batch(torch.arange(i, i + 1)) for i in (0, half))
    torch.testing.assert_close(there, -here)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'joints': None}, 'allowed all of action, camera, joints'),
        ({'joints': MirrorSettings(take=(0, 0))}, 'mirror.joints.take'),
        ({'joints': MirrorSettings(take=(1, 0), scale=(2.0, 1.0))}, 'done twice'),
        ({'joints': MirrorSettings(take=(0, 1), offset=(0.1, 0.0))}, 'done twice'),
        ({'joints': MirrorSettings(take=(0, 1), scale=(1.0,))}, 'mirror.joints.scale: got 1 numbers'),
        ({'action': MirrorSettings(take=(0, 1), offset=(float('nan'), 0.0))}, 'finite'),
        ({'action': MirrorSettings(flip='left_right')}, 'no pictures'),
        ({'action': MirrorSettings(take=(0, 1), scale=(-1.0, 1.0), offset=(0.5, 0.0))}, 'does to the same joints'),
        ({'camera': MirrorSettings()}, 'for pictures'),
        ({'camera': MirrorSettings(flip='diagonal')}, '8 x 12'),
    ],
)
def test_a_mirror_that_is_none_is_refused(change, words):
    asked = {name: value for name, value in {**MIRROR, **change}.items() if value is not None}
    with pytest.raises(ConfigError, match=words):
        check_mirror(TASK, asked)


def test_what_stands_on_the_other_side_in_the_mirror_takes_the_others_place():
    poses = (PoseStream(name=name, topic=f'/{name}', features=('x', 'y')) for name in 'ab')
    task = dataclasses.replace(TASK, streams=(TASK.streams[0], *poses))
    a, b = (MirrorSettings(stream=other, take=(0, 1), scale=(1.0, -1.0)) for other in 'ba')
    mirror = {'joints': NEGATED, 'a': a, 'b': b, 'action': NEGATED}
    check_mirror(task, mirror)
    streams = dict(zip(('joints', 'a', 'b'), np.random.default_rng(0).normal(size=(3, 5, 2)), strict=True))
    episode = Episode(name='e', stamps=np.arange(5), streams=streams, actions=np.ones((5, 2)))
    there = mirrored(episode, mirror)
    np.testing.assert_array_equal(there.streams['a'], streams['b'] * [1.0, -1.0])
    np.testing.assert_array_equal(mirrored(there, mirror).streams['b'], streams['b'])
    window = mirrored_window(Window(stamps=np.arange(2), streams={n: v[:2] for n, v in streams.items()}), mirror)
    np.testing.assert_array_equal(window.streams['a'], there.streams['a'][:2])
    for change, words in (
        ({'a': dataclasses.replace(a, stream='camera')}, "mirror.a.stream: got 'camera', allowed a, b, joints"),
        ({'b': dataclasses.replace(b, stream='')}, "mirror.b.stream: got '', allowed 'a'"),
        ({'action': dataclasses.replace(NEGATED, stream='a')}, "mirror.action.stream: got 'a', allowed action"),
        ({'a': MirrorSettings(stream='b', take=(0, 1))}, 'done twice'),
    ):
        with pytest.raises(ConfigError, match=words):
            check_mirror(task, mirror | change)


def test_words_have_no_mirror():
    task = dataclasses.replace(TASK, goals=(Instruction(),))
    with pytest.raises(ConfigError, match='words have no mirror'):
        check_mirror(task, MIRROR)
