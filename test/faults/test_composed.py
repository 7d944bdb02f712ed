"""Faults of a policy whose nodes share one process: what held between processes holds between threads."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.tools.node_processes import CONTAINER, POLICY_NODES

# The same faults, injected into this module's graph.
from .test_injected_faults import (  # noqa: F401
    test_a_network_that_gives_nan,
    test_controller_restarted,
    test_joint_states_gone,
)

BUFFER, EXECUTOR, PUBLISHER = POLICY_NODES

pytestmark = [pytest.mark.ros, pytest.mark.slow]


@pytest.fixture(scope='module')
def shared(start_graph):
    return start_graph(composed=True)


@pytest.fixture
def graph(shared):
    """The shared graph with its robot in motion, judged from here on."""
    shared.recover()
    shared.mark()
    return shared


def test_the_executor_deactivated_and_activated(graph):
    graph.watch.transition(EXECUTOR, 'deactivate')
    graph.wait_for('no chunk for')
    graph.rest()
    graph.judge()
    graph.watch.transition(EXECUTOR, 'activate')
    graph.recover()
    graph.judge()


def test_the_executor_configured_anew_while_the_others_run(graph):
    graph.watch.transition(EXECUTOR, 'deactivate', 'cleanup', 'configure', 'activate')
    graph.recover()
    graph.judge()


def test_the_whole_process_stalled_for_two_seconds(graph):
    graph.stall(CONTAINER, 2.0)
    graph.judge()


def test_the_whole_process_killed_and_restarted(graph):
    graph.processes.kill(CONTAINER)
    graph.rest()
    graph.judge()
    graph.processes.start(CONTAINER)
    graph.recover()
    graph.judge()
