"""What is refused before nodes are started for nothing, and runs that published no chunk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from dp_ros.cli.main import main
from dp_ros.errors import ConfigError
from dp_ros.evaluation.scores import EpisodeResult, EvaluationSettings
from dp_ros.task.spec import GoalImage, Instruction
from dp_ros.tools import demo, graph_evaluation, latency, soak
from test.tiny_bundle import TASK, write_tiny_bundle

STOP = 'no chunk for 2 s'


def asking(folder: Path) -> Path:
    """Write a bundle that needs a goal which its world has not."""
    picture = GoalImage(height=8, width=8, source='topic')
    return write_tiny_bundle(folder / 'asking', task=replace(TASK, goals=(picture,)))


@pytest.mark.parametrize('way', ['evaluate', 'soak', 'latency', 'demo'])
def test_a_bundle_that_its_world_can_t_ask_is_refused_before_any_node_is_started(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any, **__: Any) -> None:
        pytest.fail('nodes were started')

    for name in ('NodeProcesses', 'refuse_company'):
        monkeypatch.setattr(graph_evaluation, name, start)
    settings = EvaluationSettings(bundle=asking(tmp_path), episodes=1, through='ros')
    runs = {
        'evaluate': lambda: graph_evaluation.evaluate_ros(settings),
        'soak': lambda: soak.run_soak(settings, 1.0, print),
        'latency': lambda: latency.run_latency(settings, 5.0, print),
        'demo': lambda: demo.run_demo(settings, tmp_path / 'demo', print),
    }
    with pytest.raises(ConfigError, match='goals: got the picture goal_image, allowed none: the world pusht shows'):
        runs[way]()


def test_instructions_of_another_world_are_refused_before_any_node_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_evaluation, 'NodeProcesses', lambda *_: pytest.fail('nodes were started'))
    task = replace(TASK, goals=(Instruction(phrasings={'left': ('go left',)}),))
    bundle = write_tiny_bundle(tmp_path / 'worded', task=task)
    settings = EvaluationSettings(bundle=bundle, episodes=1, through='ros')
    with pytest.raises(ConfigError, match='got left, allowed what the world pusht can be asked for'):
        graph_evaluation.evaluate_ros(settings)


def test_a_soak_without_an_end_is_refused(tmp_path: Path) -> None:
    settings = EvaluationSettings(bundle=write_tiny_bundle(tmp_path / 'tiny'), episodes=1, through='ros')
    for minutes in (0.0, -1.0, float('inf'), float('nan')):
        with pytest.raises(ConfigError, match=r'minutes: got .*, allowed more than 0, up to a week'):
            soak.run_soak(settings, minutes, print)


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Let nothing be started, and episodes pass at once without a chunk; yield how long each might have been [s]."""
    asked: list[float] = []
    now = [0.0]

    class Runner:
        def __init__(self, *_: Any) -> None:
            pass

        def run(self, seed: int, watch: Any = None, seconds: float = float('inf')) -> EpisodeResult:
            asked.append(min(seconds, 30.0))
            now[0] += asked[-1]
            return EpisodeResult(seed=seed, score=0.0, success=False, seconds=asked[-1], chunks=0, stop=STOP)

        def findings(self) -> dict[str, Any]:
            return {'control_rate_hz': None, 'refused_chunks': 0, 'memory_mb_first': {}, 'memory_mb_last': {}}

    @contextmanager
    def running(*_: Any, **__: Any) -> Iterator[Any]:
        node = SimpleNamespace(create_subscription=lambda *_, **__: None)
        processes = SimpleNamespace(memory=dict, processor=dict)
        yield SimpleNamespace(node=node, subscribe=lambda *_, **__: None, processes=processes)

    for module in (latency, soak):
        monkeypatch.setattr(module, 'RosRunner', Runner)
        monkeypatch.setattr(module, 'running', running)
        monkeypatch.setattr(module, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    yield asked


@pytest.mark.parametrize(('command', 'option', 'value'), [('latency', '--seconds', '40'), ('soak', '--minutes', '1')])
def test_a_run_without_a_chunk_fails_with_the_reason(
    silent: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, option: str, value: str
) -> None:
    bundle = write_tiny_bundle(tmp_path / 'tiny')
    assert main([command, str(bundle), '--world', 'pusht', option, value]) == 1
    assert f'error: no chunk was published: {STOP}' in capsys.readouterr().out


def test_latency_ends_when_its_time_is_up_also_within_an_episode(silent: list[float], tmp_path: Path) -> None:
    settings = EvaluationSettings(bundle=write_tiny_bundle(tmp_path / 'tiny'), through='ros')
    for seconds, episodes in ((6.0, [6.0]), (40.0, [30.0, 10.0])):
        silent.clear()
        assert latency.run_latency(settings, seconds, lambda _: None)['seconds'] == seconds
        assert silent == episodes


@pytest.mark.parametrize('seconds', [-5.0, 0.0, float('nan')])
def test_latency_for_no_time_is_refused(seconds: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'seconds: got .*, allowed 1 to 86400'):
        latency.run_latency(EvaluationSettings(bundle=tmp_path, through='ros'), seconds, print)
