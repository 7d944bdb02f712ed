"""Files from outside: read within bounds of size, depth and number, from inside the folder that they belong to.

A file that somebody else made may be a device or a link, claim to be larger than memory, or be a few lines that stand
for a billion. What is wrong is a DataError that says what was got and what is allowed; who reads adds the file's name.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path, PurePath
from reprlib import Repr
from typing import Any, NoReturn
from xml.etree import ElementTree

import yaml

from dp_ros.errors import ConfigError, DataError, listed

MOST_TEXT = 2**20
"""Bytes of a configuration in YAML: a second or two of reading."""
MOST_JSON = 2**24
DEEPEST = 64
"""Lists and mappings inside one another."""
MOST_VALUES = 200_000
"""Values in a text, what an alias stands for counted each time."""
LONGEST_PATH = 1000
LONGEST_NUMBER = 64
"""Digits: beyond 4300 Python refuses to read or print a whole number, beyond 308 it is no float."""

# libyaml where PyYAML was built with it: eight times as fast.
_Loader: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
_NUMBERS = tuple(f'tag:yaml.org,2002:{kind}' for kind in ('int', 'float', 'timestamp'))
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 4
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """Return a value as an error message shows it: however large it is, a line."""
    return _SHORT.repr(value)


def open_regular(path: Path | str) -> BufferedReader:
    """Open a file that is one: a device or a pipe never ends, or waits for a writer."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise DataError('got a device, pipe or socket, allowed a regular file')
        return os.fdopen(handle, 'rb')
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: Path | str, most: int) -> bytes:
    """Read a regular file of up to ``most`` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(most + 1) if size <= most else b''
    if size > most or len(data) > most:
        raise DataError(f'got {max(size, len(data))} bytes, allowed up to {most}')
    return data


def read_text(path: Path | str, most: int = MOST_TEXT) -> str:
    """Read a regular file of up to ``most`` bytes of UTF-8."""
    try:
        return read_bytes(path, most).decode('utf-8')
    except UnicodeDecodeError as error:
        raise DataError(f'got bytes that are no UTF-8 ({error.reason} at byte {error.start}), allowed text') from error


@contextmanager
def reading(what: str, allowed: str = 'a YAML file') -> Iterator[None]:
    """Turn what is wrong with a file that is read inside into a ConfigError that names it: ``what``."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f'{what}: cannot be read ({error.strerror}); allowed {allowed}') from error
    except DataError as error:
        raise ConfigError(f'{what}: {error}') from error


def writable_file(path: Path | str) -> Path:
    """Return the path of a file that can be written when its content has been made; ConfigError for a folder."""
    path = Path(path)
    above = next((parent for parent in path.absolute().parents if parent.exists()), Path('/'))
    if path.is_dir() or not above.is_dir():
        raise ConfigError(f'got {shown(str(path))}, which is a folder or lies in a file, allowed a file')
    return path


def write_json(path: Path | None, plain: Any, *, indent: int = 1) -> None:
    """Write plain values as JSON to a file, whose folder is made too; without a path nothing."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain, indent=indent) + '\n', encoding='utf-8')


def inside(folder: Path, name: str, beside: str = '') -> Path:
    """Return the path of ``name`` in ``folder``, which must lie there really, whatever links are on the way.

    Where the file ``beside`` of the folder is a link itself, ``name`` may lie where that lies: installed files may be
    links to a checkout, one by one.
    """
    pure = PurePath(name)
    if not 0 < len(name) <= LONGEST_PATH or '\0' in name or pure.is_absolute() or '..' in pure.parts:
        raise DataError(f'got the path {shown(name)}, allowed one within the folder, without ..')
    path = folder / pure
    try:
        real = path.resolve()
        homes = [folder.resolve(), *([(folder / beside).resolve().parent] if beside else [])]
    except (OSError, RuntimeError) as error:  # which of them for links in a circle, Python has changed
        raise DataError(f'got {name}, links that lead nowhere ({error}), allowed files within {folder}') from error
    if not any(real.is_relative_to(home) for home in homes):
        raise DataError(f'got {name}, a link to {real}, allowed files within {folder}')
    return path


def from_xml(text: str) -> ElementTree.Element:
    """Read XML that defines nothing: entities may stand for a billion others, or for files."""
    try:
        return ElementTree.fromstring(text, ElementTree.XMLParser(target=_NoEntities()))
    except DataError:
        raise
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f'not valid XML: {error}') from error


class _NoEntities(ElementTree.TreeBuilder):
    def doctype(self, name: str, public: str | None, system: str | None) -> NoReturn:
        raise DataError('got a DOCTYPE, allowed XML without it')


def from_yaml(text: str) -> Any:
    """Read YAML; deep nesting, aliases that stand for too much, and keys given twice are refused."""
    if len(text) > MOST_TEXT:
        raise DataError(f'got {len(text)} characters, allowed up to {MOST_TEXT}')
    try:
        _check_depth(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            _check_nodes(node)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except DataError:
        raise
    # PyYAML's constructors meet dates and numbers that are none with errors of many kinds.
    except Exception as error:
        raise DataError(f'not valid YAML: {" ".join(str(error).split())}') from error


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):  # without recursion, unlike what makes nodes of it
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise _too_deep()


def _check_nodes(root: yaml.Node | None) -> None:
    found, left = 1, [] if root is None else [(root, 1)]
    while left:
        node, depth = left.pop()
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            keys = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            _check_once(value for (_, value), count in keys.items() if count > 1)
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif node.tag in _NUMBERS:
            _check_digits(node.value)
        else:
            _check_text(node.value)
        found = _counted(found + len(parts), depth)
        left += [(part, depth + 1) for part in parts]


def from_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Read JSON; deep nesting and keys given twice are refused, and unless not ``finite`` numbers that are not that."""

    def number(digits: str) -> float:
        value = float(digits)
        if finite and not math.isfinite(value):
            raise DataError(f'got the number {digits[:80]}, allowed finite numbers only')
        return value

    def whole(digits: str) -> int:
        _check_digits(digits)
        return int(digits)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            _check_once(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return made

    try:
        plain = json.loads(text, parse_constant=number, parse_float=number, parse_int=whole, object_pairs_hook=unique)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f'not valid JSON: {error}') from error
    _check_plain(plain)
    return plain


def _check_plain(root: Any) -> None:
    found, left = 1, [(root, 1)]
    while left:
        value, depth = left.pop()
        parts: list[Any] = []
        if isinstance(value, dict):
            parts = [part for pair in value.items() for part in pair]
        elif isinstance(value, list):
            parts = value
        elif isinstance(value, str):
            _check_text(value)
        found = _counted(found + len(parts), depth)
        left += [(part, depth + 1) for part in parts]


def _counted(found: int, depth: int) -> int:
    if depth > DEEPEST:
        raise _too_deep()
    if found > MOST_VALUES:
        raise DataError(f'got more than {MOST_VALUES} values (what an alias stands for each time), allowed up to that')
    return found


def _check_digits(digits: str) -> None:
    if len(digits) > LONGEST_NUMBER:
        raise DataError(f'got a number of {len(digits)} characters, allowed up to {LONGEST_NUMBER}')


def _check_text(text: str) -> None:
    """Refuse halves of surrogate pairs, which can be neither printed nor written."""
    if not text.isascii() and any('\ud800' <= character <= '\udfff' for character in text):
        raise DataError(f'got text with half a surrogate pair ({shown(ascii(text))}), allowed whole characters')


def _check_once(twice: Any) -> None:
    found = sorted(map(str, twice))
    if found:
        raise DataError(f'got key {listed(found)} twice, allowed once')


def _too_deep() -> DataError:
    return DataError(f'got lists and mappings more than {DEEPEST} deep in one another, allowed up to {DEEPEST}')
