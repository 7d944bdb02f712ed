"""How a new chunk is made to go on from the last one.

While a chunk is predicted, steps of the last one are executed: those can't be changed any more. Real-time chunking
(Black et al. 2025, arXiv 2506.07339) fixes them inside the sampler, and draws the steps after them softly towards the
last chunk. Here the estimate of x_0 is moved at each noise level, which needs no Jacobian of the network and so runs
where there is only a forward pass.

=====  ===========================================================================================
d      steps that will be executed while predicting
n      steps of the new chunk that the last one has too: the overlap
w_i    weight of the last chunk at step i: 1 for i < d, then c (e^c - 1) / (e - 1) with
       c = (n - i) / (n - d + 1), and 0 from n on (equation 5)
=====  ===========================================================================================

A network that was trained with a clean prefix (arXiv 2512.05964) is given those d steps, and predicts the rest to go on
from them. ``prefix`` demands that, and draws nothing: w_i is 0 from d on. Real-time chunking does both where it can.

Apart from all that, sampling may start from the last chunk instead of from noise (`SamplerSettings.warm_steps`).

Temporal ensembling (Zhao et al. 2023, section IV) is here for comparison: it averages what several chunks say of a
step, and so lags behind, most of all under delay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dp_ros.data import Chunk, Goal
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import ConfigError, DataError, check_finite, check_shape, listed
from dp_ros.policy.goal_inputs import NO_GOAL, same_goal

Continuity = Literal['none', 'rtc', 'prefix', 'ensemble']
MEASURED = 10
"""Delays that the next one is expected from: it is taken for the longest of them (Black et al. 2025, section 4.2)."""
ENSEMBLE = 4
"""Chunks that are averaged."""
START_SHARE = 0.25
"""Of a new chunk, how much the last one must say at least for the new one to start from it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlap:
    """What the last chunk says of the new one's steps: actions (P, A) [rad or m] and their weights (P,), 0 to 1."""

    actions: np.ndarray
    weights: np.ndarray

    def __post_init__(self) -> None:
        check_shape('overlap actions', self.actions, (len(self.weights), None))
        check_finite('overlap actions', self.actions)
        if not ((self.weights >= 0.0) & (self.weights <= 1.0)).all():
            raise DataError(f'overlap weights: got {self.weights}, allowed 0 to 1')

    @property
    def fixed(self) -> int:
        """Steps that can't be changed any more: the first ones, of weight 1."""
        return int((self.weights == 1.0).cumprod().sum())


def check_continuity(continuity: Continuity, schedule: ScheduleSpec, continuous: Sequence[str] = ()) -> None:
    """Raise ConfigError for real-time chunking without a sampler to do it in, or for means of ``continuous`` joints."""
    if continuity == 'ensemble' and continuous:
        raise ConfigError(
            f"continuity: got 'ensemble' for a task with continuous joints ({listed(continuous)}), allowed none, rtc, "
            'prefix: chunks may be in different turns, and their mean is in neither'
        )
    if continuity == 'rtc' and not schedule.noisy:
        raise ConfigError("continuity: got 'rtc' for a bundle by regression, allowed none, ensemble: it has no sampler")
    if continuity == 'prefix' and not schedule.prefix_steps:
        others = 'none, rtc, ensemble' if schedule.noisy else 'none, ensemble'
        raise ConfigError(f"continuity: got 'prefix' for a bundle trained without prefix_steps, allowed {others}")


def check_start(warm_steps: int, exec_horizon: int, pred_horizon: int) -> None:
    """Raise ConfigError for warm steps that no chunk would take, because the last one always says too little."""
    most = int((1.0 - START_SHARE) * pred_horizon)
    if warm_steps and exec_horizon > most:
        raise ConfigError(
            f'warm_steps {warm_steps} with exec_horizon {exec_horizon}: allowed with exec_horizon up to {most}, '
            f'so that the last chunk says enough of the next (pred_horizon {pred_horizon}); or warm_steps 0'
        )


def soft_weights(delay: int, overlap: int, pred_horizon: int) -> np.ndarray:
    """Return the weights w (P,) for ``delay`` d and ``overlap`` n, both in control steps."""
    if not 0 <= delay <= pred_horizon or not 0 <= overlap <= pred_horizon:
        raise ConfigError(f'overlap: got delay {delay} and overlap {overlap}, allowed 0 to {pred_horizon} each')
    i = np.arange(pred_horizon)
    c = np.clip((overlap - i) / max(1, overlap - delay + 1), 0.0, 1.0)
    soft = c * np.expm1(c) / np.expm1(1.0)
    return np.where(i >= overlap, 0.0, np.where(i < delay, 1.0, soft))


def overlap_with(previous: Chunk, stamp: int, delay: int, *, soft: bool = True) -> Overlap | None:
    """Return what ``previous`` says of a chunk that starts at ``stamp`` [ns]; None where they have no step in common.

    The stamps lie on the same control ticks, so steps correspond one to one. Unless ``soft``, only those count that
    will be executed while predicting.
    """
    found = _shifted(previous, stamp)
    if found is None:
        return None
    actions, common = found
    fixed = min(delay, common)
    return Overlap(actions=actions, weights=soft_weights(fixed, common if soft else fixed, len(actions)))


def _shifted(previous: Chunk, stamp: int) -> tuple[np.ndarray, int] | None:
    """Return what ``previous`` says of (P, A) from ``stamp`` [ns] on, its last step repeated, and how many it has."""
    steps, rest = divmod(stamp - previous.stamp, previous.control_dt)
    horizon = len(previous.actions)
    if rest or not 0 <= steps < horizon:
        return None
    actions = np.concatenate([previous.actions[steps:], np.repeat(previous.actions[-1:], steps, axis=0)])
    return actions, horizon - steps


def ensembled(chunks: Sequence[Chunk], decay: float = 0.01) -> Chunk:
    """Average what ``chunks``, oldest first, say of the newest one's steps, with weights exp(-decay * age in chunks).

    As in the original, the oldest has the largest weight.
    """
    if not chunks:
        raise DataError('ensemble: got 0 chunks, allowed 1 or more')
    newest = chunks[-1]
    if any(chunk.joints != newest.joints for chunk in chunks):
        raise DataError(f'ensemble: got joints {listed({str(c.joints) for c in chunks})}, allowed the same in all')
    both = all(chunk.velocities is not None for chunk in chunks)
    said = [np.hstack([c.actions, c.velocities] if both else [c.actions]) for c in chunks]  # type: ignore[list-item]
    total, weights = np.zeros_like(said[-1]), np.zeros((len(newest.actions), 1))
    for number, (chunk, values) in enumerate(zip(chunks, said, strict=True)):
        weight = float(np.exp(-decay * number))
        steps, rest = divmod(newest.stamp - chunk.stamp, newest.control_dt)
        common = min(len(chunk.actions) - steps, len(newest.actions))
        if rest or steps < 0 or common <= 0:
            continue
        total[:common] += weight * values[steps : steps + common]
        weights[:common] += weight
    actions, *velocities = np.hsplit(total / weights, 2 if both else 1)
    return Chunk(
        stamp=newest.stamp,
        control_dt=newest.control_dt,
        joints=newest.joints,
        actions=actions,
        velocities=velocities[0] if both else None,
    )


class Continuation:
    """The last chunks of one run of a policy, and how long they took: what the next one has to go on from."""

    def __init__(self) -> None:
        self._goal = NO_GOAL
        self._chunks: deque[Chunk] = deque(maxlen=ENSEMBLE)
        self._delays: deque[int] = deque(maxlen=MEASURED)
        self._gained = 0.0  # before the last chunk

    @property
    def newest(self) -> int | None:
        """The last chunk's stamp [ns]; None before the first."""
        return self._chunks[-1].stamp if self._chunks else None

    def gained(self, stamp: int) -> float:
        """Return what the chunks so far are predicted to have gained before ``stamp`` [ns]; see `Chunk.rewards`."""
        if not self._chunks or self._chunks[-1].rewards is None:
            return self._gained
        last = self._chunks[-1]
        assert last.rewards is not None
        return self._gained + float(last.rewards[: max(0, (stamp - last.stamp) // last.control_dt)].sum())

    def delay(self, control_dt: int, least: int = 0) -> int:
        """Return how many steps will be executed while predicting, ``least`` or more.

        Those are the steps that are due from a chunk's stamp to when it is out, both included.
        """
        return max(least, max(self._delays, default=0) // control_dt + 1)

    def overlap(self, stamp: int, continuity: Continuity, least: int = 0) -> Overlap | None:
        """Return what the last chunk says of one that starts at ``stamp`` [ns]; None if there is none to go on from.

        No fewer than ``least`` steps are taken as executed while predicting.
        """
        if not self._chunks or continuity not in ('rtc', 'prefix'):
            return None
        last = self._chunks[-1]
        return overlap_with(last, stamp, self.delay(last.control_dt, least), soft=continuity == 'rtc')

    def start(self, stamp: int, goal: Goal = NO_GOAL) -> np.ndarray | None:
        """Return what a chunk at ``stamp`` [ns] may start from, (P, A) [rad or m]; None without a last chunk.

        One that says less than `START_SHARE` of the new chunk does not count, and none that had another goal.
        """
        found = _shifted(self._chunks[-1], stamp) if self._chunks else None
        if found is None or found[1] < START_SHARE * len(found[0]) or not same_goal(goal, self._goal):
            return None
        return found[0]

    def taken(self, stamp: int, alternative: int) -> None:
        """Go on from what is executed: an alternative of the last chunk, if that is of ``stamp`` [ns]; 0 for itself."""
        last = self._chunks[-1] if self._chunks else None
        if last is not None and last.stamp == stamp and 0 <= alternative <= len(last.alternatives):
            self._chunks[-1] = last.choice(alternative)

    def take(self, chunk: Chunk, delay: int, continuity: Continuity, goal: Goal = NO_GOAL) -> Chunk:
        """Remember a chunk that was out ``delay`` [ns] after its stamp, and return what is to be executed of it."""
        self._gained = self.gained(chunk.stamp)
        self._goal = goal
        self._chunks.append(chunk)
        self._delays.append(delay)
        return ensembled(list(self._chunks)) if continuity == 'ensemble' else chunk
