"""Checkpoints: written whole or not at all, read without executing anything they hold."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from dp_ros.errors import DataError
from dp_ros.policy.bundle.files import check_zip


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
        _check_packed(path)
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise DataError(f'checkpoint {path}: cannot be read ({error})') from error


def _check_packed(path: Path) -> None:
    """Raise :class:`DataError` for a file that unpacks to much more than it has: torch stores weights as they are."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_zip(archive, 2 * path.stat().st_size + 2**20)
