"""Write words and numbers as YAML that this package and ROS read back as the same."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator

from dp_ros.errors import one_line

CHECK = '# check'
"""Ends each line with something that recordings could not show."""
WIDTH = 120
_PLAIN = re.compile(r'[A-Za-z_/~][\w/.~-]*')
# What YAML or ROS's parser of parameters takes for true, false, nothing or a number.
_WORDS = frozenset(['y', 'n', 'yes', 'no', 'on', 'off', 'true', 'false', 'null', '~', 'nan', 'inf', 'infinity'])


def scalar(text: str) -> str:
    """Return a text, quoted where it would be read as something else."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else json.dumps(text)


def flow(items: Iterable[str]) -> str:
    """Return texts as a list in one line."""
    return f'[{", ".join(map(scalar, items))}]'


def number(value: float, digits: int = 3) -> str:
    """Return a number with a decimal point, as ROS wants it where a parameter is none of whole numbers."""
    return str(round(float(value), digits) + 0.0)


def remarks(text: str, indent: int = 0) -> Iterator[str]:
    """Yield a comment in lines."""
    head = ' ' * indent + '# '
    yield from textwrap.wrap(_clean(text), WIDTH, initial_indent=head, subsequent_indent=head)


def _clean(text: str) -> str:
    """Return text from outside so that it stays within a comment."""
    return one_line(' '.join(text.split()))


def remarked(line: str, remark: str, *, check: bool = False) -> Iterator[str]:
    """Yield a line with a remark behind it, or before it where that is too long; marked where it must be checked."""
    remark, mark = _clean(remark), f'  {CHECK}' if check else ''
    behind = f'{line}  # {remark}{mark}' if remark else f'{line}{mark}'
    if len(behind) <= WIDTH:
        yield behind
        return
    yield from remarks(remark, len(line) - len(line.lstrip()))
    yield f'{line}{mark}'
