"""`dp_ros record`: demonstrations of the running robot, one rosbag2 folder for each episode."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.parameter import Parameter
from std_msgs.msg import String
from tqdm import tqdm

from dp_ros.errors import ConfigError
from dp_ros.evaluation.demonstrations import RecordSettings
from dp_ros.evaluation.workers.workers import check_workers
from dp_ros.evaluation.world_planner import command_topics
from dp_ros.recordings.rosbag.reader import BagWriter
from dp_ros.ros.bundles import below_namespace
from dp_ros.simulation.instructions import asked_for, episode_labels
from dp_ros.simulation.registry import check_world, world_parameters, world_spec
from dp_ros.task.spec import Instruction, TaskSpec
from dp_ros.tools.graph_evaluation import isolate, refuse_company
from dp_ros.tools.node_processes import ROBOT, NodeProcesses, NodeSpec
from dp_ros.tools.recorder import LATCHED, Recorder
from dp_ros.tools.simulation_client import SimulationClient

DEMONSTRATOR = 'demonstrator'


def run_record(settings: RecordSettings, say: Callable[[str], None]) -> int:
    """Record the episodes; Ctrl-C leaves those that are complete."""
    _check(settings)
    specs, topics, goals = [], recorded_topics(settings.task), goal_topics(settings.task)
    if simulates(settings):
        check_world(settings.world, settings.task, 'the configuration', observes=False)
        isolate()
        chosen = world_parameters(settings.world)
        robot = {**chosen, 'camera': settings.camera, 'disturbance': settings.disturbance}
        if settings.rate != 1.0:
            robot |= {'rate': settings.rate, 'publish_clock': True}
        specs = [NodeSpec(name=ROBOT, parameters=robot)]
        if settings.source == 'scripted':
            # Who teleoperates may be there already.
            refuse_company(*command_topics(settings.task, world_spec(settings.world)))
            paced = {'control_dt': settings.task.control_dt, 'use_sim_time': settings.rate != 1.0}
            specs.append(NodeSpec(name=DEMONSTRATOR, parameters={**chosen, **paced, 'autostart': False}))
    settings.out.mkdir(parents=True)
    robot_spec = world_spec(settings.world)
    with NodeProcesses(specs, robot_spec.parameters, settings.out / 'logs') as processes:
        client = SimulationClient(processes)
        try:
            client.node.set_parameters([Parameter('use_sim_time', value=settings.rate != 1.0)])
            words = _words(client, settings)
            if settings.source == 'scripted':
                client.transition(DEMONSTRATOR, 'configure')
            recorder = Recorder(client.node, topics, partial(BagWriter, storage=settings.storage), goals=goals)
            client.wait_until(lambda: not recorder.missing(), f'got no publishers of {", ".join(topics)}')
            recorder.connect()
            client.wait_until(lambda: not recorder.unheard(), f'got no publishers of {", ".join(topics)}')
            failed = 0
            for number in tqdm(range(settings.episodes), unit='episode', desc='record'):
                failed += not _episode(client, recorder, settings, number, words)
        finally:
            client.close()
    say(f'{settings.episodes} episodes in {settings.out}')
    if failed and simulates(settings):
        say(f'{failed} of them ended after {settings.seconds:g} s without success: longer --seconds may help')
    return 0


def _check(settings: RecordSettings) -> None:
    if settings.out.exists():
        raise ConfigError(f'record: {settings.out} exists, allowed a new folder')
    for name in ('noise', 'readings'):
        if getattr(settings, name) is not None:
            raise ConfigError(f'{name}: got {getattr(settings, name)} through ros, allowed with --through direct')
    if settings.rate != 1.0 and settings.source != 'scripted':
        raise ConfigError(
            f'rate: got {settings.rate:g} with --source {settings.source}, allowed 1 unless it is scripted: who '
            'commands goes by the time of day'
        )
    check_workers(settings.workers, settings.ray, 'ros')
    if settings.source == 'scripted' and world_spec(settings.world).make_expert is None:
        raise ConfigError(
            f'demonstrator of the world {settings.world}: got none, allowed a world that has one; or --source '
            'teleoperated, and commands from elsewhere'
        )


def simulates(settings: RecordSettings) -> bool:
    """Tell whether the simulated robot is started; otherwise one runs already, and episodes are as long as asked."""
    return settings.source != 'external'


def recorded_topics(task: TaskSpec) -> list[str]:
    """Return the topics that are recorded."""
    commands = [source.topic for source in task.action.sources] or [task.action.topic]
    rewards = [task.reward.topic] if task.reward else []
    return list(dict.fromkeys([*(s.topic for s in task.streams), *goal_topics(task), *rewards, *commands]))


def goal_topics(task: TaskSpec) -> list[str]:
    """Return those of them that a goal comes on."""
    return [goal.topic for goal in task.goals if goal.source == 'topic']


def _words(client: SimulationClient, settings: RecordSettings) -> Any:
    """Return who says the instructions of a simulated robot; None where there are none."""
    (goal,) = [goal for goal in settings.task.goals if isinstance(goal, Instruction)] or (None,)
    if goal is None or not simulates(settings):
        return None
    return client.node.create_publisher(String, below_namespace(goal.topic), LATCHED)


def _episode(
    client: SimulationClient, recorder: Recorder, settings: RecordSettings, number: int, words: Any = None
) -> bool:
    """Record one episode, which ``words`` asks for if it is not None; return whether it succeeded.

    A scripted demonstrator is active only while it is recorded: so a recording has its first command, and a robot that
    was reset gets none that was meant for where it was before.
    """
    seed = settings.seed + number
    asked = asked_for(world_spec(settings.world), settings.task, seed) if simulates(settings) else None
    if words is not None and asked is not None:
        words.publish(String(data=asked.text))
    if asked is not None:
        client.set_parameter(ROBOT, 'meaning', asked.meaning)
    if simulates(settings):
        client.reset_robot(seed)
    scripted = settings.source == 'scripted'
    with recorder.episode(settings.out / f'episode_{number:04d}'):
        if scripted:
            client.transition(DEMONSTRATOR, 'activate')
        until = time.monotonic() + settings.seconds / settings.rate
        while time.monotonic() < until and not client.succeeded:
            client.spin()
        if simulates(settings):
            until = min(until, time.monotonic() + world_spec(settings.world).seconds_after_success / settings.rate)
            while time.monotonic() < until:
                client.spin()
            recorder.note(**episode_labels(settings.world, seed, client.succeeded, asked))
    if scripted:
        client.transition(DEMONSTRATOR, 'deactivate')
    return client.succeeded
