"""What to evaluate, and how."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from dp_ros.diffusion.samplers import Sampler
from dp_ros.errors import ConfigError, listed
from dp_ros.evaluation.workers.workers import check_workers
from dp_ros.options import check_options, like, option
from dp_ros.policy.backends.sessions import MOST_THREADS, BackendName
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.continuity import Continuity, check_start
from dp_ros.policy.node_options import BundleOptions, RealtimeOptions
from dp_ros.policy.policy import SamplingOptions
from dp_ros.policy.policy_speed import at_speed
from dp_ros.policy.sequence.options import Planning, SequenceOptions
from dp_ros.simulation.instructions import Words
from dp_ros.simulation.worlds import DEFAULT_WORLD
from dp_ros.task.spec import TaskSpec

CAMERA_RATE = 10.0  # [Hz]
MOST_SEED = 2**31 - 1
SEQUENCE_ONLY = ('planning', 'asked_return', 'beams', 'temperature', 'keep_clear', 'keep_within')
DIFFUSION_ONLY = ('sampler', 'sampling_steps', 'warm_steps', 'samples', 'guidance_scale')
# And what they are when not asked for.
NODES_ONLY = {'composed': False, 'realtime_priority': 0, 'cpu_dma_latency': -1, 'picture_size': ''}


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What to evaluate, and how: a bundle in a world. What is None is the bundle's own, or the world's."""

    # fmt: off
    bundle: Path
    world: str = DEFAULT_WORLD
    episodes: int = option(100, 'episodes, on consecutive seeds', low=1, high=100_000)
    seed: int = option(100_000, 'seed of the first episode', low=0, high=MOST_SEED)
    fault: str = option(
        '', 'what is made wrong in the world, as camera_darker or friction_halved: those of dp_ros monitor --study; '
        'direct only',
    )
    noise_seed: int = option(
        0, 'of what the policy samples from: with another, the same episodes have other chunks', low=0, high=MOST_SEED
    )
    through: Literal['direct', 'ros'] = option(
        'direct', 'direct: in this process; ros: the node processes over DDS'
    )
    policy_speed: float = like(
        BundleOptions, 'policy_speed', 1.0, 'how many times as fast as it was shown the policy is played'
    )
    sampler: Sampler | None = option(None, "instead of the bundle's")
    sampling_steps: int | None = option(None, "instead of the bundle's", low=1, high=1000)
    warm_steps: int = like(
        SamplingOptions, 'warm_steps', 0, 'network calls of a chunk that starts from the last one, 0 for none'
    )
    samples: int = like(SamplingOptions, 'samples', 1, 'chunks drawn at once, of which one is taken')
    exec_horizon: int | None = option(None, "instead of the bundle's", low=1, high=1000)
    guidance_scale: float | None = like(
        SamplingOptions, 'guidance_scale', None, 'of a bundle trained with guidance'
    )
    planning: Planning | None = like(
        SequenceOptions, 'planning', None, 'after the return asked for, by predicted return, or by likelihood'
    )
    asked_return: float | None = like(
        SequenceOptions, 'asked_return', None, 'of an episode; 0: the best it finds plausible'
    )
    beams: int | None = like(SequenceOptions, 'beams', None, 'sequences that go on, with beam or likelihood')
    temperature: float | None = like(SequenceOptions, 'temperature', None, 'of actions; 0: always the likeliest')
    keep_clear: tuple[str, ...] | None = option(None, 'discs that no set point comes into')
    keep_within: tuple[str, ...] | None = option(None, 'ranges that no set point leaves')
    continuity: Continuity = option('none', 'how a chunk goes on from the last one')
    blend_steps: int | None = option(
        None, "of the publisher's cross-fade, 0 for none; without it, the world's", low=0, high=100
    )
    latency: float = option(
        0.05, 'time from observation to command; direct only', unit='s', low=0.0, high=10.0
    )
    delay: int | None = option(None, 'the same in control steps, instead', low=0, high=1000)
    composed: bool = option(False, "the policy's three nodes in one process; ros only")
    realtime_priority: int = like(
        RealtimeOptions, 'realtime_priority', 0,
        'SCHED_FIFO priority of the three nodes, where it is permitted; ros only',
    )
    cpu_dma_latency: int = like(
        RealtimeOptions, 'cpu_dma_latency', -1,
        'longest that a processor may take to wake up, where it is permitted; -1 for any; ros only',
    )
    picture_size: str = option(
        '', "WIDTHxHEIGHT, of which the first camera's pictures are sent, for what larger ones cost; the policy takes "
        'their middle; ros only',
    )
    rate: float = option(1.0, 'speed of simulated time; 1 is real time; ros only', low=0.01, high=100.0)
    threads: int = option(2, 'threads of one network call', low=1, high=MOST_THREADS)
    backend: BackendName = option('onnxruntime', 'runtime')
    seconds: float = option(30.0, 'longest episode', unit='s', low=1.0, high=3600.0)
    instructions: Words = option(
        'phrasings', "of a policy that is asked in words: those that it was trained with, or the world's own, which no "
        'training has',
    )
    workers: int = option(
        1, 'processes that share the episodes; with several, chunks take longer than they would alone; direct only',
        low=1, high=256,
    )
    ray: str = option('', 'a Ray cluster that plays them, as 10.0.0.1:6379 (extra: cluster); direct only')
    record: Path | None = option(
        None, 'write recordings of the episodes that succeed into this new folder; direct only'
    )
    record_camera: bool = option(False, "with --record: the world's cameras too, for a policy that will see")
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        check_workers(self.workers, self.ray, self.through)
        for name, usual in NODES_ONLY.items():
            if getattr(self, name) != usual and self.through == 'direct':
                raise ConfigError(f'{name}: got it direct, allowed through ros only: nodes are processes there')
        if self.fault and self.through == 'ros':
            raise ConfigError(f'fault: got {self.fault!r} through ros, allowed direct only')
        if self.record is not None and self.through == 'ros':
            raise ConfigError(f'record: got {self.record} through ros, allowed direct only; there, use ros2 bag record')
        if self.record_camera and self.record is None:
            raise ConfigError('record_camera: got it without record, allowed with it only')
        if self.delay is not None and self.through == 'ros':
            raise ConfigError(f'delay: got {self.delay} through ros, allowed direct only: nodes take what they take')

    @classmethod
    def of(cls, settings: Any, **changes: Any) -> EvaluationSettings:
        """Return those that other settings, as of a training, have by the same names, with ``changes``."""
        known = {f.name: getattr(settings, f.name) for f in fields(cls) if hasattr(settings, f.name)}
        return cls(**{**known, **changes})

    def load(self) -> Bundle:
        """Read the bundle, at the speed asked for."""
        return at_speed(load_bundle(self.bundle), self.policy_speed)

    @property
    def camera_rate(self) -> float:
        """Pictures a second [Hz]: one for each control tick, or as many as common cameras take where ticks shift."""
        return CAMERA_RATE if self.policy_speed == 1.0 else 30.0

    def check_horizons(self, task: TaskSpec) -> None:
        """Raise ConfigError where a chunk of this task would not last until the next one can take over."""
        executed, pred_horizon = self.exec_horizon or task.exec_horizon, task.pred_horizon
        check_start(self.warm_steps, executed, pred_horizon)
        if not 1 <= executed <= pred_horizon:
            raise ConfigError(f'exec_horizon: got {executed}, allowed 1 to pred_horizon ({pred_horizon})')
        if self.delay is not None and self.delay + executed > pred_horizon:
            raise ConfigError(
                f'delay + exec_horizon: got {self.delay} + {executed}, allowed up to pred_horizon ({pred_horizon})'
            )

    def sampler_settings(self, bundle: Bundle) -> dict[str, Any]:
        """Return how chunks are made, as the policy's settings: what was asked for, else the bundle's own.

        Raises
        ------
        ConfigError
            If something was asked for that only another family of policies has.

        """
        if bundle.family == 'sequence':
            self._refuse(bundle, DIFFUSION_ONLY)
            return {name: getattr(self, name) for name in SEQUENCE_ONLY if getattr(self, name) is not None}
        self._refuse(bundle, SEQUENCE_ONLY)
        return {
            'sampler': self.sampler or bundle.defaults.sampler,
            'sampling_steps': self.sampling_steps or bundle.defaults.sampling_steps,
            **({} if not self.warm_steps else {'warm_steps': self.warm_steps}),
            **({} if self.samples == 1 else {'samples': self.samples}),
            **({} if self.guidance_scale is None else {'guidance_scale': self.guidance_scale}),
        }

    def _refuse(self, bundle: Bundle, others: tuple[str, ...]) -> None:
        usual = {f.name: f.default for f in fields(self)}
        odd = [name for name in others if getattr(self, name) != usual[name]]
        if odd:
            raise ConfigError(
                f'{listed(odd)}: got for bundle {bundle.name} of family {bundle.family}, allowed for another family'
            )

    def about(self, bundle: Bundle) -> dict[str, Any]:
        """Return what a summary says of itself."""
        return {
            'bundle': bundle.name,
            'world': self.world,
            'through': self.through,
            **({} if not self.fault else {'fault': self.fault}),
            **({} if not self.noise_seed else {'noise_seed': self.noise_seed}),
            **self.sampler_settings(bundle),
            'exec_horizon': self.exec_horizon or bundle.task.exec_horizon,
            **({} if self.policy_speed == 1.0 else {'policy_speed': self.policy_speed}),
            'continuity': self.continuity,
            **({} if self.blend_steps is None else {'blend_steps': self.blend_steps}),
            **{name: getattr(self, name) for name, usual in NODES_ONLY.items() if getattr(self, name) != usual},
            **({'rate': self.rate} if self.through == 'ros' else {'latency_s': self.latency_in(bundle)}),
            **({} if self.delay is None else {'delay': self.delay}),
            'longest_episode_s': self.seconds,
            **({} if self.instructions == 'phrasings' else {'instructions': self.instructions}),
            **({} if self.workers == 1 else {'workers': self.workers}),
            **({'ray': True} if self.ray else {}),
        }

    def latency_in(self, bundle: Bundle) -> float:
        """Return the time from observation to command [s], given in control steps or not."""
        return self.latency if self.delay is None else self.delay * bundle.task.control_dt
