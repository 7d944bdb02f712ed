"""Evaluation through ROS: the real node processes over DDS, in the caller's ROS_DOMAIN_ID if one is set."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from tqdm import tqdm

from dp_ros.errors import ConfigError, DpRosError, listed
from dp_ros.evaluation.instructed import Instructed
from dp_ros.evaluation.scores import EpisodeResult, EvaluationSettings, collided, summarize
from dp_ros.evaluation.world_planner import command_topics, goal_pictures, world_goal
from dp_ros.messages import encoding
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.ros.bundles import aligned_type, below_namespace
from dp_ros.simulation.instructions import Asked, asked_for
from dp_ros.simulation.registry import check_world, make_world, world_parameters, world_spec
from dp_ros.simulation.robot import begin_episode
from dp_ros.task.spec import GoalImage, GoalPose, ImageStream, TaskSpec
from dp_ros.tools.node_processes import POLICY_NODES, ROBOT, NodeProcesses, NodeSpec, contained
from dp_ros.tools.simulation_client import REASONS, SimulationClient

SILENCE_SECONDS = 20.0  # without a word from the robot
LOOK_SECONDS = 1.0  # for others on the command topic
UNKNOWN = '_NODE_NAME_UNKNOWN_'  # what the graph says before a name has come through


def evaluate_ros(settings: EvaluationSettings) -> dict[str, Any]:
    """Run episodes on consecutive seeds through the node processes and return their summary."""
    bundle = settings.load()
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as logs, running(settings, bundle, Path(logs)) as client:
        runner = RosRunner(client, bundle, settings)
        bar = tqdm(range(settings.seed, settings.seed + settings.episodes), unit='episode', desc=bundle.name)
        results = []
        for seed in bar:
            results.append(runner.run(seed))
            bar.set_postfix(score=f'{np.mean([r.score for r in results]):.3f}')
        return summarize(results, **settings.about(bundle), **runner.findings())


@contextmanager
def running(settings: EvaluationSettings, bundle: Bundle, logs: Path) -> Iterator[SimulationClient]:
    """Start the nodes for a bundle, and a client with the policy configured but not yet active."""
    check_world(settings.world, bundle.task, f'bundle {bundle.name}')
    spec = world_spec(settings.world)
    if bundle.task.goals:  # refuses what can't be asked for
        world_goal(spec.name, bundle.task, make_world(spec.name), asked_for(spec, bundle.task, settings.seed))
    isolate()
    refuse_company(*command_topics(bundle.task, world_spec(settings.world)))
    simulated = settings.rate != 1.0
    common = {'use_sim_time': True} if simulated else {}
    needs_camera = any(isinstance(s, ImageStream) for s in bundle.task.streams)
    robot = {**world_parameters(settings.world), 'camera': needs_camera, 'seed': settings.seed}
    robot['camera_rate'] = settings.camera_rate
    if simulated:
        robot |= {'rate': settings.rate, 'publish_clock': True}
    own = {}
    if settings.picture_size:
        robot['picture_size'] = settings.picture_size
        own['observation_buffer'] = {f'other_size.{first_camera(settings.world, bundle.task)}': 'crop'}
    policy = policy_specs(settings, bundle, common, own)
    first = NodeSpec(name=ROBOT, parameters=robot)
    with configured([first, *policy], world_spec(settings.world).parameters, logs) as client:
        yield client


def first_camera(world: str, task: TaskSpec) -> str:
    """Return the stream that a task has of the first camera of a world; ConfigError if it has none."""
    topics = [f'/{topic}' for topic in world_spec(world).camera_topics.values()][:1]
    found = [s.name for s in task.streams if isinstance(s, ImageStream) and s.topic in topics]
    if not found:
        raise ConfigError(
            f'picture_size: got one for a policy that sees no {listed(topics) or "camera"}, allowed for one that does'
        )
    return found[0]


@contextmanager
def configured(specs: Sequence[NodeSpec], params_file: Path, logs: Path) -> Iterator[SimulationClient]:
    """Start nodes with a parameter file, and a client with them configured; end them afterwards."""
    with NodeProcesses(specs, params_file, logs) as processes:
        client = SimulationClient(processes)
        try:
            client.configure()
            yield client
        finally:
            client.close()


def policy_specs(
    settings: EvaluationSettings,
    bundle: Bundle,
    common: Mapping[str, Any],
    own: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[NodeSpec]:
    """Return the processes of the policy's nodes, with parameters for all of them, and for some by the node's name."""
    shared = {'autostart': False, 'bundle': bundle.folder.absolute(), 'policy_speed': bundle.policy_speed, **common}
    shared |= {'realtime_priority': settings.realtime_priority, 'cpu_dma_latency': settings.cpu_dma_latency}
    executor = {**shared, **settings.sampler_settings(bundle), 'threads': settings.threads, 'backend': settings.backend}
    executor |= {'continuity': settings.continuity, 'seed': settings.noise_seed}
    if settings.exec_horizon:
        executor['exec_horizon'] = settings.exec_horizon
    blend = {} if settings.blend_steps is None else {'blend_steps': settings.blend_steps}
    parameters = dict(zip(POLICY_NODES, (shared, executor, {**shared, **blend}), strict=True))
    specs = [NodeSpec(name=name, parameters={**parameters[name], **(own or {}).get(name, {})}) for name in POLICY_NODES]
    return [contained(specs)] if settings.composed else specs


def isolate() -> None:
    """Stay on this machine, and out of others' way where the caller chose no domain."""
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    if 'ROS_DOMAIN_ID' not in os.environ:
        os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)


def refuse_company(*topics: str, seconds: float = LOOK_SECONDS) -> None:
    """Raise DpRosError if someone uses command topics: a real robot must not hear what a simulated one is told."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('dp_ros_look', context=context)
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for topic in topics:
                users = [*node.get_subscriptions_info_by_topic(topic), *node.get_publishers_info_by_topic(topic)]
                if not users:
                    continue
                domain, name = os.environ.get('ROS_DOMAIN_ID', '0'), users[0].node_name.replace(UNKNOWN, 'someone')
                raise DpRosError(
                    f'{topic} in ROS domain {domain}: got {name} there already, allowed nobody: '
                    'it may be a real robot; set another ROS_DOMAIN_ID'
                )
            time.sleep(LOOK_SECONDS / 20)
    finally:
        node.destroy_node()
        context.try_shutdown()


class RosRunner:
    """Runs episodes through a client."""

    def __init__(self, client: SimulationClient, bundle: Bundle, settings: EvaluationSettings) -> None:
        self.client = client
        self.settings = settings
        self._task, self._spec = bundle.task, world_spec(settings.world)
        self._arrivals: list[float] = []
        self._rates: list[float] = []
        self._waited, self._refusals = 0, Counter[str]()
        self._memory: list[dict[str, float]] = []
        pictured = any(isinstance(goal, GoalImage) for goal in bundle.task.goals)
        self._goal_world = make_world(settings.world) if pictured else None
        first = bundle.task.streams[0]
        client.node.create_subscription(
            aligned_type(first), f'observation_buffer/{first.name}', self._on_observation, 10
        )

    def run(self, seed: int, watch: Callable[[], None] | None = None, seconds: float = float('inf')) -> EpisodeResult:
        """Run one episode until success or time is up, at most ``seconds``; ``watch`` is called about every 20 ms."""
        client, longest = self.client, min(seconds, self.settings.seconds)
        self._arrivals = []
        asked = asked_for(self._spec, self._task, seed, self.settings.instructions)
        self._give_goals(seed, asked)
        client.begin(seed)
        spoken, elapsed = time.monotonic(), 0.0
        while not client.succeeded and client.elapsed < longest:
            client.spin()
            if watch is not None:
                watch()
            if client.elapsed != elapsed:
                spoken, elapsed = time.monotonic(), client.elapsed
            elif time.monotonic() - spoken > SILENCE_SECONDS:
                raise DpRosError(f'{ROBOT}: no episode advanced for {SILENCE_SECONDS} s')
        episode, ledger = client.episode, client.ledger
        assert episode is not None, 'begin waits for it'
        client.stop()
        if len(self._arrivals) > 2:
            self._rates.append((len(self._arrivals) - 1) / (self._arrivals[-1] - self._arrivals[0]))
        self._refusals += ledger.refusals
        self._waited += ledger.waited
        self._memory.append(client.processes.memory())
        return EpisodeResult(
            seed=seed,
            score=episode.score,
            success=episode.success,
            seconds=episode.elapsed,
            chunks=len(ledger.latency),
            latency=tuple(ledger.latency),
            deadline_misses=ledger.late,
            stop=ledger.stop,
            side=episode.details.get('side', ''),
            collided=collided(episode.details),
            instructed=None if asked is None else Instructed.of(asked, episode.details),
        )

    def _give_goals(self, seed: int, asked: Asked | None) -> None:
        """Give the policy what an episode is asked for, on its goal topics, and the simulated robot what that means."""
        pictures: dict[str, np.ndarray] = {}
        if self._goal_world is not None:
            begin_episode(self._goal_world, seed, '' if asked is None else asked.meaning)
            pictures = goal_pictures(self._spec, self._task, self._goal_world)
        pose = self._spec.goal_pose
        for goal in self._task.goals:
            value: Any
            if isinstance(goal, GoalPose):
                value = encoding.to_pose(
                    stamp=0, position=pose.position, orientation=pose.orientation, frame_id=goal.frame
                )
            elif isinstance(goal, GoalImage):
                picture = pictures[goal.name]
                value = (encoding.to_compressed_image if goal.compressed else encoding.to_image)(
                    stamp=0, pixels=picture, frame_id=''
                )
            else:
                value = '' if asked is None else asked.text
            self.client.set_goal(value, topic=below_namespace(goal.topic))
        if asked is not None:
            self.client.set_parameter(ROBOT, 'meaning', asked.meaning)

    def findings(self) -> dict[str, Any]:
        """Return what the episodes showed besides scores: rate held (wall clock), refused chunks, memory."""
        return {
            'control_rate_hz': round(float(np.mean(self._rates)), 3) if self._rates else None,
            'refused_chunks': self._refusals.total(),
            'refusals': dict(self._refusals.most_common(REASONS)),
            'waiting_chunks': self._waited,
            'memory_mb_first': self._memory[0] if self._memory else {},
            'memory_mb_last': self._memory[-1] if self._memory else {},
        }

    def _on_observation(self, _: Any) -> None:
        self._arrivals.append(time.monotonic())
