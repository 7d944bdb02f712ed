"""Copies after an episode's end, left out of the loss where that is asked for."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.errors import ConfigError
from dp_ros.training.objective import Objective
from dp_ros.training.settings import DistillSettings, ObjectiveSettings
from dp_ros.training.trainer import Trainer
from dp_ros.training.windows import WindowDataset, fit_normalizer
from test.training.test_trainer import SETTINGS, TASK, episodes, weights


def windows(count: int) -> WindowDataset:
    made = episodes(count)
    return WindowDataset(made, TASK, fit_normalizer(made, TASK))


def test_only_actions_within_the_episode_count():
    data = windows(2)
    per_episode = len(data) // 2
    found = data.weights(torch.arange(len(data)))
    # 30 ticks, chunks of 16: those that begin at tick 15 or later reach beyond the end.
    reach = (30 - np.arange(per_episode)).clip(max=16)
    for counted in (found[:per_episode], found[per_episode:]):
        np.testing.assert_array_equal((counted > 0).sum(dim=1), reach)
        assert all((row[:n] > 0).all() for row, n in zip(counted, reach, strict=True))
    assert float(found.mean()) == pytest.approx(1.0)
    assert len(found[found > 0].unique()) == 1


@pytest.mark.parametrize('schedule', ['squaredcos_cap_v2', 'flow', 'none'])
def test_what_weighs_nothing_does_not_change_the_loss(schedule):
    kind = {'squaredcos_cap_v2': 'epsilon', 'flow': 'velocity', 'none': 'sample'}[schedule]
    steps = 1 if schedule == 'none' else 100
    objective = Objective(ObjectiveSettings(schedule=schedule, prediction_type=kind, diffusion_steps=steps))
    counted = torch.tensor([[2.0, 2.0, 0.0, 0.0]])

    def loss(wrong: torch.Tensor, weights: torch.Tensor | None) -> float:
        draws = torch.Generator().manual_seed(0)
        return float(objective(lambda x_k, k: x_k * 0 + wrong, (), torch.zeros(1, 4, 1), draws, weights))

    nothing, late = torch.zeros(1, 4, 1), torch.tensor([0.0, 0.0, 5.0, 5.0])[None, :, None]
    assert loss(late, counted) == loss(nothing, counted)
    assert loss(late, None) != loss(nothing, None)
    early = late.flip(1)
    assert loss(early, counted) != loss(nothing, counted)
    assert loss(early, torch.ones(1, 4)) == pytest.approx(loss(early, None))


def test_masked_training_in_parts_gives_the_step_of_the_whole(tmp_path):
    """Parts hold different numbers of copies, and each action that counts must count the same."""
    objective = ObjectiveSettings(schedule='none', diffusion_steps=1, prediction_type='sample', mask_padding=True)
    settings = dataclasses.replace(SETTINGS, objective=objective)
    for accumulate in (1, 4):
        Trainer(dataclasses.replace(settings, accumulate=accumulate), episodes(), tmp_path / f'{accumulate}').run()
    plain = dataclasses.replace(settings, objective=dataclasses.replace(objective, mask_padding=False))
    Trainer(plain, episodes(), tmp_path / 'plain').run()
    whole, parts, unmasked = (weights(tmp_path / name) for name in ('1', '4', 'plain'))
    assert max(float((parts[n] - whole[n]).abs().max()) for n in whole) < 1e-5
    assert max(float((unmasked[n] - whole[n]).abs().max()) for n in whole) > 1e-4


def test_masking_is_refused_for_a_student():
    with pytest.raises(ConfigError, match=r'mask_padding: got true with distill\.teacher, allowed false'):
        ObjectiveSettings(mask_padding=True, distill=DistillSettings(teacher='run'))
