"""The measured loops do the same work: same samples, same network; and the report says what was measured."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch
from diffusers.training_utils import EMAModel

from dp_ros.cli.main import main
from dp_ros.errors import ConfigError
from dp_ros.evaluation.bench.loop import PlainLoop, SampleDataset
from dp_ros.evaluation.bench.train import (
    SHARED,
    BenchTrainSettings,
    made_up,
    measure,
    measure_processes,
    run_bench_train,
    summary,
)
from dp_ros.policy.normalizer import ACTION
from dp_ros.task.spec import ImageStream
from dp_ros.training.samples.windows import WindowDataset, fit_normalizer
from dp_ros.training.trainer import Trainer
from test.training.test_trainer import SETTINGS, episodes


def test_both_ways_train_on_the_same_samples():
    made = episodes()
    normalizer = fit_normalizer(made, SETTINGS.task)
    ours, plain = WindowDataset(made, SETTINGS.task, normalizer), SampleDataset(made, SETTINGS)
    assert len(ours) == len(plain)
    streams, actions = ours.batch(torch.arange(len(ours)))
    for index in (0, 7, len(ours) - 1):
        sample = plain[index]
        for name, expected in (('joints', streams[0][index]), (ACTION, actions[index])):
            normalized = normalizer.normalize(name, sample[name].numpy().astype(np.float64))
            np.testing.assert_allclose(normalized, expected, atol=1e-5)


def test_the_plain_loop_learns_and_averages():
    made = episodes()
    settings = dataclasses.replace(SETTINGS, steps=60)
    loop = PlainLoop(settings, made, fit_normalizer(made, settings.task))
    ema = EMAModel(loop.network.parameters(), decay=0.9999, use_ema_warmup=True, power=0.75)
    losses = []
    for _ in range(60):
        losses.append(loop.take_step())
        ema.step(loop.network.parameters())
    assert loop.step == 60 and np.mean(losses[-10:]) < np.mean(losses[:10])
    for own, expected in zip(loop.averaged.parameters(), ema.shadow_params, strict=True):
        torch.testing.assert_close(own, expected)


@pytest.mark.slow
def test_the_report_has_every_way_and_thread_count(tmp_path):
    settings = BenchTrainSettings(
        config=SETTINGS, rounds=2, turn=1, bf16=True, threads=(1, 2), json=tmp_path / 'deep' / 'report.json'
    )
    said: list[str] = []
    assert run_bench_train(settings, said.append) == 0
    torch.set_num_threads(1)
    report = json.loads(settings.json.read_text())
    assert [row['threads'] for row in report['rows']] == [1, 2]
    for row in report['rows']:
        assert list(row['ways']) == ['plain', 'ours', 'bf16'] == list(row['parts'])
        assert row['ways']['plain']['ratio'] == 1.0 and 0 < row['data_share'] < 1
        assert sum(row['parts']['ours'].values()) == pytest.approx(1.0, abs=0.05)
        assert row['parts']['ours']['convolution'] > 0
    assert len(said) == 8


@pytest.mark.parametrize('configured', [0, 1])
def test_every_way_runs_on_the_threads_that_are_measured_whatever_the_configuration_says(monkeypatch, configured):
    ran = []

    def spy(take_step):
        def step(self, *arguments):
            ran.append(torch.get_num_threads())
            return take_step(self, *arguments)

        return step

    monkeypatch.setattr(PlainLoop, 'take_step', spy(PlainLoop.take_step))
    monkeypatch.setattr(Trainer, 'train_step', spy(Trainer.train_step))
    config = dataclasses.replace(SETTINGS, threads=configured)
    measure(BenchTrainSettings(config=config, rounds=1, turn=1, threads=(2,)), 2, lambda said: None)
    torch.set_num_threads(1)
    assert set(ran) == {2}


@pytest.mark.slow
def test_processes_share_a_step_and_measure_themselves():
    settings = BenchTrainSettings(config=SETTINGS, rounds=1, turn=2, processes=2)
    row = measure(settings, 1, lambda said: None)
    assert row['processes'] == 2 and row['ways'][SHARED]['ms'] > 0
    with pytest.raises(ConfigError, match='processes: got 2, which failed'):
        measure_processes(dataclasses.replace(SETTINGS, batch=7), 2, 1)
    with pytest.raises(ConfigError, match='processes: got 1, allowed 0, or 2 or more'):
        dataclasses.replace(settings, processes=1)


def test_a_ratio_is_of_rounds_and_its_spread_is_their_middle():
    found = summary([1.0, 2.0, 4.0], [2.0, 4.0, 4.0])
    assert found['ms'] == 2000.0 and found['ratio'] == 2.0
    assert found['ratio_low'] == pytest.approx(1.2) and found['ratio_high'] == pytest.approx(2.0)


def test_made_up_episodes_have_the_tasks_shapes():
    made = made_up(SETTINGS.task, episodes=2, ticks=20)
    assert [e.actions.shape for e in made] == [(20, 2), (20, 2)]
    assert made[0].streams['joints'].shape == (20, 2) and made[0].stamps[1] - made[0].stamps[0] == 100_000_000


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'rounds': 0}, 'rounds: got 0, allowed 1 to 100000'),
        ({'threads': (1, 0)}, 'threads: got 0, allowed 1 to 100000'),
    ],
)
def test_what_cannot_be_measured_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        BenchTrainSettings(config=SETTINGS, **change)


def test_pictures_and_unknown_presets_are_refused():
    camera = ImageStream(name='camera', topic='/camera', height=24, width=32)
    task = dataclasses.replace(SETTINGS.task, streams=(*SETTINGS.task.streams, camera))
    with pytest.raises(ConfigError, match='got a task with pictures or goals, allowed one with numbers alone'):
        BenchTrainSettings(config=dataclasses.replace(SETTINGS, task=task))
    with pytest.raises(ConfigError, match=r"network\.preset|preset: got 'huge', allowed tiny, small"):
        _ = BenchTrainSettings(config=SETTINGS, preset='huge').training


def test_the_command_takes_a_configuration(monkeypatch):
    taken = []

    def run(settings, say):
        taken.append(settings)
        return 0

    monkeypatch.setattr('dp_ros.evaluation.bench.train.run_bench_train', run)
    assert main(['bench', '--training', 'config/train/pusht_state.yaml', '--bf16', '--turn', '2']) == 0
    (settings,) = taken
    assert (settings.config.name, settings.bf16, settings.turn, settings.rounds) == ('pusht_state', True, 2, 20)
