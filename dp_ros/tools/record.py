"""`dp_ros record`: demonstrations of the running robot, one rosbag2 folder for each episode."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from std_msgs.msg import String
from tqdm import tqdm

from dp_ros.errors import ConfigError, check_range
from dp_ros.evaluation.world_planner import command_topics
from dp_ros.ros.bundles import below_namespace
from dp_ros.simulation.instructions import asked_instruction, episode_labels
from dp_ros.simulation.registry import check_world, world_parameters, world_spec
from dp_ros.simulation.worlds import DEFAULT_WORLD
from dp_ros.task.spec import Instruction, TaskSpec
from dp_ros.tools.graph_evaluation import isolate, refuse_company
from dp_ros.tools.node_processes import ROBOT, NodeProcesses, NodeSpec
from dp_ros.tools.recorder import LATCHED, NewBag, Recorder
from dp_ros.tools.simulation_client import SimulationClient

DEMONSTRATOR = 'demonstrator'


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """What to record.

    Attributes
    ----------
    out
        New folder, which gets one bag for each episode.
    task
        Names the topics: those of its streams, of its goals and rewards where recordings have them, and that of its
        commands.
    source
        ``scripted``: starts the simulated robot and a demonstrator, and resets it for each episode. ``teleoperated``:
        the same without a demonstrator; whoever publishes on the command topics is recorded. ``external``: the robot
        runs already, and whatever commands it is recorded as it is.
    seconds
        Longest episode [s]; with ``external``, the length of each.
    disturbance
        Of the simulated robot, where it is started: its parameter.

    """

    out: Path
    task: TaskSpec
    world: str = DEFAULT_WORLD
    source: Literal['scripted', 'teleoperated', 'external'] = 'scripted'
    episodes: int = 1
    seed: int = 0
    seconds: float = 30.0
    disturbance: float = 0.0

    def __post_init__(self) -> None:
        if self.out.exists():
            raise ConfigError(f'record: {self.out} exists, allowed a new folder')
        check_range('episodes', self.episodes, 1, 100_000)
        check_range('seconds', self.seconds, 1.0, 3600.0)
        if self.source == 'scripted' and world_spec(self.world).make_expert is None:
            raise ConfigError(
                f'demonstrator of the world {self.world}: got none, allowed a world that has one; or --source '
                'teleoperated, and commands from elsewhere'
            )

    @property
    def simulates(self) -> bool:
        """Whether the simulated robot is started."""
        return self.source != 'external'

    @property
    def topics(self) -> list[str]:
        """The topics that are recorded."""
        action = self.task.action
        commands = [source.topic for source in action.sources] or [action.topic]
        rewards = [self.task.reward.topic] if self.task.reward else []
        return list(dict.fromkeys([*(s.topic for s in self.task.streams), *self.goals, *rewards, *commands]))

    @property
    def goals(self) -> list[str]:
        """Those of them that a goal comes on."""
        return [goal.topic for goal in self.task.goals if goal.source == 'topic']


def run_record(settings: RecordSettings, new_bag: NewBag, say: Callable[[str], None]) -> int:
    """Record the episodes into bags opened by ``new_bag``; Ctrl-C leaves the episodes that are complete."""
    specs = []
    if settings.simulates:
        check_world(settings.world, settings.task.action.joints, 'the configuration')
        isolate()
        chosen = world_parameters(settings.world)
        robot = {**chosen, 'camera': _has_camera(settings.task), 'disturbance': settings.disturbance}
        specs = [NodeSpec(name=ROBOT, parameters=robot)]
        if settings.source == 'scripted':
            # Who teleoperates may be there already.
            refuse_company(*command_topics(settings.task, world_spec(settings.world)))
            specs.append(NodeSpec(name=DEMONSTRATOR, parameters=chosen))
    settings.out.mkdir(parents=True)
    robot_spec = world_spec(settings.world)
    with NodeProcesses(specs, robot_spec.parameters, settings.out / 'logs') as processes:
        client = SimulationClient(processes)
        try:
            words = _words(client, settings)
            recorder = Recorder(client.node, settings.topics, new_bag, goals=settings.goals)
            client.wait_until(lambda: not recorder.missing(), f'got no publishers of {", ".join(settings.topics)}')
            recorder.connect()
            client.wait_until(lambda: not recorder.unheard(), f'got no publishers of {", ".join(settings.topics)}')
            failed = 0
            for number in tqdm(range(settings.episodes), unit='episode', desc='record'):
                failed += not _episode(client, recorder, settings, number, words)
        finally:
            client.close()
    say(f'{settings.episodes} episodes in {settings.out}')
    if failed and settings.simulates:
        say(f'{failed} of them ended after {settings.seconds:g} s without success: longer --seconds may help')
    return 0


def _words(client: SimulationClient, settings: RecordSettings) -> Any:
    """Return who says the instructions of a simulated robot; None where there are none."""
    (goal,) = [goal for goal in settings.task.goals if isinstance(goal, Instruction)] or (None,)
    if goal is None or not settings.simulates:
        return None
    return client.node.create_publisher(String, below_namespace(goal.topic), LATCHED)


def _episode(
    client: SimulationClient, recorder: Recorder, settings: RecordSettings, number: int, words: Any = None
) -> bool:
    """Record one episode, which ``words`` asks for if it is not None; return whether it succeeded."""
    seed = settings.seed + number
    asked = None if words is None else asked_instruction(world_spec(settings.world), settings.task, seed)
    if asked is not None:
        words.publish(String(data=asked.text))
        client.set_parameter(ROBOT, 'meaning', asked.meaning)
    if settings.simulates:
        client.reset_robot(seed)
    with recorder.episode(settings.out / f'episode_{number:04d}'):
        until = time.monotonic() + settings.seconds
        while time.monotonic() < until and not client.succeeded:
            client.spin()
        if settings.simulates:
            until = min(until, time.monotonic() + world_spec(settings.world).seconds_after_success)
            while time.monotonic() < until:
                client.spin()
            recorder.note(**episode_labels(settings.world, seed, client.succeeded, asked))
    return client.succeeded


def _has_camera(task: TaskSpec) -> bool:
    return any(stream.kind == 'image' for stream in task.streams)
