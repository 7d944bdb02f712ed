"""ResNet-18 for a camera (He et al. 2016, table 1), with group normalization and a spatial softmax at its end.

Modules have torchvision's names, so that a file of its weights can be read: its convolutions, and the scale and bias of
its normalizations. Running statistics are left out, there are none here.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dp_ros.errors import ConfigError, listed

CHANNELS_PER_GROUP = 16
KEYPOINTS = 32


class SpatialSoftmax(nn.Module):
    """Expected image coordinates of each feature map: (B, C, H, W) -> (B, 2 C), in [-1, 1]."""

    def forward(self, features: Tensor) -> Tensor:
        """Reduce feature maps to keypoints."""
        _, _, height, width = features.shape
        weights = features.flatten(2).softmax(dim=-1).view_as(features)
        xs, ys = (_coordinates(int(count), features.device) for count in (width, height))
        return torch.cat(((weights.sum(2) * xs).sum(-1), (weights.sum(3) * ys).sum(-1)), dim=-1)


def _coordinates(count: int, device: torch.device) -> Tensor:
    if count == 1:
        return torch.full((1,), -1.0, device=device)  # what linspace gives; in ONNX it would divide by 0
    return torch.linspace(-1.0, 1.0, count, device=device)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut: (B, C_in, H, W) -> (B, C_out, H / stride, W / stride)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = _norm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = _norm(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), _norm(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.downsample(x))


class ResNet18(nn.Module):
    """Encode pictures (B, 3, H, W) as (B, width); H and W of 32 or more."""

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = _norm(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = (64, 64, 128, 256, 512)
        for number in range(1, 5):
            before, after = channels[number - 1], channels[number]
            blocks = BasicBlock(before, after, 1 if number == 1 else 2), BasicBlock(after, after, 1)
            self.add_module(f'layer{number}', nn.Sequential(*blocks))
        self.head = nn.Sequential(nn.Conv2d(512, KEYPOINTS, 1), SpatialSoftmax(), nn.Linear(2 * KEYPOINTS, width))

    def forward(self, images: Tensor) -> Tensor:
        """Encode normalized images."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(images))))
        for number in range(1, 5):
            x = self.get_submodule(f'layer{number}')(x)
        return self.head(x)


def load_weights(network: ResNet18, path: Path) -> None:
    """Read torchvision's weights from a file; every weight of the body must be there, or ConfigError is raised."""
    try:
        given = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise ConfigError(f'network.camera_weights {path}: cannot be read ({error}); allowed a state_dict') from error
    own = {name: value for name, value in network.state_dict().items() if not name.startswith('head.')}
    wrong = [name for name, value in own.items() if name not in given or given[name].shape != value.shape]
    if wrong:
        raise ConfigError(
            f"network.camera_weights {path}: lacks {listed(wrong[:5])} in ResNet-18's shape, allowed all {len(own)}"
        )
    network.load_state_dict({name: given[name] for name in own}, strict=False)
