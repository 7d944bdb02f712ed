"""Raw sensor streams in, one aligned observation per control tick out; or the reason why there is none.

The rule of alignment is `dp_ros.policy.alignment`'s, the same that reads bags. This node only says when a message
arrived (the ROS clock in its callback) and publishes each tick's observation as soon as nothing can change it any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile, QoSReliabilityPolicy, qos_profile_sensor_data
from rclpy.time import Time

from dp_ros.data import Observation, to_nanoseconds
from dp_ros.errors import DataError, listed
from dp_ros.messages import encoding
from dp_ros.messages.images import RECORDED, check_size, size_of
from dp_ros.nodes.observation_buffer.stream_health import StreamHealth, report_streams, status_of
from dp_ros.nodes.observation_buffer.stream_settings import (
    CROP,
    LETTERBOX,
    OTHER_SIZE,
    PARAMETERS,
    PATTERNS,
    TOPICS,
    declare_streams,
    make_alignment_limits,
    refitted,
)
from dp_ros.policy.alignment import Aligner, Missing, tick_at_or_after
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.compatibility import advice_on_pictures, check_compatibility, topic_type
from dp_ros.policy.normalizer import TrainingRange
from dp_ros.policy.policy_speed import as_shown
from dp_ros.ros.bundles import BUNDLE, POLICY_SPEED, aligned_type, below_namespace, message_type, read_bundle
from dp_ros.ros.clock_timer import ClockTimer
from dp_ros.ros.diagnostics import ERROR, OK, WARN
from dp_ros.ros.lifecycle import WARN_PERIOD, ManagedNode, reliable, run
from dp_ros.ros.realtime import PARAMETERS as REALTIME_PARAMETERS
from dp_ros.ros.realtime import CpuLatency, take_priority
from dp_ros.task.spec import ImageStream, JointStream, Stream, TaskSpec

STATUS = 'observations'
RESENT = QoSProfile(depth=qos_profile_sensor_data.depth, reliability=QoSReliabilityPolicy.RELIABLE)
CATCH_UP = 10  # ticks; further behind than this, ticks are given up


class ObservationBuffer(ManagedNode):
    """The node `observation_buffer`."""

    def __init__(self, **options: Any) -> None:
        parameters = [BUNDLE, POLICY_SPEED, *REALTIME_PARAMETERS, *PARAMETERS]
        super().__init__('observation_buffer', parameters, patterns=PATTERNS, **options)
        self._cpu_latency = CpuLatency(self)
        self._bundle: Bundle | None = None
        self._task: TaskSpec | None = None
        self._outputs: dict[str, Any] = {}
        self._inputs: dict[str, tuple[Any, QoSProfile]] = {}
        self._timer: ClockTimer | None = None
        self._health: dict[str, StreamHealth] = {}
        self._refitted: dict[str, str] = {}  # how cameras' pictures of another size than the training's are taken
        self._forget()

    def _forget(self) -> None:
        self._next_tick: int | None = None
        self._last_now = 0
        self._armed: int | None = None
        # Messages of the streams that are sent on as they came, with their stamps.
        self._originals: dict[str, deque[tuple[int, Any]]] = {}
        self._missing: Missing | None = None
        self.counts = {'received': 0, 'observations': 0, 'missing': 0, 'undecodable': 0}

    # Lifecycle.

    def configure(self) -> None:
        """Read the task from the bundle, and make the outputs."""
        take_priority(self)
        self._cpu_latency.configure()
        self._bundle = read_bundle(self)
        task = self._bundle.task
        declare_streams(self, task.streams)
        for stream in task.streams:
            self._check_type(stream)
        self._aligner = Aligner(task, make_alignment_limits(self, task.streams))
        self._training = TrainingRange(task, self._bundle.normalizer)
        self._task = task
        self._outputs = {
            stream.name: self.create_lifecycle_publisher(aligned_type(stream), f'~/{stream.name}', reliable(5))
            for stream in task.streams
        }

    def activate(self) -> None:
        """Listen, from the next tick on."""
        assert self._task is not None
        self._cpu_latency.activate()
        self._forget()
        assert self._bundle is not None
        self._aligner = Aligner(self._task, make_alignment_limits(self, self._task.streams))
        recorded, self._refitted = self._bundle.camera_shapes, refitted(self, self._task.streams)
        self._shapes = {name: (shape, RECORDED) for name, shape in recorded.items() if name not in self._refitted}
        self._health = {stream.name: StreamHealth(self._topic(stream)) for stream in self._task.streams}
        self._listen()
        self._check_silent()
        self._timer = ClockTimer(self, to_nanoseconds(self._task.control_dt), self._on_timer)
        self._advance(self.now())

    def deactivate(self) -> None:
        """Stop listening."""
        self._cpu_latency.deactivate()
        for subscription, _ in self._inputs.values():
            self.destroy_subscription(subscription)
        self._inputs = {}
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        for name in (STATUS, *map(status_of, self._health)):
            self.diagnostics.forget(name)

    def cleanup(self) -> None:
        """Remove the outputs."""
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        self._outputs = {}
        self._bundle = self._task = None
        self._cpu_latency.cleanup()

    def restart(self, reason: str) -> None:
        """Forget all messages: stamps from before and after a jump can't be compared."""
        self.get_logger().warning(f'{reason}: observations start anew')
        self._aligner.clear()
        counts = self.counts
        self._forget()
        self.counts = counts
        for health in self._health.values():
            health.clear()
        self._advance(self.now())

    def _topic(self, stream: Stream) -> str:
        return str(self.resolve_topic_name(self.value(TOPICS + stream.name) or below_namespace(stream.topic)))

    def _types(self, stream: Stream) -> set[str]:
        return {str(info.topic_type) for info in self.get_publishers_info_by_topic(self._topic(stream))}

    def _check_type(self, stream: Stream) -> None:
        """Raise BundleError where only messages of another type than the stream's are published on its topic."""
        assert self._bundle is not None
        found = self._types(stream)
        if found and topic_type(stream) not in found:
            check_compatibility(self._bundle, topic_types={stream.name: min(found)})

    def _listen(self) -> None:
        """Subscribe to each stream; while a camera is silent, anew where lost pictures of it would be sent again."""
        assert self._task is not None
        for stream in self._task.streams:
            subscription, before = self._inputs.get(stream.name, (None, None))
            if before is not None and (before == RESENT or not self._health[stream.name].silent):
                continue  # nothing to look for in the graph
            qos = self._input_qos(stream)
            if before == qos:
                continue
            if subscription is not None:
                self.destroy_subscription(subscription)
            made = self.create_subscription(message_type(stream), self._topic(stream), self._receiver(stream), qos)
            self._inputs[stream.name] = made, qos

    def _input_qos(self, stream: Stream) -> QoSProfile:
        """Return how to subscribe; a picture is many packets, and is lost with one that nobody sends again."""
        found = self.get_publishers_info_by_topic(self._topic(stream)) if isinstance(stream, ImageStream) else []
        resent = bool(found) and all(info.qos_profile.reliability == RESENT.reliability for info in found)
        return RESENT if resent else qos_profile_sensor_data

    def _check_silent(self) -> None:
        """Note of each stream without a message who publishes it: nobody, or one who came after `configure`."""
        assert self._task is not None
        for stream in self._task.streams:
            health = self._health[stream.name]
            if health.silent:
                found, allowed = self._types(stream), topic_type(stream)
                health.unpublished = '' if found else f'nobody publishes {health.topic}'
                health.fault = ''
                if found and allowed not in found:
                    health.fault = f'{health.topic}: published as {listed(sorted(found))}, allowed {allowed}'
                    health.fault += advice_on_pictures(stream, min(found))

    # Messages in.

    def _receiver(self, stream: Stream) -> Callable[[Any], None]:
        return lambda message: self._receive(stream, message)

    def _receive(self, stream: Stream, message: Any) -> None:
        now, health = self._clock_now(), self._health[stream.name]
        self._advance(now)
        if isinstance(stream, JointStream) and not encoding.belongs(stream, message):
            self._aligner.buffers[stream.name].leave(stream.joints, message.name)
            return
        self.counts['received'] += 1
        health.arrived(now)
        try:
            value = self._decoded(stream, message)
        except DataError as error:
            health.decoded(f'{health.topic}: {error}')
            self.counts['undecodable'] += 1
            self.get_logger().error(health.fault, throttle_duration_sec=WARN_PERIOD)
            return
        health.decoded('')
        stamp = encoding.stamp_of(message) or now
        if self._aligner.push(stream.name, stamp, now, value):
            self._remember(stream, stamp, now, message)
        self._advance(now)

    def _decoded(self, stream: Stream, message: Any) -> np.ndarray:
        """Return what the stream takes from a message; a camera's pictures are all of one size, that of the training.

        Of a bundle that does not say which, and of a stream that takes any, the first picture's size holds.
        """
        value = encoding.decode(stream, message, self._frame(stream), crop=self._refitted.get(stream.name) == CROP)
        size = size_of(message) if isinstance(stream, ImageStream) else None
        if size is not None:
            self._warn_of_stretching(stream, *size)
            allowed = self._shapes.setdefault(stream.name, ((size[1], size[0]), 'as before'))
            check_size(f'stream {stream.name!r}', message, *allowed)
        return value

    def _warn_of_stretching(self, stream: Stream, width: int, height: int) -> None:
        """Log that pictures may be squeezed as none of training's were, once, where the bundle cannot tell."""
        assert isinstance(stream, ImageStream)
        if stream.name in self._shapes or stream.name in self._refitted or stream.fit != 'stretch':
            return
        if abs(width * stream.height - height * stream.width) > stream.height + stream.width:  # more than a row or so
            self.get_logger().warning(
                f'stream {stream.name!r}: pictures of {width} x {height} pixels are stretched to {stream.width} x '
                f'{stream.height}, and the bundle has not which size those of its training had; '
                f'{OTHER_SIZE}{stream.name}: {LETTERBOX} would keep their shape'
            )

    def _frame(self, stream: Stream) -> tuple[int, int] | None:
        """Return the height and width that a camera's pictures had in training, where others are brought to it."""
        if not isinstance(stream, ImageStream) or stream.name not in self._refitted:
            return None
        assert self._bundle is not None
        return self._bundle.camera_shapes.get(stream.name, (stream.height, stream.width))

    def _remember(self, stream: Stream, stamp: int, now: int, message: Any) -> None:
        if isinstance(stream, ImageStream):
            return  # sent on as the decoded pixels
        kept = self._originals.setdefault(stream.name, deque())
        kept.append((stamp, message))
        reach = (CATCH_UP + 2) * self._aligner.control_dt + self._aligner.buffers[stream.name].max_age
        while len(kept) > 1 and kept[0][0] < now - reach:
            kept.popleft()

    def _clock_now(self) -> int:
        """Return the time; a system clock that was set back gives no jump callback, so that is noticed here."""
        now = self.now()
        if now < self._last_now:
            self.restart(f'the clock went back by {(self._last_now - now) / 1e9:.3f} s')
        self._last_now = now
        return now

    # Observations out.

    def _on_timer(self) -> None:
        self._armed = None  # set it anew in any case: this call may have been an early one, of before it was set last
        self._advance(self._clock_now())

    def _advance(self, now: int) -> None:
        """Publish every tick that is settled, and wake up again when the next one must be."""
        if now <= 0:
            return  # a simulated clock that has not begun
        dt = self._aligner.control_dt
        if self._next_tick is None:
            self._next_tick = tick_at_or_after(now - self._aligner.wait, dt)
        elif now - self._next_tick > CATCH_UP * dt:
            skipped = (now - self._next_tick) // dt
            self._next_tick += skipped * dt
            self.counts['missing'] += skipped
            self.get_logger().warning(f'{skipped} ticks skipped: the clock jumped, or this node was held up')
        # A message that arrives exactly when the wait ends still counts, so time must be past that: hence now - 1.
        while self._next_tick <= now and self._aligner.settled(self._next_tick, now - 1):
            self._settle(self._next_tick)
            self._next_tick += dt
        if self._armed != self._next_tick:
            self._armed = self._next_tick
            assert self._timer is not None
            self._timer.set(max(self._next_tick + self._aligner.wait + 1 - now, 1))

    def _settle(self, tick: int) -> None:
        observation = self._aligner.observe(tick)
        faults = self._faults()
        if isinstance(observation, Missing):
            reasons = {name: self._health[name].because(reason) for name, reason in observation.reasons.items()}
            observation = replace(observation, reasons=reasons)
        if faults:
            observation = Missing(stamp=tick, reasons=faults)
        before = self._missing.reasons if self._missing else {}
        if isinstance(observation, Missing):
            self._missing = observation
            self.counts['missing'] += 1
            for name in observation.reasons:
                self._health[name].missing += 1
            self.get_logger().warning(f'no observation: {observation}', throttle_duration_sec=WARN_PERIOD)
        else:
            self._missing = None
            self.counts['observations'] += 1
            self._compare(observation)
            self._publish(observation)
        # Streams are reported once a second, and when another one fails.
        same = before.keys() == (self._missing.reasons if self._missing else {}).keys()
        (self._report if same else self.refresh)()

    def _compare(self, observation: Observation) -> None:
        """Note what is far from all that the policy was trained on, clipped by its `Normalizer`; and still pictures."""
        assert self._bundle is not None
        for stream in self._bundle.task.streams:
            if isinstance(stream, ImageStream):
                unusual = self._aligner.buffers[stream.name].freezing
            else:
                values = as_shown(stream, observation.streams[stream.name], self._bundle.policy_speed)
                unusual = self._training.far_outside(stream.name, values)
            self._health[stream.name].unusual = unusual

    def _faults(self) -> dict[str, str]:
        return {name: health.fault for name, health in self._health.items() if health.fault}

    def _publish(self, observation: Observation) -> None:
        assert self._task is not None
        stamp = Time(nanoseconds=observation.stamp).to_msg()
        for stream in self._task.streams:
            if isinstance(stream, ImageStream):
                pixels = observation.streams[stream.name]
                message = encoding.to_image(stamp=observation.stamp, pixels=pixels, frame_id='')
            else:
                source = observation.stamp - observation.ages[stream.name]
                message = next(m for s, m in self._originals[stream.name] if s == source)
                message.header.stamp = stamp
            self._outputs[stream.name].publish(message)

    def refresh(self) -> None:
        """Say how each stream does, and whether the newest tick had an observation; if not, why."""
        if self.active:
            self._listen()
            self._check_silent()
            self._report()
            report_streams(self.diagnostics, self._health, self._aligner, self._missing, self.now())

    def _report(self) -> None:
        faults = self._faults()
        unusual = [f'{name}: {health.unusual}' for name, health in self._health.items() if health.unusual]
        if faults:
            level, text = ERROR, '; '.join(f'{name}: {reason}' for name, reason in faults.items())
        elif self._missing is not None:
            level, text = WARN, str(self._missing)
        elif unusual:
            level, text = WARN, f'observing {"; ".join(unusual)}'
        elif self.counts['observations']:
            level, text = OK, 'observing'
        else:
            level, text = WARN, 'no tick yet: is the clock running?'
        dropped = sum(buffer.dropped for buffer in self._aligner.buffers.values())
        self.diagnostics.report(STATUS, level, text, {**self.counts, 'out_of_order': dropped})


def main(args: Sequence[str] | None = None) -> int:
    """Run the node `observation_buffer`."""
    return run(ObservationBuffer, args)


if __name__ == '__main__':
    raise SystemExit(main())
