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
    """``cond`` (B, D), ``state`` (B, S) and normalized ``actions`` (B, P, A) -> value (B,), about 0 to 1.

    Parameters
    ----------
    inputs
        What becomes of these before the networks see it.
    members, width
        Networks, and units in each of their layers.

    """

    def __init__(self, inputs: CriticInputs, *, members: int = 4, width: int = 256) -> None:
        super().__init__()
        self.inputs = inputs
        self.members = nn.ModuleList(_member(len(inputs.mean), width) for _ in range(members))

    def forward(self, cond: Tensor, state: Tensor, actions: Tensor) -> Tensor:
        """Return the value: what the members agree on."""
        features = self.inputs(cond, state, actions)
        values = torch.cat([torch.sigmoid(member(features)[:, :1]) for member in self.members], dim=1)
        return values.mean(dim=1) - PESSIMISM * values.std(dim=1, correction=0)


class CriticInputs(nn.Module):
    """What the members are given, (B, C + S + U A), each number standardized.

    Parameters
    ----------
    center, project
        Of the encoder's output, (D,) and (D, C): it is much wider than what it says, of which C numbers are left.
    base, offset
        (S, A) and (A,): ``state @ base + offset`` is where the joints are, as normalized actions. Zeros where no stream
        says that.
    used
        Steps of a chunk that count, U: what is executed, and until the next one takes over.

    """

    center: Tensor
    project: Tensor
    base: Tensor
    offset: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, center: Tensor, project: Tensor, base: Tensor, offset: Tensor, *, used: int) -> None:
        super().__init__()
        self.used = used
        width = project.shape[1] + len(base) + used * len(offset)
        for name, values in (
            ('center', center), ('project', project), ('base', base), ('offset', offset),
            ('mean', torch.zeros(width)), ('scale', torch.ones(width)),
        ):  # fmt: skip
            self.register_buffer(name, values.clone())

    def raw(self, cond: Tensor, state: Tensor, actions: Tensor) -> Tensor:
        """Return what is standardized then; actions count from where the joints are."""
        return self.raw_of((cond - self.center) @ self.project, state, actions)

    def raw_of(self, low: Tensor, state: Tensor, actions: Tensor) -> Tensor:
        """Return the same for a ``cond`` that is projected already, (B, C)."""
        moves = actions[:, : self.used] - (state @ self.base + self.offset)[:, None]
        return torch.cat((low, state, moves.flatten(1)), dim=1)

    def forward(self, cond: Tensor, state: Tensor, actions: Tensor) -> Tensor:
        """Return the features."""
        return (self.raw(cond, state, actions) - self.mean) / self.scale


def _member(inputs: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fed in (inputs, width, width):
        layers += [nn.Linear(fed, width), nn.LayerNorm(width), nn.Mish(), nn.Dropout(0.1)]
    # The second output is learnt from only: how near the task comes to success soon.
    return nn.Sequential(*layers, nn.Linear(width, 2))
