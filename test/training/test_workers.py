"""Episodes are the same whoever plays them, though a process or a machine is lost meanwhile."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('rosbags', reason='rosbags is not installed (extra: train)')

from dp_ros.cli.main import main
from dp_ros.errors import ConfigError
from dp_ros.evaluation.critic.episodes import rollouts
from dp_ros.evaluation.critic.learn import CriticSettings
from dp_ros.evaluation.demonstrations import RecordSettings, write_demonstrations
from dp_ros.evaluation.episodes import evaluate_direct
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.evaluation.workers.ray_cluster import RayCluster
from dp_ros.evaluation.workers.workers import Processes
from dp_ros.paths import locate
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.simulation.registry import world_spec
from dp_ros.task.yaml_reader import read_yaml
from dp_ros.training.settings import TrainSettings
from test.training.dying_part import die_after

WORLD = 'point_navigation'
BUNDLE = locate(f'models/{WORLD}')
EVALUATION = EvaluationSettings(bundle=BUNDLE, world=WORLD, episodes=5, seed=100_000, seconds=6.0, threads=1)
TIMES = ('latency_ms', 'processor_ms', 'deadline_misses', 'workers', 'ray')


def recorded(folder: Path) -> dict[str, Any]:
    """Return all that the bags in a folder hold, by name; there is nothing else in it, hidden or not."""
    found = {}
    for path in sorted(folder.iterdir()):
        with BagReader(path) as bag:
            found[path.name] = list(bag.raw(bag.topics)), bag.labels
    return found


def evaluated(folder: Path, **who: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    summary = evaluate_direct(replace(EVALUATION, record=folder, **who))
    assert summary['deadline_misses'] >= 0 and summary['success_rate'] > 0.5
    return {name: value for name, value in summary.items() if name not in TIMES}, recorded(folder)


def demonstrated(folder: Path, **who: Any) -> dict[str, Any]:
    task = read_yaml(world_spec(WORLD).training, TrainSettings).task
    # In so short a time some demonstrations fail, and others are made instead.
    settings = RecordSettings(out=folder, task=task, world=WORLD, episodes=4, seed=4, seconds=3.0, **who)
    said: list[str] = []
    write_demonstrations(settings, said.append)
    assert not said[0].endswith('; 0 that failed were left out')
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith('.')] == []
    return recorded(folder)


def decided(**who: Any) -> list[np.ndarray]:
    settings = replace(EVALUATION, seconds=2.0, samples=3, **who)
    found = list(rollouts(settings, 0.5, 'round'))
    return [array for d in found for array in (*d.taken, d.near, np.array([d.success]))]


@pytest.fixture(scope='module')
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """Return what one process gives."""
    folder = tmp_path_factory.mktemp('alone')
    return evaluated(folder / 'evaluated'), demonstrated(folder / 'demonstrated'), decided()


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_process_that_dies_changes_nothing(
    alone: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, deaths = Processes.done, tmp_path / 'deaths'
    deaths.mkdir()

    def dying(self: Processes, work: Callable[..., Any], parts: Any, *beside: Any) -> Iterator[Any]:
        unlucky = parts[1]
        return done(self, partial(die_after, work, unlucky, deaths / f'{unlucky}'), parts, *beside)

    monkeypatch.setattr(Processes, 'done', dying)
    assert evaluated(tmp_path / 'evaluated', workers=2) == alone[0]
    assert {path.name for path in deaths.iterdir()} == {'100001'}
    (deaths / '9').touch()  # of the two that make up for demonstrations that fail, none is unlucky
    (tmp_path / 'bags').mkdir()
    assert demonstrated(tmp_path / 'bags' / 'demonstrated', workers=2) == alone[1]
    assert {path.name for path in deaths.iterdir()} == {'100001', '5', '9'}


@pytest.mark.timeout(900)
def test_a_ray_cluster_that_loses_a_machine_changes_nothing(
    alone: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip('ray', reason='ray is not installed (extra: cluster)')
    from ray.cluster_utils import Cluster

    # As long as it takes beside other tests.
    monkeypatch.setenv('RAY_raylet_start_wait_time_s', '300')
    monkeypatch.setenv('RAY_health_check_timeout_ms', '60000')
    cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})
    machines = [cluster.add_node(num_cpus=1)]
    done = RayCluster.done

    bundle = tmp_path / 'here' / 'bundle'

    def losing(self: RayCluster, work: Callable[..., Any], parts: Any, *beside: Any) -> Iterator[Any]:
        shutil.rmtree(bundle, ignore_errors=True)  # another machine would not have it either
        outcomes = done(self, work, parts, *beside)
        yield next(outcomes)
        while machines:
            cluster.remove_node(machines.pop())  # with what it was doing
        yield from outcomes

    monkeypatch.setattr(RayCluster, 'done', losing)
    bundle.mkdir(parents=True)
    for file in filter(Path.is_file, BUNDLE.iterdir()):
        (bundle / file.name).write_bytes(file.read_bytes())
    try:
        assert evaluated(tmp_path / 'evaluated', ray=cluster.address, bundle=bundle) == alone[0]
        machines.append(cluster.add_node(num_cpus=1))
        (tmp_path / 'bags').mkdir()
        assert demonstrated(tmp_path / 'bags' / 'demonstrated', ray=cluster.address) == alone[1]
        same(decided(ray=cluster.address), alone[2])
        monkeypatch.setattr('dp_ros.evaluation.workers.ray_cluster.__version__', '0.0.1')
        with pytest.raises(ConfigError, match=r'dp_ros on .*: got version .*, allowed 0\.0\.1, that of who asks'):
            decided(ray=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()


COMMANDS: dict[str, list[str]] = {
    'evaluate': ['evaluate', str(BUNDLE), '--episodes', '2'],
    'record': ['record', 'OUT', '--world', WORLD, '--through', 'direct'],
    'critic': ['critic', str(BUNDLE), 'OUT', '--world', WORLD, '--episodes', '20'],
}


def refused(command: str, *options: str, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    words = [str(out) if word == 'OUT' else word for word in COMMANDS[command]]
    assert main([*words, *options]) == 1 and not out.exists()
    return capsys.readouterr().err


@pytest.mark.parametrize('command', COMMANDS)
def test_workers_that_cannot_be_are_refused_before_anything_is_played(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = partial(refused, command, out=tmp_path / 'out', capsys=capsys)
    assert 'workers: got 0, allowed 1 to 256' in said('--workers', '0')
    assert "ray: got 'here', allowed HOST:PORT, as 10.0.0.1:6379" in said('--ray', 'here')
    assert "ray: got '127.0.0.1:1', where nothing answers (Connection refused)" in said('--ray', '127.0.0.1:1')
    assert 'workers: got 2 with ray, allowed 1' in said('--ray', '127.0.0.1:1', '--workers', '2')
    monkeypatch.setitem(sys.modules, 'ray', None)
    with socket.create_server(('127.0.0.1', 0)) as server:
        address = f'127.0.0.1:{server.getsockname()[1]}'
        assert "ray is not installed; `pip install '.[cluster]'` has it" in said('--ray', address)


def test_through_ros_there_is_one_robot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    allowed = "ray: got '127.0.0.1:1' through ros, allowed none: there is one robot"
    with pytest.raises(ConfigError, match=allowed):
        replace(EVALUATION, through='ros', ray='127.0.0.1:1')
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    options = ['--through', 'ros', '--ray', '127.0.0.1:1']
    assert allowed in refused('record', *options, out=tmp_path / 'out', capsys=capsys)
    options = ['--through', 'ros', '--workers', '3']
    assert 'workers: got 3 through ros' in refused('record', *options, out=tmp_path / 'out', capsys=capsys)


def test_a_critic_gives_its_workers_to_the_episodes(tmp_path: Path) -> None:
    settings = CriticSettings(bundle=BUNDLE, out=tmp_path / 'out', world=WORLD, ray='10.0.0.1:6379')
    assert settings.round_settings(0, BUNDLE).ray == '10.0.0.1:6379'
    assert settings.round_settings(0, BUNDLE).about(EVALUATION.load())['ray'] is True
