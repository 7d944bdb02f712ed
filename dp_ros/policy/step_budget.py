"""How many sampling steps there is time for, judged by what chunks have cost so far.

====  =====================================================================================
n     sampling steps
f, s  what a chunk costs besides its steps, and what a step costs, measured at start [s]
r     how much slower than that chunks are now: the second-worst of the last ten
====  =====================================================================================

A chunk of n steps is expected to take r (f + n s).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from dp_ros.errors import ConfigError

MEASURED = 10
"""Chunks that the next one's cost is expected from."""
FORGIVEN = 1
"""Of these, how many may have been slower: one that was interrupted must not cost the next ones their steps."""
GROWTH = 1.2
"""From one number of steps to the next, where numbers are large."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a chunk takes [s]: ``fixed`` and, for each sampling step, ``step``; ``guided``: with guidance."""

    fixed: float
    step: float
    guided: Cost | None = None

    def __post_init__(self) -> None:
        if not (self.fixed >= 0.0 and self.step >= 0.0 and self.fixed + self.step > 0.0):
            raise ConfigError(f'cost [s]: got fixed {self.fixed} and step {self.step}, allowed from 0, and not both 0')

    def of(self, steps: int) -> float:
        """Return what a chunk of so many steps takes [s]."""
        return self.fixed + steps * self.step

    def at(self, guidance_scale: float) -> Cost:
        """Return what a chunk takes with this guidance, which asks networks twice unless it is 1."""
        return self if guidance_scale == 1.0 or self.guided is None else self.guided


def cost_from(few: tuple[int, float], many: tuple[int, float]) -> Cost:
    """Return the line through two measurements (steps, seconds); ``many`` may be ``few``, where one step is all."""
    (low, short), (high, long) = few, many
    step = max(0.0, (long - short) / (high - low)) if high > low else 0.0
    return Cost(fixed=max(0.0, short - low * step), step=step)


def step_choices(least: int, most: int) -> tuple[int, ...]:
    """Return the numbers of steps to choose from: each small one, then ever fewer, ``most`` at last."""
    if not 1 <= least <= most:
        raise ConfigError(f'least_steps: got {least}, allowed 1 to sampling_steps ({most})')
    choices, steps = [], least
    while steps < most:
        choices.append(steps)
        steps = max(steps + 1, int(steps * GROWTH))
    return (*choices, most)


def check_deadline(cost: Cost, least: int, deadline: float) -> None:
    """Raise ConfigError if not even ``least`` steps can be taken within ``deadline`` [s]."""
    if cost.of(least) > deadline:
        calls = 'sampling step takes' if least == 1 else 'sampling steps take'
        raise ConfigError(
            f'deadline: got {deadline:g}, allowed {cost.of(least):.4f} or more with anytime: '
            f'{least} {calls} that long on this machine [s]'
        )


class StepBudget:
    """Chooses steps from what the last chunks took. Not thread-safe."""

    def __init__(self) -> None:
        self._slowdowns: deque[float] = deque(maxlen=MEASURED)

    @property
    def slowdown(self) -> float:
        """How many times its measured cost a chunk takes now."""
        if len(self._slowdowns) <= FORGIVEN:
            return 1.0
        return sorted(self._slowdowns)[-1 - FORGIVEN]

    def choose(self, cost: Cost, choices: Sequence[int], seconds: float) -> int:
        """Return the most of ``choices``, which ascend, that are expected to fit; the first if none is."""
        fitting = [steps for steps in choices if self.slowdown * cost.of(steps) <= seconds]
        return fitting[-1] if fitting else choices[0]

    def took(self, cost: Cost, steps: int, seconds: float) -> None:
        """Remember what a chunk of so many steps took [s]."""
        self._slowdowns.append(seconds / cost.of(steps))
