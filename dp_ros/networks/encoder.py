"""The observation encoder: a window's streams in, one conditioning vector out. Run once a chunk.

Vector streams are flattened over time. Each camera has a small convolutional network with group normalization (batch
statistics do not survive EMA, Chi et al. 2023 section VI) that ends in a spatial softmax (Finn et al. 2016): where each
feature is, not how much of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dp_ros.config import ImageStream, TaskSpec


class SpatialSoftmax(nn.Module):
    """Expected image coordinates of each feature map: (B, C, H, W) -> (B, 2 C), in [-1, 1]."""

    def forward(self, features: Tensor) -> Tensor:
        """Reduce feature maps to keypoints."""
        _, _, height, width = features.shape
        weights = features.flatten(2).softmax(dim=-1).view_as(features)
        xs = torch.linspace(-1.0, 1.0, width, device=features.device)
        ys = torch.linspace(-1.0, 1.0, height, device=features.device)
        return torch.cat(((weights.sum(2) * xs).sum(-1), (weights.sum(3) * ys).sum(-1)), dim=-1)


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


class ObservationEncoder(nn.Module):
    """All streams of a task, in the task's order: (B, T, C) and (B, T, 3, H, W) -> cond (B, D)."""

    def __init__(self, task: TaskSpec, *, camera_width: int = 64) -> None:
        super().__init__()
        self.names = tuple(s.name for s in task.streams)
        self.cameras = nn.ModuleDict(
            {s.name: CameraEncoder(width=camera_width) for s in task.streams if isinstance(s, ImageStream)}
        )
        per_tick = sum(camera_width if isinstance(s, ImageStream) else s.shape[0] for s in task.streams)
        self.width = per_tick * task.obs_horizon

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
