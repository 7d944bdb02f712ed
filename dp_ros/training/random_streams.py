"""Every random draw of training is a function of the seed, the step, its purpose, and the part of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What a draw is for; the numbers are kept, so that a run begun earlier resumes exactly."""

    ORDER = 1
    NOISE = 2
    VALIDATION = 3
    DROPOUT = 4
    PICTURES = 5
    VECTORS = 6


def word(seed: int, index: int, purpose: int, part: int = 0) -> int:
    """Return a seed that depends on its four numbers alone; ``part`` 0 gives what the first three alone would."""
    drawn = np.random.SeedSequence((seed, index, purpose, part)).generate_state(1, np.uint64)[0]
    return int(drawn >> np.uint64(1))


def generator(seed: int, index: int, purpose: int, part: int = 0) -> torch.Generator:
    """Return a generator that depends on its four numbers alone."""
    return torch.Generator().manual_seed(word(seed, index, purpose, part))


def batches(size: int, batch: int, *, seed: int, first: int, last: int) -> Iterator[torch.Tensor]:
    """Yield sample indices for the steps from ``first`` up to ``last``: each epoch a permutation of (seed, epoch)."""
    per_epoch = size // batch
    step = first
    while step < last:
        epoch, within = divmod(step, per_epoch)
        order = torch.randperm(size, generator=generator(seed, epoch, Purpose.ORDER))
        for start in range(within * batch, per_epoch * batch, batch):
            if step >= last:
                return
            yield order[start : start + batch]
            step += 1
