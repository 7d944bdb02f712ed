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

from dp_ros.paths import locate
from dp_ros.tools.node_processes import POLICY_NODES, ROBOT, NodeProcesses, NodeSpec

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.usefixtures('own_domain')]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f'{name}.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


scenarios, published_motion, oracle = map(load, ('scenarios', 'published_motion', 'controller_oracle'))
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


def test_a_controller_gets_no_jerk_from_what_is_published(running):
    """Whatever its rate and start state, its set points have the acceleration of the messages that it follows."""
    watch = running[0]
    scenarios.begin(watch, CASE.seeds[0])
    before, known = len(watch.commands), len(watch.joints)
    watch.wait(lambda: scenarios.moving(watch), 'the robot to move')
    watch.run(5.0)
    commands, joints = watch.commands[before:], watch.joints[known:]
    assert len(commands) > 5
    for rate in (100, 250, 500):
        for from_desired in (False, True):
            found = published_motion.replayed(oracle, commands, joints, rate=rate, from_desired=from_desired)
            assert found.rejected == []
            assert found.ratio < 1.1, (rate, from_desired, found)


def test_all_nodes_are_found_at_work(running):
    watch = running[0]
    scenarios.begin(watch, CASE.seeds[0])
    watch.wait(lambda: watch.plans >= scenarios.LEAST, 'commands')
    scenarios.check_was_running(watch)


def test_a_graph_in_which_nothing_was_started_does_not_pass(own_domain):
    watch = scenarios.Watch(namespace='empty')
    try:
        with pytest.raises(AssertionError, match='got 0 joint states, wanted 10 or more'):
            scenarios.check_was_running(watch)
        watch.joints += [object()] * scenarios.LEAST
        with pytest.raises(AssertionError, match='got 0 different commands, wanted 10 or more'):
            scenarios.check_was_running(watch)
        watch.plans = scenarios.LEAST
        with pytest.raises(AssertionError, match=r'wanted those of .*policy_executor'):
            scenarios.check_was_running(watch)
    finally:
        watch.close()


def test_sampling_steps_change_live(running):
    scenarios.sampling_steps_change_live(running[0], CASE)


def test_the_executor_is_killed_and_restarted(running):
    watch, processes = running
    name = 'policy_executor'
    scenarios.node_is_killed_and_restarted(watch, CASE, lambda: processes.kill(name), lambda: processes.start(name))
