"""The policy: a window of observations in, a chunk of actions out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dp_ros.config import ImageStream
from dp_ros.data import Chunk, Window, to_nanoseconds
from dp_ros.diffusion.coefficients import coefficients_for
from dp_ros.diffusion.samplers import SamplerSettings, Steer, sample
from dp_ros.errors import DataError, check_finite, check_shape, listed
from dp_ros.policy.backends import Backend
from dp_ros.policy.bundle import Bundle
from dp_ros.policy.continuity import Overlap
from dp_ros.policy.normalizer import ACTION, normalize_image


class DiffusionPolicy:
    """Samples chunks with a bundle's networks. Immutable: `with_settings` returns another that shares the networks.

    Parameters
    ----------
    bundle
        Says what goes in and out.
    backend
        Runs the bundle's networks.
    settings
        How to sample; the bundle's own if None.

    """

    def __init__(self, bundle: Bundle, backend: Backend, settings: SamplerSettings | None = None) -> None:
        self.bundle = bundle
        self.settings = settings or bundle.defaults
        self._backend = backend
        self._coefficients = coefficients_for(bundle.schedule, self.settings)
        self._steered = coefficients_for(bundle.schedule, self.settings, steered=True)

    def with_settings(self, **changes: Any) -> DiffusionPolicy:
        """Return this policy with `sampler`, `sampling_steps` or `spacing` changed."""
        return DiffusionPolicy(self.bundle, self._backend, replace(self.settings, **changes))

    def chunk(self, window: Window, rng: np.random.Generator, overlap: Overlap | None = None) -> Chunk:
        """Return a chunk whose first action is due at the window's stamp; ``rng`` draws its noise.

        With an ``overlap``, it goes on from the chunk before: see `dp_ros.policy.continuity`.

        Raises
        ------
        DataError
            If the window is not of the bundle's task, or a network gave a number that is not finite.

        """
        task = self.bundle.task
        actions = self.bundle.normalizer.denormalize(ACTION, self.sample(self._inputs(window), rng, overlap)[0])
        return Chunk(
            stamp=window.stamp,
            control_dt=to_nanoseconds(task.control_dt),
            joints=task.action.joints,
            actions=actions,
        )

    def sample(
        self, inputs: Mapping[str, np.ndarray], rng: np.random.Generator, overlap: Overlap | None = None
    ) -> np.ndarray:
        """Return normalized actions (1, P, A) for normalized streams, each (1, T, ...) float32."""
        task = self.bundle.task
        cond = self._backend.encode(inputs)
        check_finite(f'policy {self.bundle.name} cond', cond)
        shape = (1, task.pred_horizon, len(task.action.joints))
        noisy = self.bundle.schedule.noisy
        noise = rng.standard_normal(shape, dtype=np.float32) if noisy else np.zeros(shape, dtype=np.float32)

        def predict(x_k: np.ndarray, k: int) -> np.ndarray:
            prediction = self._backend.predict(x_k, np.array([k], dtype=np.int64), cond)
            # Here, before x_0 is clipped: that would make an infinity look like an action.
            check_finite(f'policy {self.bundle.name} prediction at k = {k}', prediction)
            return prediction

        if overlap is None:
            return sample(self._coefficients, predict, noise, rng)
        return sample(self._steered, predict, noise, rng, steer=self._steer(overlap))

    def _steer(self, overlap: Overlap) -> Steer:
        """Return what draws an estimate of x_0 (1, P, A) towards the last chunk, as far as its weights say."""
        if not self.bundle.schedule.noisy:
            raise DataError(f'policy {self.bundle.name}: got an overlap, allowed none: regression samples nothing')
        task = self.bundle.task
        check_shape('overlap actions', overlap.actions, (task.pred_horizon, len(task.action.joints)))
        target = self.bundle.normalizer.normalize(ACTION, overlap.actions)[None]
        weights = overlap.weights.astype(np.float32)[None, :, None]
        return lambda x_0: x_0 + weights * (target - x_0)

    def _inputs(self, window: Window) -> dict[str, np.ndarray]:
        task = self.bundle.task
        names = [s.name for s in task.streams]
        if set(window.streams) != set(names):
            raise DataError(f'window streams: got {listed(sorted(window.streams))}, allowed {listed(sorted(names))}')
        inputs = {}
        for stream in task.streams:
            values = window.streams[stream.name]
            check_shape(f'window stream {stream.name!r}', values, (task.obs_horizon, *stream.shape))
            dtype = np.dtype(np.uint8 if isinstance(stream, ImageStream) else np.float64)
            if values.dtype != dtype:
                raise DataError(f'window stream {stream.name!r}: got {values.dtype}, allowed {dtype}')
            if isinstance(stream, ImageStream):
                normalized = normalize_image(values)
            else:
                normalized = self.bundle.normalizer.normalize(stream.name, values)
            inputs[stream.name] = np.ascontiguousarray(normalized[None])
        return inputs
