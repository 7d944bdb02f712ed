"""A real bundle, made in seconds: small networks with random weights for a task of PushT's shape. Needs torch."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.policy.bundle.manifest import write_bundle
from dp_ros.policy.bundle.parity import Parity, input_shapes
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.task.spec import ActionSpec, JointStream, PoseStream, RewardSpec, TaskSpec

JOINTS = ('pusher_x', 'pusher_y')
TASK = TaskSpec(
    streams=(
        JointStream(name='joint_states', topic='/joint_states', joints=JOINTS, units=('m', 'm')),
        PoseStream(name='block_pose', topic='/block_pose', features=('x', 'y', 'sin_yaw', 'cos_yaw')),
    ),
    action=ActionSpec(topic='/arm_controller/joint_trajectory', joints=JOINTS, units=('m', 'm')),
)
NORMALIZER = Normalizer(
    low={'joint_states': (0.0, 0.0), 'block_pose': (0.0, 0.0, -1.0, -1.0), ACTION: (0.0, 0.0)},
    high={'joint_states': (0.512, 0.512), 'block_pose': (0.512, 0.512, 1.0, 1.0), ACTION: (0.512, 0.512)},
)


def write_tiny_bundle(folder: Path, *, torchscript: bool = False, **changes: Any) -> Path:
    """Write the bundle to ``folder`` and return it; ``changes`` replace arguments of `write_bundle`."""
    networks, parity = tiny_networks(changes.get('task', TASK), torchscript=torchscript)
    arguments: dict[str, Any] = {
        'task': TASK,
        'normalizer': NORMALIZER,
        'schedule': ScheduleSpec(),
        'defaults': SamplerSettings(),
        'networks': networks,
        'parity': parity,
        'provenance': {'weights': 'random'},
    }
    write_bundle(folder, **(arguments | changes))
    return folder


def tiny_networks(task: TaskSpec, *, torchscript: bool = False, width: int = 8) -> tuple[dict[str, bytes], Parity]:
    """Return a task's networks by file name, and what eager torch gives for them; the same each time."""
    import torch
    from torch import Tensor, nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(sum(int(np.prod(shape)) for shape in shapes.values()), width)

        def forward(self, *streams: Tensor) -> Tensor:
            return torch.tanh(self.layer(torch.cat([s.flatten(1) for s in streams], dim=1)))

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.from_cond = nn.Linear(width, channels)
            self.from_x = nn.Conv1d(channels, channels, 3, padding=1)

        def forward(self, x_k: Tensor, k: Tensor, cond: Tensor) -> Tensor:
            share = (k.to(torch.float32) / 100)[:, None, None]
            return share * x_k + self.from_x(x_k.transpose(1, 2)).transpose(1, 2) + self.from_cond(cond)[:, None, :]

    shapes, channels = input_shapes(task), len(task.action.joints)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the tracing exporter, the lighter one, says that it is the older one
        torch.manual_seed(0)
        encoder, denoiser = Encoder().eval(), Denoiser().eval()
        streams = tuple(torch.rand(2, *shape) * 2 - 1 for shape in shapes.values())
        x_k, k = torch.randn(2, task.pred_horizon, channels), torch.tensor([0, 99])
        cond = encoder(*streams)
        prediction = denoiser(x_k, k, cond)
        networks = {
            'encoder.onnx': as_onnx(encoder, streams, list(shapes), 'cond'),
            'denoiser.onnx': as_onnx(denoiser, (x_k, k, cond), ['x_k', 'k', 'cond'], 'prediction'),
        }
        if torchscript:
            networks['encoder.ts'] = _as_torchscript(encoder, streams)
            networks['denoiser.ts'] = _as_torchscript(denoiser, (x_k, k, cond))
    inputs = {name: stream.numpy() for name, stream in zip(shapes, streams, strict=True)}
    recorded = {'cond': cond, 'x_k': x_k, 'k': k, 'prediction': prediction}
    return networks, Parity(inputs=inputs, **{name: value.numpy() for name, value in recorded.items()})


def as_onnx(module: Any, inputs: tuple[Any, ...], names: list[str], output: str) -> bytes:
    """Return a module as ONNX whose batch may have any size."""
    import torch

    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        inputs,
        buffer,
        input_names=names,
        output_names=[output],
        dynamic_axes={name: {0: 'batch'} for name in (*names, output)},
        opset_version=17,
        dynamo=False,
    )
    return buffer.getvalue()


def _as_torchscript(module: Any, inputs: tuple[Any, ...]) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(module, inputs), buffer)
    return buffer.getvalue()


def sequence_settings(**changes: Any) -> Any:
    """Return a training configuration of a tiny sequence model for the task."""
    from dp_ros.networks.settings import NetworkSettings
    from dp_ros.training.settings import SequenceSettings, TrainSettings

    arguments: dict[str, Any] = {
        'name': 'tiny',
        'task': replace(TASK, pred_horizon=4, exec_horizon=2, reward=RewardSpec()),
        'family': 'sequence',
        'sequence': SequenceSettings(bins=20, states=('joint_states',)),
        'network': NetworkSettings(denoiser='transformer', width=16, layers=2, heads=2, dropout=0.0),
        'steps': 1,
    }
    return TrainSettings(**(arguments | changes))


def write_tiny_sequence(folder: Path) -> Path:
    """Write the bundle of a sequence model with random weights to ``folder`` and return it."""
    import torch

    from dp_ros.networks.sequence import SequenceNetwork
    from dp_ros.training.run_folder import make_network
    from dp_ros.training.sequence.export import export_sequence

    settings = sequence_settings()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = make_network(settings).eval()
        assert isinstance(network, SequenceNetwork)
        # Of return, two actions, reward and two states: from these to those, in equal bins.
        ends = torch.tensor([[-20.0, 0.0], [-0.05, 0.05], [-0.05, 0.05], [-1.0, 0.0], [0.0, 0.512], [0.0, 0.512]])
        network.edges.copy_(ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * torch.linspace(0.0, 1.0, 21))
        network.decoder.heads[1:].mul_(40.0)  # sure of everything but returns, so that what is asked for matters
        network.decoder.token.weight[:20].mul_(100.0)
    export_sequence(settings, network, NORMALIZER, folder, half=False, provenance={}, name='tiny')
    return folder
