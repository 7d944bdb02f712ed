"""What an audit says: one finding after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal['ok', 'warning', 'error']


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found out about recordings."""

    level: Level
    where: str
    what: str
    got: str
    allowed: str = ''
    advice: str = ''


def some(names: Iterable[str], most: int = 3) -> str:
    """List a few names and how many more there are."""
    names = list(names)
    return ', '.join(names[:most]) + (f' and {len(names) - most} more' if len(names) > most else '')
