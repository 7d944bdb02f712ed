"""Ways to spoil a file: bits and bytes, values in a text, the file itself. All of it from a generator's numbers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml

HOSTILE: tuple[Any, ...] = (
    10**12, -1, 0, 2**63, 10**60, 1e308, -1e308, float('nan'), float('inf'), '', 'x' * 5000, 'name: value', None, True,
    [], {}, [[]], [1, 2], {'a': 1}, '../../outside', '/dev/zero', '/etc/passwd', 'a\nb\x1b[31m', '\0', '{}', '%s' * 50,
    '{episode_index.__class__}', '{x:>9999999999}', 1e-320, [None] * 1000, 1,
)  # fmt: skip
BOMB = 'a: &a [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'b{i}: &b{i} [{", ".join(["*a" if i == 0 else f"*b{i - 1}"] * 9)}]\n' for i in range(10)
)
TAGS = ('!!python/object/apply:os.getcwd []', '!!binary "//8="', '2026-99-99', '0x' + 'f' * 6000, '9' * 6000, '&x [*x]')


def spoil(folder: Path, rng: np.random.Generator) -> str:
    """Spoil one file in ``folder`` in one to three ways; return which and how."""
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    path = files[int(rng.integers(len(files)))]
    done = []
    for _ in range(int(rng.integers(1, 4))):
        ways = [_flip, _flip, _flip, _cut, _insert, _overwrite, _repeat]
        if path.suffix in ('.json', '.yaml', '.jsonl', '.urdf') or path.name.startswith('.z'):
            ways = [_flip, _cut, _insert_text, _swap_value, _swap_value, _swap_value, _swap_value, _repeat]
        elif rng.random() < 0.1:
            ways = [_replace]
        if not path.is_file() or path.is_symlink():
            break
        way: Callable[[Path, np.random.Generator], None] = ways[int(rng.integers(len(ways)))]
        if rng.random() < 0.04:
            way = _entry
        way(path, rng)
        done.append(way.__name__.strip('_'))
    if (folder / 'bundle.json').is_file() and rng.random() < 0.8:
        _hash_again(folder)
        done.append('hashed again')
    return f'{path.relative_to(folder)}: {", ".join(done)}'


def _change(path: Path, change: Callable[[bytearray], bytearray | bytes]) -> None:
    path.write_bytes(bytes(change(bytearray(path.read_bytes()))))


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """Return where to spoil: heads and tails have more meaning than what is between."""
    if not data:
        return 0
    near = int(min(rng.exponential(200.0), len(data) - 1))
    return (near, len(data) - 1 - near, int(rng.integers(len(data))))[int(rng.integers(3))]


def _flip(path: Path, rng: np.random.Generator) -> None:
    def change(data: bytearray) -> bytearray:
        for _ in range(int(rng.integers(1, 6)) if data else 0):
            data[_place(data, rng)] ^= 1 << int(rng.integers(8))
        return data

    _change(path, change)


def _cut(path: Path, rng: np.random.Generator) -> None:
    _change(path, lambda data: data[: _place(data, rng)])


def _insert(path: Path, rng: np.random.Generator) -> None:
    extra = rng.bytes(int(rng.integers(1, 64)))

    def change(data: bytearray) -> bytes:
        at = _place(data, rng)
        return bytes(data[:at]) + extra + bytes(data[at:])

    _change(path, change)


def _overwrite(path: Path, rng: np.random.Generator) -> None:
    """Make a number of 1, 2, 4 or 8 bytes the largest, zero, or one."""
    size = (1, 2, 4, 8)[int(rng.integers(4))]
    values = (b'\xff' * size, b'\0' * size, b'\1' + b'\0' * (size - 1), b'\xff' * (size - 1) + b'\x7f')
    value = values[int(rng.integers(4))]

    def change(data: bytearray) -> bytearray:
        at = _place(data, rng)
        data[at : at + size] = value
        return data

    _change(path, change)


def _repeat(path: Path, rng: np.random.Generator) -> None:
    """Write a stretch twice, or a thousand times."""
    times = (2, 2, 1000)[int(rng.integers(3))]

    def change(data: bytearray) -> bytes:
        at, length = _place(data, rng), int(rng.integers(1, 200))
        return bytes(data[:at]) + bytes(data[at : at + length]) * times + bytes(data[at + length :])

    _change(path, change)


def _insert_text(path: Path, rng: np.random.Generator) -> None:
    deep = int(rng.integers(10, 30000))
    nested = ('[' * deep, '{"a":' * deep, '- ' * deep, '<a>' * deep)
    texts = (*nested, BOMB, *(f'x: {tag}\n' for tag in TAGS), '\t', '\ufeff')
    text = texts[int(rng.integers(len(texts)))].encode()

    def change(data: bytearray) -> bytes:
        at = (0, len(data), _place(data, rng))[int(rng.integers(3))]
        return bytes(data[:at]) + text + bytes(data[at:])

    _change(path, change)


def _swap_value(path: Path, rng: np.random.Generator) -> None:
    """Put a hostile value in place of one in a text, or leave it out, or give its key twice."""
    text = path.read_bytes().decode('utf-8', 'replace')
    try:
        plain = yaml.safe_load(text) if path.suffix == '.yaml' else json.loads(text)
    except Exception:
        plain = None
    holders = list(islice(_holders(plain), 2000))  # aliases may make a billion of them
    if path.suffix == '.urdf' or not holders:
        words = text.split('"')
        words[int(rng.integers(len(words)))] = str(HOSTILE[int(rng.integers(len(HOSTILE)))])
        path.write_text('"'.join(words), encoding='utf-8', errors='replace')
        return
    holder = holders[int(rng.integers(len(holders)))]
    keys: list[Any] = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    key = keys[int(rng.integers(len(keys)))]
    if rng.random() < 0.1:
        del holder[key]
    else:
        holder[key] = HOSTILE[int(rng.integers(len(HOSTILE)))]
    try:
        spoilt = yaml.safe_dump(plain, sort_keys=False) if path.suffix == '.yaml' else json.dumps(plain)
    except ValueError:  # spoilt before, with more digits than Python writes
        spoilt = text[::2]
    path.write_text(spoilt, encoding='utf-8', errors='replace')


def _holders(plain: Any, depth: int = 0) -> Any:
    if isinstance(plain, dict | list) and plain and depth < 20:
        yield plain
        for value in plain.values() if isinstance(plain, dict) else plain:
            yield from _holders(value, depth + 1)


def _replace(path: Path, rng: np.random.Generator) -> None:
    """Put a file of another kind in its place, or one that is packed very small."""
    zeros = zlib.compress(b'\0' * 2**24)
    others = (
        b'', b'PK\x03\x04' + zeros, b'\x89HDF\r\n\x1a\n' + zeros, b'SQLite format 3\0' * 100, b'#EXTM3U\n/etc/passwd\n',
        b'\x89PNG\r\n\x1a\n' + zeros, b'PAR1' + zeros + b'\xff\xff\xff\x7fPAR1', b'\x80\x04cos\nsystem\n.', zeros,
    )  # fmt: skip
    path.write_bytes(others[int(rng.integers(len(others)))])


def _entry(path: Path, rng: np.random.Generator) -> None:
    """Make the file something else: a link to elsewhere, a device, a pipe, a folder, nothing."""
    number = int(rng.integers(6))
    elsewhere = path.parents[1] / f'elsewhere-{path.name}'
    if number == 0:
        shutil.move(path, elsewhere)
        path.symlink_to(elsewhere)
        return
    path.unlink()
    if number == 1:
        path.symlink_to('/dev/zero')
    elif number == 2:
        path.symlink_to(path.name)
    elif number == 3:
        os.mkfifo(path)
    elif number == 4:
        path.mkdir()


def _hash_again(folder: Path) -> None:
    """Make a bundle's description true again, so that what lies behind it is met."""
    manifest = folder / 'bundle.json'
    try:
        plain = json.loads(manifest.read_text())
        for name in plain['files']:
            if (folder / name).resolve().is_relative_to(folder.resolve()) and (folder / name).is_file():
                plain['files'][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        manifest.write_text(json.dumps(plain))
    except Exception:
        return
