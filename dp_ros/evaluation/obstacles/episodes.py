"""Episodes of `point_navigation` with obstacles in the way, which its policy has never seen, for each contender.

policy      the policy alone
checks      its plans rest on their path before what is in the way
hybrid      the same, and a way around where they stay blocked
planning    no policy: paths to the target, planned anew where the way is blocked
barrier     the policy through a control-barrier filter, see `barrier`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dp_ros.data import NANOSECONDS, Chunk, Refusal, Window
from dp_ros.evaluation.episode_bag import EpisodeBag
from dp_ros.evaluation.episodes import DirectRunner, Episode
from dp_ros.evaluation.obstacles.barrier import filtered
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.motion.alternatives import ClearChunk
from dp_ros.motion.outcome import Planned
from dp_ros.motion.settings.obstacles import ObstacleOptions
from dp_ros.motion.trajectory import Trajectory
from dp_ros.planning.collision import CollisionCheck
from dp_ros.planning.detour import Detour
from dp_ros.planning.path_planner import Way, plan_way
from dp_ros.planning.rule import keep_clear
from dp_ros.planning.scene import Cylinder, MovingObstacle, Scene, Sighting
from dp_ros.planning.scene import Obstacle as Standing
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.robot.urdf import parse_urdf
from dp_ros.simulation.robot import PoseReading, Reading
from dp_ros.simulation.worlds.point_navigation.spec import OBSTACLE, TARGET, Obstacle, point_world
from dp_ros.simulation.worlds.point_navigation.urdf import BODY

Contender = Literal['policy', 'checks', 'hybrid', 'planning', 'barrier']
CONTENDERS: tuple[Contender, ...] = ('policy', 'checks', 'hybrid', 'planning', 'barrier')
Layout = Literal['row', 'beside']
LAYOUTS: dict[Layout, tuple[tuple[float, float, float, float], ...]] = {
    'row': ((0.0, 0.0, 0.18, 0.08), (0.1, 0.6, 0.12, 0.08), (-0.1, -0.6, 0.12, 0.08)),
    'beside': ((0.0, 0.0, 0.2, 0.0), (0.0, 0.36, 0.12, 0.04)),
}
"""Where discs are: x, y, radius, spread [m]. A row of three; or that of `point_obstacle`, and one closes its left."""
WORLD = 'point_navigation'
LOOK = 50_000_000
"""From one look at what may stop the robot to the next, as in the node [ns]."""
WAIT = {'hybrid': 0.2, 'planning': 0.2}
"""For how long the robot rests before what is in the way when a way around is planned [s]."""
PLANNING = 200_000_000
"""Robot time that planning a way takes [ns]: its process does not stop the robot."""
TRIED = 1.0
"""Longest time that is really spent on planning one [s]."""
HEIGHT = 1.0
SWING = 0.3
"""How far moving obstacles go to and fro [m]."""
MOVES = 0.02
"""Speed above which the robot is under way [m/s]."""
DONE = (0.05, 0.1)
"""Distance from the target [m] and speed [m/s] at which it is reached, as in the world."""


@dataclass(frozen=True, kw_only=True)
class ObstacleResult:
    """What became of an episode.

    Attributes
    ----------
    reached
        Whether the target was reached, contacts or not.
    contacts, own_contacts
        With obstacles; of these, those that the robot came to while it was under way.
    seconds
        Until the target was reached, or all.
    ways
        Ways around that were followed.
    alternatives
        Chunks of which an alternative was followed, because they were not clear.

    """

    seed: int
    reached: bool
    contacts: int
    own_contacts: int
    seconds: float
    ways: int = 0
    alternatives: int = 0

    @property
    def safe(self) -> bool:
        """Whether the target was reached without a contact."""
        return self.reached and not self.contacts


def obstacles(speed: float, layout: Layout = 'row') -> tuple[Obstacle, ...]:
    """Return what is in the way: discs, still, or going to and fro with a greatest ``speed`` [m/s]."""
    period = 2.0 * np.pi * SWING / speed if speed else 8.0
    places, ways = LAYOUTS[layout], ((0.0, SWING), (SWING, 0.0), (-SWING, 0.0))
    return tuple(
        Obstacle(centre=(x, y), radius=radius, spread=spread, swing=way if speed else (0.0, 0.0), period=period)
        for (x, y, radius, spread), way in zip(places, ways, strict=False)
    )


class ObstacleRunner(DirectRunner):
    """Plays episodes of one contender among obstacles of one speed [m/s]."""

    def __init__(
        self,
        settings: EvaluationSettings,
        contender: Contender,
        speed: float,
        *,
        clearance: float,
        alternatives: int = 0,
        layout: Layout = 'row',
    ) -> None:
        bundle = settings.load()
        policy = DiffusionPolicy(bundle, open_backend(bundle, backend=settings.backend, threads=settings.threads))
        policy = policy.with_settings(**settings.sampler_settings(bundle), alternatives=alternatives)
        super().__init__(bundle, policy, settings)
        self.contender, self.clearance = contender, clearance
        self.obstacles = obstacles(speed, layout)
        self.spec = point_world(WORLD, self.obstacles, parameter_file=self.spec.parameter_file)
        self.world = self.spec.make_world(disturbance=0.0)
        self.robot = parse_urdf(self.world.robot_description)
        # What a pose says of the next instants may be a little more than the greatest speed.
        self.speed = 1.05 * speed

    def episode(self, seed: int, bag: EpisodeBag | None = None) -> ObstacleEpisode:
        """Return an episode of this contender at its beginning."""
        kinds = {'policy': ObstacleEpisode, 'barrier': BarrierEpisode, 'planning': PlanningEpisode}
        return kinds.get(self.contender, CheckedEpisode)(self, seed, bag)

    def over(self, episode: Episode) -> bool:
        """Return whether the target is reached, with contacts or without."""
        world = episode.robot.world
        near = float(world.progress.details['distance']) <= DONE[0]
        return near and float(np.linalg.norm(world.joint_velocities)) <= DONE[1]

    def outcome(self, seed: int) -> ObstacleResult:
        """Play one episode."""
        episode = self.episode(seed)
        self.play(episode)
        return episode.outcome()

    def scene(self) -> Scene:
        """Return what the robot is told of the obstacles of this episode."""
        poses = self.world.poses
        names = [f'{OBSTACLE}{number}' for number in range(len(self.obstacles))]
        shapes = [Cylinder(radius=obstacle.radius, length=HEIGHT) for obstacle in self.obstacles]
        parts = zip(names, shapes, strict=True)
        if self.speed:
            moving = [MovingObstacle(name=n, shape=shape, topic=n, speed=self.speed) for n, shape in parts]
            return Scene(frame=self.robot.root, moving=tuple(moving))
        standing = [Standing(name=n, shape=shape, position=poses[n].position) for n, shape in parts]
        return Scene(frame=self.robot.root, obstacles=tuple(standing))


class ObstacleEpisode(Episode):
    """Counts contacts; the policy alone."""

    runner: ObstacleRunner

    def __init__(self, runner: ObstacleRunner, seed: int, bag: EpisodeBag | None) -> None:
        super().__init__(runner, seed, bag)
        self._contacts = self._own = self.alternatives_taken = 0

    def advance(self) -> None:
        """Advance by one physics step, and count contacts."""
        super().advance()
        world = self.robot.world
        contacts = int(float(world.progress.details['collisions']))
        if contacts > self._contacts:
            moved = float(np.linalg.norm(world.joint_velocities)) > MOVES
            self._own += (contacts - self._contacts) * moved
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
            alternatives=self.alternatives_taken,
        )

    @property
    def ways_followed(self) -> int:
        """Ways around that were followed."""
        return 0


class _Ways:
    """Plans at once, and answers after the time that planning takes in robot time."""

    def __init__(self, episode: CheckedEpisode, seed: int) -> None:
        self._episode, self._seed, self._tries = episode, seed, 0
        self._found: Way | Refusal | None = None
        self._ready = 0

    def request(self, start: np.ndarray, goals: Sequence[np.ndarray]) -> None:
        episode = self._episode
        limits = episode.planner.limits
        assert limits is not None
        self._tries += 1
        seed = self._seed * 1000 + self._tries
        self._found = plan_way(episode.check, start, goals, limits, seconds=TRIED, seed=seed)
        self._ready = episode.robot.now + PLANNING

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
        check = keep_clear(self.planner, options, runner.robot, scene=runner.scene())
        assert check is not None
        self.check: CollisionCheck = check
        wait = WAIT.get(runner.contender)
        self._detour: Detour | None = None
        if wait is not None:
            self._detour = Detour(self.planner, _Ways(self, seed), blocked_after=int(wait * NANOSECONDS))
        self._stopping: Trajectory | None = None

    @property
    def ways_followed(self) -> int:
        """Ways around that were followed."""
        return 0 if self._detour is None else self._detour.planned

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
        verdict = ClearChunk(self.planner, chunk).accept(now)
        if isinstance(verdict, Planned):
            self.alternatives_taken += verdict.alternative > 0
            if self._detour is not None:
                self._detour.taken(chunk.choice(verdict.alternative), verdict, now)
        return verdict


class PlanningEpisode(CheckedEpisode):
    """No policy: paths to the target."""

    def observe(self, tick: int) -> None:
        """Predict nothing."""

    def look(self, now: int) -> None:
        """Plan a path wherever none is followed."""
        self.begin(now)
        detour = self._detour
        assert detour is not None
        if not detour.follows(now) and not detour.waits:
            detour.want(np.array(self.robot.world.poses[TARGET].position[:2]), now)
        super().look(now)


class BarrierEpisode(ObstacleEpisode):
    """The policy through a control-barrier filter, at every control step."""

    def __init__(self, runner: ObstacleRunner, seed: int, bag: EpisodeBag | None) -> None:
        super().__init__(runner, seed, bag)
        self._chunk: Chunk | None = None
        self._places: dict[str, list[np.ndarray]] = {f'{OBSTACLE}{n}': [] for n in range(len(runner.obstacles))}
        self._radii = np.array([obstacle.radius + BODY + runner.clearance for obstacle in runner.obstacles])

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
        steps = filtered(chunk.actions[passed:], start, centres, self._radii, speeds, dt / NANOSECONDS)
        inside = np.clip(steps, self.robot.world.lower, self.robot.world.upper)
        actions = np.concatenate([start[np.newaxis], inside])
        planned = self.planner.accept(Chunk(stamp=tick, control_dt=dt, joints=chunk.joints, actions=actions), now)
        if isinstance(planned, Planned):
            self.send(planned.trajectory)

    def command(self, chunk: Chunk) -> int:
        """Keep a chunk for the filter."""
        self._chunk = chunk
        return 1
