"""Who makes the same chunk in `dp_ros bench`: dp_ros's own backends, and what others would run on the same network."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from diffusers import DDIMScheduler

from dp_ros.errors import BundleError, ConfigError, listed
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.networks.settings import PRESETS, NetworkSettings
from dp_ros.policy.backends.sessions import Backend, open_backend, with_denoiser
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.task.spec import ImageStream
from dp_ros.task.yaml_reader import parse
from dp_ros.training.export.export import denoiser_onnx, export_network, prepare, record_parity
from dp_ros.training.export.quantize import quantize
from dp_ros.training.objective import make_noise_scheduler
from dp_ros.training.run_folder import make_network
from dp_ros.training.settings import TrainSettings

OWN = 'onnxruntime'
OWN_SIZE = 'bundle'
REDUCED = ('int8', 'float16')
CONTENDERS = (
    OWN, 'torchscript', *(f'{OWN}, {bits}' for bits in REDUCED), 'onnxruntime, diffusers', 'torch, diffusers', 'lerobot'
)  # fmt: skip
USUAL_CONTENDERS = tuple(name for name in CONTENDERS if name not in {f'{OWN}, {bits}' for bits in REDUCED})
MakeChunk = Callable[[], object]
STATE, ENVIRONMENT = 'observation.state', 'observation.environment_state'


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A network to measure: with random weights, which change no time, and as a bundle of its own."""

    size: str
    settings: TrainSettings
    network: DiffusionNetwork
    bundle: Bundle

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.network.parameters())

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """One window, normalized."""
        return {name: value[:1] for name, value in self.bundle.parity().inputs.items()}


def check_size(size: str) -> None:
    """Raise ConfigError unless a network can have this size."""
    if size != OWN_SIZE and size not in PRESETS:
        raise ConfigError(f'sizes: got {size!r}, allowed {listed((OWN_SIZE, *PRESETS))}')


def make_subject(size: str, like: Bundle, folder: Path) -> Subject:
    """Build the network of a bundle, or one of another size for its task, and write it below ``folder``."""
    check_size(size)
    settings = training_of(like)
    if size != OWN_SIZE:
        settings = replace(settings, network=NetworkSettings(preset=size))  # type: ignore[arg-type]  # checked above
    return subject_for(settings, like, folder / size, torchscript=True)


def training_of(bundle: Bundle) -> TrainSettings:
    """Return the configuration that a bundle was trained with."""
    if 'config' not in bundle.provenance:
        raise BundleError(f'bundle {bundle.name}: provenance lacks config, which bench rebuilds the network from')
    return parse(TrainSettings, bundle.provenance['config'], 'provenance.config')


def subject_for(settings: TrainSettings, like: Bundle, folder: Path, *, torchscript: bool = False) -> Subject:
    """Build the network of a configuration, and write it to ``folder`` with the normalizer of the bundle ``like``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same weights each time
        network = make_network(settings).eval()
    if not isinstance(network, DiffusionNetwork):
        raise ConfigError(f'bench: got bundle {like.name} of family {settings.family}, allowed one of family diffusion')
    bundle = export_network(settings, network, like.normalizer, folder, provenance={}, torchscript=torchscript)
    return Subject(size=folder.name, settings=settings, network=network, bundle=bundle)


def make_chunk(name: str, subject: Subject, steps: int, threads: int) -> MakeChunk | str:
    """Return what makes one chunk in ``steps`` network calls; or, in words, why this contender is left out.

    Torch's number of threads belongs to the process: it is the caller's to set.
    """
    trained = make_noise_scheduler(subject.settings.objective)
    own, _, bits = name.partition(', ')
    if name in ('onnxruntime', 'torchscript') or (own == OWN and bits in REDUCED):
        if bits:
            backend = reduced(subject, bits, threads)
        else:
            backend = open_backend(subject.bundle, backend=name, threads=threads)  # type: ignore[arg-type]
        policy, inputs = DiffusionPolicy(subject.bundle, backend).with_settings(sampling_steps=steps), subject.inputs
        return lambda: policy.sample(inputs, np.random.default_rng(0)).actions
    if trained is None:
        return f'schedule {subject.settings.objective.schedule!r} is not one of diffusers'
    if subject.bundle.schedule.mask_channels:
        return 'it does not know the marks of a prefix'
    if subject.bundle.schedule.joint_velocities:
        return 'it does not know a network that gives velocities too'
    if name == 'lerobot':
        return lerobot_chunk(subject.settings, steps)
    scheduler = DDIMScheduler.from_config(dict(trained.config), timestep_spacing='trailing')
    task = subject.settings.task
    shape = (1, task.pred_horizon, len(task.action.joints))
    if name == 'torch, diffusers':
        streams = [torch.from_numpy(np.array(value)) for value in subject.inputs.values()]
        return lambda: _eager(subject.network, scheduler, streams, shape, steps)
    backend = open_backend(subject.bundle, threads=threads)
    return lambda: _mixed(backend, scheduler, subject.inputs, shape, steps)


@torch.no_grad()
def _eager(
    network: DiffusionNetwork,
    scheduler: DDIMScheduler,
    streams: Sequence[torch.Tensor],
    shape: tuple[int, ...],
    steps: int,
) -> object:
    cond, x_k = network.encoder(*streams), torch.randn(shape)
    scheduler.set_timesteps(steps)
    for k in scheduler.timesteps:
        x_k = scheduler.step(network.denoiser(x_k, k.expand(1), cond), k, x_k).prev_sample
    return x_k


def _mixed(
    backend: Backend, scheduler: DDIMScheduler, inputs: dict[str, np.ndarray], shape: tuple[int, ...], steps: int
) -> object:
    """Run the network in ONNX Runtime and diffusers' loop around it."""
    cond, x_k = backend.encode(inputs), torch.randn(shape)
    scheduler.set_timesteps(steps)
    for k in scheduler.timesteps:
        prediction = backend.predict(x_k.numpy(), np.array([int(k)], dtype=np.int64), cond)
        x_k = scheduler.step(torch.from_numpy(prediction), k, x_k).prev_sample
    return x_k


def reduced(subject: Subject, bits: str, threads: int) -> Backend:
    """Return a backend whose denoiser computes in fewer bits; its numbers are no longer the network's.

    ``int8``: as `dp_ros export --weights int8` makes it. ``float16``: computed in half precision where the processor
    can, converted back and forth where it can't.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # As dp_ros's own, and not to disturb it.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    network, settings = subject.network, subject.settings
    prepared = prepare(network, settings)
    denoiser = denoiser_onnx(prepared, record_parity(network, prepared, settings))
    model = quantize(denoiser) if bits == 'int8' else _float16(onnx.load_from_string(denoiser))
    session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])

    def predict(x_k: np.ndarray, k: np.ndarray, cond: np.ndarray) -> np.ndarray:
        prediction: np.ndarray = session.run(None, {'x_k': x_k, 'k': k, 'cond': cond})[0]
        return prediction

    return with_denoiser(open_backend(subject.bundle), predict)


def _float16(denoiser: onnx.ModelProto) -> bytes:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model: bytes = convert_float_to_float16(denoiser, keep_io_types=True).SerializeToString()
    return model


def lerobot_chunk(settings: TrainSettings, steps: int) -> MakeChunk | str:
    """Return what makes one chunk by LeRobot's DiffusionPolicy of the same width, horizons and steps; or why not."""
    streams = settings.task.streams
    if settings.network.denoiser != 'unet':
        return f'its denoiser is a U-Net, not {settings.network.denoiser!r}'
    if any(isinstance(s, ImageStream) for s in streams):
        return 'its encoder of pictures is another one, so the networks would not be the same'
    if len(streams) < 2:
        return 'it wants a state and, beside it, pictures or the state of the environment'
    if settings.objective.prediction_type == 'velocity':
        return "it does not know prediction_type 'velocity'"
    try:
        types = importlib.import_module('lerobot.configs.types')
        diffusion = importlib.import_module('lerobot.policies.diffusion.configuration_diffusion')
        modeling = importlib.import_module('lerobot.policies.diffusion.modeling_diffusion')
    except (ImportError, RuntimeError) as error:  # torchvision beside another build of torch: a RuntimeError
        return f'lerobot cannot be imported ({error})'
    first, rest = streams[0].shape[0], sum(s.shape[0] for s in streams[1:])
    kind, feature = types.FeatureType, types.PolicyFeature
    config = diffusion.DiffusionConfig(
        device='cpu',
        input_features={
            STATE: feature(type=kind.STATE, shape=(first,)),
            ENVIRONMENT: feature(type=kind.ENV, shape=(rest,)),
        },
        output_features={'action': feature(type=kind.ACTION, shape=(len(settings.task.action.joints),))},
        n_obs_steps=settings.task.obs_horizon,
        horizon=settings.task.pred_horizon,
        n_action_steps=settings.task.exec_horizon,
        down_dims=settings.network.channels,
        kernel_size=settings.network.kernel_size,
        n_groups=settings.network.groups,
        diffusion_step_embed_dim=settings.network.level_width,
        noise_scheduler_type='DDIM',
        num_train_timesteps=settings.objective.diffusion_steps,
        beta_schedule=settings.objective.schedule,
        prediction_type=settings.objective.prediction_type,
        num_inference_steps=steps,
    )
    policy = modeling.DiffusionPolicy(config).eval()
    batch = {STATE: torch.zeros(1, first), ENVIRONMENT: torch.zeros(1, rest)}
    policy.select_action(dict(batch))  # fills its queues of observations
    return lambda: policy.predict_action_chunk(dict(batch))
