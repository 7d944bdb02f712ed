"""The critic: how soon the task is done if the robot does what a chunk says. It chooses among several samples.

A policy imitates whoever showed the task, the good chunks and the poor ones. Episodes that it played itself tell them
apart: a chunk is worth ``discount`` to the power of the chunks that still came until success, and nothing where none
came. That a diffusion policy proposes and a critic takes one is IDQL's (Hansen-Estruch et al. 2023); here what came is
observed, not bootstrapped. Several members differ where they have seen little, and what they differ by is taken off: a
value must not be high for want of knowledge.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PESSIMISM = 0.5
"""Standard deviations over the members that are taken off their mean."""


class Critic(nn.Module):
    """``cond`` (B, D) and normalized ``actions`` (B, P, A) -> value (B,), about 0 to 1.

    Parameters
    ----------
    center, project
        Of the encoder's output, (D,) and (D, C): it is much wider than what it says, of which C numbers are left.
    mean, scale
        Of what is made of the actions, (P A,): see `steps`.
    members, width
        Networks, and units in each of their layers.

    """

    center: Tensor
    project: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(
        self, center: Tensor, project: Tensor, mean: Tensor, scale: Tensor, *, members: int = 4, width: int = 256
    ) -> None:
        super().__init__()
        for name, values in (('center', center), ('project', project), ('mean', mean), ('scale', scale)):
            self.register_buffer(name, values.clone())
        self.members = nn.ModuleList(_member(project.shape[1] + len(mean), width) for _ in range(members))

    def features(self, cond: Tensor, actions: Tensor) -> Tensor:
        """Return what the members are given, (B, C + P A)."""
        return torch.cat(((cond - self.center) @ self.project, (steps(actions) - self.mean) / self.scale), dim=1)

    def forward(self, cond: Tensor, actions: Tensor) -> Tensor:
        """Return the value: what the members agree on."""
        features = self.features(cond, actions)
        values = torch.sigmoid(torch.cat([member(features) for member in self.members], dim=1))
        return values.mean(dim=1) - PESSIMISM * values.std(dim=1, correction=0)


def steps(actions: Tensor) -> Tensor:
    """Return actions (B, P, A) as the first one, and the others as they differ from it: (B, P A)."""
    first = actions[:, :1]
    return torch.cat((first, actions[:, 1:] - first), dim=1).flatten(1)


def _member(inputs: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fed in (inputs, width, width):
        layers += [nn.Linear(fed, width), nn.LayerNorm(width), nn.Mish(), nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.Linear(width, 1))
