"""The shared scenarios under launch: `launch_test test/launch/scenarios_launch.py`; pytest starts it as well.

The policy succeeds, `sampling_steps` changes live, and an executor that is killed is started again by launch.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import tempfile
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

import launch_testing
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_testing.actions import ReadyToTest

from launch import LaunchDescription

TEST = Path(__file__).parents[1]
EXECUTOR = 'policy_executor'
NODES = ('observation_buffer', EXECUTOR, 'trajectory_publisher', 'simulated_robot')


def load(name: str) -> ModuleType:
    """Return a module of the folder test, which is no package."""
    spec = importlib.util.spec_from_file_location(name, TEST / f'{name}.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


scenarios = load('scenarios')
CASE = scenarios.ARM


def generate_test_description() -> LaunchDescription:
    """Return the launch file of the package, with the nodes of the policy started again when they end."""
    path = TEST.parent / 'launch' / 'policy.launch.py'
    arguments = {'respawn': 'true', 'log_level': 'warn', 'world': CASE.world, 'bundle': CASE.bundle}
    arguments['params_file'] = str(CASE.write_params(Path(tempfile.mkdtemp(prefix='dp_ros_'))))
    include = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(path)), launch_arguments=arguments.items())
    return LaunchDescription([include, ReadyToTest()])


class TestScenarios(unittest.TestCase):
    """One after the other on the same running nodes."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.watch = scenarios.Watch()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.watch.close()

    def test_1_the_policy_succeeds(self) -> None:
        scenarios.policy_succeeds(self.watch, CASE)

    def test_2_sampling_steps_change_live(self) -> None:
        scenarios.sampling_steps_change_live(self.watch, CASE)

    def test_3_the_executor_is_killed_and_restarted(self, proc_info: Any) -> None:
        def kill() -> None:
            (name,) = [n for n in proc_info.process_names() if n.startswith(EXECUTOR)]
            os.kill(proc_info[name].pid, signal.SIGKILL)

        scenarios.node_is_killed_and_restarted(self.watch, CASE, kill, lambda: None)

    def test_4_all_nodes_were_at_work(self) -> None:
        scenarios.check_was_running(self.watch)


@launch_testing.post_shutdown_test()
class TestAfterShutdown(unittest.TestCase):
    """What is left behind."""

    def test_every_node_ended_cleanly_but_the_one_that_was_killed(self, proc_info: Any) -> None:
        ended = sorted(info.process_name for info in proc_info)
        missing = [name for name in NODES if not any(process.startswith(name) for process in ended)]
        assert not missing, f'got the ends of {ended}, wanted those of {missing} too'
        for info in proc_info:
            killed = info.process_name.startswith(EXECUTOR) and info.returncode == -signal.SIGKILL
            assert killed or info.returncode == 0, f'{info.process_name}: exit code {info.returncode}'
