"""`dp_ros latency`: from observation to command through the running nodes, and where the time goes.

Times of one chunk, from the ledgers of the policy_executor and the trajectory_publisher, and from when the middleware
was given the robot's messages:

===========  =======================================================================
robot        the control tick until the robot has sent its last message of that tick
observing    from there until inference begins
network      inference itself, as the executor's thread measured it
handing on   the end of inference until the publisher has the chunk
planning     until its trajectory is out
nodes        all but ``robot`` and ``network``: what the nodes add
whole        the control tick until the trajectory is out
===========  =======================================================================
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import qos_profile_sensor_data
from tqdm import tqdm

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError
from dp_ros.evaluation.scores import EvaluationSettings, percentiles
from dp_ros.messages.decoding import header_stamp
from dp_ros.ros.bundles import below_namespace, message_type
from dp_ros.task.spec import Stream, TaskSpec
from dp_ros.tools.client import Session
from dp_ros.tools.graph_evaluation import RosRunner, running

PARTS = ('robot', 'observing', 'network', 'handing on', 'planning', 'nodes', 'whole')
STAMPS = ('observation', 'inference_start', 'inference_end', 'received', 'published')
SHORTEST, LONGEST = 1.0, 86400.0  # [s]
KEPT = 64  # newest chunks of which anything is kept but their times


class Stopwatch:
    """Puts together what executor and publisher say of each chunk on /diagnostics."""

    def __init__(self, task: TaskSpec) -> None:
        self._deadline = to_nanoseconds(task.control_dt)
        self._inferred: dict[str, float] = {}
        self._published: dict[str, None] = {}
        self._waiting: dict[str, Mapping[str, str]] = {}
        self._sent: dict[int, int] = {}
        self.parts: dict[str, list[float]] = {part: [] for part in PARTS}
        self.late = self.unreported = self.refused = self.untold = 0

    def robot_sent(self, stamp: int, sent: int) -> None:
        """Take when the robot sent a message of this stamp, both [ns]."""
        if stamp % self._deadline == 0:
            self._sent[stamp] = max(sent, self._sent.get(stamp, 0))
            _keep(self._sent)

    def hear(self, message: DiagnosticArray) -> None:
        """Take what a node says; what it repeats of earlier chunks counts once."""
        for status in message.status:
            node, _, what = status.name.partition(': ')
            values = {v.key: v.value for v in status.values}
            observation = values.get('observation', '')
            if what != 'chunk' or not observation:
                continue
            if node.endswith('policy_executor'):
                self._inferred[observation] = float(values['inference_ms']) / 1e3
                if observation in self._waiting:
                    self._divide(self._waiting.pop(observation))
            elif observation not in self._published:
                self._published[observation] = None
                self._enter(values, late=status.message == 'late')
            for kept in (self._inferred, self._waiting, self._published):
                _keep(kept)

    def _enter(self, values: Mapping[str, str], *, late: bool) -> None:
        if 'refused' in values:
            self.refused += 1
            return
        whole = int(values['published']) - int(values['observation'])
        self.late += late
        self.unreported += whole > self._deadline and not late
        if any(name not in values for name in STAMPS):
            self.untold += 1  # the publisher has not heard of its inference
            return
        if values['observation'] in self._inferred:
            self._divide(values)
        else:
            self._waiting[values['observation']] = values

    def _divide(self, values: Mapping[str, str]) -> None:
        network = self._inferred.pop(values['observation'])
        observation, start, end, received, published = (int(values[name]) for name in STAMPS)
        # Messages of other stamps than the tick's were sent before it.
        robot = min(max(self._sent.get(observation, 0) - observation, 0), start - observation)
        whole, inferring = published - observation, round(network * 1e9)
        handing, planning, nodes = received - end, published - received, whole - robot - inferring
        times = (robot, start - observation - robot, inferring, handing, planning, nodes, whole)
        for part, nanoseconds in zip(PARTS, times, strict=True):
            self.parts[part].append(nanoseconds / 1e9)


def _keep(kept: dict[Any, Any]) -> None:
    while len(kept) > KEPT:
        kept.pop(next(iter(kept)))


def _listen(session: Session, watch: Stopwatch, stream: Stream) -> None:
    def hear(message: bytes, info: Mapping[str, int]) -> None:
        watch.robot_sent(header_stamp(message), info['source_timestamp'])

    heard: Callable[..., None] = hear
    topic = below_namespace(stream.topic)
    session.node.create_subscription(message_type(stream), topic, heard, qos_profile_sensor_data, raw=True)


def run_latency(settings: EvaluationSettings, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the nodes and the simulated robot for ``seconds`` of wall time; say where the time went, and return it."""
    if not SHORTEST <= seconds <= LONGEST:
        raise ConfigError(f'seconds: got {seconds:g}, allowed {SHORTEST:g} to {LONGEST:g}')
    bundle = settings.load()
    watch = Stopwatch(bundle.task)
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as logs, running(settings, bundle, Path(logs)) as session:
        session.node.create_subscription(DiagnosticArray, '/diagnostics', watch.hear, 100)
        for stream in bundle.task.streams:
            _listen(session, watch, stream)
        runner, seed, began = RosRunner(session, bundle, settings), settings.seed, time.monotonic()
        before = session.processes.processor()
        with tqdm(total=seconds, unit='s', desc=bundle.name, bar_format='{desc} |{bar}| {n:.0f}/{total:.0f} s') as bar:
            while (gone := time.monotonic() - began) < seconds:
                stop = runner.run(
                    seed, lambda: bar.update(min(seconds, time.monotonic() - began) - bar.n), seconds - gone
                ).stop
                seed += 1
        summary = {
            **settings.about(bundle),
            'threads': settings.threads,
            'seconds': round(gone, 1),
            'episodes': seed - settings.seed,
            'chunks': len(watch.parts['whole']),
            'ms': {part: percentiles(times) for part, times in watch.parts.items()},
            'late': watch.late,
            'late_unreported': watch.unreported,
            'refused': watch.refused,
            'untold': watch.untold,
            'memory_mb': session.processes.memory(),
            'processor_percent': {
                name: round(100 * (seconds - before[name]) / gone, 1)
                for name, seconds in session.processes.processor().items()
            },
        }
    say(table(summary))
    if not summary['chunks']:
        say(f'error: no chunk was published: {stop or "the logs of the nodes may say why"}')
    return summary


def table(summary: Mapping[str, Any]) -> str:
    """Return the summary for people."""
    lines = [f'{"[ms]":<12} {"p50":>8} {"p95":>8} {"p99":>8}']
    for part, ms in summary['ms'].items():
        lines.append(f'{part:<12} ' + ' '.join(f'{"-" if ms[q] is None else f"{ms[q]:.2f}":>8}' for q in ms))
    lines.append(
        f'{summary["chunks"]} chunks in {summary["seconds"]:.0f} s, a new one every {summary["exec_horizon"]} control '
        f'steps; late {summary["late"]}, unreported {summary["late_unreported"]}, refused {summary["refused"]}, '
        f'inference unknown {summary["untold"]}'
    )
    for what, key in (('memory [MB]', 'memory_mb'), ('of one processor [%]', 'processor_percent')):
        lines.append(f'{what}: ' + ', '.join(f'{name} {value:.0f}' for name, value in summary[key].items()))
    return '\n'.join(lines)
