"""The training configuration: one YAML file, read strictly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dp_ros.diffusion.schedule import PredictionType, ScheduleName, ScheduleSpec
from dp_ros.errors import ConfigError, check_range
from dp_ros.networks.settings import NetworkSettings
from dp_ros.options import REQUIRED, check_options, option
from dp_ros.policy.sequence.spec import MOST_BINS, check_sequence_task
from dp_ros.recordings.episodes.segmentation import CutSettings
from dp_ros.recordings.episodes.unreadable import BrokenRecordings
from dp_ros.task.spec import TaskSpec
from dp_ros.training.samples.augment import AugmentSettings
from dp_ros.training.samples.symmetry import MirrorSettings, check_mirror

Family = Literal['diffusion', 'sequence']
MOST_STEPS = 100_000_000


# fmt: off
@dataclass(frozen=True, kw_only=True)
class DistillSettings:
    """Distillation of a trained network into one that needs few sampling steps; see `dp_ros.training.distillation`."""

    teacher: str = option('', 'Its run folder, or bundle; empty: no distillation.')
    sampling_steps: int = option(4, "The student's network calls for a chunk.", low=1, high=100)
    teacher_steps: int = option(
        20, "The teacher's: a multiple of sampling_steps, for a teacher that is distilled itself the number it knows.",
        low=2, high=1000,
    )

    def __post_init__(self) -> None:
        check_options(self, 'distill.')
        if self.teacher_steps <= self.sampling_steps or self.teacher_steps % self.sampling_steps:
            raise ConfigError(
                f'distill.teacher_steps: got {self.teacher_steps}, '
                f'allowed 2, 3, ... times sampling_steps ({self.sampling_steps})'
            )


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """The objective: diffusion (Ho et al. 2020), flow matching (Lipman et al. 2023), or regression."""

    diffusion_steps: int = option(100, 'Noise levels in training; 1 for regression.', low=1, high=1000)
    schedule: ScheduleName = option(
        'squaredcos_cap_v2', '`flow` is flow matching (prediction_type velocity); `none` is regression, behaviour '
        'cloning with the same network (prediction_type sample, diffusion_steps 1).',
    )
    prediction_type: PredictionType = option('epsilon', 'What the network predicts.')
    loss: Literal['mse', 'l1'] = option(
        'mse', 'What is wrong counts squared (`mse`), or as far as it is (`l1`): by regression that learns the median '
        'of what was demonstrated in place of the mean.',
    )
    step_weight: float = option(
        1.0, 'How much each action of a chunk counts in the loss, beside the one before it.', low=0.01, high=1.0
    )
    distill: DistillSettings = field(default_factory=DistillSettings)
    prefix_steps: int = option(
        0, 'Longest clean prefix: so many first actions at most, from none on, are given without noise, and only the '
        'others count. The policy then goes on from what is executed while it predicts (arXiv 2512.05964). Less than '
        'task.pred_horizon.', low=0, high=10_000,
    )
    velocity_weight: float = option(
        0.0, "How much the joints' velocities count in the loss, beside the actions; with any, the network gives both, "
        'and chunks carry them. 0: it gives actions only.', low=0.0, high=100.0,
    )
    count_padding: bool = option(
        True, 'Whether actions after the end of an episode, which are copies of its last one, count in the loss. '
        'Without them a policy learns nothing about what comes after a demonstration: for those that stop short of '
        'rest.',
    )

    def __post_init__(self) -> None:
        check_options(self, 'objective.')
        if self.distill.teacher:
            self._check_distill()
        if self.spec.noisy:
            check_range('objective.diffusion_steps', self.diffusion_steps, 2, 1000)

    def _check_distill(self) -> None:
        if self.prefix_steps:
            raise ConfigError(f'objective.prefix_steps: got {self.prefix_steps} with distill.teacher, allowed 0')
        if self.velocity_weight:
            raise ConfigError(f'objective.velocity_weight: got {self.velocity_weight} with distill.teacher, allowed 0')
        for name, usual in (('count_padding', True), ('loss', 'mse'), ('step_weight', 1.0)):
            if (got := getattr(self, name)) != usual:
                words = (str(value).lower() for value in (got, usual))
                raise ConfigError('objective.{}: got {} with distill.teacher, allowed {}'.format(name, *words))
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
    """The tokens of a sequence model; see `dp_ros.policy.sequence.spec`."""

    bins: int = option(100, 'Quantile bins of each column.', low=2, high=MOST_BINS)
    states: tuple[str, ...] = option(
        (), 'Streams that are predicted too, one control step after each action; none: actions, rewards and returns '
        'only.',
    )
    step_cost: float = option(
        1.0, "Taken from each recorded reward: what a control step costs. With 1, a world's score from 0 to 1 becomes "
        'what is missing, and who is done sooner has the higher return.', low=-1e6, high=1e6,
    )

    def __post_init__(self) -> None:
        check_options(self, 'sequence.')


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """AdamW with linear warm-up and cosine decay; EMA after Chi et al. 2023."""

    learning_rate: float = option(3e-4, 'Largest learning rate.', low=1e-8, high=1.0)
    betas: tuple[float, ...] = option((0.95, 0.999), "AdamW's two decay rates.", low=0.0, high=1.0)
    weight_decay: float = option(1e-6, "AdamW's weight decay.", low=0.0, high=1.0)
    warmup_steps: int = option(500, 'Steps in which the learning rate rises.', low=0, high=MOST_STEPS)
    gradient_clip: float = option(1.0, 'Largest norm of the gradient.', low=1e-3, high=1e6)
    ema_power: float = option(
        0.75, 'Exponent of the warm-up of the moving average of weights.', low=0.0, high=10.0
    )
    ema_max: float = option(0.9999, 'Largest decay of the moving average of weights.', low=0.0, high=1.0)

    def __post_init__(self) -> None:
        check_options(self, 'optimizer.')
        if len(self.betas) != 2 or not max(self.betas) < 1.0:
            raise ConfigError(f'optimizer.betas: got {list(self.betas)}, allowed two numbers from 0 to less than 1')


@dataclass(frozen=True, kw_only=True)
class RolloutSettings:
    """Episodes in a simulated world while training; the best checkpoint by them is kept."""

    world: str = option('', 'Empty: no rollouts.')
    every: int = option(2000, 'Optimizer steps between two looks.', low=1, high=MOST_STEPS)
    episodes: int = option(
        25, 'Episodes on consecutive seeds, which no evaluation should use again.', low=1, high=100_000
    )
    seed: int = option(50_000, 'The first of them.', low=0, high=2**31 - 1)
    seconds: float = option(30.0, 'Greatest length of one.', unit='s', low=1.0, high=3600.0)

    def __post_init__(self) -> None:
        check_options(self, 'rollouts.')


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything `dp_ros train` needs but the recordings."""

    name: str = option(REQUIRED, 'What the policy is called.')
    task: TaskSpec
    family: Family = option(
        'diffusion', '`diffusion`: a chunk out of noise; `sequence`: token by token, after the return that is asked '
        'for. That needs recordings with rewards (task.reward) and `network.denoiser` `transformer`; `objective` is '
        'not its.',
    )
    sequence: SequenceSettings = field(default_factory=SequenceSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    rollouts: RolloutSettings = field(default_factory=RolloutSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    mirror: dict[str, MirrorSettings] = field(
        default_factory=dict, metadata={'text': "By stream, recorded goal and `action`: what the task's mirror "
        'symmetry makes of it; empty: it has none.'},
    )
    cut: CutSettings = field(default_factory=CutSettings)
    broken_recordings: BrokenRecordings = option(
        'refuse', '`refuse` to train where a rosbag2 recording cannot be read, or `skip` it: said, and written to '
        '`run.json`.',
    )
    columns: dict[str, str] = field(
        default_factory=dict, metadata={'text': 'Of a LeRobot or robomimic dataset, by stream name and `action`, where '
        "they are not the task's topics."},
    )
    start: str = option(
        '', 'Run folder, or bundle, whose weights (the best, or the last) and normalizer this run begins with; empty: '
        'begin at random. It must stay as it is until this run is over. On the same recordings keep `seed` and '
        '`validation_share`, or episodes are held out that the start has seen.',
    )
    steps: int = option(REQUIRED, 'Optimizer steps in all.', low=1, high=MOST_STEPS)
    batch: int = option(128, 'Windows in each.', low=1, high=65536)
    validation_share: float = option(
        0.05, 'Share of the episodes held out, whole episodes chosen by `seed`.', low=0.0, high=0.5
    )
    validate_every: int = option(1000, 'Steps between two validations.', low=1, high=MOST_STEPS)
    checkpoint_every: int = option(1000, 'Steps between two checkpoints.', low=1, high=MOST_STEPS)
    seed: int = option(0, 'Decides all that is random.', low=0, high=2**31 - 1)
    threads: int = option(0, "CPU threads; 0 leaves torch's default.", low=0, high=1024)
    device: Literal['cpu', 'cuda'] = option('cpu', 'What computes.')
    precision: Literal['fp32', 'bf16'] = option(
        'fp32', '`bf16` computes the forward pass in bfloat16 where torch holds that to be safe; weights stay float32.'
    )
    accumulate: int = option(
        1, 'Parts of a batch that are computed one after the other, to save memory; the step is taken on their mean.',
        low=1, high=65536,
    )
    compile: bool = option(
        False, 'Whether to compile the network first (torch.compile; on CPU it needs a C++ compiler).'
    )

    def __post_init__(self) -> None:
        check_options(self)
        check_range('objective.prefix_steps', self.objective.prefix_steps, 0, self.task.pred_horizon - 1)
        if self.objective.velocity_weight and self.task.pred_horizon < 2:
            raise ConfigError('objective.velocity_weight: got one with pred_horizon 1, allowed 0: that has no velocity')
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
# fmt: on
