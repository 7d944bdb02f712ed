"""The observation encoder: a window's streams in, one conditioning vector out. Run once a chunk.

Vector streams are flattened over time. Each camera has a convolutional network with group normalization (batch
statistics do not survive EMA, Chi et al. 2023 section VI) that ends in a spatial softmax (Finn et al. 2016): where each
feature is, not how much of it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dp_ros.config import ImageStream, TaskSpec
from dp_ros.networks.resnet import ResNet18, SpatialSoftmax, load_weights
from dp_ros.networks.settings import NetworkSettings


class CameraEncoder(nn.Module):
    """A light network for one camera: (B, 3, H, W) -> (B, width)."""

    def __init__(self, *, width: int = 64, channels: tuple[int, ...] = (32, 64, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels_in = 3
        for channels_out in channels:
            layers += [
                nn.Conv2d(channels_in, channels_out, 5, stride=2, padding=2),
                nn.GroupNorm(8, channels_out),
                nn.ReLU(),
            ]
            channels_in = channels_out
        layers += [nn.Conv2d(channels_in, 32, 1), SpatialSoftmax(), nn.Linear(64, width)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Encode normalized images."""
        return self.layers(images)


def make_camera(settings: NetworkSettings) -> nn.Module:
    """Return an encoder for pictures (B, 3, H, W) -> (B, camera_width)."""
    if settings.camera == 'light':
        return CameraEncoder(width=settings.camera_width)
    encoder = ResNet18(width=settings.camera_width)
    if settings.camera_weights:
        load_weights(encoder, Path(settings.camera_weights))
    return encoder


class ObservationEncoder(nn.Module):
    """All streams of a task, in the task's order: (B, T, C) and (B, T, 3, H, W) -> cond (B, D)."""

    def __init__(self, task: TaskSpec, settings: NetworkSettings) -> None:
        super().__init__()
        self.names = tuple(s.name for s in task.streams)
        cameras = [s.name for s in task.streams if isinstance(s, ImageStream)]
        shared = make_camera(settings) if settings.camera_shared and cameras else None
        self.cameras = nn.ModuleDict({name: shared or make_camera(settings) for name in cameras})
        widths = [settings.camera_width if s.name in cameras else s.shape[0] for s in task.streams]
        self.width = sum(widths) * task.obs_horizon
        self.columns = _columns_by_time(widths, task.obs_horizon)

    def forward(self, *streams: Tensor) -> Tensor:
        """Encode normalized streams, given in the task's order."""
        parts = []
        for name, values in zip(self.names, streams, strict=True):
            if name in self.cameras:
                batch, time = values.shape[:2]
                parts.append(self.cameras[name](values.flatten(0, 1)).view(batch, time, -1).flatten(1))
            else:
                parts.append(values.flatten(1))
        return torch.cat(parts, dim=-1)


def _columns_by_time(widths: list[int], times: int) -> Tensor:
    """Return which columns of cond belong to each observation, (T, D / T); cond has one stream after the other."""
    columns, start = [], 0
    for width in widths:
        columns.append(torch.arange(start, start + width * times).view(times, width))
        start += width * times
    return torch.cat(columns, dim=1)
