"""Inputs and outputs of a sequence model, recorded at export: the first tokens of some chunks, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dp_ros.errors import BundleError, DataError, check_finite, check_shape, listed
from dp_ros.policy.bundle.files import read_npz
from dp_ros.policy.bundle.parity import input_shapes
from dp_ros.policy.sequence.spec import SequenceSpec
from dp_ros.task.spec import TaskSpec

_INPUT = 'input.'
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
            if array.dtype != dtype:
                raise DataError(f'recorded {name}: got {array.dtype}, allowed {np.dtype(dtype)}')
            check_shape(f'recorded {name}', array, shape)
            check_finite(f'recorded {name}', array)


def write_sequence_parity(path: Path, parity: SequenceParity) -> None:
    """Write the arrays as npz."""
    arrays = {name: getattr(parity, name) for name in _REST}
    arrays |= {_INPUT + name: array for name, array in parity.inputs.items()}
    np.savez(path, **arrays)


def read_sequence_parity(data: bytes) -> SequenceParity:
    """Read what `write_sequence_parity` wrote; no pickle is ever loaded."""
    try:
        arrays = read_npz(data)
    # zipfile and numpy meet damaged bytes with errors of many kinds.
    except Exception as error:
        raise BundleError(f'cannot be read ({error}); allowed an npz file without pickles') from error
    inputs = {name.removeprefix(_INPUT): array for name, array in arrays.items() if name.startswith(_INPUT)}
    rest = {name: array for name, array in arrays.items() if not name.startswith(_INPUT)}
    if set(rest) != set(_REST):
        raise BundleError(f'got arrays {listed(arrays)}, allowed {_INPUT}<stream>, {listed(_REST)}')
    return SequenceParity(inputs=inputs, **rest)
