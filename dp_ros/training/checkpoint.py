"""Checkpoints: written whole or not at all, read without executing anything they hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from dp_ros.errors import DataError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` beside ``path``, then rename: a run killed while writing keeps its previous checkpoint."""
    partial = path.with_suffix('.partial')
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint (tensors and plain values only)."""
    if not path.is_file():
        raise DataError(f'checkpoint {path}: not found; allowed a run folder that holds one')
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise DataError(f'checkpoint {path}: cannot be read ({error})') from error
