"""The scenarios of the launch tests where launch is not installed: the same code, with the nodes as plain processes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('mujoco', reason='mujoco is not installed')

from dp_ros.nodes.processes import POLICY_NODES, ROBOT, NodeProcesses, NodeSpec
from dp_ros.paths import locate

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.usefixtures('own_domain')]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f'{name}.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


scenarios = load('scenarios')
CASE = scenarios.ARM


@pytest.fixture(scope='module')
def running(own_domain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    bundle = {'bundle': locate(CASE.bundle)}
    specs = [NodeSpec(name=ROBOT)]
    specs += [NodeSpec(name=name, parameters=bundle) for name in POLICY_NODES]
    folder = tmp_path_factory.mktemp('scenarios')
    with NodeProcesses(specs, CASE.write_params(folder), folder / 'logs') as processes:
        watch = scenarios.Watch(alive=processes.check)
        yield watch, processes
        watch.close()


def test_the_policy_succeeds(running):
    scenarios.policy_succeeds(running[0], CASE)


def test_sampling_steps_change_live(running):
    scenarios.sampling_steps_change_live(running[0], CASE)


def test_the_executor_is_killed_and_restarted(running):
    watch, processes = running
    name = 'policy_executor'
    scenarios.node_is_killed_and_restarted(watch, CASE, lambda: processes.kill(name), lambda: processes.start(name))
