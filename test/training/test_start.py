"""Training that begins with the weights of another run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dp_ros.errors import ConfigError, DataError
from dp_ros.networks.settings import NetworkSettings
from dp_ros.recordings.episodes.episode import Episode
from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec
from dp_ros.task.yaml_reader import to_plain
from dp_ros.training.init_from import check_reach
from dp_ros.training.run_folder import load_network
from dp_ros.training.samples.windows import WindowDataset, fit_normalizer
from dp_ros.training.settings import DistillSettings, ObjectiveSettings, OptimizerSettings, TrainSettings
from dp_ros.training.trainer import Trainer
from test.training.small_networks import small

TASK = TaskSpec(
    streams=(JointStream(name='joints', topic='/joint_states', joints=('a',), units=('rad',)),),
    action=ActionSpec(topic='/command', joints=('a',), units=('rad',)),
)
FIRST = TrainSettings(
    name='first',
    task=TASK,
    network=NetworkSettings(channels=(8, 16), level_width=8),
    optimizer=OptimizerSettings(warmup_steps=1),
    steps=4,
    batch=8,
    validation_share=0.0,
    threads=1,
)


def episodes(reach: float) -> list[Episode]:
    values = reach * np.sin(np.linspace(0, 3, 30))[:, None]
    stamps = np.arange(1, 31, dtype=np.int64) * 100_000_000
    return [Episode(name=f'e{i}', stamps=stamps, streams={'joints': values}, actions=values) for i in range(3)]


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'first'
    Trainer(FIRST, episodes(1.0), folder).run()
    return folder


def after(first, **changes) -> TrainSettings:
    return dataclasses.replace(FIRST, name='second', start=str(first), **changes)


def test_a_run_begins_with_the_averaged_weights_and_the_normalizer_of_its_start(first, tmp_path):
    trainer = Trainer(after(first), episodes(0.5), tmp_path / 'run')
    _, network, normalizer, _ = load_network(first)
    begun = trainer.learner.network.state_dict()
    assert all(torch.equal(begun[name], value) for name, value in network.state_dict().items())
    assert to_plain(trainer.normalizer) == to_plain(normalizer), 'not fitted to the new data'
    assert trainer.run().finished
    learnt = load_network(tmp_path / 'run')
    assert any(not torch.equal(learnt[1].state_dict()[name], value) for name, value in begun.items())
    assert to_plain(learnt[2]) == to_plain(normalizer)
    assert len(learnt[3]['start_sha256']) == 64


def test_a_run_resumed_with_another_start_is_refused(first, tmp_path):
    other = tmp_path / 'other'
    Trainer(dataclasses.replace(FIRST, seed=1), episodes(1.0), other).run()
    start = tmp_path / 'start'
    start.symlink_to(first)
    Trainer(after(start), episodes(1.0), tmp_path / 'run').run()
    start.unlink()
    start.symlink_to(other)
    with pytest.raises(ConfigError, match=r'holds a run begun from .* allowed the same start'):
        Trainer(after(start), episodes(1.0), tmp_path / 'run')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'task': dataclasses.replace(TASK, exec_horizon=4)}, 'task: got '),
        ({'network': NetworkSettings(channels=(8, 8), level_width=8)}, 'network: got '),
        ({'objective': ObjectiveSettings(prediction_type='sample')}, 'objective: got .*epsilon.* allowed .*sample'),
    ],
)
def test_a_start_that_was_taught_something_else_is_refused(first, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=rf'start .*first: {message}'):
        Trainer(after(first, **changes), episodes(1.0), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_joints_in_another_order_are_named_as_that(tmp_path):
    task = dataclasses.replace(TASK, action=ActionSpec(topic='/command', joints=('a', 'b'), units=('rad', 'rad')))
    both = [dataclasses.replace(e, actions=np.tile(e.actions, 2)) for e in episodes(1.0)]
    Trainer(dataclasses.replace(FIRST, task=task), both, tmp_path / 'first').run()
    turned = dataclasses.replace(task, action=dataclasses.replace(task.action, joints=('b', 'a')))
    message = 'action joints: got a, b, allowed b, a; the names are the same, only their order differs'
    with pytest.raises(ConfigError, match=message):
        Trainer(after(tmp_path / 'first', task=turned), both, tmp_path / 'second')


def test_actions_that_a_start_cannot_reach_are_refused(first, tmp_path):
    with pytest.raises(ConfigError, match=r'got actions of a 3\.0\d times as far .* allowed 1; train anew'):
        Trainer(after(first), episodes(2.0), tmp_path / 'run')


def test_no_picture_is_decoded_to_see_whether_a_start_reaches_the_actions(first, monkeypatch):
    recorded = episodes(1.0)
    normalizer = fit_normalizer(recorded, TASK)
    windows = WindowDataset(recorded, TASK, normalizer)
    indices = torch.arange(len(windows))
    assert torch.equal(windows.actions(indices), windows.batch(indices)[1])
    monkeypatch.setattr(WindowDataset, 'batch', lambda *_: pytest.fail('streams were read'))
    check_reach(after(first), windows)


def test_a_start_that_is_no_run_is_named(tmp_path):
    with pytest.raises((ConfigError, DataError), match='nowhere'):
        Trainer(after(tmp_path / 'nowhere'), episodes(1.0), tmp_path / 'run')


def test_a_student_begins_from_its_teacher_alone(first):
    with pytest.raises(ConfigError, match=r"start: got '.*first' with distill.teacher"):
        after(first, objective=ObjectiveSettings(distill=DistillSettings(teacher=str(first))))


@pytest.mark.parametrize('denoiser', ['unet', 'mlp', 'transformer'])
def test_a_start_that_knows_no_prefix_begins_to_learn_it(tmp_path, denoiser):
    network = small(denoiser)
    two = dataclasses.replace(TASK, action=ActionSpec(topic='/command', joints=('a', 'b'), units=('rad', 'rad')))
    settings = dataclasses.replace(FIRST, network=network, task=two)
    recorded = [dataclasses.replace(e, actions=np.hstack([e.actions, -2 * e.actions])) for e in episodes(1.0)]
    Trainer(settings, recorded, tmp_path / 'first').run()
    changes = {'name': 'second', 'start': str(tmp_path / 'first'), 'objective': ObjectiveSettings(prefix_steps=3)}
    second = dataclasses.replace(settings, **changes)
    trainer = Trainer(second, recorded, tmp_path / 'second')
    known, learning = load_network(tmp_path / 'first')[1], trainer.learner.network.eval()
    x_k, k = torch.randn(5, 16, 2), torch.tensor([0, 3, 50, 80, 99])
    streams = (torch.randn(5, 2, 1),)
    for mark in (0.0, 1.0):
        begun = learning(torch.cat((x_k, torch.full((5, 16, 1), mark)), dim=-1), k, *streams)
        torch.testing.assert_close(begun, known(x_k, k, *streams))
    assert trainer.run().finished
    learnt = load_network(tmp_path / 'second')[1]
    marks = torch.zeros(5, 16, 1)
    unmarked = learnt(torch.cat((x_k, marks), dim=-1), k, *streams)
    marks[:, :2] = 1.0
    assert not torch.allclose(learnt(torch.cat((x_k, marks), dim=-1), k, *streams), unmarked)
    # A longer prefix is learnt from there too; none at all is another network.
    third = dataclasses.replace(second, start=str(tmp_path / 'second'), objective=ObjectiveSettings(prefix_steps=5))
    Trainer(third, recorded, tmp_path / 'third')
    with pytest.raises(ConfigError, match=r'objective: got .*prefix_steps=3.* allowed .*prefix_steps=0'):
        Trainer(dataclasses.replace(third, objective=ObjectiveSettings()), recorded, tmp_path / 'fourth')


@pytest.mark.parametrize('channels', [(8, 8), (16, 16)])
def test_a_network_that_passes_its_input_on_as_it_is_learns_no_prefix(tmp_path, channels):
    names = tuple('abcdefgh') if channels[0] == 8 else tuple('abcdefghijklmno')
    action = ActionSpec(topic='/command', joints=names, units=('rad',) * len(names))
    network = NetworkSettings(channels=channels, level_width=8)
    settings = dataclasses.replace(FIRST, network=network, task=dataclasses.replace(TASK, action=action))
    recorded = [dataclasses.replace(e, actions=np.repeat(e.actions, len(names), axis=1)) for e in episodes(1.0)]
    Trainer(settings, recorded, tmp_path / 'first').run()
    second = dataclasses.replace(settings, start=str(tmp_path / 'first'), objective=ObjectiveSettings(prefix_steps=3))
    with pytest.raises(ConfigError, match=rf'channels: got {len(names)} actions and as many first, or one more'):
        Trainer(second, recorded, tmp_path / 'second')


def test_a_start_of_another_objective_is_named_as_it_is(first, tmp_path):
    objective = ObjectiveSettings(prefix_steps=3, prediction_type='sample')
    with pytest.raises(ConfigError, match=r'objective: got .*epsilon.*prefix_steps=0.* allowed .*prefix_steps=3'):
        Trainer(after(first, objective=objective), episodes(1.0), tmp_path / 'run')
