"""A distilled bundle knows one number of sampling steps: what measures and chooses steps keeps to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import ConfigError
from dp_ros.nodes.policy_executor.anytime_steps import measure_cost
from dp_ros.nodes.policy_executor.inference_settings import PARAMETERS, make_settings
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.step_budget import Cost
from dp_ros.tools.tune import TuneSettings, choose, run_tune
from test.tiny_bundle import write_tiny_bundle

VALUES = {p.name: p.default for p in PARAMETERS}


@pytest.fixture(scope='module')
def policy(tmp_path_factory) -> DiffusionPolicy:
    folder: Path = tmp_path_factory.mktemp('bundles') / 'few'
    write_tiny_bundle(folder, schedule=ScheduleSpec(only_steps=4), defaults=SamplerSettings(sampling_steps=4))
    bundle = load_bundle(folder)
    return DiffusionPolicy(bundle, open_backend(bundle))


def test_its_cost_is_measured(policy):
    assert measure_cost(policy).of(4) > 0.0


def test_anytime_has_nothing_to_choose(policy):
    settings = make_settings(policy, VALUES | {'anytime': True}, None, Cost(fixed=0.0, step=0.001))
    steps = [p.settings.sampling_steps for p in settings.paced if isinstance(p, DiffusionPolicy)]
    assert steps == [4]


def test_another_number_of_steps_is_refused(policy):
    with pytest.raises(ConfigError, match='sampling_steps: got 8, allowed 4, which this denoiser was distilled for'):
        make_settings(policy, VALUES | {'sampling_steps': 8})


def test_tuning_takes_all_steps_or_none(policy):
    assert choose(policy.bundle, {1: Cost(fixed=0.0, step=0.01)}, deadline=0.1, share=0.8)['sampling_steps'] == 4
    with pytest.raises(ConfigError, match=r'or more: 4 sampling steps take 0\.1600'):
        choose(policy.bundle, {1: Cost(fixed=0.0, step=0.04)}, deadline=0.1, share=0.8)
    said: list[str] = []
    assert run_tune(TuneSettings(bundle=policy.bundle.folder, threads=(1,), rounds=5, deadline=60.0), said.append) == 0
    assert 'sampling_steps: 4' in said[-1]
    assert '4 steps  each more' in said[1] and '1 step ' not in said[1]


def test_the_prefix_is_asked_only_of_a_bundle_trained_for_it(policy):
    with pytest.raises(ConfigError, match="got 'prefix' for a bundle trained without prefix_steps"):
        make_settings(policy, VALUES | {'continuity': 'prefix'})
    bundle = replace(policy.bundle, model=replace(policy.bundle.model, schedule=ScheduleSpec(prefix_steps=2)))
    trained = DiffusionPolicy(bundle, open_backend(policy.bundle))
    assert make_settings(trained, VALUES | {'continuity': 'prefix'}).continuity == 'prefix'
