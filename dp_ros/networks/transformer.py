"""The denoiser as a transformer: a token for each action, attending to the actions before it and to the observations.

Chi et al. 2023, section IV-A. Symbols: B batch, P pred_horizon, A action channels, T observations, D / T features each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dp_ros.networks.mlp import LevelEmbedding


class ChunkTransformer(nn.Module):
    """Predict from a noisy chunk, its noise level and the conditioning: ``(x_k, k, cond) -> (B, P, O)``.

    Parameters
    ----------
    actions, pred_horizon
        Shape of a chunk.
    mask_channels
        Channels M of x_k after the actions'.
    columns
        Which columns of cond belong to each observation, (T, D / T).
    goal_width
        How many columns of cond come after those, about what is to be reached; they are one more token.
    width, layers, heads, dropout
        Of the transformer; dropout acts in attention and elsewhere while training.

    """

    columns: Tensor
    mask: Tensor

    def __init__(
        self,
        *,
        actions: int,
        pred_horizon: int,
        columns: Tensor,
        goal_width: int = 0,
        width: int = 256,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
        mask_channels: int = 0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.register_buffer('columns', columns, persistent=False)
        # An action sees those before it only: what is executed soon does not depend on what may be later.
        mask = torch.triu(torch.full((pred_horizon, pred_horizon), float('-inf')), diagonal=1)
        self.register_buffer('mask', mask, persistent=False)
        self.action = nn.Linear(actions + mask_channels, width)
        self.action_place = nn.Parameter(torch.zeros(1, pred_horizon, width))
        self.observation = nn.Linear(columns.shape[1], width)
        self.goal_width = goal_width
        if goal_width:
            self.goal = nn.Linear(goal_width, width)
        self.observation_place = nn.Parameter(torch.zeros(1, len(columns) + 1 + bool(goal_width), width))
        self.level = LevelEmbedding(width)
        self.blocks = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, 4 * width, dropout, activation='gelu', batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, actions * outputs)
        for place in (self.action_place, self.observation_place):
            nn.init.normal_(place, std=0.02)

    def forward(self, x_k: Tensor, k: Tensor, cond: Tensor) -> Tensor:
        """Predict for x_k (B, P, A + M), k (B,) int64, cond (B, D)."""
        observed = self.observation(cond[:, self.columns])
        tokens = [self.level(k)[:, None], observed]
        if self.goal_width:
            tokens.append(self.goal(cond[:, -self.goal_width :])[:, None])
        memory = torch.cat(tokens, dim=1) + self.observation_place
        x = self.action(x_k) + self.action_place
        for block in self.blocks:
            x = block(x, memory, tgt_mask=self.mask)
        return self.project(self.norm(x))
