"""A bundle whose policy goes round in circles, smoothly and for ever, and gives NaN when the block is off the table.

A policy to watch faults with: it always has somewhere to go, no chunk of it comes near a limit, and a fault of the
network can be had from outside. It looks at every stream it has, a camera among them. Needs torch.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.policy.bundle.manifest import write_bundle
from dp_ros.policy.bundle.parity import Parity, input_shapes
from dp_ros.policy.normalizer import ACTION, Normalizer
from dp_ros.task.spec import ActionSpec, ImageStream, JointStream, PoseStream, TaskSpec
from test.tiny_bundle import as_onnx

JOINTS = ('pusher_x', 'pusher_y')
SIDE = 0.512  # of the table [m]
OFF_TABLE = 0.7  # x of a block [m] for which the network gives NaN
RADIUS = 0.5  # of the circle; normalized, 1 is half the table
TURN = 0.2  # [rad] a control step: 0.26 m/s and 0.5 m/s^2 at control_dt
DECAY = 8.0  # control steps in which the way to the circle shrinks by e
CAMERA = ImageStream(name='camera', topic='/camera/color/image_raw', height=32, width=32)
TASK = TaskSpec(
    streams=(
        JointStream(name='joint_states', topic='/joint_states', joints=JOINTS, units=('m', 'm')),
        PoseStream(name='block_pose', topic='/block_pose', features=('x', 'y')),
        CAMERA,
    ),
    action=ActionSpec(topic='/arm_controller/joint_trajectory', joints=JOINTS, units=('m', 'm')),
)
NORMALIZER = Normalizer(
    low=dict.fromkeys(('joint_states', 'block_pose', ACTION), (0.0, 0.0)),
    high=dict.fromkeys(('joint_states', 'block_pose', ACTION), (SIDE, SIDE)),
)


def write_circling_bundle(folder: Path, *, joints: tuple[str, ...] = JOINTS, turn: float = TURN) -> Path:
    """Write the bundle to ``folder`` and return it; other joints make one that fits no robot here."""
    action = ActionSpec(topic=TASK.action.topic, joints=joints, units=('m', 'm'))
    networks, parity = _networks(turn)
    write_bundle(
        folder,
        task=TaskSpec(streams=TASK.streams, action=action),
        normalizer=NORMALIZER,
        schedule=ScheduleSpec(prediction_type='sample'),
        defaults=SamplerSettings(),
        networks=networks,
        parity=parity,
        provenance={'weights': 'none: it goes round in circles'},
    )
    return folder


def _networks(turn: float) -> tuple[dict[str, bytes], Parity]:
    import torch
    from torch import Tensor, nn

    class Encoder(nn.Module):
        def forward(self, joint_states: Tensor, block_pose: Tensor, camera: Tensor) -> Tensor:
            block = block_pose[:, -1, :1]
            # log is NaN below 0; a block on the table and any picture change nothing that one could see.
            seen = torch.log(1.5 - block) * 1e-9 + camera.mean(dim=(1, 2, 3, 4))[:, None] * 1e-9
            return joint_states[:, -1] + seen

    class Denoiser(nn.Module):
        def forward(self, x_k: Tensor, k: Tensor, cond: Tensor) -> Tensor:
            steps = torch.arange(x_k.shape[1], dtype=torch.float32)[None]
            radius = torch.sqrt((cond**2).sum(dim=1, keepdim=True) + 1e-4)
            angle = torch.atan(cond[:, 1:] / (radius + cond[:, :1] + 1e-3)) * 2 + turn * steps
            length = RADIUS + (radius - RADIUS) * torch.exp(-steps / DECAY)
            circle = torch.stack([torch.cos(angle), torch.sin(angle)], dim=2) * length[:, :, None]
            return circle + 1e-9 * (x_k + k.to(torch.float32)[:, None, None])

    shapes = input_shapes(TASK)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the tracing exporter, the lighter one, says that it is the older one
        torch.manual_seed(0)
        encoder, denoiser = Encoder().eval(), Denoiser().eval()
        streams = tuple(torch.rand(2, *shape) * 2 - 1 for shape in shapes.values())
        x_k, k = torch.randn(2, TASK.pred_horizon, len(JOINTS)), torch.tensor([0, 99])
        cond = encoder(*streams)
        prediction = denoiser(x_k, k, cond)
        networks = {
            'encoder.onnx': as_onnx(encoder, streams, list(shapes), 'cond'),
            'denoiser.onnx': as_onnx(denoiser, (x_k, k, cond), ['x_k', 'k', 'cond'], 'prediction'),
        }
    recorded = {'cond': cond, 'x_k': x_k, 'k': k, 'prediction': prediction}
    inputs = {name: np.asarray(stream) for name, stream in zip(shapes, streams, strict=True)}
    return networks, Parity(inputs=inputs, **{name: np.asarray(value) for name, value in recorded.items()})
