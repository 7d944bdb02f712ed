"""Ways to go on from the last chunk, under delays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')

from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import ConfigError
from dp_ros.evaluation.delay_sweep import WAYS, DelaySettings, run_delays, usual_ways
from dp_ros.evaluation.scores import EvaluationSettings
from test.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'tiny')


def test_all_ways_under_all_delays_on_the_same_seeds(tiny: Path, tmp_path: Path) -> None:
    said: list[str] = []
    settings = DelaySettings(
        evaluation=EvaluationSettings(bundle=tiny, episodes=2, seed=3, seconds=3.0),
        ways=('none', 'rtc+blend'),
        delays=(0, 2),
        json=tmp_path / 'new' / 'delays.json',
        plot=tmp_path / 'new' / 'delays.png',
    )
    assert run_delays(settings, said.append) == 0
    found = json.loads((tmp_path / 'new' / 'delays.json').read_text())
    conditions = found['conditions']
    assert [(c['way'], c['delay']) for c in conditions] == [
        ('none', 0), ('rtc+blend', 0), ('none', 2), ('rtc+blend', 2),
    ]  # fmt: skip
    assert all(c['seeds'] == [3, 4] and c['chunks'] > 2 for c in conditions)
    assert [c['continuity'] for c in conditions] == ['none', 'rtc', 'none', 'rtc']
    assert [c.get('blend_steps') for c in conditions] == [0, None, 0, None]
    assert conditions[1]['seams']['jump'] < conditions[0]['seams']['jump'], 'random weights disagree with themselves'
    assert {(c['first'], c['second']): c['pairs'] for c in found['comparisons']} == {
        ('none, delay 0', 'rtc+blend, delay 0'): 2,
        ('none, delay 2', 'rtc+blend, delay 2'): 2,
        ('none, delay 0', 'none, delay 2'): 2,
        ('rtc+blend, delay 0', 'rtc+blend, delay 2'): 2,
    }
    assert (tmp_path / 'new' / 'delays.png').stat().st_size > 10_000
    assert 'rtc+blend' in said[0]


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'ways': ('rtc', 'slerp')}, f"ways: got 'slerp', allowed {', '.join(WAYS)}"),
        ({'ways': ()}, r'ways: got \(none\), allowed one or more'),
        ({'delays': (0, 0)}, 'delays: got 0, 0, allowed one or more different ones'),
    ],
)
def test_what_cannot_be_run_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace('+', r'\+')):
        DelaySettings(evaluation=EvaluationSettings(bundle=Path('b')), **wrong)


def test_the_command_line_offers_the_same_ways() -> None:
    from dp_ros.cli.main import build_parser

    options = build_parser().parse_args(['delays', 'models/pusht_mirror', '--ways', *WAYS])
    assert options.ways == list(WAYS)
    with pytest.raises(SystemExit):
        build_parser().parse_args(['delays', 'models/pusht_mirror', '--ways', 'slerp'])


def test_the_usual_ways_are_those_that_the_bundle_can(tiny: Path, tmp_path: Path) -> None:
    assert usual_ways(tiny) == ('blend', 'rtc+blend', 'ensemble+blend', 'none')
    regression = ScheduleSpec(name='none', diffusion_steps=1, prediction_type='sample')
    settings = SamplerSettings(sampler='regression', sampling_steps=1)
    write_tiny_bundle(tmp_path / 'bc', schedule=regression, defaults=settings)
    assert usual_ways(tmp_path / 'bc') == ('blend', 'ensemble+blend', 'none')
