"""Velocities as a second output: what they are, what counts, and that chunks carry them in the joints' units."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.data import Chunk, Window
from dp_ros.errors import ConfigError
from dp_ros.networks.settings import NetworkSettings
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.continuity import Overlap, ensembled, soft_weights
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.policy_speed import at_speed
from dp_ros.recordings.episodes.episode import Episode
from dp_ros.training.export.export import ExportSettings, export_run
from dp_ros.training.objective import Objective, chunk_velocities
from dp_ros.training.settings import DistillSettings, ObjectiveSettings, OptimizerSettings
from dp_ros.training.trainer import Trainer
from test.training.small_networks import small
from test.training.test_trainer import SETTINGS, episodes

WEIGHTED = ObjectiveSettings(prediction_type='sample', velocity_weight=0.5)
SLOPES = dataclasses.replace(
    SETTINGS,
    objective=WEIGHTED,
    network=NetworkSettings(denoiser='mlp', width=64, layers=2, level_width=16),
    optimizer=OptimizerSettings(warmup_steps=2, learning_rate=3e-3, ema_max=0.9),
    steps=500,
    batch=64,
    validate_every=500,
)


def ramps() -> list[Episode]:
    """Return episodes in which joint a moves at the velocity that it is said to have, 10 times slower joint b at it."""
    made = []
    for index in range(12):
        speed = -0.5 + index / 11  # per second; a control step is 0.1 s
        t = np.arange(40) * 0.1
        actions = np.stack((speed * t, 0.1 * speed * t), axis=1)
        streams = {'joints': np.full((40, 2), speed)}
        stamps = np.arange(1, 41, dtype=np.int64) * 100_000_000
        made.append(Episode(name=f'e{index}', stamps=stamps, streams=streams, actions=actions))
    return made


def window(speed: float) -> Window:
    return Window(stamps=np.array([10, 11]) * 100_000_000, streams={'joints': np.full((2, 2), speed)})


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp('velocities')
    assert Trainer(SLOPES, ramps(), folder / 'run').run().finished
    return export_run(folder / 'run', folder / 'bundle', ExportSettings(torchscript=True))


def chunk(bundle: Bundle, speed: float, seed: int = 0, **settings: object) -> Chunk:
    policy = DiffusionPolicy(bundle, open_backend(bundle)).with_settings(**settings)
    return policy.chunk(window(speed), np.random.default_rng(seed))


def test_the_velocity_of_a_ramp_is_its_rise_over_a_chunk() -> None:
    actions = torch.linspace(-1.0, 1.0, 16)[None, :, None].repeat(3, 1, 2) * torch.tensor([1.0, 0.5])
    torch.testing.assert_close(chunk_velocities(actions), torch.tensor([1.0, 0.5]).expand(3, 16, 2) * 2 * 16 / 15)


@pytest.mark.parametrize('wrong', [0.0, 2.0])
@pytest.mark.parametrize('kind', ['diffusion', 'regression', 'prefix'])
def test_a_wrong_velocity_costs_its_square_times_the_weight(wrong: float, kind: str) -> None:
    settings = {
        'diffusion': WEIGHTED,
        'regression': dataclasses.replace(WEIGHTED, schedule='none', diffusion_steps=1),
        'prefix': dataclasses.replace(WEIGHTED, prefix_steps=4),
    }[kind]
    actions = torch.rand((64, 16, 2), generator=torch.Generator().manual_seed(1))
    output = torch.cat((actions, chunk_velocities(actions) + wrong), dim=-1)
    loss = Objective(settings)(lambda *_: output, (), actions, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(0.5 * wrong**2, abs=1e-6)


def test_chunks_carry_the_velocities_of_their_motion_in_the_joints_units(bundle: Bundle) -> None:
    assert bundle.schedule.joint_velocities
    for speed in (-0.4, 0.1, 0.4):
        made = chunk(bundle, speed)
        assert made.velocities is not None and made.velocities.shape == made.actions.shape
        # Of the first steps: towards an episode's end chunks are filled up with its last action, the later the more.
        np.testing.assert_allclose(made.velocities[:4, 0], speed, atol=0.12)
        np.testing.assert_allclose(made.velocities[:4, 1], 0.1 * speed, atol=0.012)


def test_at_another_speed_velocities_are_as_many_times_as_large(bundle: Bundle) -> None:
    shown, faster = chunk(bundle, 0.4), chunk(at_speed(bundle, 2.0), 0.4)
    np.testing.assert_array_equal(faster.actions, shown.actions)
    np.testing.assert_allclose(faster.velocities, 2.0 * np.asarray(shown.velocities))


@pytest.mark.parametrize('judged', [False, True])
def test_the_velocities_are_those_of_the_sample_that_is_taken(bundle: Bundle, judged: bool) -> None:
    opened = open_backend(bundle)

    class Keeping:
        """The backend, and what it gave last."""

        def __init__(self) -> None:
            self.backend = opened

        def encode(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
            return self.backend.encode(inputs)

        def predict(self, x_k: np.ndarray, k: np.ndarray, cond: np.ndarray) -> np.ndarray:
            self.given = self.backend.predict(x_k, k, cond)
            return self.given

        def value(self, cond: np.ndarray, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
            return np.abs(actions).sum(axis=(1, 2))

    if judged:
        bundle = dataclasses.replace(bundle, files={**bundle.files, 'critic.onnx': ''})
    taken = set()
    for seed in range(8):
        backend = Keeping()
        policy = DiffusionPolicy(bundle, backend).with_settings(samples=5)
        sampled = policy.sample(policy.inputs(window(0.2)), np.random.default_rng(seed), start=np.full((16, 2), 0.1))
        actions, velocities = np.split(backend.given, 2, axis=-1)
        number = int(np.abs(actions.clip(-1.0, 1.0) - sampled.actions).max(axis=(1, 2)).argmin())
        np.testing.assert_array_equal(sampled.velocities, velocities[number : number + 1])
        taken.add(number)
    assert len(taken) > 1


@pytest.mark.parametrize('continued', [0.0, 0.5, -0.3])
def test_what_is_fixed_moves_as_the_last_chunk_did(bundle: Bundle, continued: float) -> None:
    last = 0.1 + continued * 0.1 * np.arange(16)[:, None] * np.array([1.0, 0.1])
    overlap = Overlap(actions=last, weights=soft_weights(4, 12, 16))
    policy = DiffusionPolicy(bundle, open_backend(bundle))
    made = policy.chunk(window(0.5), np.random.default_rng(0), overlap)
    free = policy.chunk(window(0.5), np.random.default_rng(0))
    assert made.velocities is not None and free.velocities is not None
    np.testing.assert_allclose(made.actions[:4], last[:4], atol=1e-6)
    np.testing.assert_allclose(made.velocities[:4], [[continued, 0.1 * continued]] * 4, atol=1e-5)
    np.testing.assert_allclose(made.velocities[12:], free.velocities[12:], atol=0.2)


@pytest.mark.parametrize('kind', ['unet', 'transformer', 'mlp'])
def test_every_kind_of_network_gives_them_by_every_backend(tmp_path: Path, kind: str) -> None:
    network = small(kind)
    objective = ObjectiveSettings(velocity_weight=1.0, prefix_steps=2)
    settings = dataclasses.replace(SETTINGS, steps=2, network=network, objective=objective, validate_every=2)
    Trainer(settings, episodes(), tmp_path / 'run').run()
    export_run(tmp_path / 'run', tmp_path / 'bundle', ExportSettings(torchscript=True))
    loaded = load_bundle(tmp_path / 'bundle')
    one, other = (
        DiffusionPolicy(loaded, open_backend(loaded, backend)).chunk(window(0.1), np.random.default_rng(0))
        for backend in ('onnxruntime', 'torchscript')
    )
    assert one.velocities is not None and other.velocities is not None
    np.testing.assert_allclose(one.velocities, other.velocities, atol=1e-3)


def test_without_a_weight_there_are_none(tmp_path: Path) -> None:
    Trainer(dataclasses.replace(SETTINGS, steps=2, validate_every=2), episodes(), tmp_path / 'run').run()
    assert chunk(export_run(tmp_path / 'run', tmp_path / 'bundle'), 0.1).velocities is None


def test_an_ensemble_averages_velocities_where_all_chunks_have_them() -> None:
    def made(step: int, value: float | None) -> Chunk:
        velocities = None if value is None else np.full((4, 1), value)
        actions = np.full((4, 1), float(step))
        return Chunk(stamp=step * 100, control_dt=100, joints=('a',), actions=actions, velocities=velocities)

    mixed = ensembled([made(1, 1.0), made(3, 2.0)], decay=0.0)
    np.testing.assert_allclose(mixed.velocities, [[1.5], [1.5], [2.0], [2.0]])
    np.testing.assert_allclose(mixed.actions, [[2.0], [2.0], [3.0], [3.0]])
    assert ensembled([made(1, None), made(3, 2.0)]).velocities is None


def test_weights_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'objective.velocity_weight: got -1.0, allowed 0 to 100'):
        ObjectiveSettings(velocity_weight=-1.0)
    with pytest.raises(ConfigError, match=r'objective.velocity_weight: got 0.5 with distill.teacher, allowed 0'):
        ObjectiveSettings(velocity_weight=0.5, distill=DistillSettings(teacher='run'))
    task = dataclasses.replace(SETTINGS.task, pred_horizon=1, exec_horizon=1)
    with pytest.raises(ConfigError, match=r'velocity_weight: got one with pred_horizon 1, allowed 0'):
        dataclasses.replace(SETTINGS, task=task, network=NetworkSettings(denoiser='mlp'), objective=WEIGHTED)
