"""What the policy_executor says and does where its bundle's monitor foretells a failure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('torch', reason='torch is not installed')

import torch
from diagnostic_msgs.msg import DiagnosticStatus
from std_srvs.srv import Trigger

from dp_ros.messages.status import MonitorReport, Status, decode, encode
from dp_ros.networks.novelty import Features, Novelty
from dp_ros.nodes.policy_executor.failure_response import KEPT
from dp_ros.nodes.policy_executor.node import PolicyExecutor
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.bundle.monitor_spec import MonitorSpec
from dp_ros.training.monitor import write_with_monitor
from test.nodes.test_policy_executor import DT, T0, WARN, Live, expected

pytestmark = pytest.mark.ros
SPEC = MonitorSpec(
    samples=4, window=2, bin_width=0.05, steps=16, level=0.9, episodes=20, novelty=1e-6, entropy=1e-6, consistency=1.0,
    seconds=5.0,
)  # fmt: skip


@pytest.fixture(scope='module')
def failing(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a bundle whose monitor foretells a failure at once."""
    torch.manual_seed(0)
    bundle = load_bundle(tiny)
    width = bundle.parity().cond.shape[1]
    folder = tmp_path_factory.mktemp('bundles') / 'failing'
    novelty = Novelty(
        Features(torch.zeros(width), torch.eye(width), torch.ones(width), torch.ones(())), width=8, outputs=4
    )
    write_with_monitor(bundle, folder, novelty, SPEC, record={})
    return str(folder)


class Watched(Live):
    """An executor with a monitor, and a publisher's status and `~/hold` that this test stands in for."""

    def __init__(self, ros: Any, folder: str, **parameters: Any) -> None:
        self.held: list[Any] = []
        ros.tester.create_service(Trigger, '/trajectory_publisher/hold', self._hold)
        super().__init__(ros, folder, exec_horizon=2, inference_delay=0, **parameters)
        self.heard = ros.listen(DiagnosticStatus, '/policy_executor/monitor', KEPT)
        self.statuses = ros.talk(DiagnosticStatus, '/trajectory_publisher/status', KEPT)

    def _hold(self, request: Any, response: Any) -> Any:
        self.held.append(request)
        response.success = True
        return response

    def publisher_is(self, state: Any) -> None:
        values = [{'key': k, 'value': v} for k, v in encode(Status(state=state, stamp=T0, reason='so')).items()]
        message = DiagnosticStatus()
        for pair in values:
            message.values.append(_pair(**pair))
        self.statuses.publish(message)
        self.ros.wait(lambda: self.node.response.state == state, f'the status {state}')

    def reports(self, count: int) -> list[MonitorReport]:
        found = self.ros.wait(lambda: len(self.heard) >= count and list(self.heard), f'report {count}')
        return [decode(MonitorReport, m.values) for m in found]

    def go_on(self, ticks: range) -> None:
        """Send ticks, each with what it calls for."""
        for tick in ticks:
            self.send(tick)
            self.ros.wait(lambda: self.node.inference.thread.idle, 'the window to be looked at')


def _pair(key: str, value: str) -> Any:
    from diagnostic_msgs.msg import KeyValue

    return KeyValue(key=key, value=value)


def test_a_failure_is_said_and_the_chunks_are_what_they_would_be_without_a_monitor(ros, failing):
    live = Watched(ros, failing, seed=7)
    live.go_on(range(6))
    chunks = live.wait_for(3)
    first, second = live.reports(2)[:2]
    assert (first.observation, first.failing, first.action, first.samples) == (T0 + DT, False, 'report', 4)
    assert second.failing
    assert second.level is not None and second.level >= 1.0
    assert 'novelty' in second.reason
    assert second.entropy_threshold == 1e-6
    ros.status('policy_executor: monitor', WARN, 'about to fail')
    assert live.held == []
    assert np.array_equal(chunks[2].actions, expected(live, 5, [7, 2]))


def test_hold_asks_the_publisher_and_makes_no_chunk_until_it_has_latched(ros, failing):
    live = Watched(ros, failing, on_failure='hold')
    live.publisher_is('running')
    live.go_on(range(4))
    assert live.reports(2)[1].failing
    live.go_on(range(4, 8))
    ros.wait(lambda: live.held, 'the call of ~/hold')
    assert len(live.chunks) == 2
    ros.status('policy_executor: inference', DiagnosticStatus.ERROR, 'held, for the monitor')
    live.publisher_is('latched')
    live.go_on(range(8, 12))
    assert len(live.wait_for(4)) == 4  # a reset asks for fresh ones
    assert live.reports(3)[-1].level is None
    assert 'latched' in live.reports(3)[-1].reason
    assert len(live.held) == 1


def test_a_robot_that_is_braked_is_not_called_failing(ros, failing):
    live = Watched(ros, failing)
    live.publisher_is('slowing')
    live.go_on(range(6))
    reports = live.reports(3)
    assert [(r.level, r.failing) for r in reports] == [(None, False)] * 3
    assert reports[-1].reason == 'the publisher is slowing: so'
    live.publisher_is('running')
    live.go_on(range(6, 10))
    assert [r.failing for r in live.reports(5)[3:]] == [False, True]  # what is averaged begins anew


def test_replan_makes_a_chunk_at_once_of_as_many_samples_as_the_monitor_draws(ros, failing):
    live = Watched(ros, failing, on_failure='replan')
    live.go_on(range(5))
    chunks = live.wait_for(3)
    assert [(c.stamp - T0) // DT for c in chunks[:3]] == [1, 3, 4]
    assert np.array_equal(chunks[2].actions, expected(live, 4, [0, 2], samples=4))


def test_fallback_takes_over_until_the_next_activation(ros, failing, tiny):
    live = Watched(ros, failing, on_failure='fallback', fallback_bundle=tiny)
    live.go_on(range(8))
    assert len(live.wait_for(3)) >= 3
    ros.status('policy_executor: inference', WARN, 'the fallback tiny predicts: the monitor foretells a failure')
    assert len(live.reports(2)) == 2
    assert live.node.counts['fallback_chunks'] >= 1


def test_a_monitor_that_gives_no_number_is_taken_for_a_failure(ros, failing):
    live = Watched(ros, failing)
    live.node.monitoring.monitor.policy.backend.novelty = lambda cond: np.full(len(cond), np.nan)
    live.go_on(range(2))
    (report,) = live.reports(1)
    assert report.failing
    assert report.level is None
    assert report.reason == 'the monitor fails: novelty: got nan, allowed a finite number'
    assert len(live.wait_for(1)) == 1


@pytest.mark.parametrize(
    ('bundle', 'parameters', 'message'),
    [
        (
            'tiny',
            {'on_failure': 'hold'},
            'allowed report: bundle tiny has no monitor; dp_ros monitor writes one with it',
        ),
        ('failing', {'on_failure': 'fallback'}, "on_failure: got 'fallback', allowed with a fallback_bundle"),
        ('failing', {'on_failure': 'hold', 'monitor_every': 0}, 'allowed with monitor_every 1 or more'),
        ('failing', {'on_failure': 'hold', 'policy_speed': 2.0}, 'policy_speed 2, allowed 1'),
    ],
)
def test_what_nothing_would_foretell_is_refused(ros, request, bundle, parameters, message):
    node = ros.create(PolicyExecutor, bundle=request.getfixturevalue(bundle), use_sim_time=True, **parameters)
    assert not node.start()
    ros.status('policy_executor: lifecycle', DiagnosticStatus.ERROR, message)


def test_a_bundle_without_a_monitor_says_so(ros, tiny):
    live = Live(ros, tiny)
    heard = ros.listen(DiagnosticStatus, '/policy_executor/monitor', KEPT)
    ros.wait(lambda: heard, 'the report')
    report = decode(MonitorReport, heard[0].values)
    assert report == replace(report, level=None, failing=False)
    assert report.reason == 'monitor: got bundle tiny, which has none, allowed one of dp_ros monitor'
    assert Path(live.bundle.folder).name == 'tiny'
