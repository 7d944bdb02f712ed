"""The denoiser: a U-Net over the chunk's time axis, conditioned by FiLM (Chi et al. 2023, section IV-A).

Symbols: B batch, P pred_horizon, A action channels, D conditioning width, C feature channels, `k` noise level index.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from dp_ros.errors import ConfigError
from dp_ros.networks.mlp import LevelEmbedding


class ConvBlock(nn.Module):
    """Convolution, group normalization, Mish: (B, C_in, T) -> (B, C_out, T)."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels_out, kernel_size, padding=kernel_size // 2)
        self.norm = nn.GroupNorm(groups, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return nn.functional.mish(self.norm(self.conv(x)))


class FilmResidual(nn.Module):
    """Two convolution blocks, a scale and a bias per channel from the conditioning between them, and a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, film_width: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels_in, channels_out, kernel_size, groups)
        self.second = ConvBlock(channels_out, channels_out, kernel_size, groups)
        self.film = nn.Linear(film_width, channels_out * 2)
        self.shortcut = nn.Conv1d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, film_input: Tensor) -> Tensor:
        """Map x (B, C_in, T), given the activated conditioning (B, film_width), to (B, C_out, T)."""
        scale, bias = self.film(film_input).unsqueeze(-1).chunk(2, dim=1)
        return self.second(self.first(x) * scale + bias) + self.shortcut(x)


class FilmPair(nn.ModuleList):
    """Two residual blocks, one after the other, with the same conditioning."""

    def __init__(self, first: FilmResidual, second: FilmResidual) -> None:
        super().__init__((first, second))

    def forward(self, x: Tensor, film_input: Tensor) -> Tensor:
        """Apply both."""
        for block in self:
            x = block(x, film_input)
        return x


class Unet1d(nn.Module):
    """Predict from a noisy chunk, its noise level and the conditioning: ``(x_k, k, cond) -> (B, P, O)``.

    Parameters
    ----------
    actions, mask_channels, outputs
        Action channels A, those of x_k after them, M, and what comes out for each of the A, O / A.
    cond_width
        Conditioning width D.
    channels
        Feature channels of each resolution; time is halved between them.
    level_width
        Width of the noise level's embedding.
    kernel_size, groups
        Of the convolutions and of group normalization.

    """

    def __init__(
        self,
        *,
        actions: int,
        cond_width: int,
        channels: Sequence[int] = (64, 128, 256),
        level_width: int = 128,
        kernel_size: int = 5,
        groups: int = 8,
        mask_channels: int = 0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        if any(c % groups for c in channels):
            raise ConfigError(f'channels: got {tuple(channels)}, allowed multiples of groups ({groups})')
        self.last_level = len(channels) - 1
        self.level = LevelEmbedding(level_width)
        film = level_width + cond_width

        def residual(channels_in: int, channels_out: int) -> FilmResidual:
            return FilmResidual(channels_in, channels_out, film, kernel_size, groups)

        ins = [actions + mask_channels, *channels[:-1]]
        self.down = nn.ModuleList(FilmPair(residual(a, b), residual(b, b)) for a, b in zip(ins, channels, strict=True))
        self.downsample = nn.ModuleList(nn.Conv1d(c, c, 3, stride=2, padding=1) for c in channels[:-1])
        self.middle = FilmPair(residual(channels[-1], channels[-1]), residual(channels[-1], channels[-1]))
        wide = list(reversed(channels))
        self.up = nn.ModuleList(FilmPair(residual(a * 2, b), residual(b, b)) for a, b in pairwise(wide))
        self.upsample = nn.ModuleList(nn.ConvTranspose1d(c, c, 4, stride=2, padding=1) for c in wide[1:])
        self.last = ConvBlock(channels[0], channels[0], kernel_size, groups)
        self.project = nn.Conv1d(channels[0], actions * outputs, 1)

    def forward(self, x_k: Tensor, k: Tensor, cond: Tensor) -> Tensor:
        """Predict for x_k (B, P, A + M), k (B,) int64, cond (B, D)."""
        film = nn.functional.mish(torch.cat((self.level(k), cond), dim=-1))
        x = x_k.transpose(1, 2)
        skips = []
        for level, pair in enumerate(self.down):
            x = pair(x, film)
            skips.append(x)
            if level < self.last_level:
                x = self.downsample[level](x)
        x = self.middle(x, film)
        for pair, upsample in zip(self.up, self.upsample, strict=True):
            x = upsample(pair(torch.cat((x, skips.pop()), dim=1), film))
        return self.project(self.last(x)).transpose(1, 2)
