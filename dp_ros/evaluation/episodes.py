"""Evaluation in one process: the world's physics, and the nodes' own alignment, policy, planner and controller code.

What is left out is the middleware. Time is the simulation's: a chunk reaches the planner ``latency`` after its
observation, however long predicting really took; that real time is what is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from dp_ros.data import NANOSECONDS, Chunk, Goal, Observation, Refusal, Window, to_nanoseconds
from dp_ros.errors import DataError
from dp_ros.evaluation.episode_bag import EpisodeBag, WholeEpisode, check_recording
from dp_ros.evaluation.instructed import Instructed
from dp_ros.evaluation.scores import EpisodeResult, EvaluationSettings, collided, summarize
from dp_ros.evaluation.seams import SeamRecorder
from dp_ros.evaluation.settings import CAMERA_RATE
from dp_ros.evaluation.workers.workers import played, workers_of
from dp_ros.evaluation.world_planner import make_planner, world_goal
from dp_ros.messages.encoding import joint_vector, pose_features, resize_rgb
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.motion.trajectory import Trajectory
from dp_ros.policy.alignment import Aligner, WindowBuffer, tick_at_or_after
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.continuity import Continuation
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.protocol import Policy, open_policy
from dp_ros.simulation.instructions import Asked, asked_for, episode_labels
from dp_ros.simulation.registry import check_world, make_world, world_spec
from dp_ros.simulation.robot import (
    ImageReading,
    JointReading,
    PoseReading,
    Reading,
    RewardReading,
    SimulatedRobot,
    begin_episode,
    controllers_of,
    topic_of,
)
from dp_ros.simulation.world import WorldSpec
from dp_ros.simulation.wrong_worlds import make_wrong
from dp_ros.task.spec import ImageStream, JointStream, PoseStream, Stream, TaskSpec

START = 1_700_000_000 * NANOSECONDS
READING_RATE = 100.0  # [Hz]
T = TypeVar('T')


def evaluate_direct(settings: EvaluationSettings) -> dict[str, Any]:
    """Run episodes on consecutive seeds and return their summary."""
    runner = make_runner(settings)  # refuses what can't be, before anything is started
    check_recording(settings.record, runner.task, runner.spec)
    workers = workers_of(settings.workers, settings.ray)
    seeds = range(settings.seed, settings.seed + settings.episodes)
    results = []
    with tqdm(total=len(seeds), unit='episode', desc=runner.bundle.name, dynamic_ncols=True) as bar:
        make = partial(_make_play, settings)
        for result, recorded in played(workers, runner.recorded, make, seeds, settings.bundle):
            runner.write(result.seed, recorded)
            results.append(result)
            bar.update()
            bar.set_postfix(score=f'{np.mean([r.score for r in results]):.3f}')
    return summarize(results, **settings.about(runner.bundle))


def played_with_bar(settings: EvaluationSettings, make: Callable[[Path], Callable[[int], T]], what: str) -> Iterator[T]:
    """Play the episodes of ``settings``, with a progress bar that says ``what``, and yield what became of each.

    ``make`` returns who plays an episode by its seed, from where the bundle lies: an outcome with ``success``, or None.
    """
    seeds = range(settings.seed, settings.seed + settings.episodes)
    workers, successes = workers_of(settings.workers, settings.ray), 0
    with tqdm(total=len(seeds), unit='episode', desc=what, dynamic_ncols=True) as bar:
        for number, outcome in enumerate(played(workers, make(settings.bundle), make, seeds, settings.bundle), 1):
            successes += bool(getattr(outcome, 'success', False))
            bar.update()
            bar.set_postfix(success=f'{successes / number:.1%}')
            yield outcome


def make_runner(settings: EvaluationSettings, kind: type[DiffusionPolicy] | None = None) -> DirectRunner:
    """Return what runs the episodes, with a policy of this ``kind``; without one, of the bundle's family."""
    bundle = settings.load()
    check_world(settings.world, bundle.task, f'bundle {bundle.name}')
    asked = settings.sampler_settings(bundle)
    policy: Policy
    if kind is None:
        policy = open_policy(bundle, settings.backend, settings.threads)
    else:
        policy = kind(bundle, open_backend(bundle, backend=settings.backend, threads=settings.threads))
    return DirectRunner(bundle, policy.with_settings(**asked), settings)


def _make_play(
    settings: EvaluationSettings, bundle: Path
) -> Callable[[int], tuple[EpisodeResult, WholeEpisode | None]]:
    return make_runner(replace(settings, bundle=bundle)).recorded


class DirectRunner:
    """Runs a policy in a world, one episode at a time.

    `observed`, if set, is called with each window before a chunk is made of it, if one is.
    """

    def __init__(self, bundle: Bundle, policy: Policy, settings: EvaluationSettings) -> None:
        self.bundle, self.policy, self.settings = bundle, policy, settings
        self.task: TaskSpec = bundle.task
        self.control_dt = to_nanoseconds(self.task.control_dt)
        settings.check_horizons(bundle.task)
        self.exec_horizon = settings.exec_horizon or self.task.exec_horizon
        check_world(settings.world, self.task, f'bundle {bundle.name}', observes=False)
        policy.check_continuity(settings.continuity)
        self.latency = to_nanoseconds(settings.latency_in(bundle))
        self.step_cost = bundle.sequence.step_cost if bundle.family == 'sequence' else 0.0
        self.spec = world_spec(settings.world)
        self.world = make_wrong(settings.world, settings.fault) if settings.fault else make_world(settings.world)
        self.goal(settings.seed)  # refuses what the world can't ask for
        sees = any(isinstance(s, ImageStream) for s in self.task.streams)
        self.camera = sees or settings.record_camera
        self.camera_rate = settings.camera_rate if sees else CAMERA_RATE
        self.observed: Callable[[Window], None] | None = None

    def asked(self, seed: int) -> Asked | None:
        """Return what an episode is asked for; None for a policy that nothing is asked."""
        return asked_for(self.spec, self.task, seed, self.settings.instructions)

    def goal(self, seed: int) -> Goal:
        """Return the policy's goal in an episode, which begins in the world."""
        asked = self.asked(seed)
        begin_episode(self.world, seed, '' if asked is None else asked.meaning)
        return world_goal(self.settings.world, self.task, self.world, asked)

    def run(self, seed: int, watch: Callable[[SimulatedRobot], None] | None = None) -> EpisodeResult:
        """Run one episode until success or time is up; ``watch`` is called at every control tick."""
        result, recorded = self.recorded(seed, watch)
        self.write(seed, recorded)
        return result

    def recorded(
        self, seed: int, watch: Callable[[SimulatedRobot], None] | None = None
    ) -> tuple[EpisodeResult, WholeEpisode | None]:
        """Run one episode as `run` does; return its recording too, where it is to be written."""
        bag = None if self.settings.record is None else EpisodeBag(self.task, self.spec)
        episode = self.episode(seed, bag)
        self.play(episode, watch)
        result = episode.result()
        if bag is None or not result.success:
            return result, None
        return result, bag.whole(**episode_labels(self.settings.world, seed, True, episode.asked))

    def write(self, seed: int, recorded: WholeEpisode | None) -> None:
        """Write the recording of an episode, if there is one."""
        if recorded is not None and self.settings.record is not None:
            recorded.write(self.settings.record / f'seed_{seed}')

    def episode(self, seed: int, bag: EpisodeBag | None = None) -> Episode:
        """Return an episode at its beginning."""
        return Episode(self, seed, bag)

    def over(self, episode: Episode) -> bool:
        """Return whether an episode ends before its time."""
        return episode.robot.episode.success

    def play(self, episode: Episode, watch: Callable[[SimulatedRobot], None] | None = None) -> None:
        """Play an episode to its end."""
        for window in self.windows(episode, watch):
            episode.predict(window)

    def windows(self, episode: Episode, watch: Callable[[SimulatedRobot], None] | None = None) -> Iterator[Window]:
        """Advance an episode until success or time is up; yield each window that a chunk is due for.

        Who takes it answers by `Episode.predict` or `Episode.answer`.
        """
        robot = episode.robot
        while robot.episode.elapsed < self.settings.seconds and not self.over(episode):
            before = robot.now
            episode.advance()
            # At another speed ticks fall between the steps of the physics: each is seen to at the next step.
            for tick in range(tick_at_or_after(before + 1, self.control_dt), robot.now + 1, self.control_dt):
                if watch is not None:
                    watch(robot)
                window = episode.observe(tick)
                if window is not None:
                    yield window

    def planner(self) -> Planner:
        """Return a planner for one episode."""
        blend_steps = self.settings.blend_steps
        changes = {} if blend_steps is None else {'blend_steps': blend_steps}
        return make_planner(self.world, self.settings.world, self.task, **changes)


class Episode:
    """The state of one episode; ``rate`` is that of readings of joints and poses [Hz]."""

    def __init__(
        self, runner: DirectRunner, seed: int, bag: EpisodeBag | None = None, *, rate: float = READING_RATE
    ) -> None:
        self.runner, self.seed, self.bag = runner, seed, bag
        self.robot = SimulatedRobot(
            runner.world,
            start=START,
            camera=runner.camera,
            joint_rate=rate,
            pose_rate=rate,
            camera_rate=runner.camera_rate,
            draws=self._draws,
            controllers=controllers_of(runner.spec, runner.world),
        )
        self.asked, self.goal = runner.asked(seed), runner.goal(seed)
        self.robot.reset(seed, '' if self.asked is None else self.asked.meaning)
        if bag is not None and self.asked is not None and self.asked.text:
            bag.instruction(self.asked.text, self.robot.now)
        self.planner = runner.planner()
        self.aligner = Aligner(runner.task)
        self.windows = WindowBuffer(runner.task.obs_horizon, runner.control_dt)
        self.continuation = Continuation()
        self.seams = SeamRecorder(runner.control_dt, self.robot.step_duration)
        self.pending: tuple[int, Chunk] | None = None  # when it is out [ns]
        self.last: int | None = None  # when the newest chunk's window was taken
        self.latency: list[float] = []
        self.processor: list[float] = []
        self.chunks = 0
        self.stop = ''
        self._refused = ''  # why the last chunk was not taken
        self._reward, self._gained = 0.0, 0.0

    def _draws(self, camera: str) -> bool:
        """Return whether a picture is worth its time: if it is recorded, or a window that is asked for holds it."""
        if self.bag is not None or self.last is None:
            return True
        task = self.runner.task
        unseen = self.runner.exec_horizon - task.obs_horizon  # observations after the last window that none holds
        return self.robot.now > self.last + unseen * self.runner.control_dt

    def advance(self) -> None:
        """Advance by one physics step, and command the chunk that is out by then."""
        robot = self.robot
        for reading in robot.step():
            self.sense(reading)
        self.seams.commanded(robot.now, robot.set_point)
        if self.pending is not None and robot.now >= self.pending[0]:
            (_, chunk), self.pending = self.pending, None
            self.chunks += self.command(chunk)

    def observe(self, tick: int) -> Window | None:
        """Take the observation of a control tick, and return the window if a chunk is due for it."""
        runner = self.runner
        self._gained += self._reward - runner.step_cost
        observation = self.aligner.observe(tick)
        window = self.windows.push(observation) if isinstance(observation, Observation) else None
        if window is not None and runner.observed is not None:
            runner.observed(window)
        # While one chunk is predicted there is nobody to predict the next.
        if window is None or self.pending is not None:
            return None
        if self.last is not None and tick - self.last < runner.exec_horizon * runner.control_dt:
            return None
        self.last = tick
        return window

    def predict(self, window: Window) -> None:
        """Let the policy predict from a window."""
        runner = self.runner
        began, used = time.perf_counter(), time.process_time()
        continuity = runner.settings.continuity
        overlap = self.continuation.overlap(window.stamp, continuity)
        rng = np.random.default_rng([self.seed, len(self.latency), runner.settings.noise_seed])
        start = self.continuation.start(window.stamp, self.goal)
        gained = self.continuation.gained(window.stamp)
        chunk = runner.policy.chunk(window, rng, overlap, self.goal, start, gained=gained)
        chunk = self.continuation.take(chunk, runner.latency, continuity, self.goal)
        self.latency.append(time.perf_counter() - began)
        self.processor.append(time.process_time() - used)
        self.answer(chunk)

    def answer(self, chunk: Chunk) -> None:
        """Take the chunk that answers the newest window; it is commanded as late as a policy's would be."""
        self.pending = chunk.stamp + self.runner.latency, chunk

    def result(self) -> EpisodeResult:
        """Return what became of it."""
        status = self.robot.episode
        return EpisodeResult(
            seed=self.seed,
            score=status.score,
            success=status.success,
            seconds=status.elapsed,
            chunks=self.chunks,
            latency=self.latency,
            processor=self.processor,
            deadline_misses=sum(taken * NANOSECONDS > self.runner.control_dt for taken in self.latency),
            side=str(status.details.get('side', '')),
            collided=collided(status.details),
            instructed=None if self.asked is None else Instructed.of(self.asked, status.details),
            stop=self.stop or ('' if self.chunks else self._refused),  # where nothing moved, why
            seams=self.seams.finish(self.robot.now),
            gained=self._gained if self.runner.bundle.family == 'sequence' else None,
        )

    def sense(self, reading: Reading) -> None:
        """Take what a sensor has read."""
        if isinstance(reading, RewardReading):
            self._reward = reading.reward
        if self.bag is not None:
            self.bag.reading(reading)
        for name, value in _decoded(self.runner.task, self.runner.spec, reading):
            self.aligner.push(name, reading.stamp, self.robot.now, value)
        if isinstance(reading, JointReading):
            order = [list(reading.name).index(joint) for joint in self.runner.task.action.joints]
            positions, velocities = np.array(reading.position)[order], np.array(reading.velocity)[order]
            self.planner.measured(reading.stamp, positions, velocities)

    def command(self, chunk: Chunk) -> int:
        """Plan with a chunk and send that; return how many chunks were taken, 0 or 1."""
        if self.stop:
            return 0  # as the latched safety state
        now = self.robot.now
        self.begin(now)
        planned = self.accept(chunk, now)
        if isinstance(planned, Refusal):
            self._refused = planned.reason
            if not planned.stop:
                return 0  # the plan that is under way ends at rest by itself
            self.stop = planned.reason
            trajectory = self.planner.stop(now)
        else:
            trajectory = planned.trajectory
            self.continuation.taken(chunk.stamp, planned.alternative)
            chosen = chunk.choice(planned.alternative)
            self.seams.taken(chosen, planned.first_executed, now + self.planner.options.splice_margin)
        if isinstance(trajectory, Refusal):
            return 0
        self.send(trajectory)
        return 1

    def accept(self, chunk: Chunk, now: int) -> Planned | Refusal:
        """Splice a chunk into the plan."""
        return self.planner.accept(chunk, now)

    def send(self, trajectory: Trajectory) -> None:
        """Send a trajectory to the controller."""
        if self.bag is not None:
            self.bag.command(trajectory, self.robot.now)
        verdict = self.robot.command(trajectory)
        if isinstance(verdict, Refusal):
            raise DataError(f'the controller rejected a planned trajectory: {verdict.reason}; allowed none')

    def begin(self, now: int) -> None:
        """Let the plan begin at what the controller holds, where the robot stands and follows none."""
        if self.planner.astray() and (self.planner.plan is None or self.planner.standing):
            order = [self.robot.world.joints.index(joint) for joint in self.runner.task.action.joints]
            self.planner.rest_at(self.robot.set_point[order], now)


def _decoded(task: TaskSpec, spec: WorldSpec, reading: Reading) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a reading of a world as the streams of a task have it."""
    for stream in task.streams:
        if isinstance(stream, JointStream) and isinstance(reading, JointReading):
            vector = joint_vector(stream, reading.name, reading.position, reading.velocity, reading.effort)
            yield stream.name, vector
        elif isinstance(stream, PoseStream) and isinstance(reading, PoseReading):
            if _from(stream, topic_of(reading, spec)):
                yield stream.name, pose_features(stream, reading.pose.position, reading.pose.orientation)
        elif (
            isinstance(stream, ImageStream)
            and isinstance(reading, ImageReading)
            and _from(stream, topic_of(reading, spec))
        ):
            yield stream.name, resize_rgb(stream, reading.pixels)


def _from(stream: Stream, topic: str) -> bool:
    return stream.topic.removesuffix('/compressed').removeprefix('/') == topic
