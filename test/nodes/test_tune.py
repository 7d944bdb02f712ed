"""What `dp_ros tune` chooses from measured times, and that the executor takes the file that it writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.errors import ConfigError
from dp_ros.nodes.policy_executor.inference_settings import PARAMETERS
from dp_ros.paths import locate
from dp_ros.policy.backends.sessions import thread_counts
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.step_budget import Cost
from dp_ros.tools import tune
from dp_ros.tools.tune import TuneSettings, choose, run_tune

PUSHT = locate('models/pusht_mirror')
BUNDLE = load_bundle(PUSHT)


def cost(step: float) -> Cost:
    return Cost(fixed=0.0, step=step)


def test_threads_to_try_go_up_to_the_processors() -> None:
    assert [thread_counts(n) for n in (1, 2, 6, 16)] == [(1,), (1, 2), (1, 2, 4, 6), (1, 2, 4, 8, 16)]


def test_all_steps_are_taken_where_they_fit_with_the_fewest_threads_that_are_worth_it() -> None:
    chosen = choose(BUNDLE, {1: cost(0.002), 2: cost(0.0018)}, deadline=0.1, share=0.8)
    assert chosen == {'threads': 1, 'sampling_steps': 10, 'deadline': 0.1, 'anytime': False}
    assert choose(BUNDLE, {1: cost(0.002), 2: cost(0.001)}, deadline=0.1, share=0.8)['threads'] == 2


def test_where_steps_do_not_fit_as_many_are_taken_as_do() -> None:
    chosen = choose(BUNDLE, {1: cost(0.01)}, deadline=0.1, share=0.8)
    assert chosen == {'threads': 1, 'sampling_steps': 6, 'deadline': 0.1, 'anytime': True}


def test_a_deadline_that_one_step_misses_is_refused_with_what_would_do() -> None:
    reason = r'got 0\.01, allowed 0\.0325 or more: one sampling step takes 0\.02'
    with pytest.raises(ConfigError, match=reason):
        choose(BUNDLE, {1: cost(0.02)}, deadline=0.01, share=0.8)


def test_what_is_written_are_parameters_of_the_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, '_measure', lambda bundle, threads, settings, asked: cost(0.01 / threads))
    said: list[str] = []
    settings = TuneSettings(bundle=PUSHT, output=tmp_path / 'new' / 'tuned.yaml', threads=(1, 2), deadline=0.06)
    assert run_tune(settings, said.append) == 0
    text = (tmp_path / 'new' / 'tuned.yaml').read_text()
    written = yaml.safe_load(text)['/**/policy_executor']['ros__parameters']
    assert written == {
        'threads': 2, 'sampling_steps': 7, 'deadline': 0.06, 'anytime': True,
        'backend': 'onnxruntime', 'execution_provider': 'cpu',
    }  # fmt: skip
    known = {p.name: p for p in PARAMETERS}
    for name, value in written.items():
        known[name].check(value)
    assert any('7 of 10 sampling steps fit into 60 ms, threads: 2' in line for line in said)


def test_at_another_speed_the_deadline_is_its_control_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, '_measure', lambda bundle, threads, settings, asked: cost(0.001))
    settings = TuneSettings(bundle=PUSHT, output=tmp_path / 'tuned.yaml', threads=(1,), policy_speed=2.0)
    assert run_tune(settings, lambda _: None) == 0
    text = (tmp_path / 'tuned.yaml').read_text()
    assert yaml.safe_load(text)['/**/policy_executor']['ros__parameters']['deadline'] == 0.05
    assert 'at policy_speed 2.0' in text


def test_a_machine_is_really_measured() -> None:
    said: list[str] = []
    assert run_tune(TuneSettings(bundle=PUSHT, threads=(1,), rounds=5, deadline=60.0), said.append) == 0
    assert any(line.startswith('      1') for line in said)
    assert 'sampling_steps: 10' in said[-1]


@pytest.mark.parametrize(('name', 'value'), [('deadline', 61.0), ('share', 0.0), ('rounds', 1)])
def test_what_cannot_be_tuned_for_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f'{name}: got {value}, allowed'):
        TuneSettings(bundle=PUSHT, **{name: value})


def test_threads_that_cannot_be_are_refused_before_anything_is_said() -> None:
    for count in (0, -1, 65):
        with pytest.raises(ConfigError, match=f'threads: got {count}, allowed 1 to 64'):
            TuneSettings(bundle=PUSHT, threads=(1, count))


def test_guidance_is_refused_for_a_bundle_trained_without_and_nothing_is_said() -> None:
    said: list[str] = []
    with pytest.raises(ConfigError, match=r'guidance_scale: got 2\.0, allowed 1'):
        run_tune(TuneSettings(bundle=PUSHT, threads=(1,), guidance_scale=2.0), said.append)
    assert said == []


def test_a_guided_policy_is_measured_as_it_will_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('torch', reason='torch is not installed (extra: train)')
    from test.tiny_bundle import TASK, write_tiny_bundle

    folder = write_tiny_bundle(tmp_path / 'guided', task=replace(TASK, guidance='observation'))
    scales: list[float] = []
    monkeypatch.setattr(tune, 'warm_up', lambda policy, _: scales.append(policy.guidance_scale))
    said: list[str] = []
    settings = TuneSettings(bundle=folder, threads=(1,), rounds=5, deadline=60.0, guidance_scale=3.0)
    assert run_tune(settings, said.append) == 0
    assert set(scales) == {3.0}
    assert 'guidance_scale: 3.0' in said[-1]
