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
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rclpy.qos import qos_profile_sensor_data
from tqdm import tqdm

from dp_ros.data import to_nanoseconds
from dp_ros.errors import ConfigError
from dp_ros.evaluation.scores import EvaluationSettings, percentiles
from dp_ros.messages.decoding import header_stamp
from dp_ros.messages.status import ChunkReport, InferenceReport
from dp_ros.ros.bundles import below_namespace, message_type
from dp_ros.task.spec import Stream, TaskSpec
from dp_ros.tools.graph_evaluation import RosRunner, running
from dp_ros.tools.node_processes import EXECUTOR, PUBLISHER, NodeProcesses
from dp_ros.tools.simulation_client import REASONS, SimulationClient

PARTS = ('robot', 'observing', 'network', 'handing on', 'planning', 'nodes', 'whole')
SHORTEST, LONGEST = 1.0, 86400.0  # [s]
KEPT = 64  # chunks that one of the two has reported, and the other not yet


class Stopwatch:
    """Joins what executor and publisher report of each chunk.

    Parameters
    ----------
    last_sent
        Gives when the robot sent its last message of a tick, both [ns], in place of `robot_sent`.
    refused_too
        Whether chunks that the publisher refuses count among the parts until it has them: all but planning.

    """

    def __init__(
        self, task: TaskSpec, last_sent: Callable[[int], int] | None = None, *, refused_too: bool = False
    ) -> None:
        self._deadline = to_nanoseconds(task.control_dt)
        self._last_sent = last_sent or (lambda observation: self._sent.get(observation, 0))
        self._refused_too = refused_too
        self._inferred: dict[int, InferenceReport] = {}
        self._waiting: dict[int, ChunkReport] = {}
        self._sent: dict[int, int] = {}
        self.parts: dict[str, list[float]] = {part: [] for part in PARTS}
        self.late = self.unreported = self.refused = self.untold = 0
        self.refusals: Counter[str] = Counter()

    def robot_sent(self, stamp: int, sent: int) -> None:
        """Take when the robot sent a message of this stamp, both [ns]."""
        if stamp % self._deadline == 0:
            self._sent[stamp] = max(sent, self._sent.get(stamp, 0))
            _keep(self._sent)

    def inferred(self, report: InferenceReport) -> None:
        """Enter how a chunk was made; the publisher's report may come before or after."""
        self._inferred[report.observation] = report
        if report.observation in self._waiting:
            self._divide(self._waiting.pop(report.observation))
        _keep(self._inferred)

    def published(self, report: ChunkReport) -> None:
        """Enter what became of a chunk."""
        if report.published is None:
            self.refused += 1
            self.refusals[report.kind_of_refusal] += 1
            if not self._refused_too:
                return
        else:
            self.late += report.late
            self.unreported += report.published - report.observation > self._deadline and not report.late
            if report.inference_start is None or report.inference_end is None:
                self.untold += 1  # the publisher did not have its inference yet
                return
        if report.observation in self._inferred:
            self._divide(report)
        else:
            self._waiting[report.observation] = report
            _keep(self._waiting)

    def _divide(self, report: ChunkReport) -> None:
        observation, inference = report.observation, self._inferred.pop(report.observation)
        start, end = inference.inference_start, inference.inference_end
        if report.inference_start is not None and report.inference_end is not None:
            start, end = report.inference_start, report.inference_end
        # Messages of other stamps than the tick's were sent before it.
        robot = min(max(self._last_sent(observation) - observation, 0), start - observation)
        inferring = round(inference.inference_ms * 1e6)
        times = {
            'robot': robot,
            'observing': start - observation - robot,
            'network': inferring,
            'handing on': report.received - end,
        }
        if report.published is not None:
            whole = report.published - observation
            times |= {'planning': report.published - report.received, 'nodes': whole - robot - inferring}
            times['whole'] = whole
        for part, nanoseconds in times.items():
            self.parts[part].append(nanoseconds / 1e9)


def _keep(kept: dict[Any, Any]) -> None:
    while len(kept) > KEPT:
        kept.pop(next(iter(kept)))


def _listen(client: SimulationClient, watch: Stopwatch, stream: Stream) -> None:
    def hear(message: bytes, info: Mapping[str, int]) -> None:
        watch.robot_sent(header_stamp(message), info['source_timestamp'])

    heard: Callable[..., None] = hear
    topic = below_namespace(stream.topic)
    client.node.create_subscription(message_type(stream), topic, heard, qos_profile_sensor_data, raw=True)


def check_seconds(seconds: float) -> None:
    """Raise ConfigError for a time that nothing can be measured in, or that never ends."""
    if not SHORTEST <= seconds <= LONGEST:
        raise ConfigError(f'seconds: got {seconds:g}, allowed {SHORTEST:g} to {LONGEST:g}')


def run_latency(settings: EvaluationSettings, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the nodes and the simulated robot for ``seconds`` of wall time; say where the time went, and return it."""
    check_seconds(seconds)
    bundle = settings.load()
    watch = Stopwatch(bundle.task)
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as logs, running(settings, bundle, Path(logs)) as client:
        client.subscribe(InferenceReport, f'{EXECUTOR}/ledger', watch.inferred)
        client.subscribe(ChunkReport, f'{PUBLISHER}/ledger', watch.published)
        for stream in bundle.task.streams:
            _listen(client, watch, stream)
        runner, seed, began = RosRunner(client, bundle, settings), settings.seed, time.monotonic()
        before = client.processes.processor()
        with tqdm(total=seconds, unit='s', desc=bundle.name, bar_format='{desc} |{bar}| {n:.0f}/{total:.0f} s') as bar:
            while (gone := time.monotonic() - began) < seconds:
                stop = runner.run(
                    seed, lambda: bar.update(min(seconds, time.monotonic() - began) - bar.n), seconds - gone
                ).stop
                seed += 1
        about = {**settings.about(bundle), 'episodes': seed - settings.seed}
        summary = {**about, **measured(settings, watch, client.processes, gone, before)}
    say(table(summary))
    if not summary['chunks']:
        say(f'error: no chunk was published: {stop or "the logs of the nodes may say why"}')
    return summary


def measured(
    settings: EvaluationSettings, watch: Stopwatch, processes: NodeProcesses, seconds: float, spent: Mapping[str, float]
) -> dict[str, Any]:
    """Return what was seen in so many seconds of wall time; ``spent`` is the nodes' processor time before them."""
    return {
        'threads': settings.threads,
        'seconds': round(seconds, 1),
        'chunks': len(watch.parts['whole']),
        'ms': {part: percentiles(times) for part, times in watch.parts.items()},
        'late': watch.late,
        'late_unreported': watch.unreported,
        'refused': watch.refused,
        'refusals': dict(watch.refusals.most_common(REASONS)),
        'untold': watch.untold,
        'memory_mb': processes.memory(),
        'processor_percent': {
            name: round(100 * (now - spent[name]) / seconds, 1) for name, now in processes.processor().items()
        },
    }


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
