"""Play episodes of one contender among obstacles."""

from __future__ import annotations

from dp_ros.evaluation.episode_bag import EpisodeBag
from dp_ros.evaluation.episodes import DirectRunner, Episode
from dp_ros.evaluation.obstacles.arenas import Discs, Layout, arena
from dp_ros.evaluation.obstacles.episodes import (
    BarrierEpisode,
    CheckedEpisode,
    Contender,
    ObstacleEpisode,
    ObstacleResult,
    PointPlanning,
)
from dp_ros.evaluation.obstacles.pick_place_planning import PickPlacePlanning
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.robot.urdf import parse_urdf


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
        self.arena = arena(layout, speed)
        self.spec = self.arena.spec
        self.world = self.spec.make_world(disturbance=0.0)
        self.robot = parse_urdf(self.world.robot_description)

    def episode(self, seed: int, bag: EpisodeBag | None = None) -> ObstacleEpisode:
        """Return an episode of this contender at its beginning."""
        kinds: dict[Contender, type[ObstacleEpisode]] = {'policy': ObstacleEpisode, 'barrier': BarrierEpisode}
        if self.contender == 'planning':
            return (PointPlanning if isinstance(self.arena, Discs) else PickPlacePlanning)(self, seed, bag)
        return kinds.get(self.contender, CheckedEpisode)(self, seed, bag)

    def over(self, episode: Episode) -> bool:
        """Return whether the task is done, with contacts or without."""
        return self.arena.done(episode.robot.world)

    def outcome(self, seed: int) -> ObstacleResult:
        """Play one episode."""
        episode = self.episode(seed)
        self.play(episode)
        return episode.outcome()
