"""The noise level as features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HIDDEN = 4  # times the width: the inner layer


class LevelEmbedding(nn.Module):
    """Sinusoids of the noise level (Vaswani et al. 2017, section 3.5), then a two-layer network: (B,) -> (B, width)."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        rates = torch.exp(torch.arange(half, dtype=torch.float32) * (-math.log(10000.0) / (half - 1)))
        self.register_buffer('frequencies', rates, persistent=False)
        self.layers = nn.Sequential(nn.Linear(width, width * HIDDEN), nn.Mish(), nn.Linear(width * HIDDEN, width))

    def forward(self, k: Tensor) -> Tensor:
        """Embed noise levels ``k`` (B,) int64."""
        phase = k.to(torch.float32)[:, None] * self.frequencies[None, :]
        return self.layers(torch.cat((phase.sin(), phase.cos()), dim=-1))
