"""Plan ways in a process of its own, so that whoever publishes commands never waits for a planner.

It ends when its pipe does, so it outlives nobody; a signal to the group of processes is not for it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.data import Refusal
from dp_ros.motion.checks.workspace import Workspace
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.path_planner import Way, check_installed, plan_way
from dp_ros.planning.retreat import plan_retreat
from dp_ros.planning.robot_geometry import RobotGeometry, robot_geometry
from dp_ros.planning.scene import LiveScene, Obstacle, Scene, Sighting
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.robot.urdf import parse_urdf

NICE = 5
"""By which it gives way to the nodes."""
ENDS_WITHIN = 2.0  # [s]


@dataclass(frozen=True, kw_only=True)
class WayOptions:
    """What the process needs once: the robot by its URDF's text, its surroundings, and how to plan."""

    urdf: str
    joints: tuple[str, ...]
    scene: Scene
    srdf: Path | None
    home: np.ndarray | None
    clearance: float
    self_clearance: float
    limits: JointLimits
    seconds: float
    workspace: Workspace | None = None
    grippers: tuple[str, ...] = ()
    lag: int = 0  # of the robot behind its commands [ns]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Question:
    number: int
    standing: tuple[Obstacle, ...]
    sightings: tuple[tuple[str, tuple[Sighting, ...]], ...]
    start: np.ndarray
    goals: tuple[np.ndarray, ...] = ()
    now: int | None = None  # of a retreat [ns]


class WayProcess:
    """Asks the process for ways; see `dp_ros.planning.detour.WayPlanner`.

    Parameters
    ----------
    options
        What it plans with.
    scene
        The scene as it is when a way is asked for.

    Attributes
    ----------
    ready
        Whether the process has been heard of.

    Raises
    ------
    ConfigError
        If OMPL is not installed.

    """

    def __init__(self, options: WayOptions, scene: LiveScene) -> None:
        check_installed()
        self._options, self._scene = options, scene
        self._number, self.ready = 0, False
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context('spawn')
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._options), daemon=True, name='path_planner')
        self._process.start()
        theirs.close()

    def request(self, start: np.ndarray, goals: Sequence[np.ndarray]) -> None:
        """Begin to plan; an earlier question is forgotten."""
        self._ask(start, goals=tuple(map(np.array, goals)))

    def retreat(self, start: np.ndarray, now: int) -> None:
        """Begin to look for a retreat; an earlier question is forgotten."""
        self._ask(start, now=now)

    def _ask(self, start: np.ndarray, **what: Any) -> None:
        self._number += 1
        question = _Question(
            number=self._number,
            standing=tuple(self._scene.standing.values()),
            sightings=tuple((name, self._scene.sightings(name)) for name in self._scene.moving),
            start=np.array(start),
            **what,
        )
        with suppress(OSError):  # it was killed: `answer` finds its end too, and starts another
            self._pipe.send(question)

    def answer(self) -> Way | Refusal | None:
        """Return what was found, once."""
        try:
            while self._pipe.poll():
                number, found = self._pipe.recv()
                self.ready = True
                if number == self._number:
                    return found if isinstance(found, Refusal) else Way(points=found)
        except (EOFError, OSError):
            self.close()
            self._start()
            return Refusal(reason='way around: the process of the path planner ended, and was started again')
        return None

    def kill(self) -> None:
        """End the process whatever it does; the next answer starts another."""
        self._process.kill()
        self._process.join(ENDS_WITHIN)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self.ready = False
        self._process.join(ENDS_WITHIN)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(ENDS_WITHIN)


def _serve(pipe: Connection, options: WayOptions) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    robot = parse_urdf(options.urdf)
    geometry = robot_geometry(robot, options.joints, options.scene, srdf=options.srdf, home=options.home)
    pipe.send((-1, None))
    while True:
        try:
            question: _Question = pipe.recv()
        except (EOFError, OSError):
            # At once: OMPL's bindings report at an orderly end what they still hold.
            os._exit(0)
        # Another question, or the end of who asks, is waited for by nobody who waits for this answer.
        pipe.send((question.number, _found(question, options, geometry, pipe.poll)))


def _found(
    question: _Question, options: WayOptions, geometry: RobotGeometry, given_up: Callable[[], bool]
) -> np.ndarray | Refusal:
    scene = LiveScene(replace(options.scene, obstacles=question.standing))
    for name, sightings in question.sightings:
        for seen in sightings:
            scene.see(name, scene.frame, seen)
    check = CollisionCheck(
        geometry, scene, clearance=options.clearance, self_clearance=options.self_clearance, lag=options.lag
    )
    way: Way | Refusal
    if question.now is not None:
        way = plan_retreat(
            check, question.start, options.limits, now=question.now, seed=question.number,
            workspace=options.workspace, grippers=options.grippers,
        )  # fmt: skip
    else:
        way = plan_way(
            check, question.start, question.goals, options.limits, seconds=options.seconds, seed=question.number,
            workspace=options.workspace, grippers=options.grippers, given_up=given_up,
        )  # fmt: skip
    return way if isinstance(way, Refusal) else way.points
