"""Training: exact resume, interruption, what a run folder refuses, and export of what was trained."""

import dataclasses
import os
import shutil
import signal

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.data import Window
from dp_ros.diffusion.coefficients import coefficients_for
from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import BundleError, ConfigError, DataError
from dp_ros.evaluation.rollouts import rollouts_of
from dp_ros.networks.settings import NetworkSettings
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.recordings.episodes.episode import Episode
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, TaskSpec
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.training.export.export import ExportSettings, export_run
from dp_ros.training.objective import Objective
from dp_ros.training.run_folder import load_network, locked_folder
from dp_ros.training.samples.windows import WindowDataset, split_episodes
from dp_ros.training.settings import (
    DistillSettings,
    ObjectiveSettings,
    OptimizerSettings,
    RolloutSettings,
    TrainSettings,
)
from dp_ros.training.trainer import Trainer
from test.training.small_networks import small

TASK = TaskSpec(
    streams=(JointStream(name='joints', topic='/joint_states', joints=('a', 'b'), units=('rad', 'm')),),
    action=ActionSpec(topic='/command', joints=('a', 'b'), units=('rad', 'm')),
)
SETTINGS = TrainSettings(
    name='tiny',
    task=TASK,
    network=NetworkSettings(channels=(16, 32), level_width=16),
    optimizer=OptimizerSettings(warmup_steps=2),
    steps=12,
    batch=8,
    validation_share=0.2,
    validate_every=4,
    checkpoint_every=5,
    threads=1,
)

REGRESSION = ObjectiveSettings(schedule='none', prediction_type='sample', diffusion_steps=1)


def episodes(count: int = 5) -> list[Episode]:
    made = []
    for index in range(count):
        phase = np.linspace(0, 3, 30)[:, None] + index
        values = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)
        stamps = np.arange(1, 31, dtype=np.int64) * 100_000_000
        made.append(Episode(name=f'e{index}', stamps=stamps, streams={'joints': values}, actions=values * 0.5))
    return made


def weights(folder) -> dict[str, torch.Tensor]:
    return load_network(folder)[1].state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'whole'
    assert Trainer(SETTINGS, episodes(), folder).run().finished
    return folder


def test_validation_takes_a_batch_at_a_time_and_weighs_every_window_alike(tmp_path, monkeypatch):
    settings = dataclasses.replace(SETTINGS, objective=REGRESSION, batch=9)
    trainer = Trainer(settings, episodes(), tmp_path / 'run')
    held, learner = trainer.validation_set, trainer.learner
    assert held is not None and len(held) % 9, 'the last batch is smaller'
    sizes, batch = [], WindowDataset.batch

    def counted(self, indices):
        sizes.append(len(indices))
        return batch(self, indices)

    monkeypatch.setattr(WindowDataset, 'batch', counted)
    found = learner.validate(held)
    assert max(sizes) == 9 and sum(sizes) == len(held)
    alone = [held.batch(i[None]) for i in torch.arange(len(held))]
    with torch.no_grad():
        every = [learner.objective(learner.network, *window, torch.Generator()) for window in alone]
    assert found == pytest.approx(float(torch.stack(every).mean()), rel=1e-4)


def test_a_second_training_in_the_same_folder_is_refused_and_one_after_it_goes_on(tmp_path):
    """Both would write its checkpoints."""
    trainer = Trainer(SETTINGS, episodes(), tmp_path / 'run')
    with locked_folder(tmp_path / 'run', 'training'), pytest.raises(ConfigError, match='another training is at work'):
        trainer.run()
    assert trainer.run().finished


def test_a_run_leaves_its_record(uninterrupted):
    present = {p.name for p in uninterrupted.iterdir()}
    assert {'config.yaml', 'run.json', 'checkpoint.pt', 'curves.csv', 'curves.png'} <= present
    assert any(name.startswith('events.out.tfevents') for name in present)
    assert [r.split(',')[0] for r in (uninterrupted / 'curves.csv').read_text().split()] == ['step', '4', '8', '12']


def test_a_run_stopped_after_a_checkpoint_resumes_to_the_same_weights(uninterrupted, tmp_path, monkeypatch):
    """As after SIGKILL: the process is gone at step 7, and the checkpoint is of step 5."""
    trainer = Trainer(SETTINGS, episodes(), tmp_path / 'run')
    step = Trainer.train_step

    def die(self, indices):
        if self.step == 7:
            raise MemoryError
        return step(self, indices)

    monkeypatch.setattr(Trainer, 'train_step', die)
    with pytest.raises(MemoryError):
        trainer.run()
    monkeypatch.undo()
    resumed = Trainer(SETTINGS, episodes(), tmp_path / 'run')
    assert resumed.step == 5
    assert resumed.run().finished
    assert same(weights(tmp_path / 'run'), weights(uninterrupted))


def test_ctrl_c_ends_with_a_checkpoint_and_the_run_goes_on_from_it(uninterrupted, tmp_path, monkeypatch):
    step = Trainer.train_step

    def interrupt(self, indices):
        if self.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, indices)

    monkeypatch.setattr(Trainer, 'train_step', interrupt)
    result = Trainer(SETTINGS, episodes(), tmp_path / 'run').run()
    assert not result.finished and result.step == 7
    monkeypatch.undo()
    resumed = Trainer(SETTINGS, episodes(), tmp_path / 'run')
    assert resumed.step == 7
    resumed.run()
    assert same(weights(tmp_path / 'run'), weights(uninterrupted))


def test_a_run_goes_on_with_more_steps_and_other_threads(uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path / 'run')
    before = weights(tmp_path / 'run')
    more = dataclasses.replace(SETTINGS, steps=SETTINGS.steps + 3, threads=1)
    resumed = Trainer(more, episodes(), tmp_path / 'run')
    assert resumed.step == SETTINGS.steps
    assert resumed.run().step == SETTINGS.steps + 3
    assert not same(weights(tmp_path / 'run'), before)
    assert read_yaml(tmp_path / 'run' / 'config.yaml', TrainSettings) == more


def test_another_configuration_in_the_same_folder_is_refused(uninterrupted):
    with pytest.raises(ConfigError, match=r'holds a run of \d+ steps, got 2; allowed as many or more'):
        Trainer(dataclasses.replace(SETTINGS, steps=2), episodes(), uninterrupted)
    with pytest.raises(ConfigError, match=r'whose batch differs'):
        Trainer(dataclasses.replace(SETTINGS, batch=4), episodes(), uninterrupted)


def test_other_data_in_the_same_folder_is_refused(uninterrupted):
    with pytest.raises(ConfigError, match=r'allowed the same recordings'):
        Trainer(SETTINGS, episodes(6), uninterrupted)


def test_a_damaged_checkpoint_is_named(uninterrupted, tmp_path):
    for name in ('config.yaml', 'run.json'):
        (tmp_path / name).write_text((uninterrupted / name).read_text())
    (tmp_path / 'checkpoint.pt').write_bytes(b'not a checkpoint')
    with pytest.raises(DataError, match=r'checkpoint\.pt: cannot be read'):
        Trainer(SETTINGS, episodes(), tmp_path)


def test_whole_episodes_are_held_out():
    train, held = split_episodes(episodes(), 0.2, seed=0)
    assert len(held) == 1 and len(train) == 4
    assert {e.name for e in train}.isdisjoint(e.name for e in held)
    with pytest.raises(DataError, match='would hold out 1 of 1'):
        split_episodes(episodes(1), 0.2, seed=0)


@pytest.mark.parametrize('half', [True, False])
def test_an_exported_bundle_gives_the_networks_numbers(uninterrupted, tmp_path, half):
    asked = ExportSettings(weights='float16' if half else 'float32', torchscript=True)
    bundle = export_run(uninterrupted, tmp_path / 'bundle', asked)
    parity = bundle.parity()
    for name in ('onnxruntime', 'torchscript'):
        backend = open_backend(load_bundle(bundle.folder), backend=name)
        cond = backend.encode(parity.inputs)
        np.testing.assert_allclose(backend.predict(parity.x_k, parity.k, cond), parity.prediction, atol=1e-5)
    network = load_network(uninterrupted)[1]
    with torch.no_grad():
        eager = network(*(torch.from_numpy(np.array(a)) for a in (parity.x_k, parity.k, *parity.inputs.values())))
    np.testing.assert_allclose(parity.prediction, eager.numpy(), atol=2e-2 if half else 1e-6)


def test_an_existing_bundle_is_not_overwritten(uninterrupted, tmp_path):
    export_run(uninterrupted, tmp_path / 'bundle')
    with pytest.raises(BundleError):
        export_run(uninterrupted, tmp_path / 'bundle')


def test_a_camera_goes_all_the_way_from_episodes_to_a_bundle(tmp_path):
    rng = np.random.default_rng(0)
    camera = ImageStream(name='camera', topic='/camera/color/image_raw', height=24, width=32)
    task = dataclasses.replace(TASK, streams=(*TASK.streams, camera))
    seen = [
        dataclasses.replace(e, streams={**e.streams, 'camera': rng.integers(0, 255, (30, 24, 32, 3), np.uint8)})
        for e in episodes(3)
    ]
    settings = dataclasses.replace(SETTINGS, task=task, steps=2)
    assert Trainer(settings, seen, tmp_path / 'run').run().finished
    bundle = export_run(tmp_path / 'run', tmp_path / 'bundle', ExportSettings(torchscript=True))
    window = Window(stamps=seen[0].stamps[:2], streams={n: v[:2] for n, v in seen[0].streams.items()})
    chunks = [
        DiffusionPolicy(bundle, open_backend(bundle, backend=name)).chunk(window, np.random.default_rng(0))
        for name in ('onnxruntime', 'torchscript')
    ]
    np.testing.assert_allclose(chunks[0].actions, chunks[1].actions, atol=1e-3)
    assert chunks[0].stamp == window.stamp


def test_regression_is_trained_and_run_by_the_same_code(tmp_path):
    objective = ObjectiveSettings(schedule='none', diffusion_steps=1, prediction_type='sample')
    network = NetworkSettings(channels=(16, 32), level_width=16)
    settings = dataclasses.replace(SETTINGS, objective=objective, network=network, steps=150, validate_every=150)
    trainer = Trainer(settings, episodes(), tmp_path / 'run')
    assert trainer.run().validation_loss < 0.1
    bundle = export_run(tmp_path / 'run', tmp_path / 'bundle')
    assert bundle.defaults.sampling_steps == 1 and not bundle.schedule.noisy
    policy = DiffusionPolicy(bundle, open_backend(bundle))
    made = episodes(1)[0]
    window = Window(stamps=made.stamps[8:10], streams={'joints': made.streams['joints'][8:10]})
    first, second = (policy.chunk(window, np.random.default_rng(seed)).actions for seed in (0, 1))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[:8], made.actions[9:17], atol=0.2)


def test_the_best_checkpoint_by_rollouts_is_kept_and_exported(tmp_path):
    scores = iter([(0.5, 0.1), (0.9, 0.2), (0.7, 0.9)])
    networks = []

    def roll_out(settings, network, normalizer):
        networks.append({name: value.clone() for name, value in network.state_dict().items()})
        score, success = next(scores)
        return {'mean_score': score, 'success_rate': success}

    settings = dataclasses.replace(SETTINGS, rollouts=RolloutSettings(world='pusht', every=4))
    Trainer(settings, episodes(), tmp_path / 'run', roll_out=roll_out).run()
    _, network, _, record = load_network(tmp_path / 'run')
    assert record['step'] == 8 and record['rollouts'] == {'mean_score': 0.9, 'success_rate': 0.2}
    assert same(network.state_dict(), networks[1])
    last = load_network(tmp_path / 'run', 'last')[1]
    assert same(last.state_dict(), networks[2]) and not same(last.state_dict(), networks[1])
    assert export_run(tmp_path / 'run', tmp_path / 'bundle').provenance['step'] == 8


def test_rollouts_play_episodes_of_the_world_and_keep_the_best_checkpoint(tmp_path):
    pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')
    joints = {'joints': ('pusher_x', 'pusher_y'), 'units': ('m', 'm')}
    streams = (JointStream(name='joints', topic='/joint_states', **joints),)
    task = dataclasses.replace(TASK, streams=streams, action=ActionSpec(topic='/command', **joints))
    rollouts = RolloutSettings(world='pusht', every=2, episodes=1, seconds=1.0)
    settings = dataclasses.replace(SETTINGS, task=task, steps=2, rollouts=rollouts)
    recorded = [
        dataclasses.replace(e, streams={'joints': 0.25 + 0.1 * e.streams['joints']}, actions=0.25 + 0.1 * e.actions)
        for e in episodes()
    ]
    Trainer(settings, recorded, tmp_path / 'run', roll_out=rollouts_of(settings)).run()
    header, row = (tmp_path / 'run' / 'rollouts.csv').read_text().split()
    assert (header, row.split(',')[0]) == ('step,mean_score,success_rate', '2')
    found = load_network(tmp_path / 'run')[3]['rollouts']
    assert 0.0 <= found['mean_score'] < 1.0 and found['success_rate'] == 0.0


def test_rollouts_do_not_change_what_is_learned(uninterrupted, tmp_path):
    settings = dataclasses.replace(SETTINGS, rollouts=RolloutSettings(world='pusht', every=3))
    played = {'mean_score': 0.0, 'success_rate': 0.0}
    Trainer(settings, episodes(), tmp_path / 'run', roll_out=lambda *_: played).run()
    assert same(load_network(tmp_path / 'run', 'last')[1].state_dict(), weights(uninterrupted))


def test_flow_matching_is_trained_and_sampled_in_two_steps(tmp_path):
    objective = ObjectiveSettings(schedule='flow', prediction_type='velocity')
    network = NetworkSettings(channels=(16, 32), level_width=16)
    settings = dataclasses.replace(SETTINGS, objective=objective, network=network, steps=300, validate_every=300)
    Trainer(settings, episodes(), tmp_path / 'run').run()
    bundle = export_run(tmp_path / 'run', tmp_path / 'bundle', ExportSettings(sampling_steps=2))
    assert (bundle.defaults.sampler, bundle.defaults.sampling_steps) == ('euler', 2)
    policy = DiffusionPolicy(bundle, open_backend(bundle))
    made = episodes(1)[0]
    window = Window(stamps=made.stamps[8:10], streams={'joints': made.streams['joints'][8:10]})
    chunks = np.array([policy.chunk(window, np.random.default_rng(seed)).actions for seed in range(20)])
    # The data has one way to go; what noise leaves of it is small.
    error = np.abs(chunks.mean(axis=0)[:8] - made.actions[9:17]).mean()
    assert error < 0.12 < np.abs(made.actions[9:17]).mean() / 2


@pytest.mark.parametrize('prediction_type', ['epsilon', 'sample', 'velocity'])
def test_the_networks_target_gives_back_the_actions(prediction_type):
    objective = Objective(ObjectiveSettings(prediction_type=prediction_type))
    generator = torch.Generator().manual_seed(0)
    actions, noise = (torch.randn((6, 4, 2), generator=generator).clamp(-1, 1) for _ in range(2))
    levels = torch.tensor([0, 10, 30, 50, 70, 80])
    x_k, target = objective.noised(actions, noise, levels)
    spec = ScheduleSpec(prediction_type=prediction_type)
    table = coefficients_for(spec, SamplerSettings(sampling_steps=100))
    for row, k in enumerate(levels.tolist()):
        i = table.levels.tolist().index(k)
        x_0 = table.gain[i] * (table.from_x[i] * x_k[row].numpy() + table.from_m[i] * target[row].numpy())
        np.testing.assert_allclose(x_0, actions[row].numpy(), atol=1e-4)


@pytest.mark.parametrize(('loss', 'each'), [('mse', 9.0), ('l1', 3.0)])
def test_errors_count_squared_or_as_they_are_and_later_ones_less(loss, each):
    asked = ObjectiveSettings(schedule='none', diffusion_steps=1, prediction_type='sample', loss=loss, step_weight=0.5)
    actions = torch.zeros(5, 4, 2)
    actions[:, 1] = 3.0  # a network that says 0 is wrong about the second of four: 1/2 of 1 + 1/2 + 1/4 + 1/8

    def lost(**given):
        return Objective(asked)(lambda x_k, *_: x_k, (), actions, torch.Generator(), **given).item()

    assert lost() == pytest.approx(each * 0.5 / 1.875)
    assert lost(counted=torch.tensor([True, True, False, False])[None, :, None]) == pytest.approx(each * 0.5 / 1.5)
    assert lost(counted=torch.zeros(5, 4, 1, dtype=torch.bool)) == 0.0


@pytest.mark.parametrize(('name', 'value'), [('loss', 'l1'), ('step_weight', 0.9)])
def test_a_student_learns_by_the_usual_loss_alone(name, value):
    with pytest.raises(ConfigError, match=f'objective.{name}: got {value} with distill.teacher, allowed'):
        ObjectiveSettings(distill=DistillSettings(teacher='run'), **{name: value})


@pytest.mark.parametrize('kind', ['transformer', 'mlp'])
def test_every_kind_of_network_is_trained_resumed_and_exported(tmp_path, monkeypatch, kind):
    network = small(kind)
    settings = dataclasses.replace(SETTINGS, network=network)
    Trainer(settings, episodes(), tmp_path / 'whole').run()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, 'report', _stop_after(7))
        with pytest.raises(KeyboardInterrupt):
            Trainer(settings, episodes(), tmp_path / 'parted').run()
    Trainer(settings, episodes(), tmp_path / 'parted').run()
    assert same(weights(tmp_path / 'parted'), weights(tmp_path / 'whole'))
    bundle = export_run(tmp_path / 'whole', tmp_path / 'bundle', ExportSettings(torchscript=True))
    parity = bundle.parity()
    for name in ('onnxruntime', 'torchscript'):
        backend = open_backend(bundle, backend=name)
        predicted = backend.predict(parity.x_k, parity.k, backend.encode(parity.inputs))
        np.testing.assert_allclose(predicted, parity.prediction, atol=1e-5)


def _stop_after(step):
    original = Trainer.report

    def report(self, *arguments):
        original(self, *arguments)
        if self.step > step:
            raise KeyboardInterrupt

    return report


def test_rollouts_in_a_world_with_another_robot_are_refused_before_training(tmp_path):
    settings = dataclasses.replace(SETTINGS, rollouts=RolloutSettings(world='pusht'))
    with pytest.raises(ConfigError, match='training of tiny does not fit the world pusht: joints: got a, b'):
        rollouts_of(settings)
    with pytest.raises(ConfigError, match=r"rollouts.world: got 'pusht' and no function that plays episodes"):
        Trainer(settings, episodes(), tmp_path / 'run')


def test_a_folder_that_holds_something_else_is_no_run_folder(tmp_path):
    (tmp_path / 'metadata.yaml').write_text('a bag')
    with pytest.raises(ConfigError, match='got one that holds something else'):
        Trainer(SETTINGS, episodes(), tmp_path)


@pytest.mark.parametrize(
    ('settings', 'changes', 'message'),
    [
        (OptimizerSettings, {'weight_decay': -1.0}, r'optimizer\.weight_decay: got -1\.0, allowed 0 to 1'),
        (OptimizerSettings, {'warmup_steps': -1}, r'optimizer\.warmup_steps: got -1, allowed 0 to'),
        (OptimizerSettings, {'ema_power': 11.0}, r'optimizer\.ema_power: got 11\.0, allowed 0 to 10'),
        (OptimizerSettings, {'betas': (0.9, 1.0)}, r'optimizer\.betas: got \[0\.9, 1\.0\], allowed two numbers'),
        (ObjectiveSettings, {'diffusion_steps': 0}, r'objective\.diffusion_steps: got 0, allowed 1 to 1000'),
        (RolloutSettings, {'seconds': 0.5}, r'rollouts\.seconds: got 0\.5, allowed 1 to 3600 s'),
    ],
)
def test_a_setting_out_of_its_range_is_refused(settings, changes, message):
    with pytest.raises(ConfigError, match=message):
        settings(**changes)
