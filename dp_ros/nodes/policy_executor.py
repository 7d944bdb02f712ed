"""Aligned observations in, action chunks out. Inference runs in a thread of its own, never in a callback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from trajectory_msgs.msg import JointTrajectory

from dp_ros import messages
from dp_ros.config import ImageStream, Stream
from dp_ros.data import Observation, Window, to_nanoseconds
from dp_ros.errors import DataError, DpRosError
from dp_ros.nodes.diagnostics import ERROR, OK, WARN
from dp_ros.nodes.inference_settings import PARAMETERS, Settings, make_settings
from dp_ros.nodes.lifecycle import WARN_PERIOD, ManagedNode, reliable, run
from dp_ros.nodes.observation_buffer import aligned_type, read_bundle
from dp_ros.nodes.worker import Worker
from dp_ros.policy.alignment import WindowBuffer
from dp_ros.policy.backends import open_backend
from dp_ros.policy.bundle import Bundle
from dp_ros.policy.policy import DiffusionPolicy

STATUS = 'inference'
STOP_TIMEOUT = 5.0  # [s] for the inference under way to end
QUIET = 3  # control steps without a complete observation before the diagnostics warn


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A window to predict from, with the settings of its moment."""

    window: Window
    settings: Settings
    number: int
    generation: int


class PolicyExecutor(ManagedNode):
    """The node `policy_executor`."""

    def __init__(self, **options: Any) -> None:
        # Guards what the worker shares with callbacks: generation, counts, and the right to publish.
        self._lock = threading.Lock()
        self._generation = 0
        self._bundle: Bundle | None = None
        self._settings: Settings | None = None
        self._worker: Worker[Job] | None = None
        self._output: Any = None
        self._inputs: list[Any] = []
        self._forget_windows()
        self._forget_counts()
        super().__init__('policy_executor', PARAMETERS, **options)

    def _forget_windows(self) -> None:
        self._partial: dict[int, dict[str, np.ndarray]] = {}
        self._newest = 0
        self._last_window: int | None = None

    def _forget_counts(self) -> None:
        self._number = 0
        self._latched = ''
        self.counts = {'chunks': 0, 'deadline_misses': 0, 'discarded': 0, 'refused_observations': 0}
        self._timing = {'inference_ms': 0.0, 'inference_ms_max': 0.0, 'latency_ms': 0.0, 'latency_ms_max': 0.0}
        self._missed_since_report = False

    # Lifecycle.

    def configure(self) -> None:
        """Load and check the bundle, open its networks, and run them once so that the first chunk is on time."""
        bundle = read_bundle(self.value('bundle'))
        backend = open_backend(bundle, backend=self.value('backend'), threads=self.value('threads'))
        settings = make_settings(DiffusionPolicy(bundle, backend), self.values())
        self._bundle, self._settings = bundle, settings
        self._warm_up()
        self._output = self.create_lifecycle_publisher(JointTrajectory, '~/action_chunk', reliable(1))
        self._worker = Worker(self._infer, 'inference')

    def activate(self) -> None:
        """Listen; windows from before are forgotten, and chunks that are still being made will be discarded."""
        assert self._bundle is not None
        self._start_anew()
        self._forget_counts()
        task = self._bundle.task
        self._inputs = [
            self.create_subscription(
                aligned_type(stream), self._topic(stream), self._receiver(stream), reliable(2 * task.obs_horizon + 3)
            )
            for stream in task.streams
        ]

    def deactivate(self) -> None:
        """Stop listening. From the return of this on, no chunk is published."""
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        self._start_anew()
        self.diagnostics.forget(STATUS)

    def cleanup(self) -> None:
        """Give back networks and thread."""
        if self._worker is not None and not self._worker.stop(STOP_TIMEOUT):
            self.get_logger().error(f'inference did not end within {STOP_TIMEOUT} s; its thread is left behind')
        self._worker = None
        if self._output is not None:
            self.destroy_lifecycle_publisher(self._output)
        self._output = None
        self._bundle = None
        self._settings = None

    def restart(self, reason: str) -> None:
        """Forget windows and chunks under way, whose stamps can't be compared with those to come."""
        self.get_logger().warning(f'{reason}: windows start anew')
        self._start_anew()

    def _start_anew(self) -> None:
        with self._lock:
            self._generation += 1
            self._forget_windows()
        if self._worker is not None:
            self._worker.forget()
        if self._bundle is not None:
            self._windows = WindowBuffer(self._bundle.task.obs_horizon, to_nanoseconds(self._bundle.task.control_dt))

    def _warm_up(self) -> None:
        assert self._bundle is not None and self._settings is not None
        task = self._bundle.task
        dt = to_nanoseconds(task.control_dt)
        streams = {
            s.name: np.zeros((task.obs_horizon, *s.shape), np.uint8 if isinstance(s, ImageStream) else np.float64)
            for s in task.streams
        }
        window = Window(stamps=dt * np.arange(1, task.obs_horizon + 1), streams=streams)
        began = time.perf_counter()
        self._settings.policy.chunk(window, np.random.default_rng(0))
        self._settings.policy.chunk(window, np.random.default_rng(0))
        took = (time.perf_counter() - began) / 2
        self.get_logger().info(f'{self._bundle.name}: warmed up, {took * 1e3:.1f} ms a chunk')

    # Parameters.

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuse what does not fit the bundle, once there is one."""
        if self._settings is not None:
            make_settings(self._settings.policy, values)

    def apply(self, values: Mapping[str, Any]) -> None:
        """Use changed parameters from the next chunk on."""
        if self._settings is not None:
            self._settings = make_settings(self._settings.policy, values)

    # Observations in.

    def _topic(self, stream: Stream) -> str:
        return f'observation_buffer/{stream.name}'

    def _receiver(self, stream: Stream) -> Callable[[Any], None]:
        decoded = replace(stream, compressed=False) if isinstance(stream, ImageStream) else stream
        return lambda message: self._receive(decoded, message)

    def _receive(self, stream: Stream, message: Any) -> None:
        assert self._bundle is not None
        stamp = messages.stamp_of(message)
        try:
            value = messages.decode(stream, message)
        except DataError as error:
            self.counts['refused_observations'] += 1
            self.get_logger().error(f'{self._topic(stream)}: {error}', throttle_duration_sec=WARN_PERIOD)
            return
        if stamp <= self._newest:
            self.restart(f'{self._topic(stream)} went back by {(self._newest - stamp) / 1e9:.3f} s')
        parts = self._partial.setdefault(stamp, {})
        parts[stream.name] = value
        if len(parts) < len(self._bundle.task.streams):
            return
        self._newest = stamp
        self._partial = {s: p for s, p in self._partial.items() if s > stamp}
        window = self._windows.push(Observation(stamp=stamp, streams=parts))
        if window is not None:
            self._consider(window)

    def _consider(self, window: Window) -> None:
        """Hand the window to the worker if a new chunk is due, or if one is due that has not begun."""
        assert self._bundle is not None and self._settings is not None and self._worker is not None
        if self._latched:
            return
        steps = self._settings.exec_horizon * to_nanoseconds(self._bundle.task.control_dt)
        due = self._last_window is None or window.stamp - self._last_window >= steps
        if due or self._worker.waiting:
            self._last_window = window.stamp
            self._worker.submit(
                Job(window=window, settings=self._settings, number=self._number, generation=self._generation)
            )
            self._number += 1

    # Chunks out, in the worker's thread.

    def _infer(self, job: Job) -> None:
        began = time.perf_counter()
        try:
            chunk = job.settings.policy.chunk(job.window, np.random.default_rng([job.settings.seed, job.number]))
            message = messages.chunk_to_message(chunk)
        except Exception as error:  # whatever it was, the robot must not go on with a policy that fails
            self._latch(job, error)
            return
        took = (time.perf_counter() - began) * 1e3
        with self._lock:
            if job.generation != self._generation:
                self.counts['discarded'] += 1
                return
            self._output.publish(message)
            self._account(job, took)

    def _account(self, job: Job, took: float) -> None:
        latency = self.now() - job.window.stamp
        for key, value in (('inference_ms', took), ('latency_ms', latency / 1e6)):
            self._timing[key] = value
            self._timing[f'{key}_max'] = max(value, self._timing[f'{key}_max'])
        self.counts['chunks'] += 1
        if latency > job.settings.deadline:
            self.counts['deadline_misses'] += 1
            self._missed_since_report = True
            self.get_logger().warning(
                f'deadline missed: the chunk of {job.window.stamp} was out {latency / 1e6:.1f} ms after its '
                f'observation, allowed {job.settings.deadline / 1e6:.1f} ms (inference {took:.1f} ms)',
                throttle_duration_sec=WARN_PERIOD,
            )

    def _latch(self, job: Job, error: Exception) -> None:
        with self._lock:
            if job.generation != self._generation:
                return
            self._latched = f'stopped: {error}' if isinstance(error, DpRosError) else f'stopped: {error!r}'
        self.get_logger().error(f'{self._latched}; deactivate and activate to go on')
        self.refresh()

    def refresh(self) -> None:
        """Say whether chunks come, and how fast."""
        if not self.active or self._bundle is None or self._worker is None:
            return
        quiet = self.now() - self._newest if self._newest else None
        limit = QUIET * to_nanoseconds(self._bundle.task.control_dt)
        if self._latched:
            level, text = ERROR, self._latched
        elif quiet is None:
            level, text = WARN, 'no complete observation yet'
        elif quiet > limit:
            level, text = WARN, f'no complete observation for {quiet / 1e9:.1f} s'
        elif self._missed_since_report:
            level, text = WARN, 'deadline missed'
        else:
            level, text = OK, 'predicting'
        self._missed_since_report = False
        timing = {key: f'{value:.2f}' for key, value in self._timing.items()}
        self.diagnostics.report(STATUS, level, text, {**self.counts, 'skipped': self._worker.skipped, **timing})


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `policy_executor`."""
    return run(PolicyExecutor, args)


if __name__ == '__main__':
    raise SystemExit(main())
