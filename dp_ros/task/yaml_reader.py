"""Read frozen dataclasses from YAML strictly: an unknown key is an error that names the known ones."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from dp_ros.bounded_files import from_yaml, read_text, reading, shown
from dp_ros.errors import ConfigError, listed

T = TypeVar('T')


def read_yaml(path: Path | str, cls: type[T]) -> T:
    """Read a YAML file into the dataclass ``cls``; anything unknown, missing or of a wrong type is a ConfigError."""
    path = Path(path)
    with reading(f'configuration {path}'):
        raw = from_yaml(read_text(path))
    return parse(cls, raw, str(path))


def parse(cls: type[T], raw: object, where: str = '') -> T:
    """Build the dataclass ``cls`` from plain mappings and lists, strictly."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f'{where}: got {type(raw).__name__}, allowed a mapping of {listed(_known(cls))}')
    raw = dict(raw)
    if hasattr(cls, 'kind'):
        raw.pop('kind', None)
    hints = get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    unknown = [key for key in raw if key not in known]
    if unknown:
        raise ConfigError(f'{where}: got unknown key {listed(map(repr, unknown))}, allowed {listed(known)}')
    missing = [
        name for name, f in known.items() if name not in raw and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f'{where}: missing key {listed(map(repr, missing))}')
    values = {key: _value(hints[key], value, f'{where}.{key}' if where else str(key)) for key, value in raw.items()}
    return cls(**values)


def to_plain(value: Any) -> Any:
    """Turn a configuration dataclass into mappings and lists that YAML and JSON can hold; `parse` reads it back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {'kind': value.kind, **plain} if hasattr(value, 'kind') else plain
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _known(cls: type) -> list[str]:
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def _value(hint: Any, raw: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin is Literal:
        if raw not in get_args(hint):
            raise ConfigError(f'{where}: got {shown(raw)}, allowed {listed(get_args(hint))}')
        return raw
    if origin in (types.UnionType, typing.Union):
        return _union(get_args(hint), raw, where)
    if origin is tuple:
        if not isinstance(raw, list | tuple):
            raise ConfigError(f'{where}: got {shown(raw)}, allowed a list')
        item = get_args(hint)[0]
        return tuple(_value(item, entry, f'{where}[{i}]') for i, entry in enumerate(raw))
    if origin in (dict, Mapping):
        if not isinstance(raw, Mapping):
            raise ConfigError(f'{where}: got {shown(raw)}, allowed a mapping')
        item = get_args(hint)[1]
        return {str(key): _value(item, entry, f'{where}.{key}') for key, entry in raw.items()}
    if dataclasses.is_dataclass(hint):
        return parse(hint, raw, where)  # type: ignore[arg-type]
    return _scalar(hint, raw, where)


def _union(options: tuple[Any, ...], raw: Any, where: str) -> Any:
    if raw is None and type(None) in options:
        return None
    kinds = {option.kind: option for option in options if hasattr(option, 'kind')}
    if kinds:
        kind = raw.get('kind') if isinstance(raw, Mapping) else None
        if not isinstance(kind, str) or kind not in kinds:
            raise ConfigError(f'{where}.kind: got {shown(kind)}, allowed {listed(kinds)}')
        return parse(kinds[kind], raw, where)
    rest = [option for option in options if option is not type(None)]
    return _value(rest[0], raw, where)


def _scalar(hint: Any, raw: Any, where: str) -> Any:
    if hint is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if isinstance(raw, float) and not math.isfinite(raw):
        raise ConfigError(f'{where}: got {raw}, allowed finite numbers only')
    if hint is Path and isinstance(raw, str):
        return Path(raw)
    if not isinstance(raw, hint) or (isinstance(raw, bool) and hint is not bool):
        raise ConfigError(f'{where}: got {shown(raw)} ({type(raw).__name__}), allowed {hint.__name__}')
    return raw
