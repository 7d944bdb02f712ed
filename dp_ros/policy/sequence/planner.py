"""The planner: a chunk out of a sequence model, token by token, in one file. NumPy; no clock.

Three ways, all within the same constraints:

return      one sequence; its return tokens are what is asked for, as near as the model finds plausible, and its actions
            follow (Decision Transformer, Chen et al. 2021)
beam        several sequences, each continued twice; those go on whose predicted rewards so far and return-to-go are
            highest (Trajectory Transformer, Janner et al. 2021, algorithm 1)
likelihood  the same, where those go on whose actions the model finds likeliest, forbidden or not: what a constraint
            bends away from what was learnt comes last

No token is taken that puts a set point where it may not be, if there is one that does not: else the least bad. For
what is asked, plausible is what lies between the quantiles `LEAST` and `MOST` of the return tokens' distribution;
without a wish it is the quantile `BEST` (expert inference, Lee et al. 2022).

======  ===========================================================
B       sequences
P, K    control steps; tokens of a step
A       action channels
======  ===========================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dp_ros.errors import DataError, check_finite
from dp_ros.policy.sequence.options import Planning
from dp_ros.policy.sequence.session import SequenceSession
from dp_ros.policy.sequence.spec import RETURN, SequenceSpec

BRANCH = 2
LEAST, MOST, BEST = 0.02, 0.98, 0.8
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds:
    """Where set points (A,) may be: at each step out of discs, of the first two joints, and within ranges.

    Attributes
    ----------
    centres, radii
        Of the discs, at each step (P, M, 2) and (M,) [m].
    low, high
        (A,) [rad or m].

    """

    centres: np.ndarray
    radii: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def violation(self, places: np.ndarray, step: int, joints: int) -> np.ndarray:
        """Return by how much places (..., A) violate the bounds of the first so many ``joints``, (...)."""
        ranged = places[..., :joints]
        beyond = np.maximum(self.low[:joints] - ranged, ranged - self.high[:joints])
        worst = np.maximum(beyond, 0.0).sum(axis=-1)
        if joints < 2:
            return worst
        for centre, radius in zip(self.centres[step], self.radii, strict=True):
            inside = radius - np.hypot(places[..., 0] - centre[0], places[..., 1] - centre[1])
            worst = worst + np.maximum(inside, 0.0)
        return worst


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A chunk as planned.

    Attributes
    ----------
    offsets
        Set points counted from where the joints were, (P, A).
    rewards
        As predicted, less their step cost, (P,).
    value
        Predicted rewards and, from the last step on, return-to-go.

    """

    offsets: np.ndarray
    rewards: np.ndarray
    value: float


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """How to plan; ``asked`` is what is still to be gained, None the best that is plausible."""

    planning: Planning = 'return'
    beams: int = 4
    temperature: float = 0.2
    asked: float | None = None


@dataclass(kw_only=True, eq=False)
class _Beams:
    """The sequences so far: what the decoder is asked with next, and what they come to."""

    token: np.ndarray  # (B,)
    reached: np.ndarray  # (B, A)
    cache: np.ndarray  # (N, B, L, 2, W)
    offsets: np.ndarray  # (B, P, A)
    rewards: np.ndarray  # (B, P)
    likelihood: np.ndarray  # (B,)
    value: np.ndarray  # (B,)
    tokens: int = field(default=0)

    def keep(self, chosen: np.ndarray) -> None:
        """Go on with the sequences ``chosen``, each as often as it is named."""
        for name in ('token', 'reached', 'offsets', 'rewards', 'likelihood', 'value'):
            setattr(self, name, getattr(self, name)[chosen])
        self.cache[: self.tokens] = self.cache[: self.tokens, chosen]


class SequencePlanner:
    """Plans chunks with a model. Immutable.

    Parameters
    ----------
    spec, steps, actions
        The tokens; P and A.
    backend
        Runs the model.

    """

    def __init__(self, spec: SequenceSpec, backend: SequenceSession, *, steps: int, actions: int) -> None:
        self.spec, self._backend, self._steps, self._actions = spec, backend, steps, actions

    def plan(
        self, cond: np.ndarray, base: np.ndarray, bounds: Bounds, settings: PlanSettings, rng: np.random.Generator
    ) -> Plan:
        """Return the plan for an observation.

        Parameters
        ----------
        cond
            The encoder's output (1, W).
        base
            Where the joints are (A,).

        Raises
        ------
        DataError
            If the model gives a number that is not finite.

        """
        many = settings.planning != 'return'
        count = settings.beams * BRANCH if many else 1
        beams = self._start(count)
        cond = np.repeat(cond, count, axis=0)
        for step in range(self._steps):
            logits = self._ask(beams, cond)
            chance = _softmax(logits)
            expected = chance @ self.spec.values[RETURN]
            beams.value = beams.rewards.sum(axis=1) + expected
            if many and step:
                chosen = np.repeat(self._ranked(beams, settings)[: settings.beams], BRANCH)
                beams.keep(chosen)
                chance = chance[chosen]
            self._take(beams, RETURN, self._returns(chance, beams, settings))
            for joint in range(self._actions):
                self._act(beams, cond, base, bounds, settings, step, joint, rng)
            for column in range(self._actions + 1, len(self.spec.values)):
                chance = _softmax(self._ask(beams, cond))
                if column == self._actions + 1:
                    beams.rewards[:, step] = chance @ self.spec.values[column]
                self._take(beams, column, chance.argmax(axis=1))
        best = int(self._ranked(beams, settings)[0])
        return Plan(offsets=beams.offsets[best], rewards=beams.rewards[best], value=float(beams.value[best]))

    def _start(self, count: int) -> _Beams:
        spec, total = self.spec, self._steps * len(self.spec.values)
        return _Beams(
            token=np.full(count, len(spec.values) * spec.bins, dtype=np.int64),
            reached=np.zeros((count, self._actions)),
            cache=np.empty((total, count, spec.layers, 2, spec.width), dtype=np.float32),
            offsets=np.zeros((count, self._steps, self._actions)),
            rewards=np.zeros((count, self._steps)),
            likelihood=np.zeros(count),
            value=np.zeros(count),
        )

    def _ask(self, beams: _Beams, cond: np.ndarray) -> np.ndarray:
        """Return the logits (B, bins) of the next token."""
        offset = beams.reached.astype(np.float32)
        logits, memory = self._backend.step(beams.token, offset, cond, beams.cache[: beams.tokens])
        check_finite(f'sequence model logits of token {beams.tokens}', logits)
        if logits.shape != (len(cond), self.spec.bins):
            raise DataError(f'sequence model logits: got shape {logits.shape}, allowed {(len(cond), self.spec.bins)}')
        beams.cache[beams.tokens] = memory
        beams.tokens += 1
        return logits.astype(np.float64)

    def _take(self, beams: _Beams, column: int, token: np.ndarray) -> None:
        beams.token = token.astype(np.int64) + column * self.spec.bins

    def _ranked(self, beams: _Beams, settings: PlanSettings) -> np.ndarray:
        """Return the sequences, the best first; of equal ones the first."""
        score = beams.likelihood if settings.planning == 'likelihood' else beams.value
        return np.argsort(-score, kind='stable')

    def _returns(self, chance: np.ndarray, beams: _Beams, settings: PlanSettings) -> np.ndarray:
        """Return the return tokens (B,): what is asked for and not gained yet, as far as it is plausible."""
        below = np.cumsum(chance, axis=1) + ROUNDING
        if settings.asked is None:
            return (below < BEST).sum(axis=1)
        left = settings.asked - beams.rewards.sum(axis=1)
        wanted = np.array([self.spec.token(RETURN, value) for value in left])
        return np.clip(wanted, (below < LEAST).sum(axis=1), (below < MOST).sum(axis=1))

    def _act(
        self,
        beams: _Beams,
        cond: np.ndarray,
        base: np.ndarray,
        bounds: Bounds,
        settings: PlanSettings,
        step: int,
        joint: int,
        rng: np.random.Generator,
    ) -> None:
        """Take the tokens of one joint's set points."""
        column = 1 + joint
        logits = self._ask(beams, cond)
        log_chance = np.log(_softmax(logits) + 1e-12)
        allowed = self._allowed(beams.reached, base, bounds, step, joint)
        masked = np.where(allowed, log_chance, -np.inf)
        if settings.temperature > 0.0:
            # Gumbel's trick: the largest is a draw from the softmax.
            masked = masked / settings.temperature + rng.gumbel(size=masked.shape)
        token = masked.argmax(axis=1)
        rows = np.arange(len(token))
        beams.likelihood = beams.likelihood + log_chance[rows, token]
        beams.reached = beams.reached.copy()
        beams.reached[:, joint] += self.spec.values[column][token]
        beams.offsets[:, step, joint] = beams.reached[:, joint]
        self._take(beams, column, token)

    def _allowed(self, reached: np.ndarray, base: np.ndarray, bounds: Bounds, step: int, joint: int) -> np.ndarray:
        """Return which tokens (B, bins) lead no farther than needed to where set points may not be."""
        values = self.spec.values
        places = np.repeat((base + reached)[:, None], self.spec.bins, axis=1)  # (B, bins, A)
        places[..., joint] += values[1 + joint]
        worst = bounds.violation(places, step, joint + 1)
        if joint == 0 and self._actions > 1 and len(bounds.radii):
            # A joint alone does not tell: some token of the second must be allowed after it.
            near = self._near(base + reached, bounds, step)
            pairs = np.repeat(places[near, :, None], self.spec.bins, axis=2)
            pairs[..., 1] += values[2]
            worst[near] = bounds.violation(pairs, step, 2).min(axis=2)
        allowed: np.ndarray = worst <= worst.min(axis=1, keepdims=True) + 1e-9
        return allowed

    def _near(self, places: np.ndarray, bounds: Bounds, step: int) -> np.ndarray:
        """Return which places (B, A) a step of the first two joints may take into a disc, (B,)."""
        reach = np.hypot(*np.abs(self.spec.values[1:3]).max(axis=1))
        away = np.linalg.norm(places[:, None, :2] - bounds.centres[step], axis=-1)
        near: np.ndarray = (away < bounds.radii + reach).any(axis=1)
        return near


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    chance: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return chance
