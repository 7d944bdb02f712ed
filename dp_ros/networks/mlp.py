"""The denoiser as a plain network: the smallest start, for tasks of few channels."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class ChunkMlp(nn.Module):
    """Predict from a noisy chunk, its noise level and the conditioning: ``(x_k, k, cond) -> (B, P, O)``.

    Parameters
    ----------
    actions, pred_horizon
        Shape of a chunk.
    mask_channels, outputs
        Channels M of x_k after the actions', and what comes out for each of the actions', O / A.
    cond_width
        Conditioning width D.
    width, layers
        Of the hidden layers (ReLU).
    level_width
        Width of the noise level's embedding.
    dropout
        Share of each hidden layer that a training step leaves out.

    """

    def __init__(
        self,
        *,
        actions: int,
        pred_horizon: int,
        cond_width: int,
        width: int,
        layers: int,
        level_width: int,
        dropout: float = 0.0,
        mask_channels: int = 0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.level = LevelEmbedding(level_width)
        self.outputs, flat = actions * outputs, actions * pred_horizon
        widths = [flat + mask_channels * pred_horizon + level_width + cond_width, *[width] * layers]
        hidden = [nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)) for a, b in pairwise(widths)]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, flat * outputs))

    def forward(self, x_k: Tensor, k: Tensor, cond: Tensor) -> Tensor:
        """Predict for x_k (B, P, A + M), k (B,) int64, cond (B, D)."""
        features = torch.cat((x_k.flatten(1), self.level(k), cond), dim=-1)
        return self.layers(features).unflatten(1, (-1, self.outputs))


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
