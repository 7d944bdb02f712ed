"""`dp_ros latency --recordings`: where the time goes from a recorded observation to the trajectory that is not sent.

The nodes run as on the robot, in a dry run: nothing is commanded, and no controller is there. ``robot`` is what the
recorded sensors take until the observation need wait for no more of them, ``planning`` ends with the trajectory on
`~/plan`. The arm moves as it was recorded and does not follow the plan, so `follow_tolerance` is not kept.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dp_ros.errors import ConfigError
from dp_ros.evaluation.scores import EvaluationSettings, percentiles
from dp_ros.messages.status import ChunkReport, InferenceReport
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.recordings.rosbag.reader import BagReader, find_bags
from dp_ros.ros.bundles import below_namespace
from dp_ros.tools.graph_evaluation import configured, isolate, policy_specs, refuse_company
from dp_ros.tools.latency import Stopwatch, check_seconds, measured, table
from dp_ros.tools.node_processes import EXECUTOR, POLICY_NODES, PUBLISHER
from dp_ros.tools.played.player import BagPlayer, Settling, hindsight_topics, joint_topic, played_topics
from dp_ros.tools.simulation_client import SimulationClient

ANY = 1000.0  # a follow_tolerance [rad or m] that nothing exceeds
LEAST_WAIT = 0.001  # [s]


def run_played_latency(
    settings: EvaluationSettings,
    recordings: Sequence[Path],
    params_file: Path,
    seconds: float,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Play recordings, one after another and again, into the nodes for ``seconds``; say where the time went."""
    check_seconds(seconds)
    bundle = settings.load()
    if settings.policy_speed != 1.0:
        raise ConfigError(f'policy_speed: got {settings.policy_speed} with recordings, allowed 1: their own')
    bags = [bag for path in recordings for bag in find_bags(path)]
    joint_states = joint_topic(bundle.task, bags[0])
    topics = played_topics(bundle.task, joint_states)
    for bag in bags:  # before anything is started
        with BagReader(bag) as reader:
            reader.check(topics)
    settling = Settling(bundle.task)
    watch = Stopwatch(bundle.task, settling.at, refused_too=True)
    with (
        tempfile.TemporaryDirectory(prefix='dp_ros_') as logs,
        _running(settings, bundle, params_file, joint_states, Path(logs)) as client,
        tqdm(total=seconds, unit='s', desc=bundle.name, bar_format='{desc} |{bar}| {n:.0f}/{total:.0f} s') as bar,
    ):
        client.subscribe(InferenceReport, f'{EXECUTOR}/ledger', watch.inferred)
        client.subscribe(ChunkReport, f'{PUBLISHER}/ledger', watch.published)
        player = BagPlayer(
            client.node, topics, {g.topic for g in bundle.task.goals}, settling.sent, hindsight_topics(bundle.task)
        )
        began, before, played = time.monotonic(), client.processes.processor(), 0
        for bag in itertools.cycle(bags):
            settling.clear()
            _begin(client)
            played += 1
            for ahead in player.play(bag):
                client.spin_once(max(LEAST_WAIT, ahead))
                gone = time.monotonic() - began
                bar.update(min(seconds, gone) - bar.n)
                if gone >= seconds:
                    break
            stop = client.status().reason
            client.stop()
            if time.monotonic() - began >= seconds:
                break
        about = {name: value for name, value in settings.about(bundle).items() if name not in ('world', 'rate')}
        summary = {
            **about,
            'recordings': [str(path) for path in recordings],
            'plays': played,
            **measured(settings, watch, client.processes, time.monotonic() - began, before),
            'played_late_ms': percentiles(player.late),
        }
    say(table(summary))
    late = ', '.join(f'{key} {value:.2f}' for key, value in summary['played_late_ms'].items())
    say(f'{played} recordings played into the nodes; messages were late by [ms]: {late}')
    for reason, count in summary['refusals'].items():
        say(f'refused {count} times: {reason}')
    if not summary['chunks']:
        say(f'error: no trajectory was planned: {stop or "the logs of the nodes may say why"}')
    return summary


@contextmanager
def _running(
    settings: EvaluationSettings, bundle: Bundle, params_file: Path, joint_states: str, logs: Path
) -> Iterator[SimulationClient]:
    """Start the policy's nodes for played sensors, and a client with them configured."""
    isolate()
    streams = bundle.task.streams
    taken = {bundle.task.action.topic, joint_states, *(stream.topic for stream in streams)}
    refuse_company(*(f'/{below_namespace(topic)}' for topic in sorted(taken)))
    own: dict[str, dict[str, Any]] = {
        POLICY_NODES[0]: {f'topics.{stream.name}': below_namespace(stream.topic) for stream in streams},
        PUBLISHER: {
            'dry_run': True, 'require_controller': False, 'follow_tolerance': ANY, 'heartbeat_timeout': 0.0,
            'approach': False, 'fallback': 'hold', 'topics.robot_description': "''",
            'topics.joint_states': below_namespace(joint_states),
        },
    }  # fmt: skip
    specs = policy_specs(settings, bundle, {'use_sim_time': False}, own)
    with configured(specs, params_file.absolute(), logs) as client:
        yield client


def _begin(client: SimulationClient) -> None:
    client.transition(PUBLISHER, 'activate')
    client.start()
