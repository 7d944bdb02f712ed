"""The policy: a window of observations in, a chunk of actions out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, get_args

import numpy as np

from dp_ros.data import MOST_ALTERNATIVES, Chunk, Goal, Window, to_nanoseconds
from dp_ros.diffusion.coefficients import coefficients_for
from dp_ros.diffusion.samplers import Sampler, SamplerSettings, sample
from dp_ros.errors import ConfigError, DataError, check_finite, check_range, check_shape
from dp_ros.options import option
from dp_ros.policy.backends.providers import ProviderName
from dp_ros.policy.backends.sessions import MOST_THREADS, Backend, BackendName, open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.parity import noise_inputs, state_of
from dp_ros.policy.continuity import Continuity, Overlap, check_continuity
from dp_ros.policy.goal_inputs import NO_GOAL, goal_inputs, guided_inputs
from dp_ros.policy.normalizer import ACTION, action_base
from dp_ros.policy.protocol import Inputs, Past, Policy
from dp_ros.policy.turns import turned_actions

MOST_GUIDANCE = 20.0
MOST_SAMPLES = 64
OWN = ('guidance_scale', 'samples', 'alternatives', 'seed')
"""Settings of a policy that are not its sampler's."""
NEARER = 0.5
"""How much less each step of a chunk counts than the one before it, where it is compared with the last chunk."""


# fmt: off
@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How the policy_executor makes chunks of a bundle; an evaluation takes the same."""

    backend: BackendName = option(
        'onnxruntime', 'What runs the networks; torchscript needs torch, and a bundle exported with it.'
    )
    threads: int = option(
        1, 'Threads of one network call; 0: measured when configured, the fewest unless more are much faster.',
        low=0, high=MOST_THREADS,
    )
    sampler: Sampler | str = option(
        '', "How noise becomes actions; empty: the bundle's own.", choices=('', *get_args(Sampler)), live=True
    )
    sampling_steps: int = option(
        0, "Network calls per chunk, up to the bundle's diffusion_steps; 0: the bundle's own.",
        low=0, high=1000, live=True,
    )
    warm_steps: int = option(
        0, 'Network calls for a chunk that starts from the last one instead of from noise, up to sampling_steps; 0: '
        'every chunk starts from noise.', low=0, high=1000, live=True,
    )
    samples: int = option(
        1, "Chunks drawn at once, of which one is taken: by the bundle's critic, or without one, or far from success, "
        'the one that begins most like the last chunk goes on; each network call costs more.',
        low=1, high=MOST_SAMPLES,
    )
    alternatives: int = option(
        0, 'How many of the other samples go along with the chunk, the best first, fewer than samples: where an '
        'obstacle of scene_file is in the way of the chunk, the trajectory_publisher takes the first that is clear.',
        low=0, high=MOST_ALTERNATIVES,
    )
    guidance_scale: float = option(
        1.0, 'How far chunks are drawn towards the goal, or the observation, as the bundle was trained to be guided; '
        '1: as it was trained. Anything else doubles the work of a network call.',
        low=0.0, high=MOST_GUIDANCE, live=True,
    )
    exec_horizon: int = option(
        0, "Control steps from one chunk to the next; 0: the bundle's own.", low=0, high=1000, live=True
    )
    continuity: Continuity = option(
        'none', 'How a chunk goes on from the last one. none: each is a sample of its own; rtc: the steps executed '
        'while predicting are fixed in the sampler, or given to a network trained with a clean prefix, and those after '
        'them drawn towards the last chunk; prefix: given alone, and demanded; ensemble: averaged.', live=True,
    )
# fmt: on


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampled:
    """Normalized actions (N, P, A), best first, and velocities as `ScheduleSpec.joint_velocities` has them, or None."""

    actions: np.ndarray
    velocities: np.ndarray | None = None


class DiffusionPolicy(Policy):
    """Samples chunks with a bundle's networks. Immutable: `with_settings` returns another that shares the networks.

    In Python it is mostly made by `dp_ros.Policy.load`.

    Parameters
    ----------
    bundle
        Says what goes in and out.
    backend
        Runs the bundle's networks.
    settings
        How to sample; the bundle's own if None.
    guidance_scale, samples, alternatives
        As in `SamplingOptions`. Guidance is Ho and Salimans' of 2022 (equation 6, w + 1 there), and needs a bundle that
        was trained for it. A bundle's noise actor chooses the noise of the first sample, its critic the highest value,
        as far as it tells them apart (see `Bundle`). Without that, backward coherence chooses (bidirectional decoding,
        Liu et al. 2024), and without a last chunk the first is taken. The others are `Chunk.alternatives`.
    seed
        What `chunk` draws noise by where it is given no generator.

    All of them are attributes, too.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        settings: SamplerSettings | None = None,
        *,
        guidance_scale: float = 1.0,
        samples: int = 1,
        alternatives: int = 0,
        seed: int = 0,
    ) -> None:
        most = MOST_SAMPLES if bundle.schedule.noisy else 1
        check_range(f'samples for schedule {bundle.schedule.name!r}', samples, 1, most)
        check_range(f'alternatives with samples {samples}', alternatives, 0, min(samples - 1, MOST_ALTERNATIVES))
        check_range('guidance_scale', guidance_scale, 0.0, MOST_GUIDANCE)
        if guidance_scale != 1.0 and not bundle.task.guidance:
            raise ConfigError(
                f'guidance_scale: got {guidance_scale}, allowed 1 for bundle {bundle.name}, '
                'which was trained without guidance'
            )
        super().__init__(bundle, seed=seed)
        self.guidance_scale, self.samples, self.alternatives = guidance_scale, samples, alternatives
        self.settings = settings or bundle.defaults
        self.backend = backend
        coefficients_for(bundle.schedule, self.settings)  # refuses what the bundle can't

    @classmethod
    def open(cls, bundle: Bundle, backend: BackendName, threads: int, provider: ProviderName) -> Self:
        """Open a bundle's networks, with the settings that are its own."""
        return cls(bundle, open_backend(bundle, backend, threads, provider))

    def with_settings(self, **changes: Any) -> Self:
        """Return this policy with some of `OWN` or of the sampler's settings changed."""
        own = {name: changes.pop(name, getattr(self, name)) for name in OWN}
        return type(self)(self.bundle, self.backend, replace(self.settings, **changes), **own)

    def check_continuity(self, continuity: Continuity) -> None:
        """Raise ConfigError where chunks can't go on from the last one so."""
        check_continuity(continuity, self.bundle.schedule, self.task.continuous)

    def calls(self, start: np.ndarray | None = None) -> int:
        """Return how many network calls a chunk takes, with a ``start`` or without."""
        warm = self.settings.warm_steps
        return warm if warm and start is not None else self.settings.sampling_steps

    def next_chunk(self, window: Window, inputs: Inputs, rng: np.random.Generator, past: Past) -> Chunk:
        """Return the chunk for a window, `unwrapped`, of which the encoder takes ``inputs``."""
        task, normalizer, overlap, start = self.bundle.task, self.bundle.normalizer, past.overlap, past.start
        base = action_base(task, window.streams)
        if overlap is not None:
            overlap = replace(overlap, actions=self._as_learnt(overlap.actions, window, base))
        if start is not None:
            start = self._as_learnt(start, window, base)
        sampled, chunks = self.sample(inputs, rng, overlap, start), []
        for number, normalized in enumerate(sampled.actions):
            actions = normalizer.denormalize(ACTION, normalized)
            if base is not None:
                actions = actions + base[-1]
            velocities = None
            if sampled.velocities is not None:
                change = normalizer.denormalize_change(ACTION, sampled.velocities[number])
                velocities = change / (task.pred_horizon * task.control_dt)
            chunks.append(
                Chunk(
                    stamp=window.stamp,
                    control_dt=to_nanoseconds(task.control_dt),
                    joints=task.action.joints,
                    actions=actions,
                    velocities=velocities,
                )
            )
        return replace(chunks[0], alternatives=tuple(chunks[1:])) if self.alternatives else chunks[0]

    def _as_learnt(self, actions: np.ndarray, window: Window, base: np.ndarray | None) -> np.ndarray:
        """Return set points (P, A) as the network has them, before normalization; ``window`` is unwrapped."""
        turned = turned_actions(self.task, self.middles, actions, window.streams)
        return turned if base is None else turned - base[-1]

    def sample(
        self,
        inputs: Mapping[str, np.ndarray],
        rng: np.random.Generator,
        overlap: Overlap | None = None,
        start: np.ndarray | None = None,
    ) -> Sampled:
        """Return the chunk and `alternatives`, normalized, for normalized streams and goals, each (1, ...) float32.

        The actions of ``overlap`` and ``start`` count from where the network's do: see `ActionSpec.relative`.
        """
        cond, actions, velocities = self._draw(inputs, rng, overlap, start)
        kept = self._ranked(cond, inputs, actions, self._last(start))[: 1 + self.alternatives]
        return Sampled(actions=actions[kept], velocities=None if velocities is None else velocities[kept])

    def proposals(
        self, window: Window, rng: np.random.Generator, goal: Goal | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the encoder's output (1, D) and all samples of a window, of which none is picked, (N, P, A).

        They are set points, normalized; those of relative actions are on the same scale.
        """
        task, normalizer, window = self.bundle.task, self.bundle.normalizer, self.unwrapped(window)
        cond, actions, _ = self._draw(
            self.inputs(window) | goal_inputs(task, normalizer, goal or NO_GOAL), rng, None, None
        )
        base = action_base(task, window.streams)
        if base is not None:
            actions = normalizer.normalize(ACTION, normalizer.denormalize(ACTION, actions) + base[-1])
        return cond[:1], actions

    def _draw(
        self,
        inputs: Mapping[str, np.ndarray],
        rng: np.random.Generator,
        overlap: Overlap | None,
        start: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return cond (N, D), actions (N, P, A) and, where the network gives them, their velocities."""
        task, scale = self.bundle.task, self.guidance_scale
        if task.guidance:
            inputs = guided_inputs(inputs, [1.0] if scale == 1.0 else [1.0, 0.0])
        cond = self.backend.encode(inputs)
        check_finite(f'policy {self.bundle.name} cond', cond)
        cond = np.repeat(cond, self.samples, axis=0)
        noise = self._noise(cond, inputs, rng)
        target, weights, prefix = self._overlapped(overlap)
        velocities: np.ndarray | None = None  # of the newest prediction

        def predict(x_k: np.ndarray, k: int) -> np.ndarray:
            nonlocal velocities
            if prefix is not None:
                mask_channels = np.repeat(prefix, len(x_k), axis=0)
                x_k = np.concatenate((np.where(prefix, target, x_k), mask_channels), axis=-1)
            batch = x_k if scale == 1.0 else np.concatenate((x_k, x_k))
            prediction = self.backend.predict(batch, np.full(len(cond), k, dtype=np.int64), cond)
            # Here, before x_0 is clipped: that would make an infinity look like an action.
            check_finite(f'policy {self.bundle.name} prediction at k = {k}', prediction)
            if scale != 1.0:
                asked, free = np.split(prediction, 2)
                prediction = free + np.float32(scale) * (asked - free)
            if self.bundle.schedule.joint_velocities:
                prediction, velocities = np.split(prediction, 2, axis=-1)
            return prediction

        last = self._last(start)
        begin = last if self.settings.warm_steps else None
        table = coefficients_for(
            self.bundle.schedule, self.settings, steered=overlap is not None, warm=begin is not None
        )
        steer = None if overlap is None else lambda x_0: x_0 + weights * (target - x_0)
        actions = sample(table, predict, noise, rng, steer=steer, start=begin)
        if velocities is not None and overlap is not None:
            # What is drawn towards the last chunk moves as that does: the network knows only what it was given.
            moved = np.gradient(target, axis=1) * np.float32(task.pred_horizon)
            velocities = velocities + weights * (moved - velocities)
        return cond, actions, velocities

    def _noise(self, cond: np.ndarray, inputs: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """Return what sampling begins with (N, P, A): drawn; the first is a noise actor's where there is one."""
        task = self.bundle.task
        shape = (self.samples, task.pred_horizon, len(task.action.joints))
        if not self.bundle.schedule.noisy:
            return np.zeros(shape, dtype=np.float32)
        noise = rng.standard_normal(shape, dtype=np.float32)
        if self.bundle.has_noise_actor:
            # With guidance there are two of each input, the one that is asked for first.
            one = {name: values[:1] for name, values in noise_inputs(task, inputs, cond).items()}
            noise[:1] = self.backend.noise(one)
            check_finite(f'policy {self.bundle.name} noise', noise)
        return noise

    def _ranked(
        self, cond: np.ndarray, inputs: Mapping[str, np.ndarray], actions: np.ndarray, last: np.ndarray | None
    ) -> np.ndarray:
        """Return the places (N,) of samples (N, P, A) in the order in which they are taken."""
        if len(actions) > 1 and self.bundle.has_critic:
            # With guidance there are two of each, the one that is asked for first.
            state = np.repeat(state_of(self.bundle.task, inputs)[:1], len(actions), axis=0)
            value = self.backend.value(cond[: len(actions)], state, actions)
            check_finite(f'policy {self.bundle.name} value', value)
            if value.mean() >= self.bundle.critic_from:
                return np.argsort(-value, kind='stable')
        return _nearest_first(actions, last)

    def _last(self, start: np.ndarray | None) -> np.ndarray | None:
        """Return the last chunk's actions, normalized (1, P, A)."""
        if start is None or not (self.settings.warm_steps or self.samples > 1):
            return None
        task = self.bundle.task
        check_shape('start', start, (task.pred_horizon, len(task.action.joints)))
        check_finite('start', start)
        last = self.bundle.normalizer.normalize(ACTION, start)[None]
        return last.clip(-1.0, 1.0) if self.bundle.schedule.clip else last

    def _overlapped(self, overlap: Overlap | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return the last chunk (1, P, A), how far an estimate of x_0 is drawn to it, and the prefix, both (1, P, 1).

        The prefix, 1 where an action is given, is None for a network that takes none.
        """
        task, schedule = self.bundle.task, self.bundle.schedule
        steps = np.arange(task.pred_horizon)[None, :, None]
        if overlap is None:
            nothing = np.zeros((1, task.pred_horizon, 1), dtype=np.float32)
            return nothing, nothing, nothing if schedule.mask_channels else None
        if not schedule.noisy:
            raise DataError(f'policy {self.bundle.name}: got an overlap, allowed none: regression samples nothing')
        check_shape('overlap actions', overlap.actions, (task.pred_horizon, len(task.action.joints)))
        target = self.bundle.normalizer.normalize(ACTION, overlap.actions)[None]
        weights = overlap.weights.astype(np.float32)[None, :, None]
        given = (steps < min(overlap.fixed, schedule.prefix_steps)).astype(np.float32)
        return target, weights, given if schedule.mask_channels else None


def _nearest_first(samples: np.ndarray, last: np.ndarray | None) -> np.ndarray:
    """Return the places (N,) of ``samples`` (N, P, A), first what begins most like ``last``; without it, as drawn."""
    if last is None or len(samples) == 1:
        return np.arange(len(samples))
    distance = ((samples - last) ** 2).sum(axis=-1) @ NEARER ** np.arange(samples.shape[1])
    return np.argsort(distance, kind='stable')
