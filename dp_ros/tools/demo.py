"""`dp_ros demo`: the shipped policy on the simulated robot, through the real nodes, with a table and a GIF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from tqdm import tqdm
from trajectory_msgs.msg import JointTrajectory

from dp_ros.bounded_files import write_json
from dp_ros.evaluation.film import Frame, write_gif
from dp_ros.evaluation.scores import EvaluationSettings, summarize, table
from dp_ros.evaluation.world_planner import command_topics
from dp_ros.messages import encoding
from dp_ros.simulation.registry import make_world, world_spec
from dp_ros.simulation.world import Pose, Scene, WorldSpec
from dp_ros.task.spec import ImageStream
from dp_ros.tools.graph_evaluation import RosRunner, running
from dp_ros.tools.simulation_client import SimulationClient


class Film:
    """What an observer of the topics saw, ten times a second."""

    def __init__(self, client: SimulationClient, spec: WorldSpec, commands: Sequence[str]) -> None:
        self._client = client
        self._names = spec.joints
        self._joints: tuple[float, ...] | None = None
        self._poses: dict[str, Pose] = {}
        self._commands: dict[str, encoding.TrajectoryFields] = {}
        self._now = 0
        self.frames: list[Frame] = []
        self.seed = 0
        node, sensor = client.node, qos_profile_sensor_data
        node.create_subscription(JointState, 'joint_states', self._on_joints, sensor)
        for name, topic in spec.pose_topics.items():
            node.create_subscription(PoseStamped, topic, partial(self._on_pose, name), sensor)
        for topic in commands:
            node.create_subscription(JointTrajectory, topic, partial(self._on_command, topic), sensor)

    def _on_joints(self, message: JointState) -> None:
        by_name = dict(zip(message.name, message.position, strict=True))
        self._joints = tuple(by_name[name] for name in self._names)
        self._now = encoding.stamp_of(message)

    def _on_pose(self, name: str, message: PoseStamped) -> None:
        p, q = message.pose.position, message.pose.orientation
        self._poses[name] = Pose(position=(p.x, p.y, p.z), orientation=(q.x, q.y, q.z, q.w))

    def _on_command(self, topic: str, message: JointTrajectory) -> None:
        self._commands[topic] = encoding.trajectory_value(message)

    def take(self) -> None:
        """Take a picture if the last one is a tenth of a second old."""
        elapsed = self._client.elapsed
        new = not self.frames or self.frames[-1].seed != self.seed or elapsed - self.frames[-1].elapsed >= 0.1
        if not new or self._joints is None or not self._poses:
            return
        self.frames.append(
            Frame(
                seed=self.seed,
                elapsed=elapsed,
                score=self._client.score,
                scene=Scene(joints=self._joints, poses=dict(self._poses)),
                ahead=self._ahead(),
            )
        )

    def _ahead(self) -> np.ndarray:
        """Return the joint positions that are commanded from now on, (N, A); none while controllers differ in time."""
        commands = list(self._commands.values())
        named = [name for command in commands for name in command.joints]
        times = [command.stamp + command.times for command in commands if command.stamp]
        alike = len(times) == len(commands) and all(np.array_equal(times[0], other) for other in times)
        if not alike or set(named) != set(self._names):
            return np.zeros((0, len(self._names)))
        positions = np.concatenate([command.positions for command in commands], axis=1)
        return np.asarray(positions[times[0] >= self._now][:, [named.index(name) for name in self._names]])


def run_demo(settings: EvaluationSettings, out: Path, say: Callable[[str], None]) -> int:
    """Run the demo; return the exit code: 0 only if chunks were executed and every node lived."""
    bundle = settings.load()
    world, spec = make_world(settings.world), world_spec(settings.world)
    out.mkdir(parents=True, exist_ok=True)
    say(f'{bundle.name} on {settings.world}: starting four nodes, logs in {out / "logs"}')
    results = []
    with running(settings, bundle, out / 'logs') as client:
        runner = RosRunner(client, bundle, settings)
        film = Film(client, spec, command_topics(bundle.task, spec))
        for number in range(settings.episodes):
            film.seed = settings.seed + number
            title = f'episode {number + 1}/{settings.episodes}'
            bar = tqdm(total=settings.seconds, desc=title, bar_format=BAR)
            results.append(runner.run(settings.seed + number, partial(_watch, client, film, bar)))
            bar.set_postfix(score=f'{results[-1].score:.3f}')
            bar.close()
        findings = runner.findings()
    summary: dict[str, Any] = summarize(results, **settings.about(bundle), **findings)
    write_json(out / 'summary.json', summary, indent=2)
    say('\n' + table(summary))
    say('memory            ' + ', '.join(f'{name} {mb:.0f} MB' for name, mb in findings['memory_mb_last'].items()))
    topics = {stream.topic.removeprefix('/') for stream in bundle.task.streams if isinstance(stream, ImageStream)}
    cameras = [name for name, topic in spec.camera_topics.items() if topic in topics]
    gif = write_gif(out / 'demo.gif', film.frames, world, cameras)
    say(f'\nwhat happened     {gif.absolute()}')
    if not sum(r.chunks for r in results):
        say('error: no chunk was executed')
        return 1
    return 0


BAR = '{desc} |{bar}| {n:.1f}/{total:.0f} s robot time {postfix}'


def _watch(client: SimulationClient, film: Film, bar: Any) -> None:
    film.take()
    elapsed = client.elapsed
    bar.update(max(0.0, min(elapsed, bar.total) - bar.n))
    bar.set_postfix(score=f'{client.score:.3f}', refresh=False)
