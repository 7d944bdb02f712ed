"""The training configuration: one YAML file, read strictly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dp_ros.diffusion.schedule import PredictionType, ScheduleName, ScheduleSpec
from dp_ros.errors import ConfigError, check_range
from dp_ros.networks.settings import NetworkSettings
from dp_ros.policy.sequence.spec import MOST_BINS, check_sequence_task
from dp_ros.recordings.episodes.segmentation import CutSettings
from dp_ros.recordings.episodes.unreadable import BrokenRecordings
from dp_ros.task.spec import TaskSpec
from dp_ros.training.samples.augment import AugmentSettings
from dp_ros.training.samples.symmetry import MirrorSettings, check_mirror

Family = Literal['diffusion', 'sequence']


@dataclass(frozen=True, kw_only=True)
class DistillSettings:
    """Distillation of a trained network into one that needs few sampling steps; see `dp_ros.training.distillation`.

    Attributes
    ----------
    teacher
        Its run folder, or bundle; empty: no distillation.
    sampling_steps
        The student's network calls for a chunk.
    teacher_steps
        The teacher's: a multiple of sampling_steps, for a teacher that is distilled itself the number it knows.

    """

    teacher: str = ''
    sampling_steps: int = 4
    teacher_steps: int = 20

    def __post_init__(self) -> None:
        check_range('distill.sampling_steps', self.sampling_steps, 1, 100)
        if self.teacher_steps <= self.sampling_steps or self.teacher_steps % self.sampling_steps:
            raise ConfigError(
                f'distill.teacher_steps: got {self.teacher_steps}, '
                f'allowed 2, 3, ... times sampling_steps ({self.sampling_steps})'
            )


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """The objective: diffusion (Ho et al. 2020), flow matching (Lipman et al. 2023), or regression.

    Attributes
    ----------
    schedule
        ``flow`` is flow matching (prediction_type velocity); ``none`` is regression, behaviour cloning with the same
        network (prediction_type sample, diffusion_steps 1).
    distill
        The teacher, where the network is distilled from one.
    prefix_steps
        Longest clean prefix: so many first actions at most, from none on, are given without noise, and only the others
        count. The policy then goes on from what is executed while it predicts (arXiv 2512.05964).
    velocity_weight
        How much the joints' velocities count in the loss, beside the actions; with any, the network gives both, and
        chunks carry them. 0: it gives actions only.
    count_padding
        Whether actions after the end of an episode, which are copies of its last one, count in the loss. Without them
        a policy learns nothing about what comes after a demonstration: for those that stop short of rest.

    """

    diffusion_steps: int = 100
    schedule: ScheduleName = 'squaredcos_cap_v2'
    prediction_type: PredictionType = 'epsilon'
    distill: DistillSettings = field(default_factory=DistillSettings)
    prefix_steps: int = 0
    velocity_weight: float = 0.0
    count_padding: bool = True

    def __post_init__(self) -> None:
        if self.distill.teacher:
            self._check_distill()
        check_range('objective.velocity_weight', self.velocity_weight, 0.0, 100.0)
        if self.spec.noisy:
            check_range('objective.diffusion_steps', self.diffusion_steps, 2, 1000)

    def _check_distill(self) -> None:
        if self.prefix_steps:
            raise ConfigError(f'objective.prefix_steps: got {self.prefix_steps} with distill.teacher, allowed 0')
        if self.velocity_weight:
            raise ConfigError(f'objective.velocity_weight: got {self.velocity_weight} with distill.teacher, allowed 0')
        if not self.count_padding:
            raise ConfigError('objective.count_padding: got false with distill.teacher, allowed true')
        if self.schedule == 'none':
            raise ConfigError("objective.schedule: got 'none' with distill.teacher, allowed one with noise")
        if self.diffusion_steps % self.distill.teacher_steps:
            # Else the student's levels are not among the teacher's.
            raise ConfigError(
                f'distill.teacher_steps: got {self.distill.teacher_steps}, '
                f'allowed divisors of diffusion_steps ({self.diffusion_steps})'
            )

    @property
    def spec(self) -> ScheduleSpec:
        """The schedule as a bundle describes it."""
        return ScheduleSpec(
            name=self.schedule,
            diffusion_steps=self.diffusion_steps,
            prediction_type=self.prediction_type,
            only_steps=self.distill.sampling_steps if self.distill.teacher else 0,
            prefix_steps=self.prefix_steps,
            joint_velocities=self.velocity_weight > 0.0,
        )


@dataclass(frozen=True, kw_only=True)
class SequenceSettings:
    """The tokens of a sequence model; see `dp_ros.policy.sequence.spec`.

    Attributes
    ----------
    bins
        Quantile bins of each column.
    states
        Streams that are predicted too, one control step after each action; none: actions, rewards and returns only.
    step_cost
        Taken from each recorded reward: what a control step costs. With 1, a world's score from 0 to 1 becomes what is
        missing, and who is done sooner has the higher return.

    """

    bins: int = 100
    states: tuple[str, ...] = ()
    step_cost: float = 1.0

    def __post_init__(self) -> None:
        check_range('sequence.bins', self.bins, 2, MOST_BINS)
        check_range('sequence.step_cost', self.step_cost, -1e6, 1e6)


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """AdamW with linear warm-up and cosine decay; EMA after Chi et al. 2023."""

    learning_rate: float = 3e-4
    betas: tuple[float, ...] = (0.95, 0.999)
    weight_decay: float = 1e-6
    warmup_steps: int = 500
    gradient_clip: float = 1.0
    ema_power: float = 0.75
    ema_max: float = 0.9999

    def __post_init__(self) -> None:
        check_range('optimizer.learning_rate', self.learning_rate, 1e-8, 1.0)
        check_range('optimizer.gradient_clip', self.gradient_clip, 1e-3, 1e6)
        check_range('optimizer.ema_max', self.ema_max, 0.0, 1.0)
        if len(self.betas) != 2:
            raise ConfigError(f'optimizer.betas: got {list(self.betas)}, allowed two numbers')


@dataclass(frozen=True, kw_only=True)
class RolloutSettings:
    """Episodes in a simulated world while training; the best checkpoint by them is kept.

    Attributes
    ----------
    world
        Empty: no rollouts.
    every
        Optimizer steps between two looks.
    episodes, seed, seconds
        Episodes on consecutive seeds, which no evaluation should use again, and their greatest length [s].

    """

    world: str = ''
    every: int = 2000
    episodes: int = 25
    seed: int = 50_000
    seconds: float = 30.0

    def __post_init__(self) -> None:
        check_range('rollouts.every', self.every, 1, 100_000_000)
        check_range('rollouts.episodes', self.episodes, 1, 100_000)
        check_range('rollouts.seed', self.seed, 0, 2**31 - 1)
        check_range('rollouts.seconds', self.seconds, 1.0, 3600.0)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything `dp_ros train` needs but the recordings.

    Attributes
    ----------
    family
        ``diffusion``: a chunk out of noise; ``sequence``: token by token, after the return that is asked for. That
        needs recordings with rewards (task.reward) and `network.denoiser` ``transformer``; `objective` is not its.
    sequence
        The tokens of the family ``sequence``.
    start
        Run folder, or bundle, whose weights (the best, or the last) and normalizer this run begins with; empty: begin
        at random. It must stay as it is until this run is over. On the same recordings keep `seed` and
        `validation_share`, or episodes are held out that the start has seen.
    steps, batch
        Optimizer steps in all, and windows in each.
    validation_share
        Share of the episodes held out, whole episodes chosen by `seed`.
    validate_every, checkpoint_every
        In steps.
    mirror
        By stream, recorded goal and ``action``: what the task's mirror symmetry makes of it; empty: it has none.
    cut
        What divides a recording into episodes.
    broken_recordings
        ``refuse`` to train where a rosbag2 recording cannot be read, or ``skip`` it: said, and written to ``run.json``.
    columns
        Of a LeRobot or robomimic dataset, by stream name and ``action``, where they are not the task's topics.
    threads
        CPU threads; 0 leaves torch's default.
    precision
        ``bf16`` computes the forward pass in bfloat16 where torch holds that to be safe; weights stay float32.
    accumulate
        Parts of a batch that are computed one after the other, to save memory; the step is taken on their mean.
    compile
        Whether to compile the network first (torch.compile; on CPU it needs a C++ compiler).

    """

    name: str
    task: TaskSpec
    family: Family = 'diffusion'
    sequence: SequenceSettings = field(default_factory=SequenceSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    rollouts: RolloutSettings = field(default_factory=RolloutSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    mirror: dict[str, MirrorSettings] = field(default_factory=dict)
    cut: CutSettings = field(default_factory=CutSettings)
    broken_recordings: BrokenRecordings = 'refuse'
    columns: dict[str, str] = field(default_factory=dict)
    start: str = ''
    steps: int
    batch: int = 128
    validation_share: float = 0.05
    validate_every: int = 1000
    checkpoint_every: int = 1000
    seed: int = 0
    threads: int = 0
    device: Literal['cpu', 'cuda'] = 'cpu'
    precision: Literal['fp32', 'bf16'] = 'fp32'
    accumulate: int = 1
    compile: bool = False

    def __post_init__(self) -> None:
        check_range('steps', self.steps, 1, 100_000_000)
        check_range('batch', self.batch, 1, 65536)
        check_range('objective.prefix_steps', self.objective.prefix_steps, 0, self.task.pred_horizon - 1)
        if self.objective.velocity_weight and self.task.pred_horizon < 2:
            raise ConfigError('objective.velocity_weight: got one with pred_horizon 1, allowed 0: that has no velocity')
        check_range('validation_share', self.validation_share, 0.0, 0.5)
        check_range('validate_every', self.validate_every, 1, 100_000_000)
        check_range('checkpoint_every', self.checkpoint_every, 1, 100_000_000)
        check_range('seed', self.seed, 0, 2**31 - 1)
        check_range('threads', self.threads, 0, 1024)
        check_range('accumulate', self.accumulate, 1, 65536)
        if self.start and self.objective.distill.teacher:
            raise ConfigError(f'start: got {self.start!r} with distill.teacher, where a student begins, allowed none')
        self._check_family()
        check_mirror(self.task, self.mirror)

    def _check_family(self) -> None:
        if self.family == 'diffusion':
            if self.sequence != SequenceSettings():
                raise ConfigError(f'sequence: got {self.sequence} with family diffusion, allowed with family sequence')
            return
        if self.task.reward is None:
            raise ConfigError('task.reward: got none with family sequence, allowed the topic of the rewards')
        check_sequence_task(self.task, self.sequence.states)
        if self.network.denoiser != 'transformer':
            raise ConfigError(
                f'network.denoiser: got {self.network.denoiser!r} with family sequence, allowed transformer'
            )
        if self.objective != ObjectiveSettings():
            raise ConfigError('objective: got one with family sequence, allowed none: its tokens have no noise')
