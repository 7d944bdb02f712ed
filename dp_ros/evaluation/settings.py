"""What to evaluate, and how."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from dp_ros.errors import ConfigError, listed
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.continuity import Continuity, check_start
from dp_ros.policy.policy_speed import at_speed
from dp_ros.policy.sequence.options import Planning
from dp_ros.simulation.instructions import Words
from dp_ros.simulation.worlds import DEFAULT_WORLD
from dp_ros.task.spec import TaskSpec

CAMERA_RATE = 10.0  # [Hz]
SEQUENCE_ONLY = ('planning', 'asked_return', 'beams', 'temperature', 'keep_clear', 'keep_within')
DIFFUSION_ONLY = ('sampler', 'sampling_steps', 'warm_steps', 'samples', 'guidance_scale')
NODES_ONLY = {'composed': False, 'realtime_priority': 0, 'cpu_dma_latency': -1}  # and what they are when not asked for


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What to evaluate, and how.

    Attributes
    ----------
    episodes, seed
        Episodes on consecutive seeds, from `seed`.
    policy_speed
        How many times as fast as it was shown the policy is played; see `dp_ros.policy.policy_speed`. An episode
        stays as long as it is.
    sampler, sampling_steps, exec_horizon
        Instead of the bundle's own, if not None.
    warm_steps
        Network calls of a chunk that starts from the last one; 0: all start from noise.
    samples
        Chunks drawn at once, of which one is taken; see `dp_ros.policy.policy`.
    guidance_scale
        See `dp_ros.policy.policy`; None: 1.
    planning, asked_return, beams, temperature, keep_clear, keep_within
        Of a sequence model, if not None; see `dp_ros.policy.sequence.options`.
    continuity
        How a chunk goes on from the last one; see `dp_ros.policy.continuity`.
    blend_steps
        Of the publisher's cross-fade, instead of those in the world's parameter file, if not None.
    latency
        Time from observation to command, where time is simulated [s].
    delay
        The same in control steps, instead of `latency`, if not None.
    composed
        Through ROS: the policy's nodes in one process; otherwise each has its own.
    realtime_priority, cpu_dma_latency
        Through ROS: of the policy's nodes.
    rate
        Speed of simulated time through ROS; 1 is real time.
    seconds
        Longest episode [s].
    instructions
        Of a policy that is asked in words, whose: ``phrasings``, those that it was trained with, or ``paraphrases``,
        the world's own, which no training has.
    record
        A new or empty folder for recordings of the episodes that succeed, or None.
    record_camera
        Whether the world's cameras are recorded too, ten pictures a second, although the policy does not look: for one
        that will.
    workers
        Processes that share the episodes; with more than one, chunks take longer than they would alone.

    """

    bundle: Path
    world: str = DEFAULT_WORLD
    episodes: int = 100
    seed: int = 100_000
    through: Literal['direct', 'ros'] = 'direct'
    policy_speed: float = 1.0
    sampler: str | None = None
    sampling_steps: int | None = None
    warm_steps: int = 0
    samples: int = 1
    exec_horizon: int | None = None
    guidance_scale: float | None = None
    planning: Planning | None = None
    asked_return: float | None = None
    beams: int | None = None
    temperature: float | None = None
    keep_clear: tuple[str, ...] | None = None
    keep_within: tuple[str, ...] | None = None
    continuity: Continuity = 'none'
    blend_steps: int | None = None
    latency: float = 0.05
    delay: int | None = None
    composed: bool = False
    realtime_priority: int = 0
    cpu_dma_latency: int = -1
    rate: float = 1.0
    threads: int = 2
    backend: Literal['onnxruntime', 'torchscript'] = 'onnxruntime'
    seconds: float = 30.0
    instructions: Words = 'phrasings'
    workers: int = 1
    record: Path | None = None
    record_camera: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ('episodes', 1, 100_000),
            ('seed', 0, 2**31 - 1),
            ('sampling_steps', 1, 1000),
            ('warm_steps', 0, 1000),
            ('samples', 1, 64),
            ('exec_horizon', 1, 1000),
            ('blend_steps', 0, 100),
            ('latency', 0.0, 10.0),
            ('delay', 0, 1000),
            ('rate', 0.01, 100.0),
            ('realtime_priority', 0, 98),
            ('cpu_dma_latency', -1, 1_000_000),
            ('threads', 1, 64),
            ('workers', 1, 256),
            ('seconds', 1.0, 3600.0),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f'{name}: got {value}, allowed {low} to {high}')
        if self.workers > 1 and self.through == 'ros':
            raise ConfigError(f'workers: got {self.workers} through ros, allowed 1: there is one robot')
        for name, usual in NODES_ONLY.items():
            if getattr(self, name) != usual and self.through == 'direct':
                raise ConfigError(f'{name}: got it direct, allowed through ros only: nodes are processes there')
        if self.record is not None and self.through == 'ros':
            raise ConfigError(f'record: got {self.record} through ros, allowed direct only; there, use ros2 bag record')
        if self.record_camera and self.record is None:
            raise ConfigError('record_camera: got it without record, allowed with it only')
        if self.delay is not None and self.through == 'ros':
            raise ConfigError(f'delay: got {self.delay} through ros, allowed direct only: nodes take what they take')

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
        }

    def latency_in(self, bundle: Bundle) -> float:
        """Return the time from observation to command [s], given in control steps or not."""
        return self.latency if self.delay is None else self.delay * bundle.task.control_dt
