"""Observations changed at random while training, so that a policy depends neither on the pixel nor on the last digit.

All pictures of a window are changed alike: what moves between them must stay what moved in the world. Nothing is
changed where the policy runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dp_ros.options import check_options, option


# fmt: off
@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """How far observations may be changed; 0 leaves them."""

    shift: int = option(
        0, "Greatest shift along each axis; edges are repeated (Yarats et al. 2021). It is a random crop that keeps "
        "the picture's size.", unit='px', low=0, high=64,
    )
    brightness: float = option(0.0, 'Greatest relative change.', low=0.0, high=1.0)
    contrast: float = option(0.0, 'Greatest relative change.', low=0.0, high=1.0)
    saturation: float = option(0.0, 'Greatest relative change.', low=0.0, high=1.0)
    blur: float = option(0.0, 'Greatest standard deviation of a Gaussian blur.', unit='px', low=0.0, high=10.0)
    noise: float = option(
        0.0, 'Standard deviation of what is added to joints and poses, whose range of training is -1 to 1.',
        low=0.0, high=1.0,
    )

    def __post_init__(self) -> None:
        check_options(self, 'augment.')
# fmt: on


def disturbed(vectors: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """Return normalized vectors (B, T, C) with noise of their own for each number."""
    if not settings.noise:
        return vectors
    return vectors + settings.noise * torch.randn(vectors.shape, generator=generator).to(vectors.device)


def augment(images: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """Return changed copies of ``images`` (B, T, 3, H, W) in [-1, 1]; each of the B windows is changed in its way."""
    if settings.shift:
        images = _shifted(images, settings.shift, generator)
    if settings.brightness or settings.contrast or settings.saturation:
        images = _coloured(images, settings, generator)
    if settings.blur:
        images = _blurred(images, settings.blur, generator)
    return images


def _shifted(images: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    batch, time, channels, height, width = images.shape
    edged = torch.nn.functional.pad(images.flatten(0, 1), (shift, shift, shift, shift), mode='replicate')
    edged = edged.view(batch, time, channels, height + 2 * shift, width + 2 * shift)
    rows, columns = (torch.randint(0, 2 * shift + 1, (batch,), generator=generator).tolist() for _ in range(2))
    return torch.stack(
        [edged[i, ..., y : y + height, x : x + width] for i, (y, x) in enumerate(zip(rows, columns, strict=True))]
    )


def _coloured(images: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    def factor(most: float) -> Tensor:
        change = torch.rand(len(images), generator=generator) * 2 - 1
        return (1 + most * change).view(-1, 1, 1, 1, 1).to(images.device)

    # From 0 to 1, where black times anything stays black.
    light = (images + 1) / 2 * factor(settings.brightness)
    grey = light.mean(dim=(1, 2, 3, 4), keepdim=True)
    light = grey + (light - grey) * factor(settings.contrast)
    grey = light.mean(dim=2, keepdim=True)
    light = grey + (light - grey) * factor(settings.saturation)
    return light.clamp(0, 1) * 2 - 1


def _blurred(images: Tensor, most: float, generator: torch.Generator) -> Tensor:
    deviation = (torch.rand(len(images), generator=generator) * most).clamp(min=1e-3).to(images.device)
    reach = max(1, round(2 * most))
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    kernels = torch.exp(-0.5 * (offsets / deviation[:, None]) ** 2)
    kernels = kernels / kernels.sum(dim=1, keepdim=True)
    batch, time, channels, height, width = images.shape
    # One group for each window, so that each has its own kernel.
    flat = images.reshape(1, batch * time * channels, height, width)
    each = kernels.repeat_interleave(time * channels, dim=0)
    for shape, pad in (((-1, 1, 2 * reach + 1, 1), (0, 0, reach, reach)), ((-1, 1, 1, 2 * reach + 1), (reach, reach))):
        edged = torch.nn.functional.pad(flat, (*pad, 0, 0)[:4], mode='replicate')
        flat = torch.nn.functional.conv2d(edged, each.view(shape), groups=flat.shape[1])
    return flat.view_as(images)
