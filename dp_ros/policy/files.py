"""Files as a bundle needs them: hashed, parsed strictly, replaced whole, and named in every error."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from dp_ros.errors import BundleError, DpRosError, listed


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn every error about a file into a BundleError that starts with its path."""
    try:
        yield
    except FileNotFoundError as error:
        raise BundleError(f'{path}: got no such file, allowed a complete bundle') from error
    except OSError as error:
        raise BundleError(f'{path}: cannot be read ({error}), allowed a readable file') from error
    except DpRosError as error:
        raise BundleError(f'{path}: {error}') from error


def sha256(path: Path) -> str:
    """Return a file's SHA-256, in hexadecimal."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def read_json(path: Path) -> Any:
    """Read JSON; a key given twice and numbers that are not finite are refused."""

    def refuse(constant: str) -> NoReturn:
        raise BundleError(f'got the number {constant}, allowed finite numbers only')

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise BundleError(f'got key {listed(sorted(twice))} twice, allowed once')
        return dict(pairs)

    try:
        return json.loads(path.read_text(encoding='utf-8'), parse_constant=refuse, object_pairs_hook=unique)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f'not valid JSON: {error}') from error


def write_json(path: Path, plain: Any) -> None:
    """Write JSON that `read_json` takes."""
    try:
        text = json.dumps(plain, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(f'{error}; allowed what JSON can hold, finite numbers only') from error
    path.write_text(text + '\n', encoding='utf-8')


def put_in_place(new: Path, folder: Path, old: Path) -> None:
    """Move the folder ``new`` to ``folder`` and what was there to ``old``; on failure what was there comes back."""
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(new, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
