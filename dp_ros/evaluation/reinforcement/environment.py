"""The loop of an evaluation as a Gymnasium environment: one step is one decision of a policy.

In full episodes alignment, delays, planner, limits and controller are those that policies are scored with; light ones
leave planner and controller out. An observation is what a policy's network is given: the normalized window as one
vector; of a policy with pictures also what its encoder makes of it.

    reward    by how much the score's worth has grown, + 1 for success, - for a collision, which ends it, and - for time
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from dp_ros.data import NANOSECONDS, Chunk, Window, to_nanoseconds
from dp_ros.errors import ConfigError, DataError, check_finite, check_shape
from dp_ros.evaluation.episodes import READING_RATE, DirectRunner, Episode
from dp_ros.evaluation.scores import collided
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.motion.blend import fade_weight
from dp_ros.policy.alignment import tick_at_or_after
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.parity import noise_inputs, sees, state_shapes, state_width
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.simulation.registry import check_world


class LightEpisode(Episode):
    """An episode without planner and controller: several times as fast, and nearly what they make of a chunk.

        u   part of the cross-fade that has passed       w   weight of the chunk, 6 u^5 - 15 u^4 + 10 u^3

    A chunk is a line through its steps. From ``latency`` and the publisher's splice margin after its observation on,
    the set points are ``old + w (new - old)``, with a cross-fade as long as `blend_steps` allows. Left out are the
    publisher's slower way into its first chunk, its shorter cross-fades and curves between steps, limits and checks;
    physics, sensors, alignment and delays are the same. A policy closes the loop over what is left out, as it does on a
    robot.
    """

    def __init__(self, runner: DirectRunner, seed: int) -> None:
        # Of what sensors read between control ticks nothing is ever seen here. Rates are exact to thousandths.
        exact = 1000 * NANOSECONDS % runner.control_dt == 0
        super().__init__(runner, seed, rate=NANOSECONDS / runner.control_dt if exact else READING_RATE)
        joints, step = runner.task.action.joints, self.robot.step_duration
        self._order = [joints.index(joint) for joint in self.robot.world.joints]
        self._margin = runner.latency + self.planner.options.splice_margin
        self._fade = max(self.planner.blend_steps * runner.control_dt, step)
        self._plan = self.robot.set_point[None]  # what is due at the end of each step of the physics from now on
        self._passed = 0

    def advance(self) -> None:
        """Advance to the next control tick: nobody looks before."""
        robot, control_dt = self.robot, self.runner.control_dt
        tick = tick_at_or_after(robot.now + 1, control_dt)
        while robot.now < tick:
            set_point = self._plan[min(self._passed, len(self._plan) - 1)]
            self._passed += 1
            for reading in robot.step(set_point):
                self.sense(reading)

    def answer(self, chunk: Chunk) -> None:
        """Take the chunk that answers the newest window; it counts as late as a policy's would."""
        now, step = self.robot.now, self.robot.step_duration
        due = np.arange(now + step, chunk.due[-1] + step, step)
        actions = chunk.actions[:, self._order]
        new = np.stack([np.interp(due, chunk.due, column) for column in actions.T], axis=1)
        old = self._plan[np.minimum(self._passed + np.arange(len(due)), len(self._plan) - 1)]
        weight = fade_weight(((due - chunk.stamp - self._margin) / self._fade).clip(0.0, 1.0))[:, None]
        self._plan, self._passed = old + weight * (new - old), 0
        self.chunks += 1


Kind = Literal['noise', 'line']
Loop = Literal['light', 'full']
EPISODES: dict[Loop, type[Episode]] = {'light': LightEpisode, 'full': Episode}
COLLISION = 0.5
"""Taken off the reward for a collision, beside the half of the score that it costs."""
STEEP = 8
"""Power of the score in what it is worth."""
TIME_COST = 0.05
"""Taken off the reward for each second."""


class SteeredPolicy(DiffusionPolicy):
    """A policy whose sampling begins with the noise ``given`` (P, A)."""

    given: np.ndarray

    def _noise(self, *_: Any) -> np.ndarray:
        return self.given[None]


class DecisionEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A world behind the loop of an evaluation.

    Actions are numbers from -1 to 1: with the kind ``noise`` P A of them, times ``bound`` the noise that a diffusion
    policy begins with; with ``line`` one for each joint, how far it goes until the next decision, as a share of what it
    could at ``speed``.

    Parameters
    ----------
    settings
        How episodes run: bundle, world, horizon, delay and longest episode, as for an evaluation. Of kind ``line`` only
        task and normalizer of the bundle count.
    kind, bound, speed
        What an action is; the bound in standard deviations, the speed in [rad/s or m/s].
    loop
        ``full``: all that evaluations run; ``light``: without planner and controller, see `LightEpisode`.

    Attributes
    ----------
    decision_seconds
        Robot time from one decision to the next [s].
    next_seed
        Of the episode that `reset` begins next; those after it have the seeds after it.
    window
        What is to be answered next; None when the episode is over.

    Raises
    ------
    ConfigError
        If the bundle can't be learnt with so.

    """

    metadata: dict[str, Any] = {'render_modes': []}  # noqa: RUF012, as Gymnasium has it

    def __init__(
        self,
        settings: EvaluationSettings,
        *,
        kind: Kind,
        bound: float = 1.5,
        speed: float = 1.0,
        seed: int = 0,
        loop: Loop = 'full',
    ) -> None:
        bundle = settings.load()
        check_bundle(bundle, kind)
        check_world(settings.world, bundle.task, f'bundle {bundle.name}')
        self._kind, self._bound, self._speed, self.next_seed = kind, bound, speed, seed
        policy = SteeredPolicy(bundle, open_backend(bundle, threads=settings.threads))
        self._policy = policy.with_settings(**settings.sampler_settings(bundle))
        self._runner = DirectRunner(bundle, self._policy, settings)
        self._begin = EPISODES[loop]
        self._episode: Episode | None = None
        self._windows: Iterator[Window] = iter(())
        self.window: Window | None = None
        self._worth = 0.0
        task = bundle.task
        width = state_width(task) + (bundle.parity().cond.shape[1] if sees(task) else 0)
        joints = len(task.action.joints)
        self.action_space = Box(-1.0, 1.0, (task.pred_horizon * joints if kind == 'noise' else joints,), np.float32)
        self.observation_space = Box(-np.inf, np.inf, (width,), np.float32)
        self.decision_seconds = self._runner.exec_horizon * task.control_dt

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin the next episode, or the one of ``seed``."""
        super().reset(seed=seed)
        if seed is not None:
            self.next_seed = seed
        self._episode = self._begin(self._runner, self.next_seed)
        self.next_seed += 1
        self._windows = self._runner.windows(self._episode)
        self.window = next(self._windows, None)
        if self.window is None:
            raise DataError(f'seed {self.next_seed - 1}: got an episode without an observation, allowed one or more')
        self._worth = worth_of(self._episode.robot.world.progress.score)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Answer the newest window, and go on until the next one is due."""
        episode, window = self._episode, self.window
        if episode is None or window is None:
            raise DataError('step: got it without an episode, allowed after reset')
        check_shape('action', action, self.action_space.shape or ())
        check_finite('action', action)
        before = episode.robot.episode.elapsed
        episode.answer(self.chunk(np.clip(action, -1.0, 1.0), window))
        self.window = next(self._windows, None)
        status, progress = episode.robot.episode, episode.robot.world.progress
        hit = bool(collided(status.details))
        worth = worth_of(1.0 if status.success else progress.score)
        reward = worth - self._worth + status.success - COLLISION * hit - TIME_COST * (status.elapsed - before)
        self._worth = worth
        ended = status.success or hit
        info = {'success': status.success, 'collided': hit, 'seconds': status.elapsed}
        observation = np.zeros(self.observation_space.shape or (), np.float32)
        if self.window is not None:
            observation = self._observe()
        return observation, float(reward), ended, self.window is None and not ended, info

    def _observe(self) -> np.ndarray:
        assert self.window is not None
        policy = self._policy
        inputs = policy.inputs(policy.unwrapped(self.window))
        task = policy.task
        cond = policy.backend.encode(inputs) if sees(task) else np.zeros((1, 0), np.float32)
        return np.concatenate([values[0] for values in noise_inputs(task, inputs, cond).values()])

    def chunk(self, action: np.ndarray, window: Window) -> Chunk:
        """Return what an action, from -1 to 1, means after a window."""
        task = self._policy.task
        if self._kind == 'noise':
            noise = (self._bound * action).reshape(task.pred_horizon, len(task.action.joints))
            self._policy.given = noise.astype(np.float32)
            return self._policy.chunk(window)
        name, columns = task.base_columns()
        here = window.streams[name][-1, list(columns)]
        # There by the next decision; after it, it stays.
        steps = np.minimum(np.arange(1, task.pred_horizon + 1), self._runner.exec_horizon)[:, None]
        actions = here + steps * (task.control_dt * self._speed) * action.astype(np.float64)
        normalizer = self._policy.bundle.normalizer
        # As the exported network's are: within what was shown.
        normalized = normalizer.normalize('action', actions).clip(-1.0, 1.0)
        dt = to_nanoseconds(task.control_dt)
        return Chunk(
            stamp=window.stamp,
            control_dt=dt,
            joints=task.action.joints,
            actions=normalizer.denormalize('action', normalized),
        )


def worth_of(score: float) -> float:
    """Return what a score is worth, 0 to 1: the last tenth as much as a third of all, or nobody would aim for it."""
    return (score + score**STEEP) / 2.0


def check_bundle(bundle: Bundle, kind: Kind) -> None:
    """Raise ConfigError unless reinforcement of this kind can begin with the bundle."""
    task = bundle.task
    if kind == 'noise' and not bundle.schedule.noisy:
        raise ConfigError(f'bundle {bundle.name}: got regression, allowed one that samples: it is steered by noise')
    if task.goals or task.guidance or task.continuous or bundle.schedule.mask_channels:
        raise ConfigError(
            f'bundle {bundle.name}: got goals, guidance, continuous joints or a clean prefix, allowed none of them'
        )
    if kind == 'line':
        if sees(task) or not state_shapes(task):
            raise ConfigError(f'bundle {bundle.name}: got pictures, allowed streams of numbers; dsrl takes pictures')
        if task.action.relative:
            raise ConfigError(f'bundle {bundle.name}: got relative actions, allowed set points')
        task.base_columns()
