"""Inputs and outputs of a sequence model, recorded at export: the first tokens of some chunks, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp_ros.errors import DataError
from dp_ros.policy.bundle.parity import Recorded, check_array
from dp_ros.policy.sequence.spec import SequenceSpec
from dp_ros.task.spec import TaskSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class SequenceParity(Recorded):
    """Recorded arrays, of any batch size B and any number n of tokens.

    Attributes
    ----------
    cond
        The encoder's output for them, (B, W) float32.
    token, offset, logits
        The decoder's inputs (B, n) int64 and (B, n, A) float32, and its outputs (B, n, bins) float32.

    """

    cond: np.ndarray
    token: np.ndarray
    offset: np.ndarray
    logits: np.ndarray

    def check(self, task: TaskSpec, spec: SequenceSpec) -> None:
        """Raise :class:`DataError` unless names, types and shapes are right and all numbers are finite."""
        batch, count = self.token.shape if self.token.ndim == 2 else (0, 0)
        if not batch or not count:
            raise DataError(f'recorded token: got shape {self.token.shape}, allowed (B, n), both 1 or more')
        self.check_inputs(task, batch)
        check_array('recorded cond', self.cond, np.float32, (batch, spec.width))
        check_array('recorded token', self.token, np.int64, (batch, count))
        check_array('recorded offset', self.offset, np.float32, (batch, count, len(task.action.joints)))
        check_array('recorded logits', self.logits, np.float32, (batch, count, spec.bins))
