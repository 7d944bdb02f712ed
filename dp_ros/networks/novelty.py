"""Novelty of an observation by random network distillation (Burda et al. 2018, arXiv 1810.12894).

A target network keeps its random weights; a predictor learns what comes out of it, on observations of successful
episodes. Elsewhere the two differ. FIPER does so on the policy's own embedding (arXiv 2510.09459).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 0.02
"""Least standard deviation that a number is scaled by: normalized ones are between -1 and 1."""


class Novelty(nn.Module):
    """``cond`` (B, D) -> novelty (B,), log(1 + e / e_0).

    e is the mean squared difference of both networks, e_0 what it is on average where nothing is new. Far away e grows
    by powers of ten, and one such number would outweigh all others in a mean.

    Parameters
    ----------
    mean, scale
        Of the encoder's output on successful episodes, (D,).
    width, outputs
        Units in each layer, and numbers that are compared.

    """

    mean: Tensor
    scale: Tensor
    usual: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, *, width: int = 128, outputs: int = 32) -> None:
        super().__init__()
        self.register_buffer('mean', mean.clone())
        self.register_buffer('scale', scale.clamp(min=FLOOR))
        self.register_buffer('usual', torch.ones(()))
        inputs = len(mean)
        self.target = _mlp((inputs, width, width, outputs))
        self.predictor = _mlp((inputs, width, width, width, outputs))
        for weight in self.target.parameters():
            weight.requires_grad_(False)

    def error(self, cond: Tensor) -> Tensor:
        """Return the mean squared difference (B,)."""
        features = (cond - self.mean) / self.scale
        return ((self.predictor(features) - self.target(features)) ** 2).mean(dim=1)

    def forward(self, cond: Tensor) -> Tensor:
        """Return the novelty."""
        return torch.log1p(self.error(cond) / self.usual)


def _mlp(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fed, given in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(fed, given), nn.Mish()]
    return nn.Sequential(*layers[:-1])
