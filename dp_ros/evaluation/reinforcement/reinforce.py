"""`dp_ros reinforce`: learn from trial and error in a simulated world, and write a bundle.

``dsrl`` steers a bundle's diffusion policy, which stays as it is, by the noise that its sampling begins with: SAC in
the space of that noise (DSRL, Wagenmaker et al. 2025). ``sac`` and ``ppo`` learn a policy of their own, from rewards
alone, with the bundle's observations and normalizer. The algorithms are those of stable-baselines3. Learning that was
ended goes on by the same command, see `checkpoint`.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from dp_ros.evaluation.reinforcement.checkpoint import Checkpoint, model_state, restore_model
from dp_ros.evaluation.reinforcement.environment import DecisionEnv, Kind, Loop, check_bundle
from dp_ros.evaluation.reinforcement.export import write_line_bundle, write_with_noise_actor
from dp_ros.evaluation.reinforcement.learning_curve import TRIALS, LearningCurve
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.networks.noise_actor import Actor
from dp_ros.options import REQUIRED, check_options, like, option
from dp_ros.policy.bundle.bundle import MANIFEST, Bundle
from dp_ros.policy.bundle.files import sha256
from dp_ros.policy.bundle.manifest import check_target
from dp_ros.training.distributed import interruptible

Method = Literal['dsrl', 'sac', 'ppo']
CLOCKS: dict[str, Callable[[], float]] = {
    'training_seconds': time.perf_counter,
    'processor_seconds': time.process_time,
}


@dataclass(frozen=True, kw_only=True)
class ReinforceSettings:
    """How to learn: steer the bundle's policy, or a policy of its own with the bundle's observations."""

    # fmt: off
    bundle: Path
    out: Path = option(REQUIRED, 'folder to write: a bundle')
    world: str
    method: Method = option(
        'dsrl', 'dsrl: choose the noise that the policy samples from; sac, ppo: a policy of its own, with the '
        "bundle's observations and normalizer"
    )
    steps: int = option(10_000, 'decisions to learn from', low=1, high=100_000_000)
    envs: int = option(8, 'episodes that run side by side', low=1, high=256)
    workers: int = option(1, 'more than 1: each in a process of its own', low=1, high=256)
    seed: int = like(EvaluationSettings, 'seed', 3_000_000, 'seed of the first episode, and of what is drawn')
    exec_horizon: int = option(0, "control steps between decisions; 0: the bundle's", low=0, high=1000)
    sampling_steps: int = option(4, 'dsrl: network calls of a chunk', low=1, high=1000)
    bound: float = option(1.5, 'dsrl: largest noise, in standard deviations', low=0.1, high=5.0)
    speed: float = option(
        0.7, 'sac, ppo: of a joint at most [rad/s or m/s]; how far a decision reaches', low=0.01, high=10.0
    )
    discount: float = option(0.9, 'how much less a reward is worth a second later', low=0.1, high=0.9999)
    entropy: float = option(0.02, "dsrl, sac: weight of the actions' entropy at first", low=1e-4, high=10.0)
    width: int = option(64, 'of the hidden layers', low=8, high=4096)
    layers: int = option(2, 'hidden layers', low=1, high=8)
    learning_rate: float = option(1e-3, 'of Adam', low=1e-6, high=1e-1)
    seconds: float = like(EvaluationSettings, 'seconds', 12.0)
    loop: Loop = option(
        'light', 'episodes to learn from: light, without planner and controller; full, as evaluations run them, at a '
        'tenth of the speed'
    )
    overwrite: bool = option(False, 'replace a bundle that is there')
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def kind(self) -> Kind:
        """What an action is."""
        return 'noise' if self.method == 'dsrl' else 'line'

    @property
    def evaluation(self) -> EvaluationSettings:
        """How episodes run."""
        return EvaluationSettings(
            bundle=self.bundle,
            world=self.world,
            seed=self.seed,
            seconds=self.seconds,
            threads=1,
            exec_horizon=self.exec_horizon or None,
            sampling_steps=self.sampling_steps if self.kind == 'noise' else None,
        )

    def first_seed(self, number: int) -> int:
        """Return the first seed of the environment ``number`` of those that run side by side."""
        return self.seed + number * 1_000_000

    def environment(self, seed: int) -> DecisionEnv:
        """Return an environment whose first episode has ``seed``."""
        return DecisionEnv(
            self.evaluation,
            kind=self.kind,
            bound=self.bound,
            speed=self.speed,
            seed=seed,
            loop=self.loop,
        )


class Learning:
    """Environments, algorithm of stable-baselines3 (``model``) and curve: anew, or from the checkpoint."""

    def __init__(self, settings: ReinforceSettings, checkpoint: Checkpoint) -> None:
        from stable_baselines3.common.utils import set_random_seed
        from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecMonitor

        saved = checkpoint.read()
        seeds = saved['seeds'] if saved else [settings.first_seed(number) for number in range(settings.envs)]
        make: list[Any] = [partial(_environment, settings, seed) for seed in seeds]
        self._environments = VecMonitor((SubprocVecEnv if settings.workers > 1 else DummyVecEnv)(make))
        # Not as the model's seed: that is given to the first episodes too, and so all environments would have the same.
        set_random_seed((settings.seed + (saved['model']['decisions'] if saved else 0)) % 2**31)
        self._environments.action_space.seed(settings.seed % 2**31)
        decision_seconds = self._environments.get_attr('decision_seconds')[0]
        self.model = _model(settings, self._environments, settings.discount**decision_seconds)
        trials = settings.first_seed(settings.envs)
        self.curve = LearningCurve(settings.steps, settings.method, settings.environment(trials), trials)
        self._checkpoint, self._steps = checkpoint, settings.steps
        self._before = {name: 0.0 for name in CLOCKS}
        if saved:
            restore_model(self.model, saved['model'])
            self.curve.restore(self.model.num_timesteps, saved['curve'], actor_of(self.model))
            self._before = saved['seconds']
        self._began = {name: clock() for name, clock in CLOCKS.items()}

    def seconds(self) -> dict[str, float]:
        """Return what learning has taken so far, before the checkpoint too [s]."""
        return {name: round(self._before[name] + clock() - self._began[name], 1) for name, clock in CLOCKS.items()}

    def run(self) -> bool:
        """Learn; return whether it came to its end, or was interrupted."""
        with interruptible() as interrupted, self.curve.bar:
            self.model.learn(
                self._steps - self.model.num_timesteps,
                callback=self.curve.callback(interrupted, actor_of, self._keep),
                reset_num_timesteps=False,
            )
            self._environments.close()
            if not self.curve.rows or self.curve.rows[-1]['step'] < self.model.num_timesteps:
                self.curve.look(self.model.num_timesteps, actor_of(self.model))
        return bool(self.model.num_timesteps >= self._steps)

    def _keep(self) -> None:
        seeds = self._environments.get_attr('next_seed')
        learnt = {'model': model_state(self.model), 'curve': self.curve.state()}
        self._checkpoint.write({**learnt, 'seeds': seeds, 'seconds': self.seconds()})


def run_reinforce(settings: ReinforceSettings, say: Callable[[str], None]) -> int:
    """Learn, and write the bundle; return the exit code."""
    import stable_baselines3

    source = settings.evaluation.load()
    check_bundle(source, settings.kind)
    check_target(settings.out, settings.overwrite)
    bundle_sha256 = sha256(source.folder / MANIFEST)
    checkpoint = Checkpoint(settings, bundle_sha256)
    learning = Learning(settings, checkpoint)
    model, curve = learning.model, learning.curve
    if model.num_timesteps:
        say(f'goes on after {model.num_timesteps} decisions and {curve.episodes} episodes: {checkpoint.path}')
    finished = learning.run()
    if not finished:
        say(f'interrupted after {model.num_timesteps} decisions; what was learnt by then is written')
    record = {
        **{name: value for name, value in asdict(settings).items() if name not in ('bundle', 'out', 'overwrite')},
        'policy': source.name,
        'bundle_sha256': bundle_sha256,
        'stable_baselines3': stable_baselines3.__version__,
        'steps': model.num_timesteps,
        'episodes': curve.episodes,
        **learning.seconds(),
        'curve': curve.rows,
    }
    assert curve.best is not None  # there was a look at the end
    written = _write(settings, source, curve.best, record)
    if finished:
        checkpoint.remove()
    elif checkpoint.path.is_file():
        say(f'the same command with --overwrite goes on from {checkpoint.path}')
    best = max(row['trial_success'] for row in curve.rows)
    say(
        f'{written.folder}: {settings.method}, {curve.episodes} episodes; '
        f'without exploring it succeeded in {best:.0%} of {TRIALS} others'
    )
    return 0


def _environment(settings: ReinforceSettings, seed: int) -> DecisionEnv:
    """Return an environment from ``seed`` on; Ctrl-C is for the process that learns, which ends theirs."""
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return settings.environment(seed)


def _model(settings: ReinforceSettings, environments: Any, gamma: float) -> Any:
    """Return the algorithm of stable-baselines3."""
    from stable_baselines3 import PPO, SAC

    layers = [settings.width] * settings.layers
    common: dict[str, Any] = {
        'gamma': gamma,
        'learning_rate': settings.learning_rate,
        'device': 'cpu',
    }
    if settings.method == 'ppo':
        rollout = min(max(64, 1024 // settings.envs), max(2, settings.steps // settings.envs))
        return PPO(
            'MlpPolicy',
            environments,
            n_steps=rollout,
            batch_size=min(256, rollout * settings.envs),
            n_epochs=8,
            ent_coef=0.0,
            policy_kwargs={'net_arch': layers, 'activation_fn': nn.Tanh, 'log_std_init': -1.0},
            **common,
        )
    return SAC(
        'MlpPolicy',
        environments,
        learning_starts=min(500, settings.steps // 2),
        batch_size=128,
        buffer_size=200_000,
        train_freq=1,
        gradient_steps=settings.envs,  # one for each decision
        # An episode's rewards add up to 2 at most: beside the usual first weight, 1, they are not seen for long.
        ent_coef=f'auto_{settings.entropy}',
        # The noise of a chunk has many dimensions that hardly matter: exploring all of them as much as SAC would by
        # itself leaves the actor at random noise.
        target_entropy='auto' if settings.kind == 'line' else 0.0,
        policy_kwargs={'net_arch': layers},
        **common,
    )


def actor_of(model: Any) -> Actor:
    """Return the actor of a model as a network of its own, in evaluation mode."""
    policy = model.policy
    squashed = hasattr(policy, 'actor')  # SAC's
    body, head = (
        (policy.actor.latent_pi, policy.actor.mu)
        if squashed
        else (
            policy.mlp_extractor.policy_net,
            policy.action_net,
        )
    )
    linear = [layer for layer in [*body, head] if isinstance(layer, nn.Linear)]
    widths = [linear[0].in_features, *(layer.out_features for layer in linear)]
    actor = Actor(widths, type(body[1]), squashed=squashed)
    own = [layer for layer in actor.layers if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for mine, learnt in zip(own, linear, strict=True):
            mine.weight.copy_(learnt.weight)
            mine.bias.copy_(learnt.bias)
    return actor.eval()


def _write(settings: ReinforceSettings, source: Bundle, actor: Actor, record: dict[str, Any]) -> Bundle:
    settings.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    if settings.kind == 'line':
        executed = settings.evaluation.exec_horizon or source.task.exec_horizon
        return write_line_bundle(
            source,
            settings.out,
            actor,
            speed=settings.speed,
            exec_horizon=executed,
            record=record,
            overwrite=settings.overwrite,
        )
    if settings.evaluation.exec_horizon:
        source = replace(source, task=replace(source.task, exec_horizon=settings.evaluation.exec_horizon))
    return write_with_noise_actor(
        source,
        settings.out,
        actor,
        bound=settings.bound,
        defaults=replace(source.defaults, sampling_steps=settings.sampling_steps),
        record=record,
        overwrite=settings.overwrite,
    )
