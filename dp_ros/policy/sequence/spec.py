"""What the tokens of a sequence model mean: the description in a bundle, and numbers to tokens and back.

Each control step t of a chunk is K tokens, in this order; each column has its own quantile bins (Janner et al. 2021):

=========  ======================================================================================
return     what is still to come from t on (return-to-go, Chen et al. 2021), less ``step_cost`` a step
actions    by how much each joint's set point moves from the one before [rad or m]; the first from
           where the joint was at the newest observation
reward     the reward at t, less ``step_cost``
states     the streams of ``states`` at t + 1
=========  ======================================================================================

Set points are counted from the set point before as it was rounded, so that rounding does not add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from dp_ros.errors import BundleError, ConfigError, listed
from dp_ros.task.spec import ImageStream, TaskSpec
from dp_ros.task.units import Channel

MOST_BINS = 1000
RETURN = 0
"""The column of the return; those of the actions follow, then the reward's."""


def check_sequence_task(task: TaskSpec, states: Sequence[str]) -> None:
    """Raise ConfigError unless a sequence model can be made for a task, with these streams predicted."""
    if task.continuous:
        raise ConfigError(f'family sequence: got continuous joints ({listed(task.continuous)}), allowed none')
    if task.guidance:
        raise ConfigError(f'family sequence: got guidance {task.guidance!r}, allowed none: it is asked for a return')
    if task.action.relative:
        raise ConfigError('family sequence: got action.relative, allowed without: its tokens are steps anyway')
    task.base_columns()
    vectors = [s.name for s in task.streams if not isinstance(s, ImageStream)]
    unknown = [name for name in states if name not in vectors]
    if unknown:
        raise ConfigError(f'sequence.states: got {listed(unknown)}, allowed the vector streams {listed(vectors)}')


def column_names(task: TaskSpec, states: Sequence[str]) -> tuple[str, ...]:
    """Return the name of each column of a step's tokens, K of them."""
    channels = [f'{name} {c.name}' for name in states for c in _vector(task, name)]
    return ('return', *(f'action {joint}' for joint in task.action.joints), 'reward', *channels)


def _vector(task: TaskSpec, name: str) -> Sequence[Channel]:
    stream = task.stream(name)
    assert not isinstance(stream, ImageStream)  # check_sequence_task refuses them
    return stream.channels


@dataclass(frozen=True, kw_only=True)
class SequenceSpec:
    """The tokens of a bundle of the family `sequence`.

    Attributes
    ----------
    states
        Streams whose values are predicted.
    step_cost
        What was taken from each recorded reward.
    layers, width
        Of the transformer: the shape of what it remembers of each token.
    edges
        Of the bins: for each column one more than it has bins, ascending.

    """

    family: ClassVar[str] = 'sequence'
    states: tuple[str, ...]
    step_cost: float
    layers: int
    width: int
    edges: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if not self.edges or len({len(row) for row in self.edges}) > 1:
            raise BundleError('sequence edges: got none, or columns of different lengths, allowed as many in each')
        if not 3 <= len(self.edges[0]) <= MOST_BINS + 1:
            raise BundleError(f'sequence edges: got {len(self.edges[0])}, allowed 3 to {MOST_BINS + 1} in a column')
        if not np.isfinite(self.table).all() or (np.diff(self.table, axis=1) < 0).any():
            raise BundleError('sequence edges: got numbers that do not ascend, allowed finite ones that do')
        for name, value, most in (('layers', self.layers, 64), ('width', self.width, 4096)):
            if not 1 <= value <= most:
                raise BundleError(f'sequence {name}: got {value}, allowed 1 to {most}')

    def check(self, task: TaskSpec) -> None:
        """Raise unless the columns are those of a task."""
        check_sequence_task(task, self.states)
        names = column_names(task, self.states)
        if len(self.edges) != len(names):
            raise BundleError(f'sequence edges: got {len(self.edges)} columns, allowed {len(names)}: {listed(names)}')

    @cached_property
    def table(self) -> np.ndarray:
        """The edges as an array (K, bins + 1)."""
        return np.array(self.edges, dtype=np.float64)

    @cached_property
    def values(self) -> np.ndarray:
        """What each token stands for, the middle of its bin, (K, bins)."""
        return (self.table[:, 1:] + self.table[:, :-1]) / 2

    @property
    def bins(self) -> int:
        """Tokens that a column has."""
        return len(self.edges[0]) - 1

    @property
    def return_range(self) -> tuple[float, float]:
        """The lowest and the highest return-to-go of the training."""
        return self.edges[RETURN][0], self.edges[RETURN][-1]

    def token(self, column: int, value: float) -> int:
        """Return the token of a column whose bin has ``value``, or is nearest to it."""
        return int(np.searchsorted(self.table[column, 1:-1], value, side='right'))


def quantile_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Return edges (bins + 1,) between which about equally many of the different ``values`` (N,) lie.

    What comes up over and over, as a set point that stays, would otherwise take most of the bins.
    """
    return np.quantile(np.unique(np.round(values, 6)), np.linspace(0.0, 1.0, bins + 1))
