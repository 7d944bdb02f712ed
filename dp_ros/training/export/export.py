"""A trained run made into a bundle: ONNX, TorchScript twins where asked for, and numbers compared before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from dp_ros.diffusion.coefficients import default_settings, samplers_for
from dp_ros.diffusion.samplers import Sampler, SamplerSettings
from dp_ros.errors import BundleError, ConfigError, check_choice
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.networks.prepared import PreparedNetwork, film_blocks
from dp_ros.networks.sequence import SequenceNetwork
from dp_ros.networks.unet1d import Unet1d
from dp_ros.options import check_options, option
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.bundle import CRITIC, MANIFEST, NOISE, TOLERANCE, TORCHSCRIPT_FILES, WEIGHTS, Bundle
from dp_ros.policy.bundle.files import sha256
from dp_ros.policy.bundle.manifest import load_bundle, write_bundle
from dp_ros.policy.bundle.parity import Parity, input_shapes
from dp_ros.policy.normalizer import Normalizer
from dp_ros.task.starts import DemonstratedStarts
from dp_ros.task.yaml_reader import parse, to_plain
from dp_ros.training.bundle_network import weights_file
from dp_ros.training.export.exported_networks import HALF_FROM, random_inputs, store_half, to_onnx, torchscript_twins
from dp_ros.training.export.quantize import quantize
from dp_ros.training.run_folder import RUN, PolicyNetwork, is_bundle, load_network
from dp_ros.training.sequence.export import export_sequence
from dp_ros.training.settings import TrainSettings

PARITY_BATCH = 4
INT8_TOLERANCE = 5e-2

Weights = Literal['float16', 'float32', 'int8']
Checkpoint = Literal['best', 'last']


# fmt: off
@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """How a bundle is written.

    With ``float16`` weights the trained network is rounded first, so that what was compared is what runs; the runtime
    computes in float32 either way. With ``int8`` the denoiser's large weights are computed in 8 bits too, which is no
    longer the same network: its score must be looked at, and it cannot be trained further.
    """

    weights: Weights = option('float16', 'how weights are stored; int8 is computed so too: faster, not quite the same')
    torchscript: bool = option(False, 'also write TorchScript')
    sampler: Sampler | None = option(
        None, "the default one (default: ddim, or what suits the schedule; a bundle's own)"
    )
    sampling_steps: int | None = option(
        None, "the default number (default: 10, or 1 for regression; a bundle's own)", low=1, high=1000
    )
    checkpoint: Checkpoint | None = option(None, 'default: best, where there were rollouts')
    name: str = option('', 'what the bundle is called (default: as the run, or the bundle)')
    overwrite: bool = option(False, 'replace a bundle that is there')
# fmt: on


def export_run(run: Path, folder: Path, asked: ExportSettings | None = None) -> Bundle:
    """Write the bundle of a run's EMA network, or of a bundle's anew, whose critic and noise actor go along."""
    asked = asked or ExportSettings()
    check_options(asked)
    settings, network, normalizer, record = load_network(run, asked.checkpoint)
    source = load_bundle(run) if is_bundle(run) else None
    if isinstance(network, SequenceNetwork) and (given := asked.sampler or asked.sampling_steps) is not None:
        raise ConfigError(f'sampler and steps: got {given} for family sequence, allowed none: it samples no noise')
    shapes = {name: (shape[0], shape[1]) for name, shape in record.pop('camera_shapes', {}).items()}
    told = record.pop('starts', None)
    starts = None if told is None else parse(DemonstratedStarts, told, f'{run / RUN}.starts')
    if source is not None:
        record['bundle_sha256'] = sha256(run / MANIFEST)
        shapes, starts = dict(source.camera_shapes), source.starts
    return export_network(
        settings,
        network,
        normalizer,
        folder,
        weights=asked.weights,
        torchscript=asked.torchscript,
        defaults=None if settings.family == 'sequence' else _defaults(settings, source, asked),
        overwrite=asked.overwrite,
        provenance={**record, 'weights': asked.weights, 'config': to_plain(settings)},
        name=asked.name or (source.name if source else ''),
        extras_of=source if source is not None and (source.has_critic or source.has_noise_actor) else None,
        camera_shapes=shapes,
        starts=starts,
    )


def _defaults(settings: TrainSettings, source: Bundle | None, asked: ExportSettings) -> SamplerSettings:
    spec = settings.objective.spec
    usual = default_settings(spec) if source is None else source.defaults
    if asked.sampler is not None:
        check_choice('sampler', asked.sampler, samplers_for(spec))
    steps = asked.sampling_steps or usual.sampling_steps
    return replace(usual, sampler=asked.sampler or usual.sampler, sampling_steps=steps)


def export_network(
    settings: TrainSettings,
    network: PolicyNetwork,
    normalizer: Normalizer,
    folder: Path,
    *,
    provenance: Mapping[str, Any],
    weights: Weights = 'float16',
    torchscript: bool = False,
    defaults: SamplerSettings | None = None,
    overwrite: bool = False,
    name: str = '',
    extras_of: Bundle | None = None,
    camera_shapes: Mapping[str, tuple[int, int]] | None = None,
    starts: DemonstratedStarts | None = None,
) -> Bundle:
    """Write the bundle of a network in evaluation mode; see `ExportSettings`, which says how it may be rounded.

    Critic and noise actor are taken over from ``extras_of``, a bundle of the same network.
    """
    if isinstance(network, SequenceNetwork):
        if weights == 'int8' or torchscript:
            got = 'int8 weights' if weights == 'int8' else 'torchscript'
            raise ConfigError(f'export: got {got} for family sequence, allowed float16 and float32 by ONNX Runtime')
        if weights == 'float16':
            round_to_half(network)
        return export_sequence(
            settings, network, normalizer, folder, half=weights == 'float16', provenance=provenance,
            overwrite=overwrite, name=name, camera_shapes=camera_shapes, starts=starts,
        )  # fmt: skip
    schedule = settings.objective.spec
    if weights == 'int8' and torchscript:
        raise ConfigError("weights: got 'int8' with torchscript, allowed without: only ONNX Runtime knows it")
    if weights != 'float32':
        round_to_half(network)
    prepared = prepare(network, settings)
    parity = record_parity(network, prepared, settings)
    networks: dict[str, Path | bytes] = {
        'encoder.onnx': encoder_onnx(prepared, settings, parity),
        'denoiser.onnx': denoiser_onnx(prepared, parity),
    }
    if weights == 'int8':
        networks['denoiser.onnx'] = quantize(networks['denoiser.onnx'])  # type: ignore[arg-type]
    if weights != 'float32':
        networks['denoiser.onnx'] = store_half(networks['denoiser.onnx'])  # type: ignore[arg-type]
        networks['encoder.onnx'] = store_half(networks['encoder.onnx'])  # type: ignore[arg-type]
    if weights != 'int8':
        networks[WEIGHTS] = weights_file(network)
    if torchscript:
        networks |= torchscript_twins(prepared, settings, parity)
    if extras_of is not None:
        _check_encoder(parity, extras_of)
        networks |= {file: extras_of.path(file) for file in (CRITIC, NOISE) if file in extras_of.files}
        recorded = extras_of.parity()
        parity = replace(parity, value=recorded.value, noise=recorded.noise)
    return write_bundle(
        folder,
        task=settings.task,
        normalizer=normalizer,
        schedule=schedule,
        defaults=defaults or default_settings(schedule),
        networks=networks,
        parity=parity,
        provenance=provenance,
        tolerance=INT8_TOLERANCE if weights == 'int8' else TOLERANCE,
        critic_from=extras_of.critic_from if extras_of else 0.0,
        camera_shapes=camera_shapes,
        starts=starts,
        name=name or settings.name,
        overwrite=overwrite,
        check=replayed,
    )


def replayed(bundle: Bundle) -> None:
    """Raise BundleError unless every backend that a bundle is for reproduces the recorded pair."""
    for backend in ('onnxruntime', 'torchscript') if TORCHSCRIPT_FILES[0] in bundle.files else ('onnxruntime',):
        open_backend(bundle, backend=backend)


def _check_encoder(parity: Parity, bundle: Bundle) -> None:
    """Raise unless the encoder gives what the one of ``bundle`` does, which its critic and its noise actor know."""
    most = float(np.abs(parity.cond - bundle.parity().cond).max())
    if not most <= TOLERANCE:
        raise BundleError(
            f'bundle {bundle.name}: got an encoder that differs from its own by {most:.3g}, allowed up to {TOLERANCE:g}'
        )


def prepare(network: DiffusionNetwork, settings: TrainSettings) -> PreparedNetwork:
    """Return the network as it is run."""
    levels, pred_horizon = settings.objective.diffusion_steps, settings.task.pred_horizon
    return PreparedNetwork(network, levels=levels, pred_horizon=pred_horizon).eval()


@torch.no_grad()
def round_to_half(network: PolicyNetwork) -> None:
    """Round the large weights to what float16 can hold, in place; a weight beyond its range is an error.

    What goes into the table of the noise levels is left, for that is stored in full.
    """
    whole = _columns_in_table(network.denoiser) if isinstance(network, DiffusionNetwork) else {}
    for name, parameter in network.named_parameters():
        if parameter.numel() < HALF_FROM:
            continue
        kept = parameter[..., whole.get(id(parameter), 0) :]
        rounded = kept.to(torch.float16).to(torch.float32)
        if not torch.isfinite(rounded).all():
            raise ValueError(f'weight {name}: got {kept.abs().max():.3g}, allowed up to 65504 as float16')
        kept.copy_(rounded)


def _columns_in_table(denoiser: nn.Module) -> dict[int, int]:
    """Return how many of a weight's columns the table of `PreparedUnet` is made of, by its id."""
    if not isinstance(denoiser, Unet1d):
        return {}
    columns = {id(weight): weight.shape[-1] for weight in denoiser.level.parameters()}
    for block in film_blocks(denoiser):
        columns[id(block.film.weight)] = 2 * len(denoiser.level.frequencies)
        columns[id(block.film.bias)] = len(block.film.bias)
    return columns


@torch.no_grad()
def record_parity(network: DiffusionNetwork, prepared: PreparedNetwork, settings: TrainSettings) -> Parity:
    """Run the network on fixed random inputs, noise levels from the cleanest to the noisiest.

    Predictions are the trained network's; what is prepared only says what its encoder hands on.
    """
    task = settings.task
    generator = torch.Generator().manual_seed(0)
    inputs = random_inputs(task, PARITY_BATCH, generator)
    channels = len(task.action.joints) + settings.objective.spec.mask_channels
    x_k = torch.randn((PARITY_BATCH, task.pred_horizon, channels), generator=generator)
    k = torch.linspace(0, settings.objective.diffusion_steps - 1, PARITY_BATCH).round().to(torch.int64)
    streams = tuple(inputs.values())
    return Parity(
        inputs={name: value.numpy() for name, value in inputs.items()},
        cond=prepared.encoder(*streams).numpy(),
        x_k=x_k.numpy(),
        k=k.numpy(),
        prediction=network(x_k, k, *streams).numpy(),
    )


def encoder_onnx(network: PreparedNetwork, settings: TrainSettings, parity: Parity) -> bytes:
    """Return the encoder as ONNX: one input per stream, by its name."""
    names = list(input_shapes(settings.task))
    inputs = tuple(torch.from_numpy(parity.inputs[name]) for name in names)
    return to_onnx(network.encoder, inputs, names, 'cond')


def denoiser_onnx(network: PreparedNetwork, parity: Parity) -> bytes:
    """Return the denoiser as ONNX."""
    inputs = tuple(torch.from_numpy(a) for a in (parity.x_k, parity.k, parity.cond))
    return to_onnx(network.denoiser, inputs, ['x_k', 'k', 'cond'], 'prediction')
