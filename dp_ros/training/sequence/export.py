"""A trained sequence model made into a bundle, and its numbers compared before it is used."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dp_ros.networks.sequence import DecoderStep, SequenceNetwork
from dp_ros.policy.bundle.bundle import WEIGHTS, Bundle
from dp_ros.policy.bundle.manifest import write_bundle
from dp_ros.policy.bundle.parity import input_shapes
from dp_ros.policy.normalizer import Normalizer
from dp_ros.policy.sequence.parity import SequenceParity
from dp_ros.policy.sequence.session import open_sequence
from dp_ros.policy.sequence.spec import SequenceSpec
from dp_ros.task.starts import DemonstratedStarts
from dp_ros.training.bundle_network import weights_file
from dp_ros.training.export.exported_networks import OPSET, random_inputs, store_half, to_onnx
from dp_ros.training.settings import TrainSettings

PARITY_BATCH = 3


def export_sequence(
    settings: TrainSettings,
    network: SequenceNetwork,
    normalizer: Normalizer,
    folder: Path,
    *,
    half: bool,
    provenance: Mapping[str, Any],
    overwrite: bool = False,
    name: str = '',
    camera_shapes: Mapping[str, tuple[int, int]] | None = None,
    starts: DemonstratedStarts | None = None,
) -> Bundle:
    """Write the bundle of a network in evaluation mode, whose weights float16 holds exactly if ``half``."""
    spec = SequenceSpec(
        states=settings.sequence.states,
        step_cost=settings.sequence.step_cost,
        layers=network.decoder.layers,
        width=network.decoder.width,
        edges=tuple(tuple(row) for row in network.edges.tolist()),
    )
    parity = record_parity(network, settings)
    names = list(input_shapes(settings.task))
    inputs = tuple(torch.from_numpy(parity.inputs[name]) for name in names)
    encoder, decoder = to_onnx(network.encoder, inputs, names, 'cond'), decoder_onnx(network)
    networks = {'encoder.onnx': encoder, 'decoder.onnx': store_half(decoder) if half else decoder}
    return write_bundle(
        folder,
        task=settings.task,
        normalizer=normalizer,
        sequence=spec,
        networks={**networks, WEIGHTS: weights_file(network)},
        parity=parity,
        provenance=provenance,
        camera_shapes=camera_shapes,
        starts=starts,
        name=name or settings.name,
        overwrite=overwrite,
        check=open_sequence,
    )


@torch.no_grad()
def record_parity(network: SequenceNetwork, settings: TrainSettings) -> SequenceParity:
    """Run the network as it is trained, all tokens at once, on fixed random inputs: two steps' tokens and one more."""
    generator = torch.Generator().manual_seed(0)
    decoder, task = network.decoder, settings.task
    inputs = random_inputs(task, PARITY_BATCH, generator)
    shape = (PARITY_BATCH, task.pred_horizon, decoder.columns)
    tokens = torch.randint(0, decoder.bins, shape, generator=generator)
    offsets = torch.randn((*shape, network.actions), generator=generator) * 0.1
    cond = network.encoder(*inputs.values())
    logits = decoder(tokens, offsets, cond).flatten(1, 2)
    count = min(2 * decoder.columns + 1, logits.shape[1])
    counted = (tokens + decoder.bins * torch.arange(decoder.columns)).flatten(1)
    first = torch.full_like(counted[:, :1], decoder.columns * decoder.bins)
    return SequenceParity(
        inputs={name: value.numpy() for name, value in inputs.items()},
        cond=cond.numpy(),
        token=np.ascontiguousarray(torch.cat((first, counted), dim=1)[:, :count]),
        offset=np.ascontiguousarray(torch.nn.functional.pad(offsets.flatten(1, 2), (0, 0, 1, 0))[:, :count]),
        logits=np.ascontiguousarray(logits[:, :count]),
    )


def decoder_onnx(network: SequenceNetwork) -> bytes:
    """Return the decoder's single step as ONNX; batch and number of tokens before are of any size."""
    decoder = network.decoder
    example = (
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, network.actions),
        torch.zeros(2, decoder.width),
        torch.zeros(3, 2, decoder.layers, 2, decoder.width),
    )
    buffer = io.BytesIO()
    batch = {0: 'batch'}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')  # as `to_onnx`; the past's length is traced as what it is, the numbers compared
        torch.onnx.export(
            DecoderStep(decoder).eval(),
            example,
            buffer,  # type: ignore[arg-type]  # as in `to_onnx`
            input_names=['token', 'offset', 'cond', 'past'],
            output_names=['logits', 'memory'],
            dynamic_axes={
                'token': batch, 'offset': batch, 'cond': batch, 'past': {0: 'tokens', 1: 'batch'}, 'logits': batch,
                'memory': batch,
            },
            opset_version=OPSET,
            dynamo=False,
        )  # fmt: skip
    return buffer.getvalue()
