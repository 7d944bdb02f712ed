"""The network as robots run it: what a chunk or a run does not change is computed beforehand.

The first layer of a FiLM conditioning is a sum over the noise level's part and the observation's. Nothing between them
mixes the two, so the level's part is a table with a row for each level, and the observation's is the encoder's output:
a sampling step only adds them. Shapes are constants, and Mish is written with a single exponential, without log1p and
tanh, which cost ONNX Runtime on a CPU more than the convolutions of a small chunk.

Symbols as in `dp_ros.networks.unet1d`; F is the width of all blocks' scales and biases together.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.networks.unet1d import ConvBlock, FilmResidual, Unet1d

SATURATED = 20.0  # from here on Mish(x) is x in float32


class PreparedNetwork(nn.Module):
    """``encoder`` and ``denoiser`` of a trained network, which stay as they are except for how they are computed.

    Other denoisers than the U-Net are left alone. What passes from encoder to denoiser is the prepared network's own
    affair: (B, D) becomes (B, F).

    Parameters
    ----------
    network
        In evaluation mode; its weights are shared.
    levels
        Noise levels that there are, K.
    pred_horizon
        Actions of a chunk, P.

    """

    def __init__(self, network: DiffusionNetwork, *, levels: int, pred_horizon: int) -> None:
        super().__init__()
        self.encoder: nn.Module = network.encoder
        self.denoiser: nn.Module = network.denoiser
        if isinstance(network.denoiser, Unet1d):
            self.encoder = FilmEncoder(network.encoder, network.denoiser)
            self.denoiser = PreparedUnet(network.denoiser, levels=levels, pred_horizon=pred_horizon)


class FilmEncoder(nn.Module):
    """An encoder, then the observation's part of every block's scale and bias: streams -> (B, F)."""

    def __init__(self, encoder: nn.Module, unet: Unet1d) -> None:
        super().__init__()
        self.encoder = encoder
        weights, biases = zip(*((b.film.weight, b.film.bias) for b in film_blocks(unet)), strict=True)
        level_width = 2 * len(unet.level.frequencies)
        observed = [weight[:, level_width:] for weight in weights]
        self.film = nn.Linear(observed[0].shape[1], sum(len(bias) for bias in biases)).requires_grad_(False)
        self.film.weight.copy_(torch.cat(observed))
        self.film.bias.copy_(torch.cat(biases))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Encode normalized streams and goals."""
        return self.film(nn.functional.mish(self.encoder(*inputs)))


class PreparedUnet(nn.Module):
    """`Unet1d` with the noise levels' parts of its conditioning in a table: ``(x_k, k, film) -> (B, P, A)``."""

    table: Tensor

    def __init__(self, unet: Unet1d, *, levels: int, pred_horizon: int) -> None:
        super().__init__()
        self.unet, self.pred_horizon = unet, pred_horizon
        blocks = list(film_blocks(unet))
        with torch.no_grad():
            level = nn.functional.mish(unet.level(torch.arange(levels)))
            rows = [level @ block.film.weight[:, : level.shape[1]].T for block in blocks]
        self.register_buffer('table', torch.cat(rows, dim=1)[..., None])
        self._widths = [len(block.film.bias) // 2 for block in blocks for _ in ('scale', 'bias')]

    def forward(self, x_k: Tensor, k: Tensor, film: Tensor) -> Tensor:
        """Predict for x_k (B, P, A + M), k (B,) int64 and the encoder's film (B, F)."""
        unet, times = self.unet, self.pred_horizon
        parts = iter(torch.split(self.table[k] + film[..., None], self._widths, dim=1))
        x = x_k.transpose(1, 2)
        skips = []
        for level, pair in enumerate(unet.down):
            x = _pair(pair, x, parts, times)
            skips.append(x)
            if level < unet.last_level:
                x, times = unet.downsample[level](x), times // 2
        x = _pair(unet.middle, x, parts, times)
        for pair, upsample in zip(unet.up, unet.upsample, strict=True):
            x = upsample(_pair(pair, torch.cat((x, skips.pop()), dim=1), parts, times))
            times *= 2
        return unet.project(_activated(unet.last, x, times)).transpose(1, 2)


def film_blocks(unet: Unet1d) -> Iterator[FilmResidual]:
    """Yield the blocks in the order in which they are computed."""
    for pair in (*unet.down, unet.middle, *unet.up):
        yield from pair


def _pair(pair: nn.Module, x: Tensor, parts: Iterator[Tensor], times: int) -> Tensor:
    for block in pair.children():
        assert isinstance(block, FilmResidual)
        scale, bias = next(parts), next(parts)
        y = _activated(block.first, x, times) * scale + bias
        x = _activated(block.second, y, times) + block.shortcut(x)
    return x


def _activated(block: ConvBlock, x: Tensor, times: int) -> Tensor:
    """Compute `ConvBlock` for (B, C, times)."""
    norm = block.norm
    count = norm.num_channels // norm.num_groups * times
    grouped = block.conv(x).reshape(-1, norm.num_groups, count)
    # Without weights that is group normalization.
    x = nn.functional.layer_norm(grouped, (count,), eps=norm.eps).reshape(-1, norm.num_channels, times)
    x = x * norm.weight[:, None] + norm.bias[:, None]
    # tanh(log(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2).
    power = torch.exp(torch.clamp(x, max=SATURATED))
    n = power * (power + 2.0)
    return x * (n / (n + 2.0))
