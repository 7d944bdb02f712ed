"""The policy of the family `sequence`: plans a chunk for a window."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Self

import numpy as np

from dp_ros.data import Chunk, Window, to_nanoseconds
from dp_ros.errors import ConfigError, DataError, check_finite, listed
from dp_ros.policy.backends.providers import ProviderName
from dp_ros.policy.backends.sessions import BackendName
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.continuity import Continuity
from dp_ros.policy.protocol import Inputs, Past, Policy
from dp_ros.policy.sequence.options import SequenceOptions, discs, ranges
from dp_ros.policy.sequence.planner import Bounds, PlanSettings, SequencePlanner
from dp_ros.policy.sequence.session import SequenceSession, open_sequence


class SequencePolicy(Policy):
    """Plans chunks with a sequence model. Immutable: `with_settings` returns another that shares the networks.

    Parameters
    ----------
    bundle
        Of the family `sequence`.
    backend
        Runs the bundle's networks.
    options
        How to plan.
    seed
        What `chunk` draws actions by where it is given no generator.

    All of them are attributes, too.

    Raises
    ------
    ConfigError
        If the return asked for is outside of what training had, or a constraint names what the task has not.

    """

    def __init__(
        self, bundle: Bundle, backend: SequenceSession, options: SequenceOptions | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(bundle, seed=seed)
        self.backend, self.options = backend, options or SequenceOptions()
        task, spec = bundle.task, bundle.sequence
        low, high = spec.return_range
        asked = self.options.asked_return
        if asked and not low <= asked <= high:
            raise ConfigError(
                f'asked_return: got {asked:g}, allowed {low:.4g} to {high:.4g}, as bundle {bundle.name} was trained '
                'with, or 0 for the best'
            )
        self._discs = discs(self.options, task)
        self._low, self._high = (np.array(ends) for ends in ranges(self.options, task.action.joints))
        self._base, columns = task.base_columns()
        self._columns = list(columns)
        self._planner = SequencePlanner(spec, backend, steps=task.pred_horizon, actions=len(task.action.joints))

    @classmethod
    def open(cls, bundle: Bundle, backend: BackendName, threads: int, provider: ProviderName) -> Self:
        """Open a bundle's networks; ConfigError for another backend than ONNX Runtime."""
        if backend != 'onnxruntime':
            raise ConfigError(
                f'backend: got {backend!r} for bundle {bundle.name} of family sequence, allowed onnxruntime'
            )
        return cls(bundle, open_sequence(bundle, threads, provider))

    def with_settings(self, **changes: Any) -> Self:
        """Return this policy with `seed` or any of `SequenceOptions` changed."""
        seed = changes.pop('seed', self.seed)
        known = [f.name for f in fields(SequenceOptions)]
        unknown = [name for name in changes if name not in known]
        if unknown:
            raise ConfigError(f'options of a sequence model: got {listed(unknown)}, allowed {listed(known)}')
        return type(self)(self.bundle, self.backend, replace(self.options, **changes), seed=seed)

    def calls(self, start: np.ndarray | None = None) -> int:
        """Return how many times the decoder runs for a chunk: once a token."""
        return self.task.pred_horizon * len(self.bundle.sequence.edges)

    def check_continuity(self, continuity: Continuity) -> None:
        """Raise ConfigError unless each chunk is planned by itself."""
        if continuity not in ('none', 'ensemble'):
            raise ConfigError(
                f'continuity: got {continuity!r} for bundle {self.bundle.name} of family sequence, allowed none, '
                'ensemble'
            )

    def next_chunk(self, window: Window, inputs: Inputs, rng: np.random.Generator, past: Past) -> Chunk:
        """Return the chunk for a window of which the encoder takes ``inputs``; DataError if there is an overlap."""
        if past.overlap is not None:
            raise DataError(f'policy {self.bundle.name}: got an overlap, allowed none: a sequence model takes none')
        task, options = self.task, self.options
        cond = self.backend.encode(inputs)
        check_finite(f'policy {self.bundle.name} cond', cond)
        base = window.streams[self._base][-1, self._columns]
        settings = PlanSettings(
            planning=options.planning,
            beams=options.beams,
            temperature=options.temperature,
            asked=options.asked_return - past.gained if options.asked_return else None,
        )
        plan = self._planner.plan(cond, base, self._bounds(window), settings, rng)
        return Chunk(
            stamp=window.stamp,
            control_dt=to_nanoseconds(task.control_dt),
            joints=task.action.joints,
            actions=base + plan.offsets,
            rewards=plan.rewards,
        )

    def _bounds(self, window: Window) -> Bounds:
        """Return where set points may be; what moved between the last two observations is taken to move on so."""
        steps = np.arange(self.task.pred_horizon)[:, None, None]
        seen = [window.streams[disc.stream][:, list(disc.columns)] for disc in self._discs]
        now = np.array([s[-1] for s in seen]).reshape(-1, 2)
        moved = now - np.array([s[-2] if len(s) > 1 else s[-1] for s in seen]).reshape(-1, 2)
        return Bounds(
            centres=now + steps * moved,
            radii=np.array([disc.radius for disc in self._discs]),
            low=self._low,
            high=self._high,
        )
