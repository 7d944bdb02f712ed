"""A bundle: the folder that holds an exported policy and everything that a robot must know about it.

    bundle.json       schema version, task, normalizer, schedule, sampler defaults, shapes of the cameras' pictures,
                      SHA-256 of each file, provenance, how far a backend may be from the recorded pair
    encoder.onnx      one float32 input per stream, by its name: (B, T, C) normalized, images (B, T, 3, H, W) in
                      [-1, 1]; then one per goal, (B, C) or (B, 3, H, W), and with guidance ``given`` (B, 1), 0 where
                      it is left out; output ``cond`` (B, D)
    denoiser.onnx     ``x_k`` (B, P, A) float32, with prefix_steps (B, P, A + 1), ``k`` (B,) int64, ``cond`` (B, D);
                      output ``prediction`` (B, P, A), with joint_velocities (B, P, 2 A)
    decoder.onnx      in place of denoiser.onnx in the family ``sequence``: a token at a time, see
                      `dp_ros.policy.sequence.session`; bundle.json then has ``family`` and ``sequence`` in place of
                      schedule and sampler defaults
    critic.onnx       where there is one: ``cond`` (B, D), ``state`` (B, S), see `parity.state_of`, and normalized
                      ``actions`` (B, P, A), all float32; output ``value`` (B,), 0 to 1, how soon the task is
                      done if the robot goes on so; see `dp_ros.networks.critic`
    monitor.onnx      where there is one: ``cond`` (B, D); output ``novelty`` (B,), about 0.7 for usual observations
                      and more for others; see `dp_ros.networks.novelty`
    noise.onnx        where there is one: ``state``, of a policy with cameras ``cond`` too; output ``noise`` (B, P, A)
                      float32, which sampling begins with instead of what is drawn; see `dp_ros.networks.noise_actor`
    weights.safetensors  where the network is meant to be trained further: its weights, which no robot reads; see
                      `dp_ros.training.bundle_network`
    encoder.ts,       TorchScript twins where asked for: the same inputs by position, streams in the task's order
    denoiser.ts
    parity.npz        inputs and outputs recorded from the trained network at export; `open_backend` replays them

Nothing in it is a pickle. Only files that the manifest lists are read, each against its SHA-256; they lie in the folder
themselves, and an ONNX file holds its own weights (see `dp_ros.policy.backends.onnx_check`). TorchScript is a
program: of a bundle from somebody else run the ONNX files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dp_ros.bounded_files import inside, read_bytes
from dp_ros.diffusion.coefficients import coefficients_for
from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import BundleError, DataError, listed
from dp_ros.policy.backends.onnx_check import check_onnx
from dp_ros.policy.bundle.files import check_sha256, naming
from dp_ros.policy.bundle.monitor_spec import MonitorSpec
from dp_ros.policy.bundle.parity import GIVEN, Parity
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.policy.sequence.parity import SequenceParity
from dp_ros.policy.sequence.spec import SequenceSpec
from dp_ros.task.spec import GoalImage, GoalPose, ImageStream, TaskSpec
from dp_ros.task.starts import DemonstratedStarts

SCHEMA_VERSION = 1
MOST_NETWORK = 2**31 - 1
"""Bytes of a file in a bundle; protobuf, and so ONNX, can be no larger."""
MANIFEST = 'bundle.json'
PARITY = 'parity.npz'
ONNX_FILES = ('encoder.onnx', 'denoiser.onnx')
SEQUENCE_FILES = ('encoder.onnx', 'decoder.onnx')
TORCHSCRIPT_FILES = ('encoder.ts', 'denoiser.ts')
CRITIC = 'critic.onnx'
MONITOR = 'monitor.onnx'
NOISE = 'noise.onnx'
WEIGHTS = 'weights.safetensors'
TOLERANCE, MOST_TOLERANCE = 1e-4, 5e-2
"""Largest difference from the recorded outputs, whose values are of the order of 1: usually, and in any bundle."""
RESERVED = (ACTION, 'cond', GIVEN)
"""As a stream's or a goal's name they would clash with the normalizer's action and the encoder's output and input."""


@dataclass(frozen=True, kw_only=True)
class DiffusionSpec:
    """The noise that a denoiser was trained with, and how it is sampled if nothing else is asked for."""

    family: ClassVar[str] = 'diffusion'
    schedule: ScheduleSpec
    defaults: SamplerSettings

    def __post_init__(self) -> None:
        coefficients_for(self.schedule, self.defaults)  # refuses more sampling_steps than diffusion_steps
        if self.defaults.warm_steps:
            raise BundleError(
                f'defaults warm_steps: got {self.defaults.warm_steps}, allowed 0: that is chosen where the policy runs'
            )


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle's description, checked. `load_bundle` and `write_bundle` make it, `at_speed` changes its time.

    ``model`` says which family of policies it is of, and what only that has. ``critic_from`` is the mean value of the
    samples from which on the critic chooses among them: where it is lower, success is so far that it can't tell them
    apart. ``camera_shapes`` are height and width of the pictures that the recordings had, by camera, and by goal; live
    ones of another size are refused. ``starts`` is where demonstrations began. Bundles from before have none of these
    two. ``monitor`` has the thresholds of the failure monitor, where there is one.
    """

    folder: Path
    name: str
    task: TaskSpec
    normalizer: Normalizer
    model: DiffusionSpec | SequenceSpec
    files: Mapping[str, str]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    tolerance: float = TOLERANCE
    critic_from: float = 0.0
    camera_shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    starts: DemonstratedStarts | None = None
    policy_speed: float = 1.0
    monitor: MonitorSpec | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.tolerance <= MOST_TOLERANCE:
            raise BundleError(f'tolerance: got {self.tolerance}, allowed more than 0, up to {MOST_TOLERANCE}')
        if not 0.0 <= self.critic_from <= 1.0:
            raise BundleError(f'critic_from: got {self.critic_from}, allowed 0 to 1')
        _check_shapes(self.camera_shapes, self.task)
        if self.starts is not None and self.starts.joints != self.task.action.joints:
            raise BundleError(
                f'starts joints: got {listed(self.starts.joints)}, allowed {listed(self.task.action.joints)}'
            )
        check_names(self.files, self.family)
        if PARITY not in self.files:
            raise BundleError(f'files: got {listed(self.files)}, allowed only with {PARITY}')
        if self.has_noise_actor and not self.schedule.noisy:
            raise BundleError(f'files: got {NOISE} for regression, which begins without noise, allowed none')
        if (self.monitor is not None) != (MONITOR in self.files):
            raise BundleError(
                f'monitor: got {"none" if self.monitor is None else "thresholds"} in {MANIFEST} and '
                f'{"a" if MONITOR in self.files else "no"} {MONITOR}, allowed both or neither'
            )
        if self.monitor is not None and self.monitor.steps > self.task.pred_horizon:
            raise BundleError(
                f'monitor steps: got {self.monitor.steps}, allowed up to pred_horizon ({self.task.pred_horizon})'
            )
        _check_normalizer(self.normalizer, self.task)
        if isinstance(self.model, SequenceSpec):
            self.model.check(self.task)

    @property
    def family(self) -> str:
        """The family of policies: ``diffusion`` or ``sequence``."""
        return self.model.family

    @property
    def _diffusion(self) -> DiffusionSpec:
        if not isinstance(self.model, DiffusionSpec):
            raise BundleError(f'bundle {self.name}: got one of family {self.family}, allowed one of family diffusion')
        return self.model

    @property
    def schedule(self) -> ScheduleSpec:
        """The noise schedule; BundleError where the family has none."""
        return self._diffusion.schedule

    @property
    def defaults(self) -> SamplerSettings:
        """The sampler's defaults; BundleError where the family has none."""
        return self._diffusion.defaults

    @property
    def sequence(self) -> SequenceSpec:
        """The tokens; BundleError where the family has none."""
        if not isinstance(self.model, SequenceSpec):
            raise BundleError(f'bundle {self.name}: got one of family {self.family}, allowed one of family sequence')
        return self.model

    def path(self, file: str) -> Path:
        """Return the path of one of the bundle's files."""
        if file not in self.files:
            raise BundleError(f'bundle {self.folder}: got no {file}, allowed {listed(self.files)}')
        return inside(self.folder, file, MANIFEST)

    def read(self, file: str) -> bytes:
        """Return the content of one of the bundle's files, which must still be what was exported."""
        path = self.path(file)
        with naming(path):
            data = read_bytes(path, MOST_NETWORK)
            check_sha256(hashlib.sha256(data).hexdigest(), self.files[file])
            if path.suffix == '.onnx':
                try:
                    check_onnx(data)
                except DataError as error:
                    raise BundleError(f'cannot be loaded ({error})') from error
        return data

    @property
    def has_critic(self) -> bool:
        """Tell whether there is a critic."""
        return CRITIC in self.files

    @property
    def has_noise_actor(self) -> bool:
        """Tell whether there is a network that chooses the noise which sampling begins with."""
        return NOISE in self.files

    def parity(self) -> Parity:
        """Read the recorded pair, checked against the task."""
        data = self.read(PARITY)
        with naming(self.folder / PARITY):
            parity = Parity.read(data)
            parity.check(self.task, self.schedule.mask_channels, self.schedule.outputs)
            for what, recorded, file in (
                ('value', parity.value, CRITIC),
                ('novelty', parity.novelty, MONITOR),
                ('noise', parity.noise, NOISE),
            ):
                if (recorded is not None) != (file in self.files):
                    got = 'none with' if recorded is None else 'one without'
                    raise BundleError(f'recorded {what}: got {got} {file}, allowed one with it only')
        return parity

    def sequence_parity(self) -> SequenceParity:
        """Read the recorded pair of a sequence model, checked against the task."""
        spec, data = self.sequence, self.read(PARITY)
        with naming(self.folder / PARITY):
            parity = SequenceParity.read(data)
            parity.check(self.task, spec)
        return parity


def check_names(files: Iterable[str], family: str) -> None:
    """Raise BundleError unless these are the files of a bundle of ``family``; `PARITY` may be there or not."""
    if family == 'sequence':
        if set(files) - {PARITY, WEIGHTS} != set(SEQUENCE_FILES):
            allowed = f'{listed(SEQUENCE_FILES)} with family sequence, and with or without {WEIGHTS}'
            raise BundleError(f'files: got {listed(sorted(files))}, allowed {allowed}')
        return
    got = set(files) - {PARITY, CRITIC, MONITOR, NOISE, WEIGHTS}
    if got not in (set(ONNX_FILES), {*ONNX_FILES, *TORCHSCRIPT_FILES}):
        raise BundleError(
            f'files: got {listed(sorted(got))}, allowed {listed(ONNX_FILES)}, alone or with '
            f'{listed(TORCHSCRIPT_FILES)}, and with or without {CRITIC}, {MONITOR}, {NOISE} and {WEIGHTS}'
        )


def _check_shapes(shapes: Mapping[str, tuple[int, int]], task: TaskSpec) -> None:
    known = [s.name for s in task.streams if isinstance(s, ImageStream)]
    known += [g.name for g in task.goals if isinstance(g, GoalImage)]
    unknown = [name for name in shapes if name not in known]
    if unknown:
        raise BundleError(f'camera_shapes: got {listed(unknown)}, allowed the cameras {listed(known)}')


def _check_normalizer(normalizer: Normalizer, task: TaskSpec) -> None:
    reserved = [s.name for s in (*task.streams, *task.goals) if s.name in RESERVED]
    if reserved:
        raise BundleError(f'stream name: got {listed(reserved)}, allowed anything but {listed(RESERVED)}')
    channels = {s.name: s.shape[0] for s in task.streams if not isinstance(s, ImageStream)}
    channels |= {g.name: g.shape[0] for g in task.goals if isinstance(g, GoalPose)}
    channels[ACTION] = len(task.action.joints)
    got = {name: len(values) for name, values in normalizer.low.items()}
    if got != channels:
        raise BundleError(f'normalizer: got channels {got}, allowed {channels} (vector streams, goal poses and action)')
