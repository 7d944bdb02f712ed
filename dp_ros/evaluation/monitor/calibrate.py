"""`dp_ros monitor`: from a policy's own successful episodes to a bundle that tells when it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dp_ros.errors import ConfigError, DataError
from dp_ros.evaluation.monitor.traces import Trace, highest, played_traces, recorded_traces, scored
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.networks.novelty import Novelty
from dp_ros.options import REQUIRED, check_options, like, option
from dp_ros.policy.bundle.bundle import MANIFEST, Bundle
from dp_ros.policy.bundle.files import sha256
from dp_ros.policy.bundle.manifest import check_target, load_bundle
from dp_ros.policy.bundle.monitor_spec import MonitorSpec, Rule, conformal_threshold, level_of_each, successes_needed
from dp_ros.policy.failure_monitor import sampling_policy
from dp_ros.policy.policy import MOST_SAMPLES, DiffusionPolicy
from dp_ros.training.monitor import fit_novelty, novelty_of, write_with_monitor

LEAST_BIN = 0.01
"""Of the bins that samples are counted in, in normalized actions: half a hundredth of what a joint did."""


@dataclass(frozen=True, kw_only=True)
class MonitorSettings:
    """Choose what a monitor is calibrated on, and how it scores: see `dp_ros.policy.bundle.monitor_spec.MonitorSpec`.

    A recording counts as one episode.
    """

    # fmt: off
    bundle: Path
    out: Path = option(REQUIRED, 'folder to write: the bundle with a monitor')
    world: str = ''
    recordings: Sequence[Path] = option(
        (), 'recordings of successful episodes, in place of episodes that are played'
    )
    episodes: int = option(150, 'episodes to play, on consecutive seeds', low=2, high=100_000)
    seed: int = like(EvaluationSettings, 'seed', 3_000_000)
    seconds: float = like(EvaluationSettings, 'seconds', 30.0)
    policy_speed: float = like(EvaluationSettings, 'policy_speed', 1.0)
    samples: int = option(8, 'chunks drawn at a window, for their entropy', low=2, high=MOST_SAMPLES)
    window: int = option(3, 'windows that scores are averaged over', low=1, high=100)
    level: float = option(0.95, 'share of successful episodes without a false alarm', low=0.5, high=0.999)
    rule: Rule = option(
        'both', 'a failure is foretold where novelty and entropy exceed their thresholds, or either; either is for '
        'failures without hesitation, and needs more episodes'
    )
    workers: int = like(EvaluationSettings, 'workers', 1, 'processes that share the episodes')
    overwrite: bool = option(False, 'replace a bundle that is there')
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        if bool(self.world) == bool(self.recordings):
            raise ConfigError('monitor: got a world and recordings, or neither, allowed one of the two')
        if self.world:
            _ = self.evaluation  # refuses what can't be
            if self.episodes < self.needed:
                raise ConfigError(
                    f'episodes: got {self.episodes}, allowed {self.needed} or more for level {self.level:g}: half of '
                    'those that succeed are learnt from, and thresholds come from the others'
                )

    @property
    def needed(self) -> int:
        """Successful episodes that it takes."""
        return 2 * successes_needed(level_of_each(self.level, self.rule))

    @property
    def evaluation(self) -> EvaluationSettings:
        """How episodes are played."""
        return EvaluationSettings.of(self, threads=1, samples=1)


def run_monitor(settings: MonitorSettings, say: Callable[[str], None]) -> int:
    """Collect episodes, calibrate, and write the bundle; return the exit code."""
    source = load_bundle(settings.bundle)
    check_target(settings.out, settings.overwrite)
    policy = DiffusionPolicy.load(settings.bundle, policy_speed=settings.policy_speed)
    sampling_policy(policy, settings.samples)  # refuses what does not sample, before anything is played
    if settings.recordings:
        traces = list(recorded_traces(settings.recordings, policy, settings.samples))
    else:
        traces = list(played_traces(settings.evaluation, settings.samples))
    novelty, spec = calibrate(traces, policy.bundle, settings)
    successes = sum(trace.success for trace in traces)
    record = {
        'world': settings.world, 'recordings': [str(path) for path in settings.recordings], 'seed': settings.seed,
        'episodes': len(traces), 'successes': successes, 'policy': source.name,
        'bundle_sha256': sha256(source.folder / MANIFEST),
    }  # fmt: skip
    written = write_with_monitor(source, settings.out, novelty, spec, record=record, overwrite=settings.overwrite)
    say(f'{successes} of {len(traces)} episodes succeed; thresholds from {spec.episodes} of them at level '
        f'{spec.level:g}: novelty {spec.novelty:.3g}, entropy {spec.entropy:.3g}')  # fmt: skip
    say(f'{written.folder}: {source.name} with a monitor, which looks at {spec.samples} samples of a window')
    return 0


def calibrate(
    traces: Sequence[Trace], bundle: Bundle, settings: MonitorSettings, *, fit_steps: int = 2000
) -> tuple[Novelty, MonitorSpec]:
    """Return a monitor: learnt from half of the successful ``traces``, with thresholds from the other half.

    Raises
    ------
    DataError
        If too few succeeded for the level.

    """
    good = [trace for trace in traces if trace.success]
    if len(good) < settings.needed:
        raise DataError(
            f'successful episodes: got {len(good)} of {len(traces)}, allowed {settings.needed} or more for level '
            f'{settings.level:g}: half of them are learnt from, and thresholds come from the others'
        )
    learnt, held = good[::2], good[1::2]
    novelty = fit_novelty(
        np.concatenate([trace.every for trace in learnt]),
        np.concatenate([trace.every for trace in held]),
        steps=fit_steps,
    )
    spread = np.concatenate([trace.samples.std(axis=1).reshape(-1) for trace in learnt])
    bin_width = max(LEAST_BIN, float(np.median(spread)))
    steps = bundle.task.pred_horizon
    found = [scored(t, novelty_of(novelty, t.conds), settings.window, bin_width, steps) for t in held]
    each = level_of_each(settings.level, settings.rule)
    thresholds = {
        name: max(1e-6, conformal_threshold([highest(scores[name], settings.window) for scores in found], level))
        for name, level in (('novelty', each), ('entropy', each), ('consistency', settings.level))
    }
    seconds = conformal_threshold([trace.seconds for trace in held], settings.level)
    spec = MonitorSpec(
        samples=settings.samples, window=settings.window, bin_width=bin_width, steps=steps, level=settings.level,
        rule=settings.rule, episodes=len(held), policy_speed=settings.policy_speed, seconds=seconds, **thresholds,
    )  # fmt: skip
    return novelty, spec
