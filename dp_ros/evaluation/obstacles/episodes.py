"""Episodes with obstacles in the way, which the policy has never seen, for each contender.

policy      the policy alone
checks      its plans rest on their path before what is in the way
hybrid      the same, and a way around where they stay blocked, and a retreat where something comes
planning    no policy: paths to where the task wants the robot, planned anew where the way is blocked; and retreats
barrier     the literature's rival, for the point only: a control-barrier filter, which pushes the policy's motion aside
            at every control step. It leads the policy to where it has never been, and reckons with a point that has any
            velocity at once; what it sends goes through the same planner of motions as all others, with its limits
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dp_ros.data import NANOSECONDS, Chunk, Refusal, Window
from dp_ros.evaluation.episode_bag import EpisodeBag
from dp_ros.evaluation.episodes import Episode
from dp_ros.evaluation.obstacles.arenas import Discs
from dp_ros.motion.alternatives import ClearChunk
from dp_ros.motion.outcome import Planned
from dp_ros.motion.settings.obstacles import ObstacleOptions
from dp_ros.motion.trajectory import Trajectory
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.detour import Detour
from dp_ros.planning.path_planner import Way, plan_way
from dp_ros.planning.retreat import plan_retreat
from dp_ros.planning.rule import keep_clear, let_leave
from dp_ros.planning.scene import Sighting
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.simulation.robot import PoseReading, Reading
from dp_ros.simulation.worlds.point_navigation.spec import TARGET
from dp_ros.simulation.worlds.point_navigation.world import BODY

if TYPE_CHECKING:
    from dp_ros.evaluation.obstacles.bench import ObstacleRunner

Contender = Literal['policy', 'checks', 'hybrid', 'planning', 'barrier']
CONTENDERS: tuple[Contender, ...] = ('policy', 'checks', 'hybrid', 'planning', 'barrier')
ALPHA = 2.0
"""How fast the filter lets an obstacle be approached, as a part of the distance [1/s]."""
ROUNDS = 10
"""Projections of the filter onto all half-planes."""
LOOK = 50_000_000
"""From one look at what may stop the robot to the next, as in the node [ns]."""
WAIT = {'hybrid': 0.2, 'planning': 0.2}
"""For how long the robot rests before what is in the way when a way around is planned [s]."""
MOVES = 0.02
"""Speed of a joint's set point above which the robot is under way [rad/s or m/s],"""
SETTLED = 200_000_000
"""... and how long after that it still is: its drives lag. What is pushed aside then was not under way [ns]."""


@dataclass(frozen=True, kw_only=True)
class ObstacleResult:
    """What became of an episode.

    Attributes
    ----------
    contacts, own_contacts
        With obstacles; of these, those that the robot came to while it was under way.
    seconds
        Until the target was reached, or all.
    alternatives
        Chunks of which an alternative was followed, because they were not clear.

    """

    seed: int
    reached: bool
    contacts: int
    own_contacts: int
    seconds: float
    ways: int = 0
    retreats: int = 0
    alternatives: int = 0

    @property
    def safe(self) -> bool:
        """Whether the target was reached without a contact."""
        return self.reached and not self.contacts


class ObstacleEpisode(Episode):
    """Counts contacts; the policy alone."""

    runner: ObstacleRunner

    def __init__(self, runner: ObstacleRunner, seed: int, bag: EpisodeBag | None) -> None:
        super().__init__(runner, seed, bag)
        self._contacts = self._own = self.alternatives_taken = 0
        self._moved = self.robot.now - SETTLED

    def advance(self) -> None:
        """Advance by one physics step, and count contacts."""
        before, robot = self.robot.set_point, self.robot
        super().advance()
        if np.abs(robot.set_point - before).max() > MOVES * robot.step_duration / NANOSECONDS:
            self._moved = robot.now
        contacts = int(float(robot.world.progress.details['collisions']))
        if contacts > self._contacts:
            self._own += (contacts - self._contacts) * (robot.now - self._moved < SETTLED)
            self._contacts = contacts

    def outcome(self) -> ObstacleResult:
        """Return what became of it."""
        return ObstacleResult(
            seed=self.seed,
            reached=self.runner.over(self),
            contacts=self._contacts,
            own_contacts=self._own,
            seconds=self.robot.episode.elapsed,
            ways=self.ways_followed,
            retreats=self.retreats_followed,
            alternatives=self.alternatives_taken,
        )

    @property
    def ways_followed(self) -> int:
        """Ways around that were followed."""
        return 0

    @property
    def retreats_followed(self) -> int:
        """Retreats that were followed."""
        return 0


class _Ways:
    """Plans at once, and answers after the time that planning takes in robot time."""

    def __init__(self, episode: CheckedEpisode, seed: int) -> None:
        self._episode, self._seed, self._tries = episode, seed, 0
        self._found: Way | Refusal | None = None
        self._ready = 0

    def request(self, start: np.ndarray, goals: Sequence[np.ndarray]) -> None:
        episode = self._episode
        self._take(
            plan_way(
                episode.check, start, goals, self._limits, seconds=episode.runner.arena.tried, seed=self._next(),
                workspace=episode.planner.options.workspace,
            )
        )  # fmt: skip

    def retreat(self, start: np.ndarray, now: int) -> None:
        episode, workspace = self._episode, self._episode.planner.options.workspace
        self._take(plan_retreat(episode.check, start, self._limits, now=now, seed=self._next(), workspace=workspace))

    @property
    def _limits(self) -> JointLimits:
        limits = self._episode.planner.limits
        assert limits is not None
        return limits

    def _next(self) -> int:
        self._tries += 1
        return self._seed * 1000 + self._tries

    def _take(self, found: Way | Refusal) -> None:
        self._found, self._ready = found, self._episode.robot.now + self._episode.runner.arena.planning

    def answer(self) -> Way | Refusal | None:
        found = self._found
        if found is None or self._episode.robot.now < self._ready:
            return None
        self._found = None
        return found


class CheckedEpisode(ObstacleEpisode):
    """The policy with checks, and, for the hybrid, ways around."""

    def __init__(self, runner: ObstacleRunner, seed: int, bag: EpisodeBag | None) -> None:
        super().__init__(runner, seed, bag)
        options = ObstacleOptions(clearance=runner.clearance)
        scene = runner.arena.scene(runner.world, runner.robot.root)
        check = keep_clear(self.planner, options, runner.robot, scene=scene)
        assert check is not None
        self.check: CollisionCheck = check
        wait = WAIT.get(runner.contender)
        self._detour: Detour | None = None
        if wait is not None:
            ways, after = _Ways(self, seed), int(wait * NANOSECONDS)
            threat = let_leave(self.planner, self.check, options)
            self._detour = Detour(self.planner, ways, blocked_after=after, threat=threat, retreats=ways)
        self._stopping: Trajectory | None = None

    @property
    def ways_followed(self) -> int:
        """Ways around that were followed."""
        return 0 if self._detour is None else self._detour.planned

    @property
    def retreats_followed(self) -> int:
        """Retreats that were followed."""
        return 0 if self._detour is None else self._detour.retreated

    def sense(self, reading: Reading) -> None:
        """Take what a sensor has read; a pose of an obstacle as the node takes its message."""
        super().sense(reading)
        if isinstance(reading, PoseReading) and reading.name in self.check.scene.moving:
            pose = reading.pose
            seen = Sighting(stamp=reading.stamp, position=pose.position, orientation=pose.orientation)
            self.check.scene.see(reading.name, self.runner.robot.root, seen)

    def advance(self) -> None:
        """Advance by one physics step, and look at what is in the way as often as the node does."""
        super().advance()
        if self.robot.now % LOOK == 0:
            self.look(self.robot.now)

    def look(self, now: int) -> None:
        """Stop before what is in the way, and go around it."""
        plan = self.planner.plan
        if plan is not self._stopping and self.planner.endangered(now) is not None:
            stopped = self.planner.stop(now)
            if isinstance(stopped, Trajectory):
                self._stopping = stopped
                self.send(stopped)
                if self._detour is not None:
                    self._detour.stopped()
        way = None if self._detour is None else self._detour.step(now)
        if way is not None:
            self.follow(way, now)

    def follow(self, way: Chunk, now: int) -> None:
        """Follow a way around, if it is clear as a whole."""
        assert self._detour is not None
        verdict = self.planner.accept(way, now, whole=True)
        self._detour.followed(verdict, now)
        if isinstance(verdict, Planned):
            self.send(verdict.trajectory)

    def accept(self, chunk: Chunk, now: int) -> Planned | Refusal:
        """Splice a chunk or an alternative of it into the plan, unless a way around is followed."""
        if self._detour is not None and self._detour.follows(now):
            return Refusal(reason='a way around is followed', passing=True)
        resting = self._detour is not None and self._detour.asks
        verdict = ClearChunk(self.planner, chunk, resting=resting).accept(now)
        if isinstance(verdict, Planned):
            self.alternatives_taken += verdict.alternative > 0
            if self._detour is not None:
                self._detour.taken(chunk.choice(verdict.alternative), verdict, now)
        return verdict


class PlanningEpisode(CheckedEpisode, ABC):
    """No policy: paths to where `place` says, one after the other."""

    def observe(self, tick: int) -> None:
        """Predict nothing."""

    @abstractmethod
    def place(self, now: int) -> np.ndarray | None:
        """Return where a path should lead (A,) [rad or m], None where none is asked for."""

    def look(self, now: int) -> None:
        """Plan a path wherever none is followed."""
        self.begin(now)
        detour = self._detour
        assert detour is not None
        if not detour.follows(now) and not detour.waits:
            place = self.place(now)
            if place is not None:
                detour.want(place, now)
        super().look(now)


class PointPlanning(PlanningEpisode):
    """Paths to the target."""

    def place(self, now: int) -> np.ndarray:
        """Return the target."""
        return np.array(self.robot.world.poses[TARGET].position[:2])


class BarrierEpisode(ObstacleEpisode):
    """The policy through a control-barrier filter, at every control step."""

    def __init__(self, runner: ObstacleRunner, seed: int, bag: EpisodeBag | None) -> None:
        super().__init__(runner, seed, bag)
        self._chunk: Chunk | None = None
        assert isinstance(runner.arena, Discs)
        self._places: dict[str, list[np.ndarray]] = {name: [] for name in runner.arena.obstacles}
        self._radii = np.array([disc.radius + BODY + runner.clearance for disc in runner.arena.discs])

    def observe(self, tick: int) -> Window | None:
        """Observe as ever; and filter what is left of the newest chunk, and send that."""
        window = super().observe(tick)
        self._filter(tick)
        return window

    def _filter(self, tick: int) -> None:
        for name, places in self._places.items():
            places.append(np.array(self.robot.world.poses[name].position[:2]))
        chunk, dt = self._chunk, self.runner.control_dt
        if chunk is None:
            return
        passed = int(np.searchsorted(chunk.due, tick, side='right'))
        if passed >= len(chunk.actions):
            return
        now = self.robot.now
        self.begin(now)
        plan = self.planner.plan
        if plan is None:
            return
        start = plan.positions_at(np.array([tick - plan.stamp]))[0]
        centres = np.stack([places[-1] for places in self._places.values()])
        speeds = (centres - np.stack([places[-2:][0] for places in self._places.values()])) / (dt / NANOSECONDS)
        steps = _filtered(chunk.actions[passed:], start, centres, self._radii, speeds, dt / NANOSECONDS)
        inside = np.clip(steps, self.robot.world.lower, self.robot.world.upper)
        actions = np.concatenate([start[np.newaxis], inside])
        planned = self.planner.accept(Chunk(stamp=tick, control_dt=dt, joints=chunk.joints, actions=actions), now)
        if isinstance(planned, Planned):
            self.send(planned.trajectory)

    def command(self, chunk: Chunk) -> int:
        """Keep a chunk for the filter."""
        self._chunk = chunk
        return 1


def _filtered(
    steps: np.ndarray, start: np.ndarray, centres: np.ndarray, radii: np.ndarray, speeds: np.ndarray, control_dt: float
) -> np.ndarray:
    """Return a chunk's steps (T, 2) [m] with each velocity filtered, beginning at ``start`` (2,).

    Obstacles have ``centres`` c (N, 2) [m], ``radii`` r (N,) [m], clearance included, and velocities ``speeds`` v
    (N, 2) [m/s]; the point x has velocity u, and n is the direction from c to x. The u nearest to the policy's with

        h(x) = |x - c| - r,    dh/dt >= -ALPHA h,    dh/dt = n . (u - v)

    is found by projections onto the half-planes in turn (Ames and others 2019, Control Barrier Functions: Theory and
    Applications; for diffusion policies Xiao and others 2023, SafeDiffuser).
    """
    at, found = np.array(start, dtype=np.float64), []
    for number, step in enumerate(steps):
        velocity = (step - at) / control_dt
        moved = centres + speeds * (number * control_dt)
        for _ in range(ROUNDS):
            for centre, radius, speed in zip(moved, radii, speeds, strict=True):
                away = at - centre
                distance = max(float(np.linalg.norm(away)), 1e-9)
                normal = away / distance
                missing = -ALPHA * (distance - radius) - float(normal @ (velocity - speed))
                if missing > 0.0:
                    velocity = velocity + missing * normal
        at = at + velocity * control_dt
        found.append(at)
    return np.array(found)
