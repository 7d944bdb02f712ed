"""What was learnt, as a bundle: a policy of its own, or the one that was steered with a noise actor beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dp_ros.diffusion.coefficients import default_settings
from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.networks.noise_actor import Actor, FlatEncoder, LineActor, NoiseActor
from dp_ros.policy.bundle.bundle import NOISE, Bundle
from dp_ros.policy.bundle.manifest import write_bundle
from dp_ros.policy.bundle.parity import Parity, input_shapes, noise_inputs
from dp_ros.policy.normalizer import ACTION
from dp_ros.training.critic.fit import where_joints_are
from dp_ros.training.export.export import PARITY_BATCH, replayed
from dp_ros.training.export.exported_networks import store_half, to_onnx
from dp_ros.training.export.further_network import write_with_network

REGRESSION = ScheduleSpec(name='none', diffusion_steps=1, prediction_type='sample')


@torch.no_grad()
def round_to_half(network: nn.Module) -> None:
    """Round the weights to what float16 can hold, in which they are stored."""
    for values in network.parameters():
        values.copy_(values.to(torch.float16).to(torch.float32))


@torch.no_grad()
def write_line_bundle(
    source: Bundle,
    folder: Path,
    actor: Actor,
    *,
    speed: float,
    exec_horizon: int,
    record: Mapping[str, Any],
    overwrite: bool,
) -> Bundle:
    """Write a policy of its own, with task and normalizer of ``source``; its name is the folder's."""
    task = replace(source.task, exec_horizon=exec_horizon)
    round_to_half(actor)
    low, high = (np.asarray(side[ACTION]) for side in (source.normalizer.low, source.normalizer.high))
    reach = torch.from_numpy(2.0 * speed * task.control_dt / (high - low)).to(torch.float32)
    base, offset = where_joints_are(source)
    encoder = FlatEncoder().eval()
    denoiser = LineActor(actor, base, offset, reach, pred_horizon=task.pred_horizon, exec_horizon=exec_horizon).eval()
    draws = torch.Generator().manual_seed(0)
    inputs = {
        name: torch.rand((PARITY_BATCH, *shape), generator=draws) * 2 - 1 for name, shape in input_shapes(task).items()
    }
    x_k = torch.zeros((PARITY_BATCH, task.pred_horizon, len(task.action.joints)))
    k = torch.zeros(PARITY_BATCH, dtype=torch.int64)
    cond = encoder(*inputs.values())
    parity = Parity(
        inputs={name: value.numpy() for name, value in inputs.items()},
        cond=cond.numpy(),
        x_k=x_k.numpy(),
        k=k.numpy(),
        prediction=denoiser(x_k, k, cond).numpy(),
    )
    return write_bundle(
        folder,
        task=task,
        normalizer=source.normalizer,
        schedule=REGRESSION,
        defaults=default_settings(REGRESSION),
        networks={
            'encoder.onnx': to_onnx(encoder, tuple(inputs.values()), list(inputs), 'cond'),
            'denoiser.onnx': store_half(to_onnx(denoiser, (x_k, k, cond), ['x_k', 'k', 'cond'], 'prediction')),
        },
        parity=parity,
        provenance={'reinforcement': dict(record)},
        name=folder.name,
        overwrite=overwrite,
        check=replayed,
    )


def write_with_noise_actor(
    source: Bundle,
    folder: Path,
    actor: Actor,
    *,
    bound: float,
    defaults: SamplerSettings,
    record: Mapping[str, Any],
    overwrite: bool,
) -> Bundle:
    """Write ``source`` with a noise actor, to be sampled as it was while that learnt; its name is the folder's."""
    round_to_half(actor)
    network = NoiseActor(actor, bound=bound, pred_horizon=source.task.pred_horizon).eval()
    parity = source.parity()
    return write_with_network(
        source,
        folder,
        network,
        noise_inputs(source.task, parity.inputs, parity.cond),
        file=NOISE,
        provenance={'reinforcement': dict(record)},
        defaults=defaults,
        overwrite=overwrite,
    )
