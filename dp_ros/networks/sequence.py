"""A causal transformer over discretized trajectories, in one file: tokens, encoder, decoder, and its single step.

After the Trajectory Transformer (Janner et al. 2021) with the Decision Transformer's return-to-go before the actions
(Chen et al. 2021). The observed window comes in as the encoder's numbers and not as tokens: bins of 2 cm cannot tell a
speed, pictures have no bins, and so the encoder is the same as a diffusion policy's. See `dp_ros.policy.sequence.spec`
for the tokens.

======  ===========================================================
B       batch
P       control steps of a chunk, pred_horizon
K       tokens of a step
N       tokens of a chunk, P K
A       action channels
W       width
======  ===========================================================
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dp_ros.networks.encoder import ObservationEncoder
from dp_ros.networks.settings import NetworkSettings
from dp_ros.task.spec import TaskSpec


class SequenceNetwork(nn.Module):
    """``encoder`` (window -> cond (B, W)) and ``decoder`` (tokens, offsets, cond -> logits).

    Parameters
    ----------
    columns, bins
        Tokens of a step, K, and how many different ones each of its columns has.

    """

    edges: Tensor

    def __init__(self, task: TaskSpec, settings: NetworkSettings, *, columns: int, bins: int) -> None:
        super().__init__()
        self.actions = len(task.action.joints)
        self.encoder = SequenceEncoder(task, settings)
        self.decoder = SequenceDecoder(
            steps=task.pred_horizon,
            columns=columns,
            bins=bins,
            actions=self.actions,
            width=settings.width,
            layers=settings.layers,
            heads=settings.heads,
            dropout=settings.dropout,
        )
        # Of the bins, set before training; they travel with the weights.
        self.register_buffer('edges', torch.zeros(columns, bins + 1, dtype=torch.float64))

    def tokens(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return a chunk as tokens (B, P, K) int64, and where the set points are by each of them (B, P, K, A).

        Parameters
        ----------
        values
            In the order of the columns (B, P, K) float64; the actions' count from where the joints were at the newest
            observation.

        """
        middles = (self.edges[:, 1:] + self.edges[:, :-1]) / 2
        batch, steps, columns = values.shape
        tokens = torch.empty((batch, steps, columns), dtype=torch.int64, device=values.device)
        offsets = torch.empty((batch, steps, columns, self.actions), dtype=torch.float32, device=values.device)
        reached = values.new_zeros((batch, self.actions))
        for step in range(steps):
            for column in range(columns):
                joint = column - 1
                moves = 0 <= joint < self.actions
                value = values[:, step, column]
                if moves:
                    value = value - reached[:, joint]
                token = torch.searchsorted(self.edges[column, 1:-1].contiguous(), value.contiguous(), right=True)
                if moves:
                    reached = reached.clone()
                    reached[:, joint] += middles[column][token]
                tokens[:, step, column] = token
                offsets[:, step, column] = reached.to(torch.float32)
        return tokens, offsets

    def forward(self, tokens: Tensor, offsets: Tensor, *streams: Tensor) -> Tensor:
        """Return the logits (B, P, K, bins) of each token of chunks, given those before it and the observation."""
        return self.decoder(tokens, offsets, self.encoder(*streams))


class SequenceEncoder(nn.Module):
    """All streams and goals -> cond (B, W), which is added to each token."""

    def __init__(self, task: TaskSpec, settings: NetworkSettings) -> None:
        super().__init__()
        self.observed = ObservationEncoder(task, settings)
        hidden = 2 * settings.width
        self.mix = nn.Sequential(
            nn.Linear(self.observed.width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
            nn.Linear(hidden, settings.width),
        )  # fmt: skip

    def forward(self, *inputs: Tensor) -> Tensor:
        """Encode normalized streams and goals."""
        return self.mix(self.observed(*inputs))


class Block(nn.Module):
    """Attention to what came before, then two dense layers, each after a layer normalization."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.into = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, N, W) with each token changed by those up to it."""
        batch, count, width = x.shape
        q, k, v = (
            part.view(batch, count, self.heads, -1).transpose(1, 2) for part in self.into(self.first(x)).chunk(3, -1)
        )
        drop = self.dropout if self.training else 0.0
        seen = functional.scaled_dot_product_attention(q, k, v, dropout_p=drop, is_causal=True)
        x = x + self._dropped(self.out(seen.transpose(1, 2).reshape(batch, count, width)))
        return x + self._dropped(self.dense(self.second(x)))

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Return one token x (B, W) after attention to ``past`` (T, B, 2, W) and itself, and its keys and values."""
        batch, width = x.shape
        q, k, v = self.into(self.first(x)).chunk(3, -1)
        own = torch.stack((k, v), dim=1)  # (B, 2, W)
        both = torch.cat((past, own[None]), dim=0).view(-1, batch, 2, self.heads, width // self.heads)
        keys, values = both[:, :, 0].permute(1, 2, 3, 0), both[:, :, 1].permute(1, 2, 0, 3)
        q = q.view(batch, self.heads, 1, -1) * (width // self.heads) ** -0.5
        seen = (torch.softmax(q @ keys, dim=-1) @ values).reshape(batch, width)
        x = x + self.out(seen)
        return x + self.dense(self.second(x)), own


class SequenceDecoder(nn.Module):
    """The transformer. Each column has its own embedding and its own projection to logits."""

    def __init__(
        self, *, steps: int, columns: int, bins: int, actions: int, width: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.columns, self.bins, self.width, self.layers = columns, bins, width, layers
        self.token = nn.Embedding(columns * bins + 1, width)  # the last stands before the first token
        self.place = nn.Parameter(torch.zeros(steps * columns, width))
        self.offset = nn.Linear(actions, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.heads = nn.Parameter(torch.zeros(columns, width, bins))
        for weight in (self.token.weight, self.place, self.heads):
            nn.init.normal_(weight, std=0.02)

    def forward(self, tokens: Tensor, offsets: Tensor, cond: Tensor) -> Tensor:
        """Return logits (B, P, K, bins) for tokens (B, P, K), offsets (B, P, K, A) and cond (B, W)."""
        batch, steps, columns = tokens.shape
        ids = (tokens + self.bins * torch.arange(columns, device=tokens.device)).flatten(1)
        start = torch.full_like(ids[:, :1], self.columns * self.bins)
        moved = functional.pad(offsets.flatten(1, 2)[:, :-1], (0, 0, 1, 0))
        x = self.token(torch.cat((start, ids[:, :-1]), dim=1)) + self.place + self.offset(moved) + cond[:, None]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x).view(batch, steps, columns, self.width)
        return torch.einsum('bpkw,kwv->bpkv', x, self.heads)


class DecoderStep(nn.Module):
    """The decoder one token at a time, as it is run: what was computed for the tokens before comes in as ``past``.

    ``(token (B,), offset (B, A), cond (B, W), past (T, B, L, 2, W)) -> logits (B, bins), memory (B, L, 2, W)``: the
    token is the one before the one that the logits are of, `columns` * `bins` before the first; the memory goes to the
    end of the next call's past.
    """

    def __init__(self, decoder: SequenceDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, token: Tensor, offset: Tensor, cond: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next token's logits, and what to remember."""
        decoder = self.decoder
        place = torch.as_tensor(past.shape[0])
        x = decoder.token(token) + decoder.place[place] + decoder.offset(offset) + cond
        kept = []
        for layer, block in enumerate(decoder.blocks):
            assert isinstance(block, Block)
            x, own = block.step(x, past[:, :, layer])
            kept.append(own)
        logits = decoder.norm(x) @ decoder.heads[torch.remainder(place, decoder.columns)]
        return logits, torch.stack(kept, dim=1)
