"""What is asked for on the command line reaches what does it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

pytest.importorskip('onnxruntime', reason='onnxruntime is not installed (extra: runtime)')
pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from dp_ros.cli.arguments import CommandParser, made_of
from dp_ros.cli.main import build_parser, main
from dp_ros.errors import ConfigError
from dp_ros.evaluation import episodes as evaluation
from dp_ros.evaluation.scores import EvaluationSettings
from dp_ros.options import REQUIRED, check_options, option
from dp_ros.policy.continuity import Continuity

BUNDLE = 'models/push_block_state'
ASKED: dict[str, Any] = {
    'episodes': 3,
    'seed': 7,
    'noise_seed': 3,
    'policy_speed': 1.25,
    'sampler': 'ddpm',
    'sampling_steps': 5,
    'warm_steps': 2,
    'samples': 4,
    'exec_horizon': 6,
    'guidance_scale': 2.0,
    'continuity': 'rtc',
    'blend_steps': 1,
    'seconds': 9.0,
    'instructions': 'paraphrases',
    'threads': 1,
    'backend': 'torchscript',
}
DIRECT: dict[str, Any] = {**ASKED, 'fault': 'object_heavier', 'latency': 0.1, 'workers': 2, 'record': Path('bags')}
# Of sequence models, and refused for others.
SEQUENCE: dict[str, Any] = {'planning': 'beam', 'asked_return': -3.0, 'beams': 4, 'temperature': 0.5}
KEPT: dict[str, Any] = {'keep_clear': ('obstacle_0:0.3',), 'keep_within': ('point_x:-1:1', 'point_y:0:1')}
ROS: dict[str, Any] = {**ASKED, 'through': 'ros', 'rate': 2.0, 'realtime_priority': 5, 'cpu_dma_latency': 0}
ROS |= {'picture_size': '640x480'}


@pytest.fixture
def asked(monkeypatch) -> list[EvaluationSettings]:
    """Return the settings that were evaluated with; nothing is run."""
    seen: list[EvaluationSettings] = []

    def evaluate(settings: EvaluationSettings) -> dict[str, Any]:
        seen.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, 'evaluate_direct', evaluate)
    try:
        from dp_ros.tools import graph_evaluation as through_ros
    except ModuleNotFoundError:
        return seen
    monkeypatch.setattr(through_ros, 'evaluate_ros', evaluate)
    return seen


@pytest.mark.parametrize('name', ['evaluate', 'latency'])
def test_a_command_takes_every_continuity_that_a_policy_has(name):
    parser = build_parser()
    for continuity in get_args(Continuity):
        assert parser.parse_args([name, BUNDLE, '--continuity', continuity]).continuity == continuity


def options(values: dict[str, Any]) -> list[str]:
    return [word for name, value in values.items() for word in (f'--{name.replace("_", "-")}', str(value))]


def test_an_evaluation_that_nothing_is_asked_of_has_the_usual_settings(asked):
    assert main(['evaluate', BUNDLE]) == 130
    assert asked == [EvaluationSettings(bundle=asked[0].bundle, world='push_block')]


@pytest.mark.parametrize('values', [DIRECT, ROS], ids=['direct', 'ros'])
def test_whatever_is_asked_of_an_evaluation_reaches_it(asked, values):
    flags = ['--record-camera'] if 'record' in values else ['--composed']
    if 'through' in values:
        pytest.importorskip('rclpy', reason='rclpy is not installed')
    assert main(['evaluate', BUNDLE, *options(values), *flags]) == 130
    for name, value in values.items():
        assert getattr(asked[0], name) == value, name
    assert asked[0].record_camera == ('record' in values)
    assert asked[0].composed == ('through' in values)


def test_what_only_sequence_models_have_reaches_them(asked):
    kept = ['--keep-clear', *KEPT['keep_clear'], '--keep-within', *KEPT['keep_within']]
    assert main(['evaluate', BUNDLE, *options(SEQUENCE), *kept]) == 130
    assert {name: getattr(asked[0], name) for name in SEQUENCE} == SEQUENCE
    assert {name: tuple(getattr(asked[0], name)) for name in KEPT} == KEPT


def test_every_setting_of_an_evaluation_can_be_asked_for():
    tried = {*DIRECT, *ROS, 'composed', 'record_camera', 'bundle', 'world', 'delay', *SEQUENCE, *KEPT}
    assert tried == {field.name for field in dataclasses.fields(EvaluationSettings)}


def test_an_evaluation_runs_from_the_command_line(tmp_path):
    pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')
    out = tmp_path / 'summary.json'
    wanted = {'episodes': 1, 'seconds': 1.0, 'threads': 1, 'delay': 1}
    assert main(['evaluate', BUNDLE, *options(wanted), '--json', str(out)]) == 0
    summary = json.loads(out.read_text())
    assert (summary['episodes'], summary['delay'], len(summary['scores'])) == (1, 1, 1)


def test_a_measurement_of_latency_passes_on_how_the_nodes_run(monkeypatch):
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    from dp_ros.tools import latency

    seen: list[tuple[EvaluationSettings, float]] = []

    def run(settings: EvaluationSettings, seconds: float, say: Any) -> dict[str, Any]:
        seen.append((settings, seconds))
        raise KeyboardInterrupt

    monkeypatch.setattr(latency, 'run_latency', run)
    wanted = ['--composed', '--realtime-priority', '10', '--cpu-dma-latency', '0', '--seconds', '5']
    assert main(['latency', BUNDLE, *wanted]) == 130
    settings, seconds = seen[0]
    assert (settings.composed, settings.realtime_priority, settings.cpu_dma_latency, seconds) == (True, 10, 0, 5.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """Settings with an option of each form."""

    source: Path = option(REQUIRED, 'what is read')
    out: Path = option(REQUIRED, 'what is written')
    count: int | None = option(None, 'how many', low=1, high=9)
    share: float = option(0.5, 'of all; the rest is left', unit='%', low=0.0, high=1.0)
    way: Literal['left', 'right'] = option('left', 'which way')
    names: Sequence[str] = option(('a',), 'which ones', choices=('a', 'b'))
    fast: bool = option(False, 'go fast')
    memory: bool = option(True, 'leave memory out')
    other: object = None

    def __post_init__(self) -> None:
        check_options(self)


def parsed(*words: str) -> Chosen:
    parser = CommandParser()
    parser.settings(Chosen, out={'required': True}, share=0.25)
    return made_of(Chosen, parser.parse_args(words))


def test_settings_are_made_of_what_the_command_line_has() -> None:
    """Names, types, choices and defaults are those of the fields, or what a command has instead."""
    usual = parsed('data', '--out', 'o')
    assert usual == Chosen(source=Path('data'), out=Path('o'), share=0.25)
    words = '--count 3 --share 1 --way right --names b a --fast --no-memory'
    given = parsed('data', '--out', 'o', *words.split())
    assert given == Chosen(
        source=Path('data'), out=Path('o'), count=3, share=1.0, way='right', names=('b', 'a'), fast=True, memory=False
    )


@pytest.mark.parametrize(
    ('words', 'error'),
    [
        ('data', 'the following arguments are required: --out'),
        ('--out o', 'the following arguments are required: source'),
        ('data --out o --way up', "invalid choice: 'up'"),
        ('data --out o --names a c', "invalid choice: 'c'"),
        ('data --out o --count 1.5', "invalid int value: '1.5'"),
        ('data --out o --other 1', 'unrecognized arguments: --other 1'),
    ],
)
def test_what_is_no_option_is_refused(words: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        parsed(*words.split())
    assert exit_.value.code == 2
    assert error in capsys.readouterr().err


def test_a_number_out_of_range_is_named() -> None:
    with pytest.raises(ConfigError, match='count: got 10, allowed 1 to 9'):
        parsed('data', '--out', 'o', '--count', '10')
    with pytest.raises(ConfigError, match=r'share: got 2\.0, allowed 0 to 1 %'):
        parsed('data', '--out', 'o', '--share', '2')


def test_help_shows_the_text_of_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed('--help')
    assert 'of all [%]; the rest is left' in ' '.join(capsys.readouterr().out.split())


def test_a_command_does_not_import_what_another_needs() -> None:
    script = (
        'import sys; from dp_ros.cli.main import build_parser; '
        "build_parser().parse_args(['evaluate', 'models/pusht_mirror']); "
        "print({'torch', 'rclpy', 'mujoco', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'set()'
