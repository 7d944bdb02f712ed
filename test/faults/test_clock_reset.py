"""The simulated clock begins anew under a moving robot. In a domain of its own: its nodes have the names of others."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.tools.node_processes import ROBOT

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.usefixtures('own_domain')]


def test_clock_reset(start_graph):
    graph = start_graph(simulated=True)
    graph.recover()
    graph.mark()
    graph.watch.run(1.0)
    graph.judge()
    graph.processes.kill(ROBOT)
    graph.watch.run(0.5)  # what was sent by the old clock belongs before the mark
    graph.mark()
    graph.processes.start(ROBOT)
    graph.watch.wait(lambda: graph.heard('clock'), 'the jump of the clock to be said')
    graph.watch.run(2.0)
    graph.judge()
    graph.recover()
    graph.judge()
