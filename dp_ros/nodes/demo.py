"""`dp_ros demo`: the shipped policy on the simulated robot, through the real nodes, with a table and a GIF."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from tqdm import tqdm

from dp_ros.nodes.evaluation import RosRunner, running
from dp_ros.nodes.session import Session
from dp_ros.policy.bundle import load_bundle
from dp_ros.simulation.film import Frame, write_gif
from dp_ros.simulation.scores import EvaluationSettings, summarize, table


class Film:
    """What an observer of the topics saw, ten times a second."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pusher: tuple[float, float] | None = None
        self._block: tuple[tuple[float, float, float], tuple[float, float, float, float]] | None = None
        self.frames: list[Frame] = []
        self.seed = 0
        node = session.node
        node.create_subscription(JointState, 'joint_states', self._on_joints, qos_profile_sensor_data, raw=False)
        node.create_subscription(PoseStamped, 'block_pose', self._on_pose, qos_profile_sensor_data)

    def _on_joints(self, message: JointState) -> None:
        self._pusher = (message.position[0], message.position[1])

    def _on_pose(self, message: PoseStamped) -> None:
        p, q = message.pose.position, message.pose.orientation
        self._block = ((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))

    def take(self) -> None:
        """Take a picture if the last one is a tenth of a second old."""
        elapsed = float(self._session.episode.get('elapsed', 0.0))
        new = not self.frames or self.frames[-1].seed != self.seed or elapsed - self.frames[-1].elapsed >= 0.1
        if new and self._pusher is not None and self._block is not None:
            score = float(self._session.episode.get('score', 0.0))
            frame = Frame(seed=self.seed, elapsed=elapsed, score=score, pusher=self._pusher, block=self._block)
            self.frames.append(frame)


def run_demo(settings: EvaluationSettings, out: Path, say: Callable[[str], None]) -> int:
    """Run the demo; return the exit code: 0 only if chunks were executed and every node lived."""
    bundle = load_bundle(settings.bundle)
    out.mkdir(parents=True, exist_ok=True)
    say(f'{bundle.name} on {settings.world}: starting four nodes, logs in {out / "logs"}')
    results = []
    with running(settings, bundle, out / 'logs') as session:
        runner, film = RosRunner(session, bundle, settings), Film(session)
        for number in range(settings.episodes):
            film.seed = settings.seed + number
            title = f'episode {number + 1}/{settings.episodes}'
            bar = tqdm(total=settings.seconds, desc=title, bar_format=BAR)
            results.append(runner.run(settings.seed + number, partial(_watch, session, film, bar)))
            bar.set_postfix(score=f'{results[-1].score:.3f}')
            bar.close()
        findings = runner.findings()
    summary: dict[str, Any] = summarize(results, **settings.about(bundle), **findings)
    (out / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
    say('\n' + table(summary))
    say('memory            ' + ', '.join(f'{name} {mb:.0f} MB' for name, mb in findings['memory_mb_last'].items()))
    gif = write_gif(out / 'demo.gif', film.frames)
    say(f'\nwhat happened     {gif.absolute()}')
    if not sum(r.chunks for r in results):
        say('error: no chunk was executed')
        return 1
    return 0


BAR = '{desc} |{bar}| {n:.1f}/{total:.0f} s robot time {postfix}'


def _watch(session: Session, film: Film, bar: Any) -> None:
    film.take()
    elapsed = float(session.episode.get('elapsed', 0.0))
    bar.update(max(0.0, min(elapsed, bar.total) - bar.n))
    if np.isfinite(elapsed):
        bar.set_postfix(score=session.episode.get('score', '')[:5], refresh=False)
