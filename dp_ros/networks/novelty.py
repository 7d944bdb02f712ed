"""Novelty of an observation by random network distillation (Burda et al. 2018, arXiv 1810.12894).

A target network keeps its random weights; a predictor learns what comes out of it, on observations of successful
episodes. Elsewhere the two differ. FIPER does so on the policy's own embedding (arXiv 2510.09459).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

FLOOR = 0.02
"""Least standard deviation that a number is scaled by: normalized ones are between -1 and 1."""


class Features(nn.Module):
    """``cond`` (B, D) -> (B, C + 1): its C principal components, standardized, and how far it is from what they span.

    An encoder's output is much wider than what it says, and both networks would be as wide.

    Parameters
    ----------
    center, project
        Mean of the encoder's output (D,), and the directions, orthonormal, (D, C).
    scale, rest
        Standard deviation of each component (C,), and the usual distance from what they span.

    """

    center: Tensor
    project: Tensor
    scale: Tensor
    rest: Tensor

    def __init__(self, center: Tensor, project: Tensor, scale: Tensor, rest: Tensor) -> None:
        super().__init__()
        for name, values in (
            ('center', center),
            ('project', project),
            ('scale', scale.clamp(min=FLOOR)),
            ('rest', rest.clamp(min=FLOOR)),
        ):
            self.register_buffer(name, values.clone())

    @property
    def width(self) -> int:
        """How many there are."""
        return self.project.shape[1] + 1

    def forward(self, cond: Tensor) -> Tensor:
        """Return the features."""
        moved = cond - self.center
        low = moved @ self.project
        far = ((moved - low @ self.project.T) ** 2).sum(dim=1, keepdim=True).sqrt()
        return torch.cat((low / self.scale, far / self.rest), dim=1)


class Novelty(nn.Module):
    """``cond`` (B, D) -> novelty (B,), log(1 + e / e_0).

    e is the mean squared difference of both networks, e_0 what it is on average where nothing is new. Far away e grows
    by powers of ten, and one such number would outweigh all others in a mean.

    Parameters
    ----------
    features
        What becomes of the encoder's output first.
    width, outputs
        Units in each layer, and numbers that are compared.

    """

    usual: Tensor

    def __init__(self, features: Features, *, width: int = 128, outputs: int = 32) -> None:
        super().__init__()
        self.features = features
        self.register_buffer('usual', torch.ones(()))
        inputs = features.width
        self.target = _mlp((inputs, width, width, outputs))
        self.predictor = _mlp((inputs, width, width, width, outputs))
        for weight in self.target.parameters():
            weight.requires_grad_(False)

    def error(self, cond: Tensor) -> Tensor:
        """Return the mean squared difference (B,)."""
        return self.difference(self.features(cond))

    def difference(self, features: Tensor) -> Tensor:
        """Return the same for features (B, C + 1)."""
        return ((self.predictor(features) - self.target(features)) ** 2).mean(dim=1)

    def forward(self, cond: Tensor) -> Tensor:
        """Return the novelty."""
        return torch.log1p(self.error(cond) / self.usual)


def _mlp(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fed, given in pairwise(widths):
        layers += [nn.Linear(fed, given), nn.Mish()]
    return nn.Sequential(*layers[:-1])
