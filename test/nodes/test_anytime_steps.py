"""Anytime in the running executor: how many sampling steps a deadline leaves time for. The clock is the test's."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus

from dp_ros.nodes.policy_executor.anytime_steps import measure_cost
from dp_ros.nodes.policy_executor.node import PolicyExecutor
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.step_budget import Cost
from test.nodes.conftest import load_tiny

pytestmark = pytest.mark.ros
_spec = importlib.util.spec_from_file_location('executor', Path(__file__).with_name('test_policy_executor.py'))
assert _spec is not None and _spec.loader is not None
executor = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(executor)
DT, T0, Live, expected = executor.DT, executor.T0, executor.Live, executor.expected
OK, ERROR = DiagnosticStatus.OK, DiagnosticStatus.ERROR


def with_cost(live: Any, cost: Cost) -> None:
    """Let the executor believe that chunks take this long, whatever this machine does."""
    live.node.settings = replace(live.node.settings, cost=cost)


def test_steps_are_dropped_until_the_chunk_is_in_time_and_both_are_said(ros, tiny):
    live = Live(ros, tiny, anytime=True, deadline=20.0)
    with_cost(live, Cost(fixed=2.0, step=4.0))
    heard = ros.listen(DiagnosticStatus, '/policy_executor/ledger')
    ros.connected('/policy_executor/ledger')
    for tick in range(2):
        live.send(tick)
    (chunk,) = live.wait_for(1)
    assert np.array_equal(chunk.actions, expected(live, 1, [0, 0], sampling_steps=4))
    ros.wait(lambda: heard, 'the entry')
    entry = {v.key: v.value for v in heard[0].values}
    assert (entry['sampling_steps'], entry['dropped_sampling_steps']) == ('4', '6')
    status = ros.status('policy_executor: inference', OK, 'predicting with 4 of 10 sampling steps')
    assert {v.key: v.value for v in status.values}['reduced_chunks'] == '1'


def test_time_that_has_passed_since_the_observation_counts(ros, tiny):
    live = Live(ros, tiny, anytime=True, deadline=20.0)
    with_cost(live, Cost(fixed=2.0, step=4.0))
    live.send(0)
    ros.set_clock(T0 + DT + 9_000_000_000, live.node)
    for name, message in live.messages(1).items():
        live.inputs[name].publish(message)
    (chunk,) = live.wait_for(1)
    assert np.array_equal(chunk.actions, expected(live, 1, [0, 0], sampling_steps=2))


def test_a_warm_chunk_drops_of_its_own_steps_alone(ros, tiny):
    live = Live(ros, tiny, anytime=True, deadline=20.0, warm_steps=5)
    with_cost(live, Cost(fixed=2.0, step=4.0))
    heard = ros.listen(DiagnosticStatus, '/policy_executor/ledger')
    ros.connected('/policy_executor/ledger')
    live.two_chunks()
    ros.wait(lambda: len(heard) == 2, 'both entries')
    entries = [{v.key: v.value for v in entry.values} for entry in heard]
    assert [(e['sampling_steps'], e['dropped_sampling_steps']) for e in entries] == [('4', '6'), ('4', '1')]


def test_where_there_is_time_all_steps_are_taken(ros, tiny):
    live = Live(ros, tiny, anytime=True, deadline=60.0)
    for tick in range(2):
        live.send(tick)
    (chunk,) = live.wait_for(1)
    assert np.array_equal(chunk.actions, expected(live, 1, [0, 0]))


def test_a_deadline_that_cannot_be_met_is_refused_at_configure(ros, tiny):
    node = ros.create(PolicyExecutor, bundle=tiny, anytime=True, deadline=1e-6)
    assert not node.start()
    ros.status('policy_executor: lifecycle', ERROR, 'deadline: got 1e-06, allowed')


def test_a_deadline_that_cannot_be_met_is_refused_live(ros, tiny):
    live = Live(ros, tiny, anytime=True, deadline=20.0)
    with_cost(live, Cost(fixed=2.0, step=4.0))
    (result,) = live.set(deadline=5.0)
    assert not result.successful
    assert 'deadline: got 5, allowed 6.0000 or more with anytime: 1 sampling step takes' in result.reason
    (result,) = live.set(least_steps=11)
    assert 'least_steps: got 11, allowed 1 to sampling_steps (10)' in result.reason


def test_cost_is_measured_for_any_bundle(tiny):
    bundle = load_bundle(tiny)
    cost = measure_cost(DiffusionPolicy(bundle, open_backend(bundle)))
    assert cost.of(1) > 0.0


def test_an_execution_provider_that_is_not_there_is_refused_at_configure(ros, tiny):
    node = ros.create(PolicyExecutor, bundle=tiny, execution_provider='tensorrt')
    assert not node.start()
    ros.status('policy_executor: lifecycle', ERROR, "execution_provider: got 'tensorrt', allowed cpu")


def guided(tmp_path: Path) -> str:
    """Write a bundle that may be guided."""
    tiny = load_tiny()
    return str(tiny.write_tiny_bundle(tmp_path / 'guided', task=replace(tiny.TASK, guidance='observation')))


def test_the_cost_of_guidance_is_measured_with_the_network_asked_twice(tmp_path):
    bundle = load_bundle(guided(tmp_path))
    batches: list[int] = []
    backend = open_backend(bundle)
    predict = backend.predict

    def watching(x_k: np.ndarray, k: np.ndarray, cond: np.ndarray) -> np.ndarray:
        batches.append(len(x_k))
        return predict(x_k, k, cond)

    watched = SimpleNamespace(encode=backend.encode, predict=watching)
    for scale in (1.0, 3.0):
        batches.clear()
        cost = measure_cost(DiffusionPolicy(bundle, watched, guidance_scale=scale))
        assert cost.guided is not None
        assert batches == [1] * (len(batches) // 2) + [2] * (len(batches) // 2)


def test_guidance_switched_on_live_takes_steps_or_is_refused(ros, tmp_path):
    live = Live(ros, guided(tmp_path), anytime=True, deadline=20.0)
    with_cost(live, Cost(fixed=2.0, step=4.0, guided=Cost(fixed=2.0, step=8.0)))
    (result,) = live.set(guidance_scale=3.0)
    assert result.successful, result.reason
    for tick in range(2):
        live.send(tick)
    live.wait_for(1)
    status = ros.status('policy_executor: inference', OK, 'predicting with 2 of 10 sampling steps')
    assert {v.key: v.value for v in status.values}['step_ms'] == '8000.00'
    assert live.set(guidance_scale=1.0)[0].successful
    assert live.set(deadline=7.0)[0].successful
    (result,) = live.set(guidance_scale=3.0)
    assert not result.successful
    assert 'deadline: got 7, allowed 10.0000 or more with anytime: 1 sampling step takes' in result.reason
