"""A bundle's network, from its weights."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load, save

from dp_ros.errors import BundleError, ConfigError
from dp_ros.networks.settings import NetworkSettings
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.files import sha256
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.normalizer import Normalizer
from dp_ros.task.spec import GoalPose, ImageStream, JointStream
from dp_ros.task.yaml_reader import to_plain
from dp_ros.training.export.export import ExportSettings, export_network, export_run
from dp_ros.training.init_from import load_start
from dp_ros.training.learner import Learner
from dp_ros.training.run_folder import load_network, make_network
from dp_ros.training.settings import DistillSettings, ObjectiveSettings
from dp_ros.training.trainer import Trainer
from test.training.test_start import FIRST, TASK, after, episodes

SMALL = NetworkSettings(channels=(8, 16), level_width=32)
BEGUN = dataclasses.replace(FIRST, network=SMALL)
CAMERA = ImageStream(name='camera', topic='/image', height=32, width=32)
POSE = GoalPose(name='pose', topic='/goal_pose', features=('x', 'y'), source='topic')
KINDS = {
    'state': (TASK, SMALL, ObjectiveSettings()),
    'camera': (dataclasses.replace(TASK, streams=(*TASK.streams, CAMERA)), SMALL, ObjectiveSettings()),
    'resnet': (
        dataclasses.replace(TASK, streams=(CAMERA,)), dataclasses.replace(SMALL, camera='resnet18'), ObjectiveSettings()
    ),
    'two cameras': (
        dataclasses.replace(TASK, streams=(CAMERA, dataclasses.replace(CAMERA, name='wrist', topic='/wrist'))),
        SMALL,
        ObjectiveSettings(),
    ),
    'goal and guidance': (dataclasses.replace(TASK, goals=(POSE,), guidance='goal'), SMALL, ObjectiveSettings()),
    'prefix': (TASK, SMALL, ObjectiveSettings(prefix_steps=4)),
    'velocities': (TASK, SMALL, ObjectiveSettings(velocity_weight=0.1)),
    'flow': (TASK, SMALL, ObjectiveSettings(schedule='flow', prediction_type='velocity')),
    'regression': (TASK, SMALL, ObjectiveSettings(schedule='none', prediction_type='sample', diffusion_steps=1)),
    'transformer': (TASK, NetworkSettings(denoiser='transformer', width=16, layers=1, heads=2), ObjectiveSettings()),
    'mlp': (TASK, NetworkSettings(denoiser='mlp', width=16, level_width=8), ObjectiveSettings()),
    'shared cameras': (
        dataclasses.replace(TASK, streams=(CAMERA, dataclasses.replace(CAMERA, name='wrist', topic='/wrist'))),
        dataclasses.replace(SMALL, camera_shared=True),
        ObjectiveSettings(),
    ),
    'one resolution': (TASK, dataclasses.replace(SMALL, channels=(16,), groups=4), ObjectiveSettings()),
}  # fmt: skip


@functools.cache
def export_once(kind: str, weights: str):
    task, network, objective = KINDS[kind]
    settings = dataclasses.replace(FIRST, task=task, network=network, objective=objective)
    torch.manual_seed(3)
    made = make_network(settings).eval()
    ranges = {s.name: (0.0,) * len(s.joints) for s in task.streams if isinstance(s, JointStream)}
    ranges |= {'action': (0.0,)} | {goal.name: (0.0, 0.0) for goal in task.goals}
    normalizer = Normalizer(low=ranges, high={name: (1.0,) * len(low) for name, low in ranges.items()})
    provenance = {'weights': weights, 'config': to_plain(settings), 'step': 7}
    kept = tempfile.TemporaryDirectory()
    export_network(settings, made, normalizer, Path(kept.name) / 'bundle', provenance=provenance, weights=weights)
    return settings, made, normalizer, kept


def exported(folder: Path, kind: str, weights: str = 'float16'):
    """Write a bundle that may be changed; return its settings, network, normalizer and itself."""
    *made, kept = export_once(kind, weights)
    shutil.copytree(Path(kept.name) / 'bundle', folder)
    return *made, load_bundle(folder)


@pytest.mark.parametrize(
    ('kind', 'weights'), [*((kind, 'float16') for kind in KINDS), ('state', 'float32'), ('camera', 'float32')]
)
def test_a_bundle_gives_its_network_back(kind: str, weights: str, tmp_path: Path) -> None:
    settings, trained, normalizer, _ = exported(tmp_path / 'bundle', kind, weights)
    found, network, its_normalizer, record = load_network(tmp_path / 'bundle')
    assert (found, its_normalizer, record) == (settings, normalizer, {'step': 7})
    again, before = network.state_dict(), trained.state_dict()
    assert set(again) == set(before) and all(torch.equal(again[name], value) for name, value in before.items())


def test_a_run_may_begin_with_a_bundle_and_be_resumed(tmp_path: Path) -> None:
    Trainer(BEGUN, episodes(1.0), tmp_path / 'first').run()
    export_run(tmp_path / 'first', tmp_path / 'bundle')
    settings = after(tmp_path / 'bundle', network=SMALL)
    trainer = Trainer(settings, episodes(0.5), tmp_path / 'run')
    begun, given = trainer.learner.network.state_dict(), load_network(tmp_path / 'bundle')
    assert all(torch.equal(begun[name], value) for name, value in given[1].state_dict().items())
    assert to_plain(trainer.normalizer) == to_plain(given[2])
    assert trainer.run().finished
    record = json.loads((tmp_path / 'run' / 'run.json').read_text())
    assert record['start_sha256'] == sha256(tmp_path / 'bundle' / 'bundle.json')
    Trainer(BEGUN, episodes(0.9), tmp_path / 'other').run()
    export_run(tmp_path / 'other', tmp_path / 'bundle', ExportSettings(overwrite=True))
    with pytest.raises(ConfigError, match=r'holds a run begun from .* allowed the same start'):
        Trainer(settings, episodes(0.5), tmp_path / 'run')


def test_a_bundle_may_teach(tmp_path: Path) -> None:
    exported(tmp_path / 'teacher', 'state')
    distill = DistillSettings(teacher=str(tmp_path / 'teacher'), sampling_steps=2, teacher_steps=4)
    settings = dataclasses.replace(BEGUN, objective=ObjectiveSettings(distill=distill))
    with pytest.raises(ConfigError, match=r'distill.teacher .*teacher: normalizer: got'):
        Trainer(settings, episodes(1.0), tmp_path / 'refused')
    recorded = [dataclasses.replace(e, **between_zero_and_one(e)) for e in episodes(1.0)]
    student = Trainer(settings, recorded, tmp_path / 'run')
    begun, taught = student.learner.network.state_dict(), load_network(tmp_path / 'teacher')[1].state_dict()
    assert all(torch.equal(begun[name], value) for name, value in taught.items())
    assert student.run().finished


def between_zero_and_one(episode) -> dict:
    values = episode.actions - episode.actions.min()
    values /= values.max()
    return {'actions': values, 'streams': {'joints': values}}


@pytest.mark.parametrize('kind', ['state', 'camera', 'velocities'])
def test_exported_anew_a_bundle_is_the_same_policy(kind: str, tmp_path: Path) -> None:
    """The same numbers at every level, twice over, and the same sampler and name."""
    *_, first = exported(tmp_path / 'first', kind)
    renamed(tmp_path / 'first', 'mine', sampling_steps=4)
    export_run(tmp_path / 'first', tmp_path / 'second')
    export_run(tmp_path / 'second', tmp_path / 'third')
    third = load_bundle(tmp_path / 'third')
    assert (third.name, third.defaults.sampling_steps, third.provenance['step']) == ('mine', 4, 7)
    assert third.provenance['bundle_sha256'] == sha256(tmp_path / 'second' / 'bundle.json')
    backends = [open_backend(bundle) for bundle in (first, third)]
    recorded, levels = first.parity(), first.schedule.diffusion_steps
    inputs = {name: values[:1] for name, values in recorded.inputs.items()}
    for k in range(0, levels, 7):
        got = [b.predict(recorded.x_k[:1], np.full(1, k), b.encode(inputs)) for b in backends]
        assert got[1] == pytest.approx(got[0], abs=2e-5)


def test_a_new_export_may_have_another_sampler_and_name(tmp_path: Path) -> None:
    exported(tmp_path / 'bundle', 'state')
    asked = ExportSettings(sampler='ddpm', sampling_steps=3, name='other')
    bundle = export_run(tmp_path / 'bundle', tmp_path / 'new', asked)
    assert (bundle.name, bundle.defaults.sampler, bundle.defaults.sampling_steps) == ('other', 'ddpm', 3)
    with pytest.raises(ConfigError, match="sampler: got 'euler', allowed ddim, ddpm"):
        export_run(tmp_path / 'bundle', tmp_path / 'newer', ExportSettings(sampler='euler'))


def renamed(folder: Path, name: str, **defaults: int) -> None:
    manifest = json.loads((folder / 'bundle.json').read_text())
    manifest['name'] = name
    manifest['defaults'].update(defaults)
    (folder / 'bundle.json').write_text(json.dumps(manifest))


def test_the_file_that_a_camera_began_with_is_not_needed_again(tmp_path: Path) -> None:
    """Neither to load what was trained, nor to go on from there."""
    settings, *_ = exported(tmp_path / 'bundle', 'resnet')
    gone = dataclasses.replace(settings.network, camera_weights=str(tmp_path / 'gone.pt'))
    changed(tmp_path / 'bundle', lambda made: made.update(config=to_plain(dataclasses.replace(settings, network=gone))))
    assert load_network(tmp_path / 'bundle')[0].network == gone
    begun = load_start(dataclasses.replace(settings, start=str(tmp_path / 'bundle')))
    assert begun is not None
    after_it = dataclasses.replace(settings, network=gone, start=str(tmp_path / 'bundle'))
    learner = Learner(after_it, begun[1], Accelerator(cpu=True), start=begun[0])
    state = begun[0].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in learner.network.state_dict().items())


def test_a_folder_that_is_neither_run_nor_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'got neither config.yaml nor bundle.json in it, allowed a run'):
        load_network(tmp_path)
    for what, changes in (
        ('start', {'start': 'nowhere/run'}),
        ('distill.teacher', {'objective': ObjectiveSettings(distill=DistillSettings(teacher='nowhere/run'))}),
    ):
        settings = dataclasses.replace(BEGUN, **changes)
        with pytest.raises(ConfigError, match=rf"{what}: got 'nowhere/run', which is not there, allowed a run folder"):
            Trainer(settings, episodes(1.0), tmp_path / 'run')


def test_a_bundle_can_be_exported_anew_in_8_bits(tmp_path: Path) -> None:
    exported(tmp_path / 'bundle', 'state')
    export_run(tmp_path / 'bundle', tmp_path / 'int8', ExportSettings(weights='int8', name='small'))
    bundle = load_bundle(tmp_path / 'int8')
    assert (bundle.name, bundle.provenance['weights'], bundle.provenance['step']) == ('small', 'int8', 7)
    with pytest.raises(BundleError, match=r'bundle small: got no weights.safetensors, allowed a bundle with it'):
        load_network(tmp_path / 'int8')


def test_a_bundle_has_one_network_to_choose(tmp_path: Path) -> None:
    exported(tmp_path / 'bundle', 'state')
    with pytest.raises(ConfigError, match=r"checkpoint: got 'best' of bundle .*, allowed none: it holds one network"):
        load_network(tmp_path / 'bundle', 'best')


def test_a_bundle_that_does_not_say_how_it_was_built_is_refused(tmp_path: Path) -> None:
    exported(tmp_path / 'bundle', 'state')
    changed(tmp_path / 'bundle', lambda made: made.pop('config'))
    with pytest.raises(BundleError, match=r"does not say how its network was built \('config'\)"):
        load_network(tmp_path / 'bundle')


def test_a_configuration_of_another_task_is_refused(tmp_path: Path) -> None:
    settings, *_ = exported(tmp_path / 'bundle', 'state')
    other = dataclasses.replace(settings, task=dataclasses.replace(TASK, exec_horizon=2))
    changed(tmp_path / 'bundle', lambda made: made.update(config=to_plain(other)))
    with pytest.raises(BundleError, match=r'got another task than its network was trained for'):
        load_network(tmp_path / 'bundle')


@pytest.mark.parametrize(
    ('network', 'message'),
    [
        (dataclasses.replace(SMALL, channels=(8, 24)), r'weights.safetensors .*: got shape .*, allowed'),
        (
            dataclasses.replace(SMALL, channels=(8, 16, 16, 16)),
            r'weights.safetensors: lacks denoiser.*, allowed the weights of its network',
        ),
        (dataclasses.replace(SMALL, channels=(8,)), r'weights.safetensors: has too denoiser.*, allowed the weights'),
        (dataclasses.replace(SMALL, groups=2), r'weights.safetensors: prediction: got a difference of'),
    ],
)
def test_a_configuration_that_is_not_the_network_s_is_refused(
    network: NetworkSettings, message: str, tmp_path: Path
) -> None:
    settings, *_ = exported(tmp_path / 'bundle', 'state')
    other = dataclasses.replace(settings, network=network)
    changed(tmp_path / 'bundle', lambda made: made.update(config=to_plain(other)))
    with pytest.raises(BundleError, match=message):
        load_network(tmp_path / 'bundle')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda value: value.double(), r'got torch.float64, allowed torch.float16, torch.float32'),
        (lambda value: value * float('nan'), r'got a number that is not finite'),
        (lambda value: value[..., :1].clone(), r'got shape'),
        (None, r'weights.safetensors: cannot be read'),
    ],
)
def test_weights_that_are_none_are_refused(change, message: str, tmp_path: Path) -> None:
    exported(tmp_path / 'bundle', 'state')
    path = tmp_path / 'bundle' / 'weights.safetensors'
    stored = load(path.read_bytes())
    if change is not None:
        name = next(n for n, value in stored.items() if value.dim() > 1 and value.shape[-1] > 1)
        stored[name] = change(stored[name])
    path.write_bytes(b'not weights' if change is None else save(stored))
    manifest = json.loads((tmp_path / 'bundle' / 'bundle.json').read_text())
    manifest['files'][path.name] = sha256(path)
    (tmp_path / 'bundle' / 'bundle.json').write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=message):
        load_network(tmp_path / 'bundle')


def changed(folder: Path, change) -> None:
    manifest = json.loads((folder / 'bundle.json').read_text())
    change(manifest['provenance'])
    (folder / 'bundle.json').write_text(json.dumps(manifest))


def test_a_bundle_whose_files_were_changed_is_refused(tmp_path: Path) -> None:
    exported(tmp_path / 'bundle', 'state')
    copy = tmp_path / 'copy'
    shutil.copytree(tmp_path / 'bundle', copy)
    (copy / 'denoiser.onnx').write_bytes((copy / 'denoiser.onnx').read_bytes() + b' ')
    with pytest.raises(BundleError, match=r'denoiser.onnx'):
        load_network(copy)
