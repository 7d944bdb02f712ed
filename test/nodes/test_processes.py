"""Node processes that are killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dp_ros.errors import DpRosError
from dp_ros.tools import node_processes
from dp_ros.tools.node_processes import NodeDiedError, NodeProcesses, NodeSpec

NAME = 'observation_buffer'


@pytest.fixture
def processes(tmp_path):
    params = tmp_path / 'params.yaml'
    params.write_text(f'/**/{NAME}: {{ros__parameters: {{autostart: false}}}}\n')
    with NodeProcesses([NodeSpec(name=NAME)], params, tmp_path / 'logs') as processes:
        yield processes


def test_a_signal_while_a_node_is_started_is_put_off_until_it_is_known(tmp_path, monkeypatch):
    started: list[subprocess.Popen[bytes]] = []

    def popen(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], **options))
        signal.raise_signal(signal.SIGINT)
        return started[-1]

    made = SimpleNamespace(Popen=popen, STDOUT=subprocess.STDOUT, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(node_processes, 'subprocess', made)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    try:
        with pytest.raises(KeyboardInterrupt), NodeProcesses([NodeSpec(name='a')], tmp_path, tmp_path / 'logs'):
            pass
    finally:
        signal.signal(signal.SIGINT, before)
    assert [process.poll() is not None for process in started] == [True]


def test_a_killed_node_may_be_missing_and_is_started_again(processes):
    before = processes.pid(NAME)
    processes.log(NAME).write_text('before\n')
    processes.kill(NAME)
    assert not processes.running(NAME)
    assert not Path(f'/proc/{before}').exists()
    processes.check()
    processes.start(NAME)
    assert processes.running(NAME)
    assert processes.pid(NAME) != before
    assert processes.log(NAME).read_text().startswith('before'), 'it goes on in its log'


@pytest.mark.slow
def test_a_node_that_runs_is_not_started_twice(processes):
    with pytest.raises(DpRosError, match='got a start while it runs, allowed after kill'):
        processes.start(NAME)


def test_a_node_that_ends_by_itself_is_an_error(processes):
    os.kill(processes.pid(NAME), signal.SIGKILL)
    with pytest.raises(NodeDiedError, match='exit code -9'):
        while processes.running(NAME):
            processes.check()
            time.sleep(0.01)
