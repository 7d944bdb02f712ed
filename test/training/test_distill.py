"""Distillation: what the student learns is where the teacher gets, and its bundle is sampled in that way only."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.diffusion.coefficients import coefficients_for
from dp_ros.diffusion.samplers import SamplerSettings, sample
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import ConfigError
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.networks.settings import NetworkSettings
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.training.distillation import Distillation, make_objective
from dp_ros.training.export.export import export_run
from dp_ros.training.run_folder import load_network
from dp_ros.training.settings import DistillSettings, ObjectiveSettings
from dp_ros.training.trainer import Trainer
from test.training.test_trainer import SETTINGS, episodes

STREAMS = (torch.linspace(-1, 1, 12).reshape(3, 2, 2),)


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'teacher'
    assert Trainer(SETTINGS, episodes(), folder).run().finished
    return folder


def student(teacher, **changes):
    distill = DistillSettings(teacher=str(teacher), **({'sampling_steps': 2, 'teacher_steps': 4} | changes))
    return dataclasses.replace(
        SETTINGS, objective=ObjectiveSettings(prediction_type='velocity', distill=distill), name='student'
    )


def sampled(network, spec, steps, noise):
    """Return x_0 for `STREAMS` by the robot's own sampler."""
    with torch.no_grad():
        cond = network.encoder(*STREAMS)

        def predict(x_k, k):
            return network.denoiser(torch.from_numpy(x_k), torch.full((len(x_k),), k), cond).numpy()

        table = coefficients_for(spec, SamplerSettings(sampling_steps=steps))
        return sample(table, predict, noise, np.random.default_rng(0))


def test_the_teachers_steps_are_the_samplers(teacher):
    network = DiffusionNetwork(SETTINGS.task, SETTINGS.network)
    loss = make_objective(student(teacher), network, load_network(teacher)[2])
    noise = np.random.default_rng(0).standard_normal((3, 16, 2), dtype=np.float32)
    x_k = torch.from_numpy(noise)
    for step in (0, 1):
        x_k = loss.teach(x_k, torch.full((3,), step), STREAMS)
    expected = sampled(load_network(teacher)[1], ScheduleSpec(), 4, noise)
    np.testing.assert_allclose(x_k.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize('prediction_type', ['epsilon', 'sample', 'velocity'])
def test_one_step_with_what_is_learned_leads_where_the_teacher_gets(teacher, prediction_type):
    """A network that gives the target, found by setting the loss to 0, has the teacher's x_0 after its own steps."""
    spec = ScheduleSpec(prediction_type=prediction_type, only_steps=2, clip=False)
    taught = load_network(teacher)[1]
    loss = Distillation(spec, ScheduleSpec(), taught, sampling_steps=2, teacher_steps=4)
    noise = np.random.default_rng(1).standard_normal((3, 16, 2), dtype=np.float32)
    table = coefficients_for(spec, SamplerSettings(sampling_steps=2))

    def predict(x_k, k):
        step = torch.full((3,), table.levels.tolist().index(k))
        return loss.target(torch.from_numpy(x_k), step, STREAMS).numpy()

    x_0 = sample(table, predict, noise, np.random.default_rng(0))
    np.testing.assert_allclose(x_0, sampled(taught, ScheduleSpec(), 4, noise), atol=2e-3)


def test_a_student_starts_as_its_teacher_and_comes_nearer_to_it(teacher):
    settings = dataclasses.replace(student(teacher), steps=40)
    network = DiffusionNetwork(settings.task, settings.network)
    loss = make_objective(settings, network, load_network(teacher)[2])
    learned, given = network.state_dict(), load_network(teacher)[1].state_dict()
    assert all(torch.equal(learned[name], given[name]) for name in given)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    actions = torch.zeros((3, 16, 2))

    def value():
        return loss(network, STREAMS, actions, torch.Generator().manual_seed(0))

    before = value().item()
    for _ in range(40):
        optimizer.zero_grad()
        value().backward()
        optimizer.step()
    assert value().item() < before / 4
    assert all(torch.equal(given[name], v) for name, v in load_network(teacher)[1].state_dict().items())


def test_a_smaller_student_starts_anew(teacher):
    small = dataclasses.replace(student(teacher), network=NetworkSettings(channels=(8, 16), level_width=8))
    network = DiffusionNetwork(small.task, small.network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    make_objective(small, network, load_network(teacher)[2])
    assert all(torch.equal(before[name], v) for name, v in network.state_dict().items())


def test_the_bundle_is_sampled_in_the_steps_it_was_distilled_for(teacher, tmp_path):
    assert Trainer(student(teacher), episodes(), tmp_path / 'run').run().finished
    export_run(tmp_path / 'run', tmp_path / 'bundle')
    bundle = load_bundle(tmp_path / 'bundle')
    assert bundle.defaults.sampling_steps == 2
    assert bundle.schedule.only_steps == 2
    for changes, message in (
        ({'sampling_steps': 4}, 'sampling_steps: got 4, allowed 2'),
        ({'sampler': 'unipc', 'sampling_steps': 2}, "sampler: got 'unipc', allowed 'ddim'"),
        ({'spacing': 'leading', 'sampling_steps': 2}, "spacing: got 'leading', allowed 'trailing'"),
    ):
        with pytest.raises(ConfigError, match=message):
            coefficients_for(bundle.schedule, SamplerSettings(**changes))


def test_a_student_can_teach_in_the_steps_it_knows(teacher, tmp_path):
    first = student(teacher, sampling_steps=4, teacher_steps=20)
    Trainer(first, episodes(), tmp_path / 'first').run()
    normalizer = load_network(teacher)[2]
    network = DiffusionNetwork(first.task, first.network)
    make_objective(student(tmp_path / 'first', sampling_steps=1, teacher_steps=4), network, normalizer)
    with pytest.raises(ConfigError, match='sampling_steps: got 20, allowed 4, which this denoiser was distilled for'):
        make_objective(student(tmp_path / 'first', sampling_steps=2, teacher_steps=20), network, normalizer)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'diffusion_steps': 50, 'distill': {'teacher_steps': 10}}, 'diffusion_steps: got 100, allowed .* 50'),
        ({'schedule': 'linear'}, 'schedule: got squaredcos_cap_v2, allowed .* linear'),
        ({'distill': {'teacher_steps': 30}}, 'teacher_steps: got 30, allowed divisors of diffusion_steps .100.'),
        ({'distill': {'teacher_steps': 5}}, 'teacher_steps: got 5, allowed 2, 3, ... times sampling_steps .2.'),
        ({'distill': {'teacher_steps': 2}}, 'teacher_steps: got 2, allowed 2, 3, ... times'),
        ({'schedule': 'none', 'diffusion_steps': 1, 'prediction_type': 'sample'}, 'allowed one with noise'),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(teacher, changes, message):
    changes = {'prediction_type': 'velocity'} | changes
    with pytest.raises(ConfigError, match=message):
        distill = {'sampling_steps': 2, 'teacher_steps': 4} | changes.pop('distill', {})
        objective = ObjectiveSettings(distill=DistillSettings(teacher=str(teacher), **distill), **changes)
        settings = dataclasses.replace(SETTINGS, objective=objective)
        make_objective(settings, DiffusionNetwork(settings.task, settings.network), load_network(teacher)[2])


@pytest.mark.parametrize(
    ('taught', 'reason'),
    [
        ({'prefix_steps': 2}, r'prefix_steps: got 2, allowed .*, 0'),
        ({'velocity_weight': 0.5}, r'joint_velocities: got True, allowed .*, False'),
    ],
)
def test_a_teacher_that_takes_or_gives_more_is_refused(teacher, tmp_path, taught, reason):
    objective = ObjectiveSettings(**taught)
    asked = dataclasses.replace(SETTINGS, objective=objective, steps=1, name='prefixed')
    Trainer(asked, episodes(), tmp_path / 'prefixed').run()
    settings = student(tmp_path / 'prefixed')
    network = DiffusionNetwork(settings.task, settings.network)
    with pytest.raises(ConfigError, match=reason):
        make_objective(settings, network, load_network(teacher)[2])


def test_a_run_knows_its_teacher_and_goes_on_with_no_other(teacher, tmp_path):
    shutil.copytree(teacher, tmp_path / 'teacher')
    settings = student(tmp_path / 'teacher')
    Trainer(settings, episodes(), tmp_path / 'run')
    record = json.loads((tmp_path / 'run' / 'run.json').read_text())
    assert record['teacher_sha256'] == hashlib.sha256((teacher / 'checkpoint.pt').read_bytes()).hexdigest()
    Trainer(settings, episodes(), tmp_path / 'run')
    del record['teacher_sha256']
    old = tmp_path / 'run' / 'run.json'
    kept = old.read_text()
    old.write_text(json.dumps(record))
    Trainer(settings, episodes(), tmp_path / 'run')  # from before teachers were noted
    old.write_text(kept)
    weights = torch.load(tmp_path / 'teacher' / 'checkpoint.pt', weights_only=True)
    weights['step'] += 1
    torch.save(weights, tmp_path / 'teacher' / 'checkpoint.pt')
    with pytest.raises(ConfigError, match=r'holds a run with a teacher .* allowed the same teacher'):
        Trainer(settings, episodes(), tmp_path / 'run')


def test_a_teacher_of_other_recordings_is_refused(teacher):
    normalizer = load_network(teacher)[2]
    other = dataclasses.replace(normalizer, high={name: tuple(2.0 for _ in v) for name, v in normalizer.high.items()})
    with pytest.raises(ConfigError, match=r'normalizer: got .* allowed that of the run to come'):
        make_objective(student(teacher), DiffusionNetwork(SETTINGS.task, SETTINGS.network), other)
