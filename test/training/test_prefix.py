"""Training with a clean prefix: what the network is given, what counts, and that chunks then go on from the last."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.data import Window
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import ConfigError
from dp_ros.networks.settings import NetworkSettings
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.continuity import Overlap, check_continuity, soft_weights
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.recordings.episodes.episode import Episode
from dp_ros.training.export.export import ExportSettings, export_run
from dp_ros.training.objective import Objective
from dp_ros.training.settings import DistillSettings, ObjectiveSettings, OptimizerSettings
from dp_ros.training.trainer import Trainer
from test.training.small_networks import small
from test.training.test_trainer import SETTINGS, episodes

SAMPLE = ObjectiveSettings(prediction_type='sample', prefix_steps=4)
ANYWHERE = dataclasses.replace(
    SETTINGS,
    objective=SAMPLE,
    network=NetworkSettings(denoiser='mlp', width=64, layers=2, level_width=16),
    optimizer=OptimizerSettings(warmup_steps=2, learning_rate=3e-3, ema_max=0.9),
    steps=400,
    batch=64,
)


def undecided() -> list[Episode]:
    """Return episodes that act one way or the other, which nothing observed tells."""
    made = []
    for index in range(10):
        values = np.zeros((30, 2))
        stamps = np.arange(1, 31, dtype=np.int64) * 100_000_000
        actions = np.full((30, 2), 0.5 if index % 2 else -0.5)
        made.append(Episode(name=f'e{index}', stamps=stamps, streams={'joints': values}, actions=actions))
    return made


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp('prefix')
    assert Trainer(ANYWHERE, undecided(), folder / 'run').run().finished
    bundle = export_run(folder / 'run', folder / 'bundle')
    return DiffusionPolicy(bundle, open_backend(bundle))


def window() -> Window:
    return Window(stamps=np.array([10, 11]) * 100_000_000, streams={'joints': np.zeros((2, 2))})


def overlap(value: float, fixed: int, common: int = 0) -> Overlap:
    return Overlap(actions=np.full((16, 2), value), weights=soft_weights(fixed, max(fixed, common), 16))


def test_a_prefix_is_given_without_noise_and_marked():
    seen = []

    def network(x_k, levels, *streams):
        seen.append(x_k)
        return torch.zeros_like(x_k[..., :2])

    actions = torch.full((256, 16, 2), 0.25)
    Objective(SAMPLE)(network, (), actions, torch.Generator().manual_seed(0))
    x_k, marks = seen[0][..., :2], seen[0][..., 2]
    lengths = marks.sum(dim=1)
    assert set(lengths.tolist()) == {0, 1, 2, 3, 4}
    assert torch.equal(marks, (torch.arange(16)[None] < lengths[:, None]).float())
    given = marks.bool()[..., None].expand_as(x_k)
    assert (x_k[given] == 0.25).all()
    assert (x_k[~given] != 0.25).all()


def test_only_the_others_count():
    """A network that is right but for the prefix has no loss; one that is wrong by 1 elsewhere has a loss of 1."""
    actions = torch.rand((64, 16, 2), generator=torch.Generator().manual_seed(1))
    for error in (0.0, 1.0):

        def network(x_k, levels, *streams, wrong=actions + error):
            return torch.where(x_k[..., 2:].bool(), 9.0, wrong)

        loss = Objective(SAMPLE)(network, (), actions, torch.Generator().manual_seed(0))
        assert loss.item() == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize('value', [0.5, -0.5])
@pytest.mark.parametrize('fixed', [1, 4, 6])  # more than it was trained with, too
def test_a_chunk_goes_on_from_the_actions_that_are_fixed(policy, value, fixed):
    for seed in range(5):
        chunk = policy.chunk(window(), np.random.default_rng(seed), overlap(value, fixed))
        np.testing.assert_allclose(chunk.actions[:fixed], value, atol=1e-6)
        np.testing.assert_allclose(chunk.actions[fixed:], value, atol=0.3)


@pytest.mark.parametrize(('fixed', 'given'), [(2, 2), (4, 4), (6, 4)])
def test_no_more_is_given_than_was_trained_with(policy, monkeypatch, fixed, given):
    marks = []
    predict = policy.backend.predict

    def seen(x_k, k, cond):
        marks.append(x_k[..., -1].sum(axis=1))
        return predict(x_k, k, cond)

    monkeypatch.setattr(policy.backend, 'predict', seen)
    policy.chunk(window(), np.random.default_rng(0), overlap(0.5, fixed))
    assert marks
    assert all((count == given).all() for count in marks)


def test_real_time_chunking_draws_the_rest_to_the_last_chunk_as_well(policy):
    elsewhere = np.full((16, 2), 0.5)
    elsewhere[4:] = 0.1  # where what is given does not lead
    given = policy.chunk(window(), np.random.default_rng(0), dataclasses.replace(overlap(0, 4), actions=elsewhere))
    drawn = policy.chunk(window(), np.random.default_rng(0), dataclasses.replace(overlap(0, 4, 16), actions=elsewhere))
    np.testing.assert_array_equal(drawn.actions[:4], given.actions[:4])
    assert (np.abs(drawn.actions[4:8] - 0.1) < np.abs(given.actions[4:8] - 0.1) - 0.1).all()


def test_without_a_prefix_it_may_go_either_way(policy):
    ends = [policy.chunk(window(), np.random.default_rng(seed)).actions[-1, 0] for seed in range(20)]
    assert min(ends) < -0.3
    assert max(ends) > 0.3


@pytest.mark.parametrize('kind', ['unet', 'transformer', 'mlp'])
def test_every_kind_of_network_takes_the_marks(tmp_path, kind):
    network = small(kind)
    settings = dataclasses.replace(
        SETTINGS, steps=2, network=network, objective=ObjectiveSettings(prefix_steps=3), validate_every=2
    )
    Trainer(settings, episodes(), tmp_path / 'run').run()
    export_run(tmp_path / 'run', tmp_path / 'bundle', ExportSettings(torchscript=True))
    bundle = load_bundle(tmp_path / 'bundle')
    assert bundle.schedule.prefix_steps == 3
    for backend in ('onnxruntime', 'torchscript'):
        chunk = DiffusionPolicy(bundle, open_backend(bundle, backend)).chunk(
            window(), np.random.default_rng(0), overlap(0.25, 2)
        )
        np.testing.assert_allclose(chunk.actions[:2], 0.25, atol=1e-6)


def test_a_prefix_asked_of_a_bundle_without_it_is_refused():
    check_continuity('prefix', ScheduleSpec(prefix_steps=2))
    check_continuity('rtc', ScheduleSpec())
    with pytest.raises(ConfigError, match="got 'prefix' for a bundle trained without prefix_steps, allowed none, rtc"):
        check_continuity('prefix', ScheduleSpec())
    with pytest.raises(ConfigError, match=r"got 'prefix' .* allowed none, ensemble"):
        check_continuity('prefix', ScheduleSpec(name='none', diffusion_steps=1, prediction_type='sample'))


def test_prefixes_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match=r'objective.prefix_steps: got 16, allowed 0 to 15'):
        dataclasses.replace(SETTINGS, objective=ObjectiveSettings(prefix_steps=16))
    with pytest.raises(ConfigError, match=r"prefix_steps with schedule 'none': got 2, allowed 0"):
        ObjectiveSettings(schedule='none', diffusion_steps=1, prediction_type='sample', prefix_steps=2)
    with pytest.raises(ConfigError, match=r'prefix_steps: got 2 with distill.teacher, allowed 0'):
        ObjectiveSettings(prefix_steps=2, distill=DistillSettings(teacher='run'))
