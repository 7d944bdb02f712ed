"""Scripted demonstrations as bags, made in this process: the same robot, controller and demonstrator without DDS.

The messages are those that `dp_ros record` gets from the simulated robot: topics, types, stamps. Time is the
simulation's, so that hundreds of episodes take minutes. An episode goes on until the demonstrator has finished, so that
recordings show how it ends too; where the demonstrator never does, until success.

Where the task is asked for in words, each episode begins with an instruction on the goal's topic. What an episode was
is noted in its bag's metadata.yaml: world, seed, success, and what the instruction means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from dp_ros.data import NANOSECONDS, Refusal, to_nanoseconds
from dp_ros.errors import ConfigError, DataError, check_range
from dp_ros.evaluation.episode_bag import EpisodeBag, WholeEpisode
from dp_ros.evaluation.settings import MOST_SEED, EvaluationSettings
from dp_ros.evaluation.workers.workers import check_workers, played, workers_of
from dp_ros.evaluation.world_planner import command_topics
from dp_ros.options import REQUIRED, check_options, like, option
from dp_ros.recordings.rosbag.reader import new_folder, refuse_existing
from dp_ros.simulation.instructions import asked_for, episode_labels
from dp_ros.simulation.registry import check_world, make_expert, make_world, world_spec
from dp_ros.simulation.robot import SimulatedRobot, controllers_of
from dp_ros.simulation.worlds import DEFAULT_WORLD
from dp_ros.task.spec import TaskSpec

START = 1_700_000_000 * NANOSECONDS
SPACING = 120 * NANOSECONDS  # between two episodes' beginnings, so that no two share a stamp


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """Choose what to record, in this process or through the nodes (`dp_ros.tools.record`).

    Attributes
    ----------
    task
        Names the topics: those of its streams, of its goals and rewards where recordings have them, and that of its
        commands; and the time between two commands.

    """

    # fmt: off
    out: Path = option(REQUIRED, 'new folder for the bags, one per episode')
    task: TaskSpec
    world: str = DEFAULT_WORLD
    source: Literal['scripted', 'teleoperated', 'external'] = option(
        'scripted', 'who commands: a scripted demonstrator; whoever does on topics of the simulated robot; or whoever '
        'does on those of a robot that runs already'
    )
    disturbance: float = option(
        0.0, 'scripted: how much drives and starts are disturbed, to show how to recover', low=0.0, high=2.0
    )
    noise: float | None = option(
        None, "direct: by how much the demonstrator strays from its way [rad or m]; without it, the world's",
        low=0.0, high=1.0,
    )
    readings: float | None = option(
        None, 'direct: readings of joints and poses a second; fewer make recordings small; without it, 100',
        unit='Hz', low=1.0, high=1000.0,
    )
    episodes: int = option(1, 'episodes to record', low=1, high=100_000)
    seed: int = option(0, 'seed of the first episode', low=0, high=MOST_SEED)
    seconds: float = option(30.0, 'longest episode', unit='s', low=1.0, high=3600.0)
    rate: float = option(
        1.0, 'ros, scripted: seconds of the world per second; other than 1, all nodes go by a clock of the robot, so '
        'that less than 1 suits a machine that is too slow or too busy', low=0.05, high=10.0,
    )
    storage: Literal['mcap', 'sqlite3'] = option('mcap', 'rosbag2 storage')
    workers: int = like(EvaluationSettings, 'workers', 1, 'direct: processes that share the episodes')
    ray: str = like(
        EvaluationSettings, 'ray', '', 'direct: a Ray cluster that makes them, as 10.0.0.1:6379 (extra: cluster)'
    )
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        check_workers(self.workers, self.ray)

    @property
    def camera(self) -> bool:
        """Whether pictures are recorded."""
        return any(stream.kind == 'image' for stream in self.task.streams)

    @property
    def topics(self) -> set[str]:
        """The topics that are recorded in this process."""
        rewards = {self.task.reward.topic} if self.task.reward else set()
        commands = command_topics(self.task, world_spec(self.world))
        return {*(stream.topic for stream in self.task.streams), *commands, *rewards}


def write_demonstrations(settings: RecordSettings, say: Callable[[str], None]) -> int:
    """Write the bags. The folder appears when every bag in it is whole."""
    if settings.source != 'scripted':
        raise ConfigError(f'source: got {settings.source!r}, allowed scripted in this process')
    if settings.rate != 1.0:
        raise ConfigError(f'rate: got {settings.rate:g} with --through direct, allowed with --through ros')
    check_range('seconds', settings.seconds, 1.0, SPACING / NANOSECONDS, unit='s')
    refuse_existing(settings.out)
    check_world(settings.world, settings.task, 'the configuration')
    make = partial(_make_demonstrate, settings)
    demonstrate, workers = make(), workers_of(settings.workers, settings.ray)
    number, failed = 0, 0
    with (
        new_folder(settings.out) as made,
        tqdm(total=settings.episodes, unit='episode', desc='demonstrate') as bar,
    ):
        made.mkdir()
        while number < settings.episodes:
            first = settings.seed + number + failed
            seeds = range(first, first + settings.episodes - number)
            for episode in played(workers, demonstrate, make, seeds):
                if episode is None:
                    failed += 1
                    if failed > settings.episodes:  # this is no demonstrator
                        raise DataError(f'demonstrations: {failed} failed, allowed up to {settings.episodes}')
                    continue
                episode.write(made / f'episode_{number:04d}', settings.storage)
                number += 1
                bar.update()
    say(f'{settings.episodes} episodes in {settings.out}; {failed} that failed were left out')
    return 0


def _make_demonstrate(settings: RecordSettings) -> Callable[[int], WholeEpisode | None]:
    world, spec = make_world(settings.world, disturbance=settings.disturbance), world_spec(settings.world)
    controllers = controllers_of(spec, world)
    rate = 100.0 if settings.readings is None else settings.readings
    robot = SimulatedRobot(
        world, start=START, camera=settings.camera, controllers=controllers, joint_rate=rate, pose_rate=rate
    )

    def demonstrate(seed: int) -> WholeEpisode | None:
        robot.now = START + (seed - settings.seed) * SPACING
        shown = demonstration(robot, settings, seed)
        if not robot.episode.success or robot.episode.elapsed >= settings.seconds:
            return None
        return shown.whole(**episode_labels(settings.world, seed, True, asked_for(spec, settings.task, seed)))

    return demonstrate


def demonstration(robot: SimulatedRobot, settings: RecordSettings, seed: int) -> EpisodeBag:
    """Return the messages of one episode in order of receive time, which is their stamp too."""
    rng, task, spec = np.random.default_rng([0, seed]), settings.task, world_spec(settings.world)
    control_dt, shown = to_nanoseconds(task.control_dt), EpisodeBag(task, spec, settings.topics)
    asked = asked_for(spec, task, seed)
    meaning = '' if asked is None else asked.meaning
    robot.reset(seed, meaning)
    expert = make_expert(settings.world, rng, control_dt=task.control_dt, noise=settings.noise, meaning=meaning)
    if asked is not None:
        shown.instruction(asked.text, robot.now)
    while robot.episode.elapsed < settings.seconds and not expert.finished:
        for reading in robot.step():
            shown.reading(reading)
        if robot.now % control_dt:
            continue
        if robot.episode.success and not expert.finishes:
            break
        world = robot.world
        command = expert.trajectory(robot.now, world.joint_positions, world.poses)
        verdict = robot.command(command)
        if isinstance(verdict, Refusal):
            raise DataError(f'the controller rejected a demonstrated command: {verdict.reason}; allowed none')
        shown.command(command, robot.now)
    return shown
