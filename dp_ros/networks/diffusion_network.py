"""Encoder and denoiser as one trainable module."""

from __future__ import annotations

from torch import Tensor, nn

from dp_ros.errors import ConfigError
from dp_ros.networks.encoder import ObservationEncoder
from dp_ros.networks.mlp import ChunkMlp
from dp_ros.networks.settings import NetworkSettings
from dp_ros.networks.transformer import ChunkTransformer
from dp_ros.networks.unet1d import Unet1d
from dp_ros.task.spec import TaskSpec


class DiffusionNetwork(nn.Module):
    """``encoder`` (window -> cond) and ``denoiser`` (x_k, k, cond -> prediction).

    Parameters
    ----------
    mask_channels, outputs
        Channels M of x_k after the actions', and what comes out for each of the actions'; see
        `dp_ros.diffusion.schedule.ScheduleSpec`.

    """

    def __init__(self, task: TaskSpec, settings: NetworkSettings, *, mask_channels: int = 0, outputs: int = 1) -> None:
        super().__init__()
        self.encoder = ObservationEncoder(task, settings)
        self.denoiser = make_denoiser(task, settings, self.encoder, mask_channels, outputs)

    def forward(self, x_k: Tensor, k: Tensor, *streams: Tensor) -> Tensor:
        """Predict for a noisy chunk x_k (B, P, A + M) at levels k (B,), given normalized streams and goals."""
        return self.denoiser(x_k, k, self.encoder(*streams))


def make_denoiser(
    task: TaskSpec, settings: NetworkSettings, encoder: ObservationEncoder, mask_channels: int = 0, outputs: int = 1
) -> nn.Module:
    """Return the denoiser that ``settings`` ask for; it takes x_k (B, P, A + M), k (B,) and cond (B, D)."""
    shape = {'actions': len(task.action.joints), 'mask_channels': mask_channels, 'outputs': outputs}
    if settings.denoiser == 'transformer':
        return ChunkTransformer(
            **shape,
            pred_horizon=task.pred_horizon,
            columns=encoder.columns,
            goal_width=encoder.width - encoder.columns.numel(),
            width=settings.width,
            layers=settings.layers,
            heads=settings.heads,
            dropout=settings.dropout,
        )
    if settings.denoiser == 'mlp':
        return ChunkMlp(
            **shape,
            pred_horizon=task.pred_horizon,
            cond_width=encoder.width,
            width=settings.width,
            layers=settings.layers,
            level_width=settings.level_width,
            dropout=settings.mlp_dropout,
        )
    halvings = 2 ** (len(settings.channels) - 1)
    if task.pred_horizon % halvings:
        raise ConfigError(
            f'pred_horizon: got {task.pred_horizon}, allowed multiples of {halvings} '
            f'(the network halves time {len(settings.channels) - 1} times)'
        )
    return Unet1d(
        **shape,
        cond_width=encoder.width,
        channels=settings.channels,
        level_width=settings.level_width,
        kernel_size=settings.kernel_size,
        groups=settings.groups,
    )
