"""The few kinds of error that dp_ros raises. Each message says what was checked, what was got and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import ClassVar

import numpy as np


class DpRosError(Exception):
    """Base of every error that dp_ros raises on purpose: a line, unless it brings along what others wrote."""

    one_line: ClassVar[bool] = True


class ConfigError(DpRosError, ValueError):
    """A configuration, parameter or command line that cannot be used."""


class DataError(DpRosError, ValueError):
    """A message, recording or array that does not hold what it must."""


class BundleError(DpRosError, ValueError):
    """A bundle that is incomplete, altered, or does not fit the robot."""


class LimitError(DpRosError, ValueError):
    """A motion that cannot be made to respect the robot's limits."""


def check_shape(what: str, array: np.ndarray, expected: Sequence[int | None]) -> None:
    """Raise :class:`DataError` unless ``array.shape`` equals ``expected``; ``None`` stands for any length."""
    fits = array.ndim == len(expected) and all(e is None or e == n for e, n in zip(expected, array.shape, strict=True))
    if not fits:
        allowed = '(' + ', '.join('any' if e is None else str(e) for e in expected) + ')'
        raise DataError(f'{what}: got shape {array.shape}, allowed {allowed}')


def check_finite(what: str, array: np.ndarray) -> None:
    """Raise :class:`DataError` if ``array`` holds NaN or infinity, naming the first index."""
    finite = np.isfinite(array)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise DataError(f'{what}: got {array[index]} at index {index}, allowed finite numbers only')


_MOST_NAMES, _LONGEST = 100, 2000


def listed(names: Iterable[object]) -> str:
    """Join names for an error message: ``a, b, c`` or ``(none)``; of very many the first."""
    rest = iter(names)
    first = [one_line(str(name)) for name in islice(rest, _MOST_NAMES)]
    more = sum(1 for _ in rest)
    return ', '.join([*first, *([f'and {more} more'] if more else [])]) or '(none)'


def unknown_parameter(names: Sequence[str], allowed: Sequence[str]) -> str:
    """Return what an error says of parameters that do not exist: the names, what they may stand for, all there are."""
    meant = [match for name in names for match in get_close_matches(name, allowed, n=1)]
    nearest = f'; nearest: {listed(dict.fromkeys(meant))}' if meant else ''
    return f'got unknown parameter {listed(map(repr, names))}{nearest}, allowed {listed(allowed)}'


def order_advice(got: Iterable[str], allowed: Iterable[str]) -> str:
    """Return what an error about names adds where they are the same in another order; '' where they are not."""
    got, allowed = list(got), list(allowed)
    moved = got != allowed and sorted(got) == sorted(allowed)
    return '; the names are the same, only their order differs' if moved else ''


def one_line(text: str) -> str:
    """Return text from outside as a terminal can show it: a line, not endless, without control characters."""
    if len(text) > _LONGEST:
        text = f'{text[:_LONGEST]}... ({len(text)} characters)'
    if text.isprintable():
        return text
    shown = ' '.join(part for part in text.split('\n') if part)
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode('ascii') for c in shown)


def check_choice(what: str, got: object, allowed: tuple[str, ...]) -> None:
    """Raise :class:`ConfigError` unless ``got`` is one of ``allowed``."""
    if got not in allowed:
        raise ConfigError(f'{what}: got {got!r}, allowed {listed(name or repr(name) for name in allowed)}')


def check_range(what: str, got: float, low: float, high: float, *, unit: str = '') -> None:
    """Raise :class:`ConfigError` unless ``got`` is from ``low`` to ``high``; NaN is not."""
    if not low <= got <= high:
        lowest, highest = (f'{n:g}' if isinstance(n, float) else str(n) for n in (low, high))
        raise ConfigError(f'{what}: got {got}, allowed {lowest} to {highest}{" " * bool(unit)}{unit}')
