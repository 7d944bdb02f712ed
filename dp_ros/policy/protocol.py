"""A policy: a window of observations in, a chunk of actions out, whatever family it is of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np

from dp_ros.data import Chunk, Goal, Window, to_nanoseconds
from dp_ros.errors import DataError, check_shape, listed
from dp_ros.paths import locate
from dp_ros.policy.backends.providers import ProviderName
from dp_ros.policy.backends.sessions import BackendName
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.continuity import Continuity, Overlap
from dp_ros.policy.goal_inputs import NO_GOAL, goal_inputs
from dp_ros.policy.normalizer import normalize_image
from dp_ros.policy.policy_speed import as_shown, at_speed
from dp_ros.policy.turns import middles, turned_streams
from dp_ros.task.spec import ImageStream, TaskSpec

Inputs = Mapping[str, np.ndarray]
"""Arrays for the encoder, by the names of streams and goals: normalized, each (1, ...) float32."""


def blank_window(task: TaskSpec) -> Window:
    """Return a window of zeros: what a policy is warmed up and measured with."""
    streams: dict[str, np.ndarray] = {
        s.name: np.zeros((task.obs_horizon, *s.shape), np.uint8 if isinstance(s, ImageStream) else np.float64)
        for s in task.streams
    }
    return Window(stamps=to_nanoseconds(task.control_dt) * np.arange(1, task.obs_horizon + 1), streams=streams)


class Past(NamedTuple):
    """Hold what a chunk goes on from: see `Policy.chunk`."""

    overlap: Overlap | None
    start: np.ndarray | None
    gained: float


class Policy(ABC):
    """Predicts chunks with a bundle's networks. Immutable: `with_settings` returns another that shares the networks.

    `dp_ros.Policy` is this class; `load` returns the one of the bundle's family.

    Examples
    --------
    >>> from dp_ros import Policy
    >>> policy = Policy.load('models/pusht_image', sampling_steps=4)
    >>> {stream.name: stream.shape for stream in policy.task.streams}
    {'joint_states': (2,), 'camera': (96, 96, 3)}
    >>> chunk = policy.chunk(policy.blank_window())
    >>> chunk.actions.shape == (policy.task.pred_horizon, len(chunk.joints))
    True

    Parameters
    ----------
    bundle
        Says what goes in and out.
    seed
        What `chunk` draws by where it is given no generator.

    """

    def __init__(self, bundle: Bundle, *, seed: int = 0) -> None:
        self.bundle, self.seed = bundle, seed
        self.middles = middles(bundle.task, bundle.normalizer)

    @classmethod
    def load(
        cls,
        bundle: Path | str,
        *,
        policy_speed: float = 1.0,
        backend: BackendName = 'onnxruntime',
        provider: ProviderName = 'cpu',
        threads: int = 1,
        **settings: Any,
    ) -> Self:
        """Load a bundle and its networks, and replay what was recorded at export.

        Parameters
        ----------
        bundle
            Its folder, or a shipped one as ``models/pusht_image``.
        policy_speed
            How many times as fast as it was shown the policy is played; divides ``task.control_dt``.
        backend, provider, threads
            What runs the networks, 1 to 64 threads.
        settings
            What `with_settings` of the family takes; the bundle's own where it is None: see
            `dp_ros.policy.policy.DiffusionPolicy` and `dp_ros.policy.sequence.policy.SequencePolicy`.

        Raises
        ------
        ConfigError
            If there is no such folder, or a setting is out of the bundle's range.
        BundleError
            If the bundle is incomplete or altered, or its networks do not give what was recorded.

        """
        loaded = at_speed(load_bundle(locate(bundle)), policy_speed)
        # This class itself is of no family, and gives the policy of the bundle's.
        kind = cast('type[Self]', _family(loaded.family)) if cls is Policy else cls
        given = {name: value for name, value in settings.items() if value is not None}
        return kind.open(loaded, backend, threads, provider).with_settings(**given)

    @classmethod
    @abstractmethod
    def open(cls, bundle: Bundle, backend: BackendName, threads: int, provider: ProviderName) -> Self:
        """Open a bundle's networks, with the settings that are its own."""

    @abstractmethod
    def with_settings(self, **changes: Any) -> Self:
        """Return this policy with some of its family's settings changed, or its `seed`."""

    @abstractmethod
    def calls(self, start: np.ndarray | None = None) -> int:
        """Return how many network calls a chunk takes, with a ``start`` or without."""

    @abstractmethod
    def check_continuity(self, continuity: Continuity) -> None:
        """Raise ConfigError where chunks can't go on from the last one so."""

    @abstractmethod
    def next_chunk(self, window: Window, inputs: Inputs, rng: np.random.Generator, past: Past) -> Chunk:
        """Return the chunk for a window, `unwrapped`, of which the encoder takes ``inputs``."""

    def chunk(
        self,
        window: Window,
        rng: np.random.Generator | None = None,
        overlap: Overlap | None = None,
        goal: Goal | None = None,
        start: np.ndarray | None = None,
        *,
        gained: float = 0.0,
    ) -> Chunk:
        """Return a chunk of actions (P, A) [rad or m] whose first is due at the window's stamp.

        Parameters
        ----------
        window
            The newest observations.
        rng
            Draws noise, or actions; without it a new one from ``seed`` does, so that the same window gives the same
            chunk.
        overlap
            Of the chunk before, which this one goes on from: see `dp_ros.policy.continuity`.
        goal
            What is asked for, where the task has goals.
        start
            Actions (P, A) [rad or m] that the chunk before says. With ``warm_steps``, a diffusion policy's sampling
            begins there; without a critic's choice, of several ``samples`` it takes the nearest to those. A sequence
            model plans each chunk by itself, whatever they are.
        gained
            What the run's chunks before are predicted to have gained, see `Chunk.rewards`. A sequence model takes it
            off the return asked for; to a diffusion policy it makes no difference.

        Raises
        ------
        DataError
            If window or goal are not of the bundle's task, there is an overlap and the policy takes none, or a network
            gave a number that is not finite.

        """
        window = self.unwrapped(window)
        inputs = self.inputs(window) | goal_inputs(self.bundle.task, self.bundle.normalizer, goal or NO_GOAL)
        rng = np.random.default_rng(self.seed) if rng is None else rng
        return self.next_chunk(window, inputs, rng, Past(overlap, start, gained))

    @property
    def task(self) -> TaskSpec:
        """Streams, joints, units, horizons and ``control_dt`` [s]."""
        return self.bundle.task

    def window(self, **streams: Any) -> Window:
        """Return the observations as `chunk` takes them, their stamps ``control_dt`` apart, the first at 0.

        Parameters
        ----------
        streams
            By stream name, oldest first, ``obs_horizon`` T of them: numbers (T, C) in the stream's units, images
            (T, H, W, 3) uint8 RGB.

        Raises
        ------
        DataError
            If a stream is missing or not the task's, or of another shape or type, or not finite.

        """
        images = {s.name for s in self.task.streams if isinstance(s, ImageStream)}
        arrays = {name: np.asarray(v) if name in images else _numbers(name, v) for name, v in streams.items()}
        check_streams(self.task, arrays)
        return Window(stamps=to_nanoseconds(self.task.control_dt) * np.arange(self.task.obs_horizon), streams=arrays)

    def blank_window(self) -> Window:
        """Return a window of zeros."""
        return blank_window(self.task)

    def unwrapped(self, window: Window) -> Window:
        """Return a window as it was learnt: with continuous joints in the turn that the policy knows."""
        if not self.task.continuous:
            return window
        check_streams(self.task, window.streams)
        return replace(window, streams=turned_streams(self.task, self.middles, window.streams))

    def inputs(self, window: Window) -> dict[str, np.ndarray]:
        """Return the streams of a window as the encoder takes them: normalized, (1, O, ...) by name."""
        task = self.bundle.task
        check_streams(task, window.streams)
        inputs = {}
        for stream in task.streams:
            values = window.streams[stream.name]
            if isinstance(stream, ImageStream):
                normalized = normalize_image(values)
            else:
                shown = as_shown(stream, values, self.bundle.policy_speed)
                normalized = self.bundle.normalizer.normalize(stream.name, shown)
            inputs[stream.name] = np.ascontiguousarray(normalized[None])
        return inputs


def check_streams(task: TaskSpec, streams: Mapping[str, np.ndarray]) -> None:
    """Raise DataError unless a window's streams are the task's, in shape and type."""
    names = [s.name for s in task.streams]
    if set(streams) != set(names):
        raise DataError(f'window streams: got {listed(sorted(streams))}, allowed {listed(sorted(names))}')
    for stream in task.streams:
        values = streams[stream.name]
        check_shape(f'window stream {stream.name!r}', values, (task.obs_horizon, *stream.shape))
        dtype = np.dtype(np.uint8 if isinstance(stream, ImageStream) else np.float64)
        if values.dtype != dtype:
            raise DataError(f'window stream {stream.name!r}: got {values.dtype}, allowed {dtype}')


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f'window stream {name!r}: got {error}, allowed numbers') from error


def open_policy(
    bundle: Bundle, backend: BackendName = 'onnxruntime', threads: int = 1, provider: ProviderName = 'cpu'
) -> Policy:
    """Open a bundle's networks, with the settings that are its own."""
    return _family(bundle.family).open(bundle, backend, threads, provider)


def _family(name: str) -> type[Policy]:
    """Return the class of a family's policies."""
    from dp_ros.policy.policy import DiffusionPolicy
    from dp_ros.policy.sequence.policy import SequencePolicy

    families: dict[str, type[Policy]] = {'diffusion': DiffusionPolicy, 'sequence': SequencePolicy}
    return families[name]
