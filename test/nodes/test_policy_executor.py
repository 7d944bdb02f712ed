from __future__ import annotations

import importlib.util
import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from trajectory_msgs.msg import JointTrajectory

from dp_ros.data import Chunk, Goal, Observation, Window
from dp_ros.errors import BundleError, DataError
from dp_ros.messages import encoding
from dp_ros.messages.status import ChunkReport, encode
from dp_ros.nodes.policy_executor import inference as inference_module
from dp_ros.nodes.policy_executor import node as executor_node
from dp_ros.nodes.policy_executor.inference_settings import check_same_task
from dp_ros.nodes.policy_executor.node import PolicyExecutor
from dp_ros.policy.alignment import stack
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.continuity import Overlap
from dp_ros.policy.goal_inputs import NO_GOAL
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.protocol import open_policy
from dp_ros.ros.bundles import aligned_type
from dp_ros.task.spec import GoalPose

pytestmark = pytest.mark.ros


def load_tiny() -> ModuleType:
    """Return test/tiny_bundle.py."""
    path = Path(__file__).parents[1] / 'tiny_bundle.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DT = 100_000_000
T0 = 1_700_000_000_000_000_000
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Policy:
    """Stands in for a policy, to inject faults: it does what it is told."""

    def __init__(self, bundle: Bundle, act: Callable[[Window], None]) -> None:
        self.bundle, self.act = bundle, act

    def with_settings(self, **_: Any) -> Policy:
        return self

    def calls(self, _: np.ndarray | None = None) -> int:
        return 1

    def check_continuity(self, _: str) -> None: ...

    def chunk(
        self,
        window: Window,
        rng: np.random.Generator,
        overlap: Overlap | None = None,
        goal: Goal = NO_GOAL,
        start: np.ndarray | None = None,
        **_: Any,
    ) -> Chunk:
        self.act(window)
        task = self.bundle.task
        actions = rng.random((task.pred_horizon, len(task.action.joints)))
        return Chunk(stamp=window.stamp, control_dt=DT, joints=task.action.joints, actions=actions)


class Live:
    """An active policy_executor on a simulated clock, fed with aligned observations."""

    def __init__(self, ros: Any, folder: str, **parameters: Any) -> None:
        self.ros = ros
        self.bundle = load_bundle(folder)
        self.node = ros.create(PolicyExecutor, bundle=folder, use_sim_time=True, **parameters)
        assert self.node.start()
        self.chunks = ros.listen(JointTrajectory, '/policy_executor/action_chunk')
        ros.connected('/policy_executor/action_chunk')
        ros.wait(self.node.outlet.listeners, 'the executor to know that it is heard')
        self.connect()

    def connect(self) -> None:
        streams = self.bundle.task.streams
        self.inputs = {s.name: self.ros.talk(aligned_type(s), f'/observation_buffer/{s.name}') for s in streams}

    def inject(self, act: Callable[[Window], None]) -> None:
        self.node.settings = replace(self.node.settings, policy=Policy(self.bundle, act))

    def messages(self, tick: int) -> dict[str, Any]:
        stamp = T0 + tick * DT
        x, y = 0.2 + 0.01 * np.sin(tick), 0.3 + 0.002 * tick
        return {
            'joint_states': encoding.to_joint_state(stamp=stamp, name=['pusher_x', 'pusher_y'], position=[x, y]),
            'block_pose': encoding.to_pose(stamp=stamp, position=(y, x, 0), orientation=(0, 0, 0.6, 0.8), frame_id='t'),
        }

    def send(self, tick: int, *, only: tuple[str, ...] = ('joint_states', 'block_pose')) -> None:
        """Let it be this control tick, and send its observation."""
        self.ros.set_clock(T0 + tick * DT, self.node)
        for name in only:
            self.inputs[name].publish(self.messages(tick)[name])
        if len(only) == 2:
            self.ros.wait(lambda: self.node.newest == T0 + tick * DT, f'observation {tick} to be taken')

    def two_chunks(self) -> list[Chunk]:
        """Send ten ticks, and return the chunks of the second and the last."""
        for tick in range(10):
            self.send(tick)
            if tick in (1, 9):
                self.wait_for((tick - 1) // 8 + 1)
        return self.wait_for(2)

    def window(self, tick: int) -> Window:
        streams = {s.name: s for s in self.bundle.task.streams}
        return stack(
            [
                Observation(
                    stamp=T0 + t * DT,
                    streams={name: encoding.decode(streams[name], m) for name, m in self.messages(t).items()},
                )
                for t in (tick - 1, tick)
            ]
        )

    def wait_for(self, count: int) -> list[Chunk]:
        self.ros.wait(lambda: len(self.chunks) >= count, f'chunk {count}')
        return [encoding.chunk_from_message(m) for m in self.chunks]

    def set(self, **parameters: Any) -> Any:
        values = [Parameter(k, value=v).to_parameter_msg() for k, v in parameters.items()]
        request = SetParameters.Request(parameters=values)
        return self.ros.call(SetParameters, '/policy_executor/set_parameters', request).results


def expected(live: Live, tick: int, seed: list[int], **settings: Any) -> np.ndarray:
    policy = DiffusionPolicy(live.bundle, open_backend(live.bundle)).with_settings(**settings)
    return policy.chunk(live.window(tick), np.random.default_rng(seed)).actions


@pytest.mark.parametrize(('two', 'threads'), [(0.9, 1), (0.5, 2)])
def test_threads_are_measured_where_none_are_given(ros, tiny, monkeypatch, capfd, two, threads):
    opened: list[int] = []

    def opening(bundle: Bundle, backend: Any, count: int, provider: Any) -> Any:
        opened.append(count)
        return open_policy(bundle, backend, count, provider)

    monkeypatch.setattr(executor_node, 'thread_counts', lambda: (1, 2))
    monkeypatch.setattr(executor_node, 'open_policy', opening)
    times = iter([0.001, 0.001 * two])
    monkeypatch.setattr(executor_node, 'warm_up', lambda policy, rounds=1: next(times, 0.001))
    node = ros.create(PolicyExecutor, bundle=tiny, autostart=False, threads=0)
    assert str(node.trigger_configure()).endswith('SUCCESS') and opened == [1, 2]
    assert f'threads: {threads}; a chunk of tiny takes with 1: 1.0 ms, 2: ' in capfd.readouterr().err


def test_a_chunk_is_the_policy_s_for_the_window_stamped_with_the_newest_observation(ros, tiny):
    live = Live(ros, tiny, seed=7)
    for tick in range(2):
        live.send(tick)
    (chunk,) = live.wait_for(1)
    assert chunk.stamp == T0 + DT
    assert chunk.control_dt == DT
    assert chunk.joints == ('pusher_x', 'pusher_y')
    assert np.array_equal(chunk.actions, expected(live, 1, [7, 0]))


def test_the_next_chunk_is_made_exec_horizon_ticks_later(ros, tiny):
    live = Live(ros, tiny)
    for tick in range(19):
        live.send(tick)
        if tick in (1, 9, 17):
            live.wait_for((tick - 1) // 8 + 1)
    assert [(c.stamp - T0) // DT for c in live.wait_for(3)] == [1, 9, 17]
    assert np.array_equal(live.wait_for(3)[2].actions, expected(live, 17, [0, 2]))
    assert live.node.inference.number == 3


def test_who_listens_only_after_a_chunk_gets_the_next_at_once(ros, tiny):
    """A publisher that knew the executor too late, after one of the two was started again, would wait for long."""
    live = Live(ros, tiny)
    for tick in range(3):
        live.send(tick)
    live.wait_for(1)
    late = ros.listen(JointTrajectory, '/policy_executor/action_chunk')
    ros.wait(lambda: live.node.outlet.listeners() == 2, 'the second listener')
    live.send(3)
    ros.wait(lambda: late, 'its chunk')
    for tick in range(4, 12):
        live.send(tick)
        if tick in (3, 11):
            ros.wait(lambda tick=tick: len(late) == (tick - 3) // 8 + 1, 'the next chunk')
    assert [(c.stamp - T0) // DT for c in live.wait_for(3)] == [1, 3, 11]


def test_after_a_missing_observation_a_whole_window_is_collected_anew(ros, tiny):
    live = Live(ros, tiny)
    live.send(0)
    live.send(1, only=('joint_states',))
    live.send(2)
    live.send(3)
    (chunk,) = live.wait_for(1)
    assert chunk.stamp == T0 + 3 * DT


def test_without_one_of_the_streams_nothing_is_predicted_and_the_diagnostics_say_so(ros, tiny):
    live = Live(ros, tiny)
    for tick in range(4):
        live.send(tick, only=('joint_states',))
    ros.status('policy_executor: inference', WARN, 'no complete observation yet')
    assert live.node.inference.number == 0


@pytest.mark.parametrize('policy_speed', [2.0, 0.8])
def test_observations_at_another_speed_give_no_chunk_and_the_reason_is_said(ros, tiny, policy_speed):
    live = Live(ros, tiny, policy_speed=policy_speed)
    for tick in range(10):
        live.send(tick)
    apart = f'got observations 0.1 s apart, allowed {0.1 / policy_speed:g} s; does observation_buffer have the same'
    ros.status('policy_executor: inference', WARN, apart)
    assert live.node.inference.number == 0


def test_an_observation_that_cannot_be_decoded_is_refused(ros, tiny):
    live = Live(ros, tiny)
    live.send(0)
    bad = live.messages(1)['joint_states']
    bad.position[0] = float('nan')
    live.inputs['joint_states'].publish(bad)
    ros.wait(lambda: live.node.counts['refused_observations'], 'the refusal')
    live.send(2)
    assert live.node.inference.number == 0


def test_sampler_settings_and_exec_horizon_change_live(ros, tiny):
    live = Live(ros, tiny)
    results = live.set(sampling_steps=3, spacing='leading', exec_horizon=2, sampler='ddpm')
    assert all(r.successful for r in results)
    for tick in range(4):
        live.send(tick)
        if tick in (1, 3):
            live.wait_for((tick + 1) // 2)
    chunks = live.wait_for(2)
    assert [(c.stamp - T0) // DT for c in chunks] == [1, 3]
    settings = {'sampling_steps': 3, 'spacing': 'leading', 'sampler': 'ddpm'}
    assert np.array_equal(chunks[1].actions, expected(live, 3, [0, 1], **settings))


def test_a_stream_that_stays_away_is_named_and_what_the_others_send_does_not_pile_up(ros, tiny):
    live = Live(ros, tiny)
    for tick in range(2):
        live.send(tick)
    live.wait_for(1)  # inference measures itself in robot time, which goes on at once
    stream = live.bundle.task.stream('joint_states')
    for tick in range(2, 500):
        ros.set_clock(T0 + tick * DT, live.node) if tick in (2, 20) else None
        live.node.receive(stream, live.messages(tick)['joint_states'])
    assert len(live.node.partial) == 2 * live.bundle.task.obs_horizon + 3
    assert max(live.node.partial) == T0 + 499 * DT
    text = 'no complete observation for 1.9 s; observation_buffer/block_pose: no message for 1.9 s, while others come'
    live.node.refresh()
    status = ros.status('policy_executor: inference', WARN, 'while others come')
    assert status.message == text


@pytest.mark.parametrize(
    ('parameters', 'reason'),
    [
        ({'sampling_steps': 101}, 'sampling_steps: got 101, allowed 1 to diffusion_steps (100)'),
        ({'exec_horizon': 16}, 'exec_horizon + inference_delay: got 16 + 1, allowed up to pred_horizon (16)'),
        ({'inference_delay': 9}, 'exec_horizon + inference_delay: got 8 + 9, allowed up to pred_horizon (16)'),
        ({'sampler': 'heun'}, "sampler: got 'heun', allowed '', 'ddim', 'ddpm'"),
        ({'seed': -1}, 'Min: 0'),
        ({'backend': 'torchscript'}, 'read-only'),
    ],
)
def test_a_live_change_that_does_not_fit_is_refused_with_the_reason(ros, tiny, parameters, reason):
    live = Live(ros, tiny)
    before = live.node.settings
    (result,) = live.set(**parameters)
    assert not result.successful
    assert reason in result.reason
    assert live.node.settings is before


def broken(tiny: str, folder: Path, change: Callable[[Path], None]) -> str:
    shutil.copytree(tiny, folder)
    change(folder)
    return str(folder)


def alter(folder: Path) -> None:
    path = folder / 'denoiser.onnx'
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def unknown_field(folder: Path) -> None:
    path = folder / 'bundle.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'colour': 'red'}))


@pytest.mark.parametrize(
    ('change', 'parameters', 'reason'),
    [
        (alter, {}, 'denoiser.onnx'),
        (lambda folder: (folder / 'encoder.onnx').unlink(), {}, 'encoder.onnx'),
        (unknown_field, {}, 'colour'),
        (lambda _: None, {'backend': 'torchscript'}, "backend: got 'torchscript'"),
        (lambda _: None, {'sampling_steps': 101}, 'sampling_steps: got 101'),
        (lambda _: None, {'exec_horizon': 16}, 'allowed up to pred_horizon (16)'),
        (lambda _: None, {'alternatives': 1}, 'alternatives with samples 1: got 1, allowed 0 to 0'),
        (lambda _: None, {'samples': 4, 'alternatives': 3, 'continuity': 'ensemble'}, 'continuity ensemble: got 3'),
    ],
)
def test_configure_is_refused_with_the_reason(ros, tiny, tmp_path, change, parameters, reason):
    node = ros.create(PolicyExecutor, bundle=broken(tiny, tmp_path / 'broken', change), **parameters)
    assert not node.start()
    ros.status('policy_executor: lifecycle', ERROR, reason)
    assert ros.tester.count_publishers('/policy_executor/action_chunk') == 0


def test_a_network_that_fails_latches_and_activation_clears_it(ros, tiny):
    live = Live(ros, tiny)

    def fail(_: Window) -> None:
        raise DataError('policy tiny actions: got nan at index (0, 0), allowed finite numbers only')

    healthy = live.node.settings
    live.inject(fail)
    for tick in range(2):
        live.send(tick)
    ros.status('policy_executor: inference', ERROR, 'stopped: policy tiny actions: got nan')
    live.node.settings = healthy
    for tick in range(2, 20):
        live.send(tick)
    assert live.node.inference.number == 1
    live.node.trigger_deactivate()
    live.node.trigger_activate()
    live.connect()
    for tick in range(20, 22):
        live.send(tick)
    (chunk,) = live.wait_for(1)
    assert chunk.stamp == T0 + 21 * DT


class Gate:
    """Holds inference up until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, _: Window) -> None:
        self.reached.set()
        assert self.open.wait(20)


def test_a_chunk_begun_before_deactivation_is_discarded(ros, tiny):
    live = Live(ros, tiny)
    gate = Gate()
    live.inject(gate)
    for tick in range(2):
        live.send(tick)
    assert gate.reached.wait(10)
    live.node.trigger_deactivate()
    live.node.trigger_activate()
    live.connect()
    gate.open.set()
    ros.wait(lambda: live.node.counts['discarded'], 'the discarded chunk')
    for tick in range(10, 12):
        live.send(tick)
    (chunk,) = live.wait_for(1)
    assert chunk.stamp == T0 + 11 * DT


def test_while_inference_is_slow_the_newest_window_wins_and_callbacks_go_on(ros, tiny):
    live = Live(ros, tiny, exec_horizon=1)
    gate = Gate()
    live.inject(gate)
    for tick in range(2):
        live.send(tick)
    assert gate.reached.wait(10)
    for tick in range(2, 7):
        live.send(tick)
    gate.open.set()
    assert [(c.stamp - T0) // DT for c in live.wait_for(2)] == [1, 6]
    assert live.node.inference.skipped == 4


def predict_for(taken: int, ros, live: Live) -> None:
    """Have the first chunk predicted, which takes ``taken`` [ns]."""
    gate = Gate()
    live.inject(gate)
    for tick in range(2):
        live.send(tick)
    assert gate.reached.wait(10)
    ros.set_clock(T0 + DT + taken, live.node)
    gate.open.set()
    live.wait_for(1)


def test_a_chunk_after_its_deadline_is_published_counted_and_reported(ros, tiny):
    live = Live(ros, tiny, deadline=0.05)
    predict_for(60_000_000, ros, live)
    status = ros.status('policy_executor: inference', WARN, 'deadline missed')
    values = {v.key: v.value for v in status.values}
    assert values['deadline_misses'] == '1'
    assert float(values['latency_ms']) == pytest.approx(60.0)


def test_what_is_said_of_a_chunk_is_said_after_it_and_is_none_of_its_latency(ros, tiny):
    live = Live(ros, tiny, deadline=0.05)
    inference, order, later = live.node.inference, [], [0]
    now, outlet = inference.now, inference.outlet

    class Slow:
        """To say something takes longer than the deadline is."""

        def publish(self, prediction: Any) -> None:
            order.append('published')
            outlet.publish(prediction)

        def tell(self, prediction: Any, at: int) -> None:
            later[0] = 80_000_000
            order.append(f'said that it was {(at - T0 - DT) / 1e6:.0f} ms after the observation')
            outlet.tell(prediction, at)

    inference.now, inference.outlet = lambda: now() + later[0], Slow()
    predict_for(10_000_000, ros, live)
    ros.wait(lambda: len(order) == 2, 'what is said')
    assert order == ['published', 'said that it was 10 ms after the observation']
    assert inference.counts['deadline_misses'] == 0
    assert not inference.latched


def test_whoever_hands_a_window_on_waits_until_its_prediction_has_begun(ros, tiny, monkeypatch):
    monkeypatch.setattr(inference_module, 'GIVE_WAY', 20.0)
    live = Live(ros, tiny)
    inference = live.node.inference
    order: list[str] = []
    now, submit = inference.now, inference.submit

    def slowly() -> int:
        if not order:
            time.sleep(0.2)
            order.append('begun')
        return now()

    def submitted(*args: Any) -> None:
        submit(*args)
        order.append('submitted')

    monkeypatch.setattr(inference, 'now', slowly)
    monkeypatch.setattr(inference, 'submit', submitted)
    predict_for(0, ros, live)
    assert order == ['begun', 'submitted']


def test_whoever_hands_a_window_on_does_not_wait_for_the_one_before_it(ros, tiny, monkeypatch):
    live, gate = Live(ros, tiny), Gate()
    live.node.settings = replace(live.node.settings, exec_horizon=1)
    live.inject(gate)
    for tick in range(2):
        live.send(tick)
    assert gate.reached.wait(10)
    monkeypatch.setattr(inference_module, 'GIVE_WAY', 15.0)
    began = time.monotonic()
    live.send(2)
    ros.wait(lambda: live.node.inference.waiting, 'the next window')
    assert time.monotonic() - began < 10
    gate.open.set()
    live.wait_for(2)


def test_when_the_clock_jumps_back_windows_start_anew(ros, tiny):
    live = Live(ros, tiny)
    for tick in range(2):
        live.send(tick)
    live.wait_for(1)
    for tick in range(-50, -48):
        live.send(tick)
    assert live.wait_for(2)[1].stamp == T0 - 49 * DT


def nan(_: Window) -> None:
    raise DataError('policy tiny prediction at k = 3: got nan at index (0, 0), allowed finite numbers only')


def test_a_network_that_gives_nan_makes_no_chunk_and_is_counted(ros, tiny):
    live = Live(ros, tiny)
    live.inject(nan)
    for tick in range(2):
        live.send(tick)
    status = ros.status('policy_executor: inference', ERROR, 'got nan')
    assert {v.key: v.value for v in status.values}['failed'] == '1'
    assert live.chunks == []


def test_each_chunk_has_an_entry_with_the_times_of_its_inference(ros, tiny):
    live = Live(ros, tiny)
    heard = ros.listen(DiagnosticStatus, '/policy_executor/ledger')
    ros.connected('/policy_executor/ledger')
    predict_for(30_000_000, ros, live)
    ros.wait(lambda: heard, 'the entry')
    entry = {v.key: v.value for v in heard[0].values}
    assert int(entry['observation']) == T0 + DT
    assert int(entry['inference_start']) == T0 + DT
    assert int(entry['inference_end']) == T0 + DT + 30_000_000
    assert entry['policy'] == live.bundle.name
    said = {v.key: v.value for v in ros.status('policy_executor: chunk', OK, 'predicted').values}
    assert said == entry


def test_inference_that_stalls_is_said_while_it_does(ros, tiny):
    live = Live(ros, tiny, deadline=0.05)
    gate = Gate()
    live.inject(gate)
    for tick in range(2):
        live.send(tick)
    assert gate.reached.wait(10)
    ros.status('policy_executor: inference', ERROR, 'inference has taken')
    gate.open.set()
    live.wait_for(1)


def with_fallback(live: Live, act: Callable[[Window], None], after: int = 2) -> None:
    """Let the policy do something, with a fallback that works."""
    works = Policy(live.bundle, lambda _: None)
    live.inject(act)
    live.node.settings = replace(live.node.settings, fallback=works, fallback_after=after)


def test_the_fallback_takes_over_where_the_policy_fails_until_it_is_activated_again(ros, tiny):
    live = Live(ros, tiny)
    with_fallback(live, nan)
    inference = live.node.inference
    before = inference.continuation
    live.two_chunks()
    assert [(c.stamp - T0) // DT for c in live.wait_for(2)] == [1, 9]
    status = ros.status('policy_executor: inference', WARN, 'predicts: policy tiny prediction at k = 3: got nan')
    assert 'predicts' in status.message
    assert live.node.counts['failed'] == 1, 'the one that fails is not asked again'
    assert live.node.counts['fallback_chunks'] == 2
    assert inference.continuation is not before, 'what the first policy said is not gone on from'
    live.node.trigger_deactivate()
    live.node.trigger_activate()
    assert not live.node.inference.switched


def test_the_fallback_takes_over_after_deadlines_missed_in_a_row(ros, tiny):
    live = Live(ros, tiny, deadline=0.05, exec_horizon=1)
    gates = [Gate() for _ in range(2)]
    asked: list[int] = []

    def slow(window: Window) -> None:
        asked.append(window.stamp)
        gates[len(asked) - 1](window)

    with_fallback(live, slow)
    live.send(0)
    for number, gate in enumerate(gates):
        live.send(2 * number + 1)
        assert gate.reached.wait(10)
        live.send(2 * number + 2)
        gate.open.set()
        live.wait_for(2 * number + 1)
        live.node.inference.thread.forget()
    ros.wait(lambda: live.node.inference.switched, 'the fallback')
    assert 'deadlines missed in a row' in live.node.inference.switched
    assert len(asked) == 2


def test_a_fallback_that_fails_too_latches(ros, tiny):
    live = Live(ros, tiny)
    live.inject(nan)
    live.node.settings = replace(live.node.settings, fallback=Policy(live.bundle, nan))
    for tick in range(2):
        live.send(tick)
    ros.status('policy_executor: inference', ERROR, 'stopped: policy tiny prediction')
    assert live.chunks == []


def test_a_fallback_bundle_is_opened_and_checked_at_configure(ros, tiny, tmp_path):
    node = ros.create(PolicyExecutor, bundle=tiny, fallback_bundle=tiny)
    assert node.start()
    assert node.settings.fallback is not None
    other = load_tiny().write_tiny_bundle(tmp_path / 'other', task=replace(load_tiny().TASK, obs_horizon=3))
    node.trigger_deactivate()
    node.trigger_cleanup()
    wrong = ros.create(PolicyExecutor, bundle=tiny, fallback_bundle=str(other))
    assert not wrong.start()
    ros.status('policy_executor: lifecycle', ERROR, 'obs_horizon: got 3, allowed 2')


def test_a_fallback_takes_goals_wherever_its_training_had_them_from():
    made = load_tiny()
    task = made.TASK
    features = next(s.features for s in task.streams if s.name == 'block_pose')
    lived = GoalPose(features=features, source='topic')
    learnt = GoalPose(features=features, stream='block_pose', hindsight='any')
    other = GoalPose(features=features, source='topic', topic='/elsewhere')
    bundles = [SimpleNamespace(name=g.topic, task=replace(task, goals=(g,))) for g in (lived, learnt, other)]
    check_same_task(bundles[0], bundles[1])
    with pytest.raises(BundleError, match='fallback_bundle /elsewhere goals'):
        check_same_task(bundles[0], bundles[2])


def test_a_bundle_that_is_swapped_on_disk_changes_nothing_until_configure_which_checks_it(ros, tiny, tmp_path):
    folder = tmp_path / 'bundle'
    shutil.copytree(tiny, folder)
    live = Live(ros, str(folder))
    alter(folder)
    for tick in range(2):
        live.send(tick)
    live.wait_for(1)
    live.node.trigger_deactivate()
    live.node.trigger_activate()
    live.connect()
    for tick in range(2, 4):
        live.send(tick)
    assert np.array_equal(live.wait_for(2)[1].actions, expected_of(tiny, live, 3))
    live.node.trigger_deactivate()
    live.node.trigger_cleanup()
    live.node.trigger_configure()
    ros.status('policy_executor: lifecycle', ERROR, 'SHA-256')


def expected_of(folder: str, live: Live, tick: int) -> np.ndarray:
    bundle = load_bundle(folder)
    return DiffusionPolicy(bundle, open_backend(bundle)).chunk(live.window(tick), np.random.default_rng([0, 0])).actions


def test_real_time_chunking_is_switched_on_live_and_fixes_the_steps_executed_meanwhile(ros, tiny):
    live = Live(ros, tiny)
    (result,) = live.set(continuity='rtc')
    assert result.successful, result.reason
    first, second = live.two_chunks()
    free = expected(live, 9, [0, 1])
    np.testing.assert_allclose(second.actions[0], first.actions[8], atol=1e-5)
    assert np.abs(free[0] - first.actions[8]).max() > 1e-3
    live.node.trigger_deactivate()
    live.node.trigger_activate()
    live.ros.wait(lambda: all(p.get_subscription_count() for p in live.inputs.values()), 'its subscriptions')
    for tick in (10, 11):
        live.send(tick)
    np.testing.assert_allclose(live.wait_for(3)[2].actions, expected(live, 11, [0, 0]), atol=1e-6)


def test_warm_steps_are_switched_on_live_and_the_first_chunk_still_starts_from_noise(ros, tiny):
    live = Live(ros, tiny)
    heard = ros.listen(DiagnosticStatus, '/policy_executor/ledger')
    ros.connected('/policy_executor/ledger')
    (result,) = live.set(warm_steps=11)
    assert not result.successful and 'sampling_steps 10: got 11, allowed 0 to 10' in result.reason
    (result,) = live.set(warm_steps=2)
    assert result.successful, result.reason
    first, second = live.two_chunks()
    assert np.array_equal(first.actions, expected(live, 1, [0, 0]))
    ros.wait(lambda: len(heard) == 2, 'both entries')
    assert [{v.key: v.value for v in e.values}['network_calls'] for e in heard] == ['10', '2']
    (result,) = live.set(exec_horizon=13)
    assert not result.successful and 'warm_steps 2 with exec_horizon 13' in result.reason
    start = np.concatenate([first.actions[8:], np.repeat(first.actions[-1:], 8, axis=0)])
    policy = DiffusionPolicy(live.bundle, open_backend(live.bundle)).with_settings(warm_steps=2)
    warm = policy.chunk(live.window(9), np.random.default_rng([0, 1]), start=start).actions
    np.testing.assert_allclose(second.actions, warm, atol=1e-12)
    assert np.abs(warm - expected(live, 9, [0, 1])).max() > 1e-3


def test_of_several_samples_the_one_that_goes_on_from_the_last_chunk_is_published(ros, tiny):
    live = Live(ros, tiny, samples=4)
    first, second = live.two_chunks()
    start = np.concatenate([first.actions[8:], np.repeat(first.actions[-1:], 8, axis=0)])
    policy = DiffusionPolicy(live.bundle, open_backend(live.bundle)).with_settings(samples=4)
    seeds = [[0, n] for n in (0, 1)]
    np.testing.assert_allclose(
        first.actions, policy.chunk(live.window(1), np.random.default_rng(seeds[0])).actions, atol=1e-12
    )
    nearest = policy.chunk(live.window(9), np.random.default_rng(seeds[1]), start=start).actions
    np.testing.assert_allclose(second.actions, nearest, atol=1e-12)


def test_the_next_chunk_goes_on_from_the_alternative_that_the_publisher_took(ros, tiny):
    live = Live(ros, tiny, samples=4, alternatives=3, continuity='rtc')
    ledger = ros.talk(DiagnosticStatus, '/trajectory_publisher/ledger')
    for tick in range(2):
        live.send(tick)
    (first,) = live.wait_for(1)
    assert len(first.alternatives) == 3
    policy = DiffusionPolicy(live.bundle, open_backend(live.bundle)).with_settings(samples=4, alternatives=3)
    made = policy.chunk(live.window(1), np.random.default_rng([0, 0]))
    for number in range(4):
        np.testing.assert_allclose(first.choice(number).actions, made.choice(number).actions, atol=1e-12)
    ledger.publish(DiagnosticStatus(values=[KeyValue(key='observation', value='no report')]))
    report = ChunkReport(observation=first.stamp, received=first.stamp, published=first.stamp, alternative=2)
    values = [KeyValue(key=key, value=value) for key, value in encode(report).items()]
    ledger.publish(DiagnosticStatus(values=values))
    ros.wait(lambda: live.node.inference._executed == (first.stamp, 2), 'the report')
    for tick in range(2, 10):
        live.send(tick)
    _, second = live.wait_for(2)
    # Real-time chunking fixes the steps that are executed while predicting: those of the alternative.
    np.testing.assert_allclose(second.actions[:1], first.choice(2).actions[8:9], atol=1e-6)
    assert np.abs(second.actions[0] - first.actions[8]).max() > 1e-3


def test_without_alternatives_nobody_listens_to_what_the_publisher_took(ros, tiny):
    live = Live(ros, tiny, samples=4)
    assert [chunk.alternatives for chunk in live.two_chunks()] == [(), ()]
    assert not ros.tester.count_subscribers('/trajectory_publisher/ledger')


def test_a_delay_measured_too_long_for_exec_horizon_is_said_with_both_numbers(ros, tiny):
    live = Live(ros, tiny, exec_horizon=13)
    gate = Gate()
    live.inject(gate)
    live.send(0)
    live.send(1)
    assert gate.reached.wait(10)
    for tick in (2, 3, 4):
        live.send(tick)
    gate.open.set()
    live.wait_for(1)
    text = 'inference_delay as measured + exec_horizon: got 4 + 13, allowed up to pred_horizon (16)'
    status = ros.status('policy_executor: inference', WARN, text)
    assert {v.key: v.value for v in status.values}['inference_delay'] == '4'


def test_as_many_steps_are_fixed_as_inference_delay_says_although_predicting_is_faster(ros, tiny):
    live = Live(ros, tiny, continuity='rtc')
    (result,) = live.set(inference_delay=5)
    assert result.successful, result.reason
    first, second = live.two_chunks()
    np.testing.assert_allclose(second.actions[:5], first.actions[8:13], atol=1e-5)
    assert np.abs(second.actions[5] - first.actions[13]).max() > 1e-4
