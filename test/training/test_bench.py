"""What `dp_ros bench` measures, and what it says of whom it leaves out. No test is of a time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed')

from torch import Tensor

from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import ConfigError
from dp_ros.evaluation.bench import bench, contenders
from dp_ros.evaluation.bench.bench import BenchSettings, ratio, run_bench, steps_for, take_turns
from dp_ros.evaluation.bench.contenders import Subject, make_chunk, make_subject
from dp_ros.paths import locate
from dp_ros.policy.bundle.manifest import load_bundle

PUSHT = locate('models/pusht_mirror')


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return make_subject('tiny', load_bundle(PUSHT), tmp_path_factory.mktemp('subjects'))


def test_a_report_has_each_combination_and_its_ratios(tmp_path: Path) -> None:
    said: list[str] = []
    settings = BenchSettings(
        bundle=PUSHT, sizes=('tiny',), steps=(1, 2), threads=(1,), rounds=5, seconds=0.1, messages=(), memory=False,
        contenders=('torch, diffusers', 'onnxruntime, diffusers'),
        json=tmp_path / 'new' / 'bench.json', plot=tmp_path / 'bench.png',
    )  # fmt: skip
    assert run_bench(settings, said.append) == 0
    report = json.loads((tmp_path / 'new' / 'bench.json').read_text())
    assert [(r['size'], r['steps'], r['threads'], r['turns']) for r in report['chunks']] == [
        ('tiny', 1, 1, 5), ('tiny', 2, 1, 5),
    ]  # fmt: skip
    names = ['onnxruntime', 'torch, diffusers', 'onnxruntime, diffusers']
    assert [list(r['ms']) for r in report['chunks']] == [names, names]
    assert all(set(r['ratio']) == set(names[1:]) for r in report['chunks'])
    assert (tmp_path / 'bench.png').stat().st_size > 0
    assert any('torch, diffusers' in text and 'tiny (' in text for text in said)


def test_growth_with_cameras_and_horizon_is_of_the_tasks_asked_for(tmp_path: Path) -> None:
    said: list[str] = []
    settings = BenchSettings(
        bundle=PUSHT, sizes=(), steps=(2,), threads=(1,), rounds=5, seconds=0.1, messages=(0, 1000), memory=False,
        contenders=(), cameras=(0, 2), horizons=(16, 64), json=tmp_path / 'bench.json',
    )  # fmt: skip
    assert run_bench(settings, said.append) == 0
    report = json.loads((tmp_path / 'bench.json').read_text())
    rows = report['growth']
    assert [(r['what'], r['value'], r['steps']) for r in rows] == [
        ('cameras', 0, 2), ('cameras', 2, 2), ('horizon', 16, 2), ('horizon', 64, 2),
    ]  # fmt: skip
    own = load_bundle(PUSHT).provenance['parameters']
    assert rows[0]['parameters'] == rows[2]['parameters'] == rows[3]['parameters'] == own
    assert rows[1]['parameters'] > own
    assert rows[0]['ratio'] == rows[2]['ratio'] == 1.0
    assert [row['messages'] for row in report['bags']] == [1000, 1000], 'one of each storage'
    assert any('cameras    2' in text for text in said)


@pytest.mark.parametrize(
    ('asked', 'words'), [({'cameras': (-1,)}, 'cameras: got -1, allowed 0'), ({'horizons': (18,)}, 'multiples of 4')]
)
def test_growth_that_no_task_can_have_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        BenchSettings(bundle=PUSHT, **asked)


def test_contenders_take_turns_and_stop_when_the_time_is_up() -> None:
    calls: list[str] = []
    times = take_turns({'a': lambda: calls.append('a'), 'b': lambda: calls.append('b')}, rounds=1000, seconds=0.0)
    assert [len(t) for t in times.values()] == [5, 5]
    assert calls == ['a', 'b'] * 7, 'two turns more, to warm up'


def test_a_ratio_is_taken_turn_by_turn() -> None:
    own = np.array([1.0, 10.0, 2.0, 5.0])
    assert ratio(list(own * 3), list(own)) == {'p50': 3.0, 'p5': 3.0, 'p95': 3.0}


def test_all_contenders_on_one_network_do_as_many_calls(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    denoise = tiny.network.denoiser.forward

    def counting(*arguments: Tensor) -> Tensor:
        counted.append(1)
        return denoise(*arguments)

    monkeypatch.setattr(tiny.network.denoiser, 'forward', counting)
    chunk = make_chunk('torch, diffusers', tiny, 4, 1)
    assert not isinstance(chunk, str)
    chunk()
    assert len(counted) == 4


@pytest.mark.parametrize(('bits', 'most'), [('float16', 0.02), ('int8', 0.3)])
def test_fewer_bits_give_nearly_the_same_chunk(tiny: Subject, bits: str, most: float) -> None:
    whole, reduced = (make_chunk(name, tiny, 4, 1) for name in ('onnxruntime', f'onnxruntime, {bits}'))
    assert not isinstance(whole, str) and not isinstance(reduced, str)
    difference = float(np.abs(np.asarray(whole()) - np.asarray(reduced())).max())
    assert 0.0 < difference < most


def test_lerobot_that_is_not_installed_is_left_out_with_the_reason(
    tiny: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'lerobot', None)
    reason = make_chunk('lerobot', tiny, 4, 1)
    assert isinstance(reason, str) and reason.startswith('lerobot cannot be imported')


def test_lerobot_is_asked_for_the_same_network(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def config(**fields: object) -> dict[str, object]:
        seen.update(fields)
        return seen

    class Policy:
        def __init__(self, _: object) -> None:
            self.calls = 0

        def eval(self) -> Policy:
            return self

        def select_action(self, batch: dict[str, Tensor]) -> None:
            assert {name: tuple(v.shape) for name, v in batch.items()} == {
                contenders.STATE: (1, 2), contenders.ENVIRONMENT: (1, 4),
            }  # fmt: skip

        def predict_action_chunk(self, _: object) -> str:
            return 'chunk'

    kinds = type('FeatureType', (), {'STATE': 's', 'ENV': 'e', 'ACTION': 'a'})
    modules: dict[str, dict[str, object]] = {
        'lerobot': {}, 'lerobot.configs': {}, 'lerobot.policies': {}, 'lerobot.policies.diffusion': {},
        'lerobot.configs.types': {'FeatureType': kinds, 'PolicyFeature': dict},
        'lerobot.policies.diffusion.configuration_diffusion': {'DiffusionConfig': config},
        'lerobot.policies.diffusion.modeling_diffusion': {'DiffusionPolicy': Policy},
    }  # fmt: skip
    for name, contents in modules.items():
        module = ModuleType(name)
        module.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    chunk = make_chunk('lerobot', tiny, 7, 1)
    assert not isinstance(chunk, str) and chunk() == 'chunk'
    network, task = tiny.settings.network, tiny.settings.task
    assert (seen['down_dims'], seen['num_inference_steps'], seen['horizon']) == (network.channels, 7, task.pred_horizon)


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'sizes': ('huge',)}, "sizes: got 'huge', allowed bundle, tiny"),
        ({'steps': (0,)}, 'steps: got 0, allowed 1 to 1000'),
        ({'contenders': ('jax',)}, "contenders: got 'jax', allowed onnxruntime"),
        ({'rounds': 1}, 'rounds: got 1, allowed 5 to'),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason.replace('(', r'\(')):
        BenchSettings(bundle=PUSHT, **changes)


@pytest.mark.parametrize(
    ('spec', 'asked', 'steps'),
    [
        (ScheduleSpec(), None, (1, 4, 10)),
        (ScheduleSpec(only_steps=4), None, (4,)),
        (ScheduleSpec(only_steps=2), None, (2,)),
        (ScheduleSpec(name='none', diffusion_steps=1, prediction_type='sample'), None, (1,)),
        (ScheduleSpec(), [7, 3], (7, 3)),
    ],
)
def test_steps_are_those_that_the_bundle_can(spec: ScheduleSpec, asked: list[int] | None, steps: tuple[int]) -> None:
    assert steps_for(SimpleNamespace(schedule=spec, name='b'), asked) == steps


def test_steps_that_the_bundle_cannot_are_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, 'measure_bags', lambda _: pytest.fail('measured already'))
    monkeypatch.setattr(bench, 'make_subject', lambda *_: pytest.fail('measured already'))
    with pytest.raises(ConfigError, match='steps: got 4, 101, allowed 1 to 100 for bundle'):
        run_bench(BenchSettings(bundle=PUSHT, steps=(4, 101)), lambda _: None)
