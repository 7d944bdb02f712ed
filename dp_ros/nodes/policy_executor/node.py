"""Aligned observations in, action chunks out. Inference runs in a thread of its own, never in a callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dp_ros.data import Observation, Window, to_nanoseconds
from dp_ros.errors import ConfigError, DataError
from dp_ros.messages import encoding
from dp_ros.nodes.policy_executor.anytime_steps import ROUNDS, measure_cost, warm_up
from dp_ros.nodes.policy_executor.chunk_publisher import PREDICTED, ChunkOutlet
from dp_ros.nodes.policy_executor.failure_response import FailureResponse, replanned
from dp_ros.nodes.policy_executor.goal_topics import GoalInbox
from dp_ros.nodes.policy_executor.inference import Inference
from dp_ros.nodes.policy_executor.inference_settings import (
    PARAMETERS,
    Settings,
    check_family,
    check_same_task,
    make_settings,
)
from dp_ros.nodes.policy_executor.monitoring import Monitoring
from dp_ros.nodes.trajectory_publisher.controllers.endpoints import SingleSource, first_fault
from dp_ros.policy.alignment import WindowBuffer
from dp_ros.policy.backends.sessions import fewest_threads, thread_counts
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.failure_monitor import FailureMonitor
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.protocol import Policy, open_policy
from dp_ros.ros.bundles import aligned_type, read_bundle
from dp_ros.ros.diagnostics import ERROR, OK, WARN
from dp_ros.ros.lifecycle import WARN_PERIOD, ManagedNode, reliable, run
from dp_ros.ros.realtime import CpuLatency, take_priority
from dp_ros.task.spec import ImageStream, Stream

STATUS, MONITOR = 'inference', 'monitor'
QUIET = 3  # control steps without a complete observation before the diagnostics warn


class PolicyExecutor(ManagedNode):
    """The node `policy_executor`.

    Attributes
    ----------
    settings
        What the next chunk is made with; None before `configure`.
    inference, goals, outlet
        What predicts, what keeps the goal, and what publishes chunks; None before `configure`.
    monitoring, response
        What looks at windows whose chunks are out, and what is done about a failure; None before `configure`.
    newest
        Stamp of the newest complete observation [ns], 0 before the first.
    partial
        By stamp, the streams of observations that are not complete.

    """

    def __init__(self, **options: Any) -> None:
        self._bundle: Bundle | None = None
        self.settings: Settings | None = None
        self.inference: Inference | None = None
        self.goals: GoalInbox | None = None
        self.outlet: ChunkOutlet | None = None
        self.monitoring: Monitoring | None = None
        self.response: FailureResponse | None = None
        self._inputs: list[Any] = []
        self._sources: tuple[SingleSource, ...] = ()
        self._refused = 0
        self._forget_windows()
        self._cpu_latency = CpuLatency(self)
        super().__init__('policy_executor', PARAMETERS, **options)

    def _forget_windows(self) -> None:
        self.partial: dict[int, dict[str, np.ndarray]] = {}
        self._arrived: dict[str, int] = {}  # by stream, when its newest message came [ns]
        self._began = 0  # when the first of any came [ns]
        self.newest = 0
        self._last_window: int | None = None
        self._listeners = 0
        self._gap = self._windowed = 0  # [ns] between the last two observations; stamp of the last window

    @property
    def counts(self) -> dict[str, int]:
        """What was counted since activation."""
        counts = self.inference.counts if self.inference is not None else {}
        return {**counts, 'refused_observations': self._refused}

    # Lifecycle.

    def configure(self) -> None:
        """Load and check the bundle, open its networks, and run them once so that the first chunk is on time."""
        take_priority(self)  # first: threads that are made from here on have it too
        self._cpu_latency.configure()
        # Before anything that takes long: until the publisher of another process knows this one, it gets no chunk.
        # And before anything that is refused, so that `cleanup` finds it.
        self.outlet = ChunkOutlet(self)
        self.response = FailureResponse(self)
        policy, fallback = self._open('bundle'), None
        check_family(policy.bundle, self.values())
        if isinstance(policy, DiffusionPolicy):
            policy = policy.with_settings(samples=self.value('samples'), alternatives=self.value('alternatives'))
        if self.value('fallback_bundle'):
            fallback = self._open('fallback_bundle')
            check_same_task(policy.bundle, fallback.bundle)
        cost = measure_cost(policy) if isinstance(policy, DiffusionPolicy) and self.value('anytime') else None
        settings = make_settings(policy, self.values(), fallback, cost)
        for used in (settings.policy, settings.fallback):
            if used is not None:
                self.get_logger().info(f'{used.bundle.name}: warmed up, {warm_up(used) * 1e3:.1f} ms a chunk')
        if policy.bundle.has_critic and self.value('samples') == 1:
            self.get_logger().info(f'{policy.bundle.name}: its critic has nothing to choose from, samples is 1')
        self._bundle, self.settings = policy.bundle, settings
        self.monitoring = self.response.monitoring = self._make_monitoring(policy, self.response)
        self.inference = Inference(self.outlet, self.now, self._say, self.monitoring.look)
        if self.value('alternatives'):
            self.outlet.follow(self.inference.executed)
        self.goals = GoalInbox(self, policy.bundle)

    def _make_monitoring(self, policy: Policy, response: FailureResponse) -> Monitoring:
        """Return what looks at windows; a bundle without a monitor for them is refused where something hangs on it."""
        try:
            return Monitoring(FailureMonitor(policy), '', response.publish, self.now)
        except ConfigError as error:
            if self.value('on_failure') != 'report':
                raise
            if policy.bundle.monitor is not None:
                self.get_logger().warning(f'{error}; nothing is foretold')
            return Monitoring(None, str(error), response.publish, self.now)

    def _open(self, parameter: str) -> Policy:
        bundle = read_bundle(self, parameter)
        opened = {
            count: open_policy(bundle, self.value('backend'), count, self.value('execution_provider'))
            for count in ([self.value('threads')] if self.value('threads') else thread_counts())
        }
        if len(opened) == 1:
            return opened.popitem()[1]
        took = {count: warm_up(policy, ROUNDS) for count, policy in opened.items()}
        threads = fewest_threads(took)
        table = ', '.join(f'{count}: {seconds * 1e3:.1f} ms' for count, seconds in took.items())
        self.get_logger().info(f'threads: {threads}; a chunk of {bundle.name} takes with {table}')
        return opened[threads]

    def activate(self) -> None:
        """Listen; windows from before are forgotten, and chunks that are still being made will be discarded."""
        assert self._bundle is not None and self.inference is not None
        self._cpu_latency.activate()
        self._start_anew()
        self.inference.clear()
        assert self.monitoring is not None and self.response is not None
        self.monitoring.clear()
        self.response.clear()
        self.monitoring.say_none(self.now())
        self._refused = 0
        task = self._bundle.task
        self._sources = tuple(SingleSource(self, self._topic(stream), self.steady) for stream in task.streams)
        depth = self._depth(self._bundle)
        self._inputs = [
            self.create_subscription(aligned_type(stream), self._topic(stream), self._receiver(stream), reliable(depth))
            for stream in task.streams
        ]

    def deactivate(self) -> None:
        """Stop listening. From the return of this on, no chunk is published."""
        self._cpu_latency.deactivate()
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        self._start_anew()
        for name in (STATUS, PREDICTED, MONITOR):
            self.diagnostics.forget(name)

    def cleanup(self) -> None:
        """Give back networks and thread."""
        self._cpu_latency.cleanup()
        if self.inference is not None:
            self.inference.stop()
        if self.goals is not None:
            self.goals.close()
        for part in (self.outlet, self.response):
            if part is not None:
                part.close()
        self._bundle = self.settings = self.inference = self.goals = self.outlet = None
        self.monitoring = self.response = None

    def restart(self, reason: str) -> None:
        """Forget windows and chunks under way, whose stamps can't be compared with those to come."""
        self.get_logger().warning(f'{reason}: windows start anew')
        self._start_anew()

    def _start_anew(self) -> None:
        self._forget_windows()
        if self.inference is not None:
            self.inference.start_anew()
        if self._bundle is not None:
            self._windows = WindowBuffer(self._bundle.task.obs_horizon, to_nanoseconds(self._bundle.task.control_dt))

    # Parameters.

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuse what does not fit the bundle, once there is one."""
        if self.settings is not None:
            make_settings(self.settings.policy, values, self.settings.fallback, self.settings.cost)

    def apply(self, values: Mapping[str, Any]) -> None:
        """Use changed parameters from the next chunk on."""
        if self.settings is not None:
            self.settings = make_settings(self.settings.policy, values, self.settings.fallback, self.settings.cost)

    # Observations in.

    def _depth(self, bundle: Bundle) -> int:
        return 2 * bundle.task.obs_horizon + 3

    def _topic(self, stream: Stream) -> str:
        return f'observation_buffer/{stream.name}'

    def _receiver(self, stream: Stream) -> Callable[[Any], None]:
        decoded = replace(stream, compressed=False) if isinstance(stream, ImageStream) else stream
        return lambda message: self.receive(decoded, message)

    def receive(self, stream: Stream, message: Any) -> None:
        """Take a message of one stream, which with those of the others makes an observation."""
        assert self._bundle is not None
        stamp = encoding.stamp_of(message)
        try:
            value = encoding.decode_aligned(stream, message)
        except DataError as error:
            self._refused += 1
            self.get_logger().error(f'{self._topic(stream)}: {error}', throttle_duration_sec=WARN_PERIOD)
            return
        if stamp <= self.newest:
            self.restart(f'{self._topic(stream)} went back by {(self.newest - stamp) / 1e9:.3f} s')
        self._arrived[stream.name] = self.now()
        self._began = self._began or self._arrived[stream.name]
        parts = self.partial.setdefault(stamp, {})
        parts[stream.name] = value
        if len(parts) < len(self._bundle.task.streams):
            self._drop_partial()
            return
        self.partial = {s: p for s, p in self.partial.items() if s > stamp}
        self._observe(Observation(stamp=stamp, streams=parts))

    def _drop_partial(self) -> None:
        """Keep the parts of the newest ticks only, as many as a topic's queue holds."""
        assert self._bundle is not None
        while len(self.partial) > self._depth(self._bundle):
            del self.partial[next(iter(self.partial))]
            if absent := self._absent():
                self.get_logger().warning(absent, throttle_duration_sec=WARN_PERIOD)

    def _absent(self) -> str:
        """Return which streams of the observation stay away while others come, and for how long; '' where none does."""
        assert self._bundle is not None
        newest, task = max(self._arrived.values(), default=0), self._bundle.task
        last = {stream: self._arrived.get(stream.name, self._began) for stream in task.streams}
        patience = QUIET * to_nanoseconds(task.control_dt)
        return '; '.join(
            f'{self._topic(stream)}: no message for {(self.now() - came) / 1e9:.1f} s, while others come'
            for stream, came in last.items()
            if newest - came > patience
        )

    def _observe(self, observation: Observation) -> None:
        stamp = observation.stamp
        self._gap, self.newest = stamp - self.newest, stamp
        self._windowed = self._windowed or stamp
        window = self._windows.push(observation)
        if window is not None:
            self._windowed = stamp
            self._consider(window)

    def _consider(self, window: Window) -> None:
        """Hand the window on if a new chunk is due, or if one is due that has not begun; never without a goal."""
        assert self._bundle is not None and self.settings is not None and self.inference is not None
        assert self.goals is not None and self.response is not None
        if self._is_latched():
            return
        answer, settings = self.response.answer(self.settings, self.inference), self.settings
        if answer == 'withhold':
            return
        if answer == 'now':
            settings = replanned(settings)
        missing = self.goals.missing()
        if missing:
            self.get_logger().error(missing, throttle_duration_sec=WARN_PERIOD)
            return
        steps = self.settings.exec_horizon * to_nanoseconds(self._bundle.task.control_dt)
        newly_heard = self._newly_heard()
        due = self._last_window is None or window.stamp - self._last_window >= steps or newly_heard or answer == 'now'
        if due or self.inference.waiting:
            self._last_window = window.stamp
            self.inference.submit(window, settings, self.goals.goal)

    def _newly_heard(self) -> bool:
        """Whether someone listens who did not get the last chunk, as after a start: to wait for the next is long."""
        assert self.outlet is not None
        before, self._listeners = self._listeners, self.outlet.listeners()
        return self._listeners > before

    def _is_latched(self) -> bool:
        """Look who publishes observations, and latch if that is more than one node; return whether it is latched."""
        assert self.inference is not None
        if not self.inference.latched and (fault := first_fault(self._sources)):
            self.inference.latch(fault)
        return bool(self.inference.latched)

    # What is said.

    def _say(self, text: str) -> None:
        self.get_logger().error(text)
        self._report()

    def refresh(self) -> None:
        """Say whether chunks come, and how fast."""
        if self.active and self.inference is not None:
            self._is_latched()
        self._report()

    def _report(self) -> None:
        # In any thread: the inference's says what it found.
        if not self.active or self._bundle is None or self.inference is None or self.settings is None:
            return
        assert self.goals is not None
        quiet = self.now() - self.newest if self.newest else None
        level, text = self.inference.status(self.settings)
        missed, no_goal = self.inference.missed(), self.goals.missing()
        if level == OK and self.response is not None and self.response.withheld:
            level, text = ERROR, self.response.withheld
        elif level == OK and no_goal:
            level, text = ERROR, no_goal
        elif level == OK and quiet is None:
            level, text = WARN, self._incomplete('yet')
        elif level == OK and quiet is not None and quiet > QUIET * to_nanoseconds(self._bundle.task.control_dt):
            level, text = WARN, self._incomplete(f'for {quiet / 1e9:.1f} s')
        elif level == OK and (apart := self._apart()):
            level, text = WARN, apart
        elif level == OK and missed:
            level, text = WARN, missed
            self.get_logger().warning(missed)
        crowded = self.goals.crowded()
        if crowded:  # Never hidden by other news: it may be another goal than the one meant.
            level, text = (WARN, crowded) if level == OK else (level, f'{text}; {crowded}')
        values = {**self.inference.values(self.settings), 'refused_observations': self._refused}
        values |= self.goals.values()
        self.diagnostics.report(STATUS, level, text, values)
        if self.monitoring is not None and self._bundle.monitor is not None:
            self.diagnostics.report(MONITOR, *self.monitoring.status())

    def _incomplete(self, since: str) -> str:
        absent = self._absent()
        return f'no complete observation {since}{"; " * bool(absent)}{absent}'

    def _apart(self) -> str:
        """Return what is wrong with observations that come, and make no window."""
        assert self._bundle is not None
        task = self._bundle.task
        dt = to_nanoseconds(task.control_dt)
        on_ticks, since = self.newest % dt == 0, self.newest - self._windowed
        if on_ticks and since <= (QUIET + task.obs_horizon) * dt:
            return ''
        what = f'no window for {since / 1e9:.1f} s' if on_ticks else 'observations off the ticks'
        return (
            f'{what}: got observations {self._gap / 1e9:.6g} s apart, allowed {task.control_dt:.6g} s; '
            'does observation_buffer have the same bundle and policy_speed?'
        )


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `policy_executor`."""
    return run(PolicyExecutor, args)


if __name__ == '__main__':
    raise SystemExit(main())
