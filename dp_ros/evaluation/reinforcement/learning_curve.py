"""How learning goes: what exploring episodes came to, and from time to time what the actor does without exploring.

The actor that did best of all is what is written in the end: reinforcement forgets, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dp_ros.evaluation.reinforcement.environment import DecisionEnv
from dp_ros.networks.noise_actor import Actor

LOOKS = 20
"""How often the actor is looked at."""
FEWEST = 64
"""Decisions between two looks."""
TRIALS = 25
"""Episodes of a look, the same each time; none of them is learnt from."""
RECENT = 100
"""Exploring episodes whose share of successes is shown and kept."""


@torch.no_grad()
def try_actor(env: DecisionEnv, actor: Actor, first_seed: int, count: int) -> dict[str, float]:
    """Return the shares of successes and collisions, and the mean reward, of episodes without exploration."""
    outcomes = []
    for seed in range(first_seed, first_seed + count):
        observation, _ = env.reset(seed=seed)
        rewards, over = 0.0, False
        while not over:
            action = actor(torch.from_numpy(observation)[None])[0].numpy()
            observation, reward, ended, late, info = env.step(action)
            rewards, over = rewards + reward, ended or late
        outcomes.append((info['success'], info['collided'], rewards))
    means = np.mean(np.array(outcomes, dtype=np.float64), axis=0).tolist()
    return dict(zip(('trial_success', 'trial_collisions', 'trial_reward'), means, strict=True))


class LearningCurve:
    """Takes what comes of each step of learning.

    Parameters
    ----------
    env, first_seed
        Where the actor is looked at, and the first of the seeds for that.

    Attributes
    ----------
    rows
        The curve, one row for each look.
    best
        The actor that did best so far; None before the first look.

    """

    def __init__(self, steps: int, name: str, env: DecisionEnv, first_seed: int) -> None:
        self._every = max(FEWEST, steps // LOOKS)
        self._env, self._first_seed = env, first_seed
        self.bar = tqdm(total=steps, unit='decision', desc=name, dynamic_ncols=True)
        self.rows: list[dict[str, float]] = []
        self.episodes = 0
        self.best: Actor | None = None
        self._reached: tuple[float, ...] = (-1.0, -np.inf)
        self._successes: list[bool] = []
        self._returns: list[float] = []

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on with the curve, as plain values and tensors."""
        assert self.best is not None  # there was a look
        return {
            'rows': self.rows,
            'episodes': self.episodes,
            'best': self.best.state_dict(),
            'reached': list(self._reached),
            'successes': self._successes[-RECENT:],
            'returns': self._returns[-RECENT:],
        }

    def restore(self, done: int, state: Mapping[str, Any], actor: Actor) -> None:
        """Go on after ``done`` decisions from what `state` returned; ``actor`` has the best one's layers."""
        self.rows, self.episodes = list(state['rows']), state['episodes']
        actor.load_state_dict(state['best'])
        self.best, self._reached = actor, tuple(state['reached'])
        self._successes, self._returns = list(state['successes']), list(state['returns'])
        self.bar.initial = self.bar.n = done  # of what was learnt before, its rate says nothing

    def callback(self, interrupted: Callable[[], bool], actor: Callable[[Any], Actor], keep: Callable[[], None]) -> Any:
        """Return what stable-baselines3 calls after each step; it ends learning once that is ``interrupted``.

        After a look, ``keep`` is called as soon as all that was collected has been learnt from.
        """
        from stable_baselines3.common.callbacks import BaseCallback

        curve = self

        class Callback(BaseCallback):
            looked = False

            def _on_rollout_start(self) -> None:
                if self.looked:
                    keep()
                self.looked = False

            def _on_step(self) -> bool:
                if curve.took(self.num_timesteps, self.locals['infos'], self.locals['dones']):
                    curve.look(self.num_timesteps, actor(self.model))
                    self.looked = True
                return not interrupted()

        return Callback()

    def took(self, done: int, infos: list[dict[str, Any]], ended: Any) -> bool:
        """Take one step of all environments; return whether it is time to look."""
        before = self.bar.n
        self.bar.update(done - before)
        for info, over in zip(infos, ended, strict=True):
            if over:
                self.episodes += 1
                self._successes.append(bool(info['success']))
                self._returns.append(float(info['episode']['r']))
        return done // self._every > before // self._every

    def look(self, done: int, actor: Actor) -> None:
        """Try the actor, and keep it if it is the best so far: by success, then by reward."""
        tried = try_actor(self._env, actor, self._first_seed, TRIALS)
        reached = (tried['trial_success'], tried['trial_reward'])
        if reached > self._reached:
            self.best, self._reached = deepcopy(actor), reached
        exploring = {
            'success_rate': float(np.mean(self._successes[-RECENT:])) if self._successes else 0.0,
            'reward': float(np.mean(self._returns[-RECENT:])) if self._returns else 0.0,
        }
        self.rows.append({'step': done, 'episodes': self.episodes, **exploring, **tried})
        self.bar.set_postfix(exploring=f'{exploring["success_rate"]:.0%}', without=f'{tried["trial_success"]:.0%}')
