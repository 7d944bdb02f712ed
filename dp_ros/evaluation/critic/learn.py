"""`dp_ros critic`: a policy plays in a simulated world, a critic learns from it what led to success, and goes along.

Rounds take turns: in the first the policy plays as it is; in the others it plays with the critic of the round before,
so that what is learnt is about what will be done. The policy's networks stay as they are.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dp_ros.errors import ConfigError
from dp_ros.evaluation.critic.episodes import rollouts
from dp_ros.evaluation.scores import EvaluationSettings
from dp_ros.options import REQUIRED, check_options, like, option
from dp_ros.policy.bundle.bundle import MANIFEST, Bundle
from dp_ros.policy.bundle.files import sha256
from dp_ros.policy.bundle.manifest import check_target, load_bundle
from dp_ros.policy.bundle.parity import state_width
from dp_ros.policy.policy import MOST_SAMPLES
from dp_ros.task.spec import TaskSpec
from dp_ros.training.critic.experience import Experience
from dp_ros.training.critic.fit import fit_critic
from dp_ros.training.export.further_network import write_with_critic

UNKNOWN_FROM = 0.3
"""Where a failed episode was cut off, success could have come within as many chunks as still are worth this much."""


@dataclass(frozen=True, kw_only=True)
class CriticSettings:
    """Choose what to play, and how to learn from it.

    The policy is played as it will be later, in the first round unchosen.
    """

    # fmt: off
    bundle: Path
    out: Path = option(REQUIRED, 'folder to write: the bundle with a critic')
    world: str
    episodes: int = option(1500, 'episodes in a round, on consecutive seeds', low=20, high=100_000)
    rounds: int = option(1, 'the critic of each goes along in the next', low=1, high=20)
    seed: int = like(EvaluationSettings, 'seed', 2_000_000)
    policy_speed: float = like(EvaluationSettings, 'policy_speed', 1.0)
    samples: int = option(8, 'chunks drawn at once, of which the critic takes one', low=2, high=MOST_SAMPLES)
    seconds: float = like(EvaluationSettings, 'seconds', 30.0)
    explore: float = option(0.25, 'how often any sample is taken instead', low=0.0, high=1.0)
    discount: float = option(
        0.85, 'how much less a chunk is worth for each that still comes until success', low=0.1, high=0.999
    )
    critic_from: float = option(
        0.1, 'mean value of the samples from which on the critic chooses', low=0.0, high=1.0
    )
    epochs: int = option(24, 'how often it sees each decision', low=1, high=1000)
    workers: int = like(EvaluationSettings, 'workers', 1, 'processes that share the episodes')
    ray: str = like(EvaluationSettings, 'ray', '', 'a Ray cluster that plays them, as 10.0.0.1:6379 (extra: cluster)')
    overwrite: bool = option(False, 'replace a bundle that is there')
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        for number in (0, self.rounds - 1):
            self.round_settings(number, self.bundle)

    def round_settings(self, number: int, bundle: Path) -> EvaluationSettings:
        """Return how the episodes of a round are played, with the policy or with the one that has a critic."""
        seed, samples = self.seed + number * self.episodes, self.samples if number else 1
        return EvaluationSettings.of(self, bundle=bundle, seed=seed, samples=samples, threads=1)


def run_critic(settings: CriticSettings, say: Callable[[str], None]) -> int:
    """Play, learn, and write the bundle; return the exit code."""
    source = load_bundle(settings.bundle)
    if not source.schedule.noisy:
        raise ConfigError(f'bundle {source.name}: got regression, allowed one that samples')
    if not state_width(source.task):
        raise ConfigError(f'bundle {source.name}: got pictures alone, allowed one that observes joints or a pose too')
    check_target(settings.out, settings.overwrite)
    settings.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    unknown = _unknown(settings, source.task)
    experience = Experience(settings.discount, unknown)
    record = _record(settings, source)
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as scratch:
        played = settings.bundle
        for number in range(settings.rounds):
            what = f'round {number + 1} of {settings.rounds}'
            successes = 0
            asked = settings.round_settings(number, played)
            for decisions in rollouts(asked, settings.explore if number else 0.0, what):
                experience.add(decisions)
                successes += decisions.success
            fitted = fit_critic(experience, source, epochs=settings.epochs)
            share = successes / settings.episodes
            record['told'].append({'success_rate': share, 'correlation': fitted.correlation})
            say(f'{what}: {share:.1%} succeed; value and outcome correlate by {fitted.correlation:.2f} where held out')
            last = number + 1 == settings.rounds
            written = write_with_critic(
                source,
                settings.out if last else Path(scratch) / f'round_{number + 1}',
                fitted.critic,
                critic_from=settings.critic_from,
                record=record,
                overwrite=last and settings.overwrite,
            )
            played = written.folder
    say(f'{written.folder}: {source.name} with a critic, which chooses where --samples are drawn')
    return 0


def _unknown(settings: CriticSettings, task: TaskSpec) -> int:
    """Return how many of a failed episode's last chunks say nothing; or raise, if all of them do."""
    unknown = math.ceil(math.log(UNKNOWN_FROM) / math.log(settings.discount))
    chunks = settings.seconds * settings.policy_speed / (task.control_dt * task.exec_horizon)
    if unknown >= chunks:
        raise ConfigError(
            f'discount and seconds: got {settings.discount:g}, with which success {unknown} chunks later counts, and '
            f'episodes of {chunks:.0f} chunks; allowed a lower discount or longer episodes'
        )
    return unknown


def _record(settings: CriticSettings, source: Bundle) -> dict[str, Any]:
    """Return what the bundle says about where its critic comes from."""
    plain = asdict(settings)
    for name in ('bundle', 'out', 'workers', 'ray', 'overwrite'):
        del plain[name]
    return {**plain, 'policy': source.name, 'bundle_sha256': sha256(source.folder / MANIFEST), 'told': []}
