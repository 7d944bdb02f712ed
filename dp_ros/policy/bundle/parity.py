"""Inputs and outputs recorded from the trained network at export: a robot's backend must reproduce them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from dp_ros.errors import BundleError, DataError, check_finite, check_shape, listed
from dp_ros.policy.bundle.files import read_npz
from dp_ros.task.spec import GoalImage, ImageStream, TaskSpec

_INPUT = 'input.'  # the encoder's inputs are stored as input.<stream>
GIVEN = 'given'


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """Arrays of a recorded pair: ``inputs``, the encoder's by stream name, float32, normalized, and those of a family.

    A field whose default is None may be missing.
    """

    inputs: Mapping[str, np.ndarray]

    def write(self, path: Path) -> None:
        """Write the arrays as npz."""
        rest = {name: array for name, array in vars(self).items() if name != 'inputs' and array is not None}
        np.savez(path, **rest, **{_INPUT + name: array for name, array in self.inputs.items()})  # type: ignore[arg-type]

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read what `write` wrote; no pickle is ever loaded."""
        try:
            arrays = read_npz(data)
        # zipfile and numpy meet damaged bytes with errors of many kinds.
        except Exception as error:
            raise BundleError(f'cannot be read ({error}); allowed an npz file without pickles') from error
        inputs = {name.removeprefix(_INPUT): array for name, array in arrays.items() if name.startswith(_INPUT)}
        rest = {name: array for name, array in arrays.items() if not name.startswith(_INPUT)}
        required = [f.name for f in fields(cls) if f.default is MISSING and f.name != 'inputs']
        optional = [f.name for f in fields(cls) if f.default is None]
        if set(rest) - set(optional) != set(required):
            also = f', with or without {listed(optional)}' if optional else ''
            raise BundleError(f'got arrays {listed(arrays)}, allowed {_INPUT}<stream>, {listed(required)}{also}')
        return cls(inputs=inputs, **rest)

    def check_inputs(self, task: TaskSpec, batch: int) -> None:
        """Raise :class:`DataError` unless the inputs are those of ``task``, of this batch size."""
        shapes = input_shapes(task)
        if set(self.inputs) != set(shapes):
            raise DataError(f'recorded inputs: got {listed(self.inputs)}, allowed {listed(shapes)}')
        for name, shape in shapes.items():
            check_array(f'recorded input {name!r}', self.inputs[name], np.float32, (batch, *shape))


@dataclass(frozen=True, kw_only=True, eq=False)
class Parity(Recorded):
    """The pair of a diffusion policy, of any batch size B.

    Attributes
    ----------
    cond
        The encoder's output for them, (B, D) float32.
    x_k, k, prediction
        The denoiser's inputs (B, P, A + M) float32, M channels of marks, and (B,) int64, and its output (B, P, O) for
        them and ``cond``: O is A, or 2 A with velocities.
    value
        The critic's output for ``cond``, `state_of` the inputs and the first A channels of ``x_k``, (B,) float32; None
        where there is none.
    novelty
        The monitor's output for ``cond``, (B,) float32; None where there is none.
    noise
        The noise actor's output for `noise_inputs`, (B, P, A) float32; None where there is none.

    """

    cond: np.ndarray
    x_k: np.ndarray
    k: np.ndarray
    prediction: np.ndarray
    value: np.ndarray | None = None
    novelty: np.ndarray | None = None
    noise: np.ndarray | None = None

    def check(self, task: TaskSpec, mask_channels: int = 0, outputs: int = 1) -> None:
        """Raise :class:`DataError` unless names, types and shapes are those of ``task`` and all numbers are finite.

        ``outputs`` is what comes out for each of an action's channels.
        """
        batch = len(self.k) if self.k.ndim else 0
        if batch == 0:
            raise DataError(f'recorded k: got shape {self.k.shape}, allowed (B,) with B 1 or more')
        chunk = (batch, task.pred_horizon, len(task.action.joints))
        self.check_inputs(task, batch)
        check_array('recorded cond', self.cond, np.float32, (batch, None))
        check_array('recorded x_k', self.x_k, np.float32, (*chunk[:2], chunk[2] + mask_channels))
        check_array('recorded k', self.k, np.int64, (batch,))
        check_array('recorded prediction', self.prediction, np.float32, (*chunk[:2], chunk[2] * outputs))
        for name, shape in (('value', (batch,)), ('novelty', (batch,)), ('noise', chunk)):
            if getattr(self, name) is not None:
                check_array(f'recorded {name}', getattr(self, name), np.float32, shape)


def check_array(what: str, array: np.ndarray, dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    """Raise :class:`DataError` unless an array has this type and shape, and all its numbers are finite."""
    if array.dtype != dtype:
        raise DataError(f'{what}: got {array.dtype}, allowed {np.dtype(dtype)}')
    check_shape(what, array, shape)
    check_finite(what, array)


def input_shapes(task: TaskSpec) -> dict[str, tuple[int, ...]]:
    """Return the shape of each encoder input without its batch, in order.

    Streams: (T, C), or (T, 3, H, W) for an image; goals: (C,), or (3, H, W); and with guidance ``given``: (1,), 1 where
    the goal (or the observation) counts, 0 where it is left out.
    """
    shapes: dict[str, tuple[int, ...]] = {
        s.name: (task.obs_horizon, *((3, s.height, s.width) if isinstance(s, ImageStream) else s.shape))
        for s in task.streams
    }
    shapes |= {g.name: (3, g.height, g.width) if isinstance(g, GoalImage) else g.shape for g in task.goals}
    return shapes | ({GIVEN: (1,)} if task.guidance else {})


def state_shapes(task: TaskSpec) -> dict[str, tuple[int, ...]]:
    """Return those of `input_shapes` that make up the state: all but pictures, and what is given."""
    return {name: shape for name, shape in input_shapes(task).items() if len(shape) <= 2 and name != GIVEN}


def state_width(task: TaskSpec) -> int:
    """Return how many numbers the state has, S."""
    return sum(int(np.prod(shape)) for shape in state_shapes(task).values())


def state_of(task: TaskSpec, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the state, (B, S) float32: the encoder's inputs of `state_shapes`, one after the other."""
    return np.concatenate([inputs[name].reshape(len(inputs[name]), -1) for name in state_shapes(task)], axis=1)


def noise_inputs(task: TaskSpec, inputs: Mapping[str, np.ndarray], cond: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the noise actor is given: the state (B, S) and, where the task has pictures, cond (B, D) too."""
    found = {'state': state_of(task, inputs)} if state_shapes(task) else {}
    return found | ({'cond': cond} if sees(task) else {})


def sees(task: TaskSpec) -> bool:
    """Tell whether a task has pictures."""
    return any(len(shape) > 2 for shape in input_shapes(task).values())
