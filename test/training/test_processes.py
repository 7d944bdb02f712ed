"""Training by several processes, in parts, in bfloat16, compiled: the same policy is learned."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.cli.main import build_parser
from dp_ros.errors import ConfigError, DataError
from dp_ros.networks.settings import NetworkSettings
from dp_ros.training.random_streams import batches
from dp_ros.training.run_folder import load_network
from dp_ros.training.samples.windows import WindowDataset
from dp_ros.training.settings import ObjectiveSettings
from dp_ros.training.trainer import Trainer
from test.training.test_trainer import SETTINGS, episodes, same, weights

HERE = Path(__file__).parent


def train_by_two(folder: Path, stop: int) -> str:
    """Run `shared_run` in two processes; returns what they showed."""
    launch = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    done = subprocess.run(
        [*launch, str(HERE / 'shared_run.py'), str(folder), str(stop)],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(HERE.parents[1])},
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_two_processes_stopped_and_resumed_learn_what_one_learns_from_both_parts(tmp_path):
    shown = train_by_two(tmp_path / 'shared', 6)
    assert shown.count('interrupted at step 7') == 1
    assert torch.load(tmp_path / 'shared/checkpoint.pt', weights_only=True)['step'] == 7
    train_by_two(tmp_path / 'shared', -1)
    Trainer(dataclasses.replace(SETTINGS, accumulate=2), episodes(), tmp_path / 'alone').run()
    alone, shared = weights(tmp_path / 'alone'), weights(tmp_path / 'shared')
    for name in alone:
        np.testing.assert_allclose(shared[name], alone[name], atol=1e-6)
    validated = [
        [float(row.split(',')[2]) for row in (tmp_path / run / 'curves.csv').read_text().split()[1:]]
        for run in ('alone', 'shared')
    ]
    np.testing.assert_allclose(validated[0], validated[1], atol=1e-5)


def test_a_batch_in_parts_gives_the_step_of_the_whole(tmp_path):
    """With regression, which draws no noise."""
    objective = ObjectiveSettings(schedule='none', diffusion_steps=1, prediction_type='sample')
    settings = dataclasses.replace(SETTINGS, objective=objective)
    for accumulate in (1, 4):
        changed = dataclasses.replace(settings, accumulate=accumulate)
        Trainer(changed, episodes(), tmp_path / str(accumulate)).run()
    whole, parts = weights(tmp_path / '1'), weights(tmp_path / '4')
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], atol=1e-5)


def test_a_batch_that_cannot_be_shared_evenly_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'batch: got 8, allowed multiples of 3 \(1 processes, accumulate 3\)'):
        Trainer(dataclasses.replace(SETTINGS, accumulate=3), episodes(), tmp_path / 'run')


def test_the_order_of_samples_is_a_function_of_seed_and_step():
    def order(first, seed=0):
        return [b.tolist() for b in batches(10, 3, seed=seed, first=first, last=9)]

    whole = order(0)
    assert [order(first) for first in range(9)] == [whole[first:] for first in range(9)]
    assert order(0, seed=1) != whole
    for epoch in range(3):
        drawn = [sample for batch in whole[3 * epoch : 3 * epoch + 3] for sample in batch]
        assert len(set(drawn)) == 9 and set(drawn) < set(range(10))


@pytest.mark.slow
@pytest.mark.parametrize('changes', [{'precision': 'bf16'}, {'compile': True}], ids=['bf16', 'compiled'])
def test_faster_ways_learn_the_same_within_their_rounding(tmp_path, changes):
    network = NetworkSettings(denoiser='mlp', width=16, layers=1, level_width=16)  # small: compiling takes long
    settings = dataclasses.replace(SETTINGS, network=network, steps=4)
    Trainer(settings, episodes(), tmp_path / 'plain').run()
    Trainer(dataclasses.replace(settings, **changes), episodes(), tmp_path / 'fast').run()
    plain, fast = weights(tmp_path / 'plain'), weights(tmp_path / 'fast')
    assert not same(plain, fast)
    learnt = {name: value.dtype for name, value in fast.items()}
    assert set(learnt.values()) == {torch.float32} and set(learnt) == set(plain)
    # Adam takes a step of the learning rate whatever the gradient's size, so the losses are compared.
    rows = [(tmp_path / run / 'curves.csv').read_text().split()[-1].split(',') for run in ('plain', 'fast')]
    losses = [[float(value) for value in row[1:3]] for row in rows]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)
    load_network(tmp_path / 'fast')


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_step(tmp_path, monkeypatch):
    trainer = Trainer(SETTINGS, episodes(), tmp_path / 'run')
    batch = WindowDataset.batch
    calls = iter(range(100))

    def spoiled(self, indices):
        streams, actions = batch(self, indices)
        return streams, actions * (float('nan') if next(calls) == 2 else 1.0)

    monkeypatch.setattr(WindowDataset, 'batch', spoiled)
    with pytest.raises(DataError, match='loss at step 2: got nan'):
        trainer.run()
    assert not (tmp_path / 'run/checkpoint.pt').exists()


def test_torchrun_leaves_the_trains_own_options_alone(capsys):
    from torch.distributed.run import parse_args

    given = ['train', '--config', 'c', '--data', 'd', '--folder', 'r', '--cache', 'k', '--workers', '2']
    launched = parse_args(['--nproc-per-node', '2', '-m', 'dp_ros', *given])
    assert launched.training_script_args == given
    options = build_parser().parse_args(given)
    assert options.folder == build_parser().parse_args([*given[:5], '--run', 'r']).folder == Path('r')
    with pytest.raises(SystemExit):  # why there is --folder
        parse_args(['--nproc-per-node', '2', '-m', 'dp_ros', 'train', '--run', 'r'])
