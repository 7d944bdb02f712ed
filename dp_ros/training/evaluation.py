"""Evaluation in one process: the world's physics, and the nodes' own alignment, policy, planner and controller code.

What is left out is the middleware. Time is the simulation's: a chunk reaches the planner ``latency`` after its
observation, however long predicting really took; that real time is what is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from dp_ros.config import ImageStream, JointStream, PoseStream, Stream, TaskSpec
from dp_ros.data import NANOSECONDS, Chunk, Observation, to_nanoseconds
from dp_ros.errors import ConfigError, DataError
from dp_ros.messages import joint_vector, pose_features, resize_rgb
from dp_ros.paths import share_folder
from dp_ros.policy.alignment import Aligner, WindowBuffer
from dp_ros.policy.backends import open_backend
from dp_ros.policy.bundle import Bundle, load_bundle
from dp_ros.policy.continuity import Continuation, check_continuity
from dp_ros.policy.limits import JointLimits
from dp_ros.policy.outcome import Refused
from dp_ros.policy.plan_options import KEPT_BEYOND
from dp_ros.policy.planner import Planner
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.urdf import parse_urdf
from dp_ros.policy.workspace import AXES, Workspace
from dp_ros.simulation.controller import Rejected
from dp_ros.simulation.robot import ImageReading, JointReading, PoseReading, Reading, SimulatedRobot
from dp_ros.simulation.scores import EpisodeResult, EvaluationSettings, summarize
from dp_ros.simulation.world import World
from dp_ros.simulation.worlds import CAMERA_TOPICS, POSE_TOPICS, check_world, make_world

START = 1_700_000_000 * NANOSECONDS
SECONDS_TO_NANOSECONDS = {'splice_margin', 'max_joint_age'}
PLANNER_NAMES = {'max_joint_age': 'max_age'}


def make_planner(world: World, name: str, task: TaskSpec) -> Planner:
    """Return the planner that `trajectory_publisher` makes of the parameter file of the world ``name``."""
    path = share_folder() / 'config' / f'{name}.yaml'
    parameters = yaml.safe_load(path.read_text())['/**/trajectory_publisher']['ros__parameters']
    joints, limits = task.action.joints, parameters['limits']
    given = [q for q in LIMITS if all(q in limits[joint] for joint in joints)]
    columns = {q: tuple(limits[joint][q] for joint in joints) for q in given}
    options: dict[str, Any] = {
        PLANNER_NAMES.get(name, name): to_nanoseconds(value) if name in SECONDS_TO_NANOSECONDS else value
        for name, value in parameters.items()
        if name in PLANNER_PARAMETERS
    }
    # As the node has them by default.
    options = {'stop_on_path': True, 'keep_steps': task.exec_horizon + KEPT_BEYOND} | options
    options['workspace'] = _workspace(parameters.get('workspace', {}), joints, world.robot_description)
    return Planner(joints, to_nanoseconds(task.control_dt), JointLimits(joints=joints, **columns), **options)


def _workspace(given: dict[str, Any], joints: tuple[str, ...], robot_description: str) -> Workspace | None:
    if not given:
        return None
    chain = parse_urdf(robot_description).chain(
        joints, given['link'], frame=given.get('frame', ''), point=[given.get(f'point_{axis}', 0.0) for axis in AXES]
    )
    lower, upper = (
        tuple(given.get(f'{axis}_{end}', bound) for axis in AXES) for end, bound in (('min', -np.inf), ('max', np.inf))
    )
    return Workspace(chain=chain, lower=lower, upper=upper)


PLANNER_PARAMETERS = (
    'history_steps', 'splice_margin', 'blend_steps', 'accelerations', 'controller_mode', 'lead_in', 'far', 'tail',
    'stop_on_path', 'keep_steps', 'position_tolerance', 'max_joint_age',
)  # fmt: skip
LIMITS = ('lower', 'upper', 'velocity', 'acceleration', 'deceleration', 'jerk')


def evaluate_direct(settings: EvaluationSettings) -> dict[str, Any]:
    """Run episodes on consecutive seeds and return their summary."""
    bundle = load_bundle(settings.bundle)
    backend = open_backend(bundle, backend=settings.backend, threads=settings.threads)
    policy = DiffusionPolicy(bundle, backend).with_settings(**settings.sampler_settings(bundle))
    runner = DirectRunner(bundle, policy, settings)
    seeds = range(settings.seed, settings.seed + settings.episodes)
    bar = tqdm(seeds, unit='episode', desc=bundle.name, dynamic_ncols=True)
    results = []
    for seed in bar:
        results.append(runner.run(seed))
        bar.set_postfix(score=f'{np.mean([r.score for r in results]):.3f}')
    return summarize(results, **settings.about(bundle))


@dataclass
class _Pending:
    chunk: Chunk
    due: int


class DirectRunner:
    """Runs a policy in a world, one episode at a time."""

    def __init__(self, bundle: Bundle, policy: DiffusionPolicy, settings: EvaluationSettings) -> None:
        self.policy = policy
        self.settings = settings
        self.task: TaskSpec = bundle.task
        self.control_dt = to_nanoseconds(self.task.control_dt)
        self.exec_horizon = settings.exec_horizon or self.task.exec_horizon
        if not 1 <= self.exec_horizon <= self.task.pred_horizon:
            raise ConfigError(
                f'exec_horizon: got {self.exec_horizon}, allowed 1 to pred_horizon ({self.task.pred_horizon})'
            )
        check_world(settings.world, self.task.action.joints, f'bundle {bundle.name}')
        check_continuity(settings.continuity, bundle.schedule)
        self.latency = to_nanoseconds(settings.latency)
        self.world = make_world(settings.world)
        self.camera = any(isinstance(s, ImageStream) for s in self.task.streams)

    def run(self, seed: int, watch: Callable[[SimulatedRobot], None] | None = None) -> EpisodeResult:
        """Run one episode until success or time is up; ``watch`` is called at every control tick."""
        robot = SimulatedRobot(self.world, start=START, camera=self.camera)
        robot.reset(seed)
        planner = make_planner(self.world, self.settings.world, self.task)
        self.stop = ''
        aligner, windows = Aligner(self.task), WindowBuffer(self.task.obs_horizon, self.control_dt)
        continuation = Continuation()
        pending: _Pending | None = None
        last: int | None = None
        latency: list[float] = []
        chunks = 0
        while robot.episode.elapsed < self.settings.seconds and not robot.episode.success:
            for reading in robot.step():
                self._sense(reading, robot.now, aligner, planner)
            if pending is not None and robot.now >= pending.due:
                chunks += self._command(planner, robot, pending.chunk)
                pending = None
            if robot.now % self.control_dt:
                continue
            if watch is not None:
                watch(robot)
            observation = aligner.observe(robot.now)
            window = windows.push(observation) if isinstance(observation, Observation) else None
            if window is None or (last is not None and robot.now - last < self.exec_horizon * self.control_dt):
                continue
            last = robot.now
            began = time.perf_counter()
            overlap = continuation.overlap(window.stamp) if self.settings.continuity == 'rtc' else None
            chunk = self.policy.chunk(window, np.random.default_rng([seed, len(latency)]), overlap)
            chunk = continuation.take(chunk, self.latency, self.settings.continuity)
            latency.append(time.perf_counter() - began)
            pending = _Pending(chunk, robot.now + self.latency)
        status = robot.episode
        return EpisodeResult(
            seed=seed,
            score=status.score,
            success=status.success,
            seconds=status.elapsed,
            chunks=chunks,
            latency=latency,
            deadline_misses=sum(taken * NANOSECONDS > self.control_dt for taken in latency),
            side=str(status.details.get('side', '')),
            stop=self.stop,
        )

    def _sense(self, reading: Reading, now: int, aligner: Aligner, planner: Planner) -> None:
        for name, value in self._decoded(reading):
            aligner.push(name, reading.stamp, now, value)
        if isinstance(reading, JointReading):
            order = [list(reading.name).index(joint) for joint in self.task.action.joints]
            planner.measured(reading.stamp, np.array(reading.position)[order], np.array(reading.velocity)[order])

    def _decoded(self, reading: Reading) -> Iterator[tuple[str, np.ndarray]]:
        for stream in self.task.streams:
            if isinstance(stream, JointStream) and isinstance(reading, JointReading):
                vector = joint_vector(stream, reading.name, reading.position, reading.velocity, reading.effort)
                yield stream.name, vector
            elif isinstance(stream, PoseStream) and isinstance(reading, PoseReading):
                if _from(stream, POSE_TOPICS[reading.name]):
                    yield stream.name, pose_features(stream, reading.pose.position, reading.pose.orientation)
            elif (
                isinstance(stream, ImageStream)
                and isinstance(reading, ImageReading)
                and _from(stream, CAMERA_TOPICS[reading.camera])
            ):
                yield stream.name, resize_rgb(stream, reading.pixels)

    def _command(self, planner: Planner, robot: SimulatedRobot, chunk: Chunk) -> int:
        if self.stop:
            return 0  # as the ladder's latch
        planned = planner.accept(chunk, robot.now)
        if isinstance(planned, Refused):
            if not planned.stop:
                return 0  # the plan that is under way ends at rest by itself
            self.stop = planned.reason
        trajectory = planner.stop(robot.now) if isinstance(planned, Refused) else planned.trajectory
        if isinstance(trajectory, Refused):
            return 0
        verdict = robot.command(trajectory)
        if isinstance(verdict, Rejected):
            raise DataError(f'the controller rejected a planned trajectory: {verdict.reason}; allowed none')
        return 1


def _from(stream: Stream, topic: str) -> bool:
    return stream.topic.removesuffix('/compressed').removeprefix('/') == topic
