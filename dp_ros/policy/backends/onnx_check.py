"""What an ONNX file may hold: its own weights, as large as they say, and a graph that ends.

ONNX Runtime opens files that the graph names, wherever they lie, and reserves what a tensor claims to be. So the file
is looked through first: it is protobuf (protobuf.dev/programming-guides/encoding) as ``onnx.proto`` says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from dp_ros.bounded_files import shown
from dp_ros.errors import DataError

Field = tuple[int, 'int | memoryview']
"""A field's number, and its value: a number, or the bytes of text, a message or packed numbers."""

MOST_NESTED = 16
ENDLESS = ('Loop', 'Scan')
"""Operators that may go on for ever."""
_FUNCTIONS, _TRAINING = 25, 20
# By message, the fields that hold messages that are looked into.
_BELOW: Mapping[str, Mapping[int, str]] = {
    'model': {7: 'graph'},
    'graph': {1: 'node', 5: 'tensor', 15: 'sparse'},
    'node': {5: 'attribute'},
    'attribute': {5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse'},
    'sparse': {1: 'tensor', 2: 'tensor'},
}
_DIMS, _NAME, _EXTERNAL, _LOCATION = 1, 8, 13, 14
_DATA = (4, 5, 6, 7, 9, 10, 11)
_OP_TYPE = 4


def check_onnx(data: bytes) -> None:
    """Raise :class:`DataError` for external data, tensors larger than what is stored of them, loops and functions."""
    try:
        _check('model', memoryview(data), 0)
    except (IndexError, UnicodeDecodeError) as error:
        raise DataError('cut short or damaged, allowed a whole ONNX file') from error


def _check(kind: str, message: memoryview, depth: int) -> None:
    if depth > MOST_NESTED * 3:  # graph, node, attribute
        raise DataError(f'got graphs more than {MOST_NESTED} deep in one another, allowed up to that')
    if kind == 'tensor':
        _check_tensor(message)
        return
    for number, value in _fields(message):
        below = _BELOW[kind].get(number)
        if kind == 'model' and number in (_FUNCTIONS, _TRAINING):
            raise DataError('got functions or training steps of its own, allowed one graph')
        if kind == 'node' and number == _OP_TYPE and isinstance(value, memoryview) and str(value, 'utf-8') in ENDLESS:
            raise DataError(f'got the operator {str(value, "utf-8")}, allowed those that end')
        if below and isinstance(value, memoryview):
            _check(below, value, depth + 1)


def _check_tensor(message: memoryview) -> None:
    dims: list[int] = []
    stored, name, external = 0, '', False
    for number, value in _fields(message):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif number == _NAME and isinstance(value, memoryview):
            name = str(value, 'utf-8', 'replace')
        elif number in _DATA:
            stored += 8 if isinstance(value, int) else max(len(value), 1)
        external |= number == _EXTERNAL or (number == _LOCATION and value != 0)
    if external:
        raise DataError(f'tensor {shown(name)}: got external data, allowed a file that holds its own weights')
    # No element takes less than 4 bits.
    if any(dim >= 2**63 for dim in dims) or math.prod(dims) > 2 * stored:
        raise DataError(f'tensor {shown(name)}: got shape {shown(dims)} for {stored} bytes, allowed what is stored')


def _fields(message: memoryview) -> Iterator[Field]:
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise DataError(f'got wire type {kind}, allowed an ONNX file')
        if size > end - at:
            raise IndexError
        yield key >> 3, message[at : at + size]
        at += size


def _packed(data: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < len(data):
        number, at = _varint(data, at)
        numbers.append(number)
    return numbers


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError
