"""Inputs and outputs of a sequence model, recorded at export: the first tokens of some chunks, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dp_ros.errors import DataError, listed
from dp_ros.policy.bundle.parity import check_array, input_shapes, read_recorded, write_recorded
from dp_ros.policy.sequence.spec import SequenceSpec
from dp_ros.task.spec import TaskSpec

_REST = ('cond', 'token', 'offset', 'logits')


@dataclass(frozen=True, kw_only=True, eq=False)
class SequenceParity:
    """Recorded arrays, of any batch size B and any number n of tokens.

    Attributes
    ----------
    inputs
        The encoder's inputs by stream name, float32, normalized.
    cond
        The encoder's output for them, (B, W) float32.
    token, offset, logits
        The decoder's inputs (B, n) int64 and (B, n, A) float32, and its outputs (B, n, bins) float32.

    """

    inputs: Mapping[str, np.ndarray]
    cond: np.ndarray
    token: np.ndarray
    offset: np.ndarray
    logits: np.ndarray

    def check(self, task: TaskSpec, spec: SequenceSpec) -> None:
        """Raise :class:`DataError` unless names, types and shapes are right and all numbers are finite."""
        shapes = input_shapes(task)
        if set(self.inputs) != set(shapes):
            raise DataError(f'recorded inputs: got {listed(self.inputs)}, allowed {listed(shapes)}')
        batch, count = self.token.shape if self.token.ndim == 2 else (0, 0)
        if not batch or not count:
            raise DataError(f'recorded token: got shape {self.token.shape}, allowed (B, n), both 1 or more')
        wanted: dict[str, tuple[np.ndarray, type[np.generic], tuple[int, ...]]] = {
            f'input {name!r}': (self.inputs[name], np.float32, (batch, *shape)) for name, shape in shapes.items()
        }
        wanted |= {
            'cond': (self.cond, np.float32, (batch, spec.width)),
            'token': (self.token, np.int64, (batch, count)),
            'offset': (self.offset, np.float32, (batch, count, len(task.action.joints))),
            'logits': (self.logits, np.float32, (batch, count, spec.bins)),
        }
        for name, (array, dtype, shape) in wanted.items():
            check_array(f'recorded {name}', array, dtype, shape)


def write_sequence_parity(path: Path, parity: SequenceParity) -> None:
    """Write the arrays as npz."""
    write_recorded(path, parity.inputs, {name: getattr(parity, name) for name in _REST})


def read_sequence_parity(data: bytes) -> SequenceParity:
    """Read what `write_sequence_parity` wrote; no pickle is ever loaded."""
    inputs, rest = read_recorded(data, _REST)
    return SequenceParity(inputs=inputs, **rest)
