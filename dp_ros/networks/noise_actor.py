"""Actors of reinforcement learning: what a bundle runs of them.

A noise actor steers a diffusion policy that stays as it is, by the noise that its sampling begins with (DSRL,
Wagenmaker et al. 2025). A line actor is a policy of its own: how far each joint is to go from where it is.

    state   normalized observations, (B, S); see `dp_ros.policy.bundle.parity.state_of`
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Actor(nn.Module):
    """A plain network with outputs from -1 to 1: (B, S) -> (B, O), as reinforcement learning left it.

    Parameters
    ----------
    widths
        Of inputs, hidden layers and outputs.
    activation
        Of the hidden layers.
    squashed
        Whether outputs go through tanh, as SAC's; otherwise they are cut off, as PPO's.

    """

    def __init__(self, widths: Sequence[int], activation: type[nn.Module], *, squashed: bool) -> None:
        super().__init__()
        hidden = [layer for a, b in pairwise(widths[:-1]) for layer in (nn.Linear(a, b), activation())]
        self.layers = nn.Sequential(*hidden, nn.Linear(widths[-2], widths[-1]))
        self.squashed = squashed

    def forward(self, state: Tensor) -> Tensor:
        """Return the action."""
        outputs = self.layers(state)
        return torch.tanh(outputs) if self.squashed else outputs.clamp(-1.0, 1.0)


class NoiseActor(nn.Module):
    """``state`` (B, S), with pictures ``cond`` (B, D) after it -> the noise to begin with, (B, P, A).

    Parameters
    ----------
    actor
        What learnt.
    bound
        Largest noise: 1.5 standard deviations of what the policy was trained with are most of it.
    pred_horizon
        Actions of a chunk, P.

    """

    def __init__(self, actor: Actor, *, bound: float, pred_horizon: int) -> None:
        super().__init__()
        self.actor, self.bound, self.pred_horizon = actor, bound, pred_horizon

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the noise."""
        return (self.bound * self.actor(torch.cat(inputs, dim=1))).unflatten(1, (self.pred_horizon, -1))


class FlatEncoder(nn.Module):
    """Streams and goals of numbers as they are, one after the other: (B, T, C), ... -> (B, S)."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the state."""
        return torch.cat([values.flatten(1) for values in inputs], dim=1)


class LineActor(nn.Module):
    """Lead from where the joints are to where an actor wants them next: ``(x_k, k, cond) -> (B, P, A)``.

    They are there by the next decision, at a constant speed, and stay.

    Parameters
    ----------
    actor
        What learnt: from the state, a share from -1 to 1 of each joint's `reach`.
    base, offset
        (S, A) and (A,): ``state @ base + offset`` is where the joints are, as normalized actions.
    reach
        How far a joint gets in a control step at most, normalized (A,).
    pred_horizon, exec_horizon
        Actions of a chunk, P, and from one decision to the next.

    """

    base: Tensor
    offset: Tensor
    steps: Tensor

    def __init__(
        self, actor: Actor, base: Tensor, offset: Tensor, reach: Tensor, *, pred_horizon: int, exec_horizon: int
    ) -> None:
        super().__init__()
        self.actor = actor
        self.register_buffer('base', base)
        self.register_buffer('offset', offset)
        self.register_buffer('steps', torch.arange(1.0, pred_horizon + 1).clamp(max=exec_horizon)[:, None] * reach)

    def forward(self, x_k: Tensor, k: Tensor, cond: Tensor) -> Tensor:
        """Return the chunk; x_k and k are those of regression, which says nothing by them."""
        here = cond @ self.base + self.offset
        chunk = here[:, None] + self.actor(cond)[:, None] * self.steps
        return chunk + 0.0 * (x_k + k[:, None, None])
