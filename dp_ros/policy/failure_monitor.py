"""Tell while a policy runs whether it is about to fail: by what it observes and by how it hesitates.

After FIPER (Roemer et al. 2025, arXiv 2510.09459): two scores of each window that is looked at, averaged over a few
windows, and a failure is foretold where both are out of the ordinary at once.

novelty
    of the encoder's output, by random network distillation (Burda et al. 2018): how far a small network that learnt to
    imitate a random one, on successful episodes, is from it here. What was never seen is not imitated.
entropy
    of several chunks sampled at the same window: at each step of each joint they are counted in bins, and the entropy
    of the counts is averaged over steps and joints [nats]. FIPER sums such entropies; bins are fixed in normalized
    actions, so that the number is the same for all robots.

Either alone cries at what does not matter: a new observation that the policy knows how to deal with, or two good ways
around an obstacle. But a policy may also fail without hesitation, where a sensor lies say; then only novelty tells. The
rule ``either`` is for that, and pays with more false alarms where what is new is harmless.

Two more scores are there to be compared with: ``consistency``, the distance of the distribution of the chunks from what
those of the window before said of the same steps (STAC, Agia et al. 2024, arXiv 2410.04640, here as maximum mean
discrepancy, added up since the start), and the time since the start.

The samples are the monitor's own. A critic that chooses among the policy's, or a planner that brakes, does not change
them; but a robot that is held observes what no successful episode has, so that whoever runs the monitor leaves out
windows of that time, see `FailureMonitor.pause`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dp_ros.data import NANOSECONDS, Goal, Window
from dp_ros.errors import ConfigError, DataError, check_finite, check_shape
from dp_ros.policy.bundle.monitor_spec import MonitorSpec
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.protocol import Policy

TOGETHER = ('novelty', 'entropy')
"""The scores that must be out of the ordinary at once."""
BANDWIDTH = 0.1
"""Of the kernel of the maximum mean discrepancy, in normalized actions and for each number of a chunk."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the monitor says of a window.

    Attributes
    ----------
    stamp
        Of the window [ns].
    scores
        By name, averaged as their thresholds are.
    level
        The smaller of novelty and entropy, each as a share of its threshold, or with the rule ``either`` the larger:
        from 1 on, a failure is foretold.

    """

    stamp: int
    scores: Mapping[str, float] = field(default_factory=dict)
    level: float

    @property
    def failing(self) -> bool:
        """Whether a failure is foretold."""
        return self.level >= 1.0


def chunk_entropy(samples: np.ndarray, bin_width: float) -> float:
    """Return the mean over steps and joints of the entropy of ``samples`` (N, P, A) counted in bins [nats]."""
    check_shape('samples', samples, (None, None, None))
    check_finite('samples', samples)
    if len(samples) < 2:
        raise DataError(f'samples: got {len(samples)}, allowed 2 or more')
    # In bins about the median: bins that lie anywhere split what is close together.
    bins = np.round((samples - np.median(samples, axis=0)) / bin_width)
    # The entropy of counts c of N is log N - sum c log c / N; summed over samples, each of which has its bin's count.
    counts = (bins[:, None] == bins[None]).sum(axis=1)
    return float(np.log(len(samples)) - np.log(counts).mean())


def chunk_distance(before: np.ndarray, now: np.ndarray) -> float:
    """Return the squared maximum mean discrepancy of two sets of samples (N, P, A) of the same steps, 0 to 2.

    Gaussian kernel; the biased estimate, which is never negative.
    """
    check_shape('samples of the window before', before, (None, *now.shape[1:]))
    flat = [each.reshape(len(each), -1).astype(np.float64) for each in (before, now)]
    width = 2.0 * BANDWIDTH**2 * flat[0].shape[1]

    def likeness(first: np.ndarray, second: np.ndarray) -> float:
        return float(np.exp(-((first[:, None] - second[None]) ** 2).sum(axis=-1) / width).mean())

    return max(0.0, likeness(flat[0], flat[0]) + likeness(flat[1], flat[1]) - 2.0 * likeness(flat[0], flat[1]))


class RunningScores:
    """Scores of the windows of one episode as they are compared with thresholds.

    Parameters
    ----------
    window
        Windows that are averaged over.
    bin_width, steps
        As of `MonitorSpec`.

    """

    def __init__(self, window: int, bin_width: float, steps: int) -> None:
        self._window, self._bin_width, self._steps = window, bin_width, steps
        self.begin()

    def begin(self) -> None:
        """Start an episode: nothing was seen before."""
        self.clear()
        self._start: int | None = None
        self._inconsistent = 0.0

    def clear(self) -> None:
        """Forget what is averaged; the episode goes on."""
        self._recent: dict[str, deque[float]] = {name: deque(maxlen=self._window) for name in TOGETHER}
        self._before: tuple[int, np.ndarray] | None = None

    def add(self, stamp: int, control_dt: int, novelty: float, samples: np.ndarray) -> dict[str, float]:
        """Take a window's novelty and samples (N, P, A), and return all scores; times in [ns]."""
        if not np.isfinite(novelty):
            raise DataError(f'novelty: got {novelty}, allowed a finite number')
        entropy = chunk_entropy(samples[:, : self._steps], self._bin_width)
        if self._start is None:
            self._start = stamp
        if self._before is not None:
            shift = (stamp - self._before[0]) // control_dt
            if 0 < shift < samples.shape[1]:
                self._inconsistent += chunk_distance(self._before[1][:, shift:], samples[:, :-shift])
        self._before = (stamp, samples)
        for name, value in zip(TOGETHER, (novelty, entropy), strict=True):
            self._recent[name].append(value)
        means = {name: float(np.mean(values)) for name, values in self._recent.items()}
        return {**means, 'consistency': self._inconsistent, 'seconds': (stamp - self._start) / NANOSECONDS}

    @property
    def full(self) -> bool:
        """Whether as many windows were seen as are averaged over."""
        return len(self._recent[TOGETHER[0]]) == self._window


class FailureMonitor:
    """The monitor of a bundle that has one. For one thread.

    Parameters
    ----------
    policy
        Whose windows it looks at. It samples as the bundle says, whatever the settings of ``policy`` are.

    Attributes
    ----------
    spec
        Its thresholds.
    policy
        What it samples with.

    Raises
    ------
    ConfigError
        If the bundle has no monitor, or one for another ``policy_speed``.

    """

    def __init__(self, policy: Policy) -> None:
        self.spec = monitor_of(policy)
        assert isinstance(policy, DiffusionPolicy), 'no bundle of another family has a monitor'
        self.policy = sampling_policy(policy, self.spec.samples)
        self._scores = RunningScores(self.spec.window, self.spec.bin_width, self.spec.steps)

    def begin(self) -> None:
        """Start an episode."""
        self._scores.begin()

    def pause(self) -> None:
        """Forget what is averaged, because the robot was stopped by others meanwhile."""
        self._scores.clear()

    def verdict(self, window: Window, rng: np.random.Generator, goal: Goal | None = None) -> Verdict:
        """Look at a window; until as many came as are averaged over, the level stays below 1."""
        cond, samples = self.policy.proposals(window, rng, goal)
        novelty = float(self.policy.backend.novelty(cond)[0])
        dt = round(self.policy.task.control_dt * NANOSECONDS)
        scores = self._scores.add(window.stamp, dt, novelty, samples)
        choose = min if self.spec.rule == 'both' else max
        level = choose(scores[name] / getattr(self.spec, name) for name in TOGETHER)
        if not self._scores.full:
            level = min(level, np.nextafter(1.0, 0.0))
        return Verdict(stamp=window.stamp, scores=scores, level=float(level))

    def reason(self, verdict: Verdict) -> str:
        """Return what a verdict is about, for people; '' where nothing is out of the ordinary."""
        over = [name for name in TOGETHER if verdict.scores[name] >= getattr(self.spec, name)]
        return ', '.join(
            f'{name} {verdict.scores[name]:.3g} (usual up to {getattr(self.spec, name):.3g})' for name in over
        )


def sampling_policy(policy: Policy, samples: int) -> DiffusionPolicy:
    """Return a policy that draws as many samples, as its bundle says: thresholds are of these.

    Raises
    ------
    ConfigError
        If it does not sample: chunks by regression are all the same.

    """
    if not isinstance(policy, DiffusionPolicy):
        got = f'bundle {policy.bundle.name} of family {policy.bundle.family}'
        raise ConfigError(f'monitor: got {got}, allowed one of family diffusion')
    if not policy.bundle.schedule.noisy:
        raise ConfigError(f'monitor: got bundle {policy.bundle.name}, by regression, allowed one that samples')
    return DiffusionPolicy(policy.bundle, policy.backend, policy.bundle.defaults, samples=samples)


def monitor_of(policy: Policy) -> MonitorSpec:
    """Return the thresholds of a policy's bundle; ConfigError if it has none, or some for another speed."""
    bundle = policy.bundle
    if bundle.monitor is None:
        raise ConfigError(f'monitor: got bundle {bundle.name}, which has none, allowed one of dp_ros monitor')
    if abs(bundle.monitor.policy_speed - bundle.policy_speed) > 1e-9:
        raise ConfigError(
            f'monitor: got policy_speed {bundle.policy_speed:g}, allowed {bundle.monitor.policy_speed:g}, '
            f'at which the monitor of bundle {bundle.name} was calibrated'
        )
    return bundle.monitor
