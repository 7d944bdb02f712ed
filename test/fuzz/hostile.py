"""Messages and requests as no honest peer would send them, of any ROS type, drawn from a seed."""

from __future__ import annotations

import importlib
import math
import random
import re
from typing import Any

from rclpy.serialization import deserialize_message, serialize_message

FLOATS = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300, -1e300, 1e200, 5e-324, 1e38, -1.0, 12.0)
TEXTS = ('', 'x', '\x00', 'ü' * 50, 'a' * 5000, '../../etc', '%s%n{}', 'pusher_x', 'rgb8', '16UC1', '-1', 'nan', '\n')
LENGTHS = (0, 0, 1, 1, 2, 2, 3, 7, 100, 1000)
INTEGERS = {
    f'{sign}int{bits}': (0 if sign else -(2 ** (bits - 1)), 2**bits - 1 if sign else 2 ** (bits - 1) - 1)
    for sign in ('', 'u')
    for bits in (8, 16, 32, 64)
}
DEEPEST = 6


def class_of(name: str, folder: str = 'msg') -> type:
    """Return the class of a type as ``sensor_msgs/msg/JointState``, or ``sensor_msgs/JointState`` as in a field."""
    package, *_, base = name.split('/')
    kind: type = getattr(importlib.import_module(f'{package}.{folder}'), base)
    return kind


class Hostile:
    """Draws values and messages."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def value(self, kind: str, depth: int = 0) -> Any:
        """Return a value for a field of this type."""
        rng = self.rng
        fixed = re.fullmatch(r'(.+)\[(\d+)\]', kind)
        sequence = re.fullmatch(r'sequence<(.+?)(?:, (\d+))?>', kind)
        if fixed:
            return [self.value(fixed[1], depth + 1) for _ in range(int(fixed[2]))]
        if sequence:
            small = '/' in sequence[1]  # messages in messages grow fast
            length = min(rng.choice(LENGTHS), 3 if small else 1000, int(sequence[2] or 1000))
            return [self.value(sequence[1], depth + 1) for _ in range(length)]
        if kind in ('double', 'float'):
            drawn = rng.choice((*FLOATS, rng.uniform(-1.0, 1.0)))
            return drawn if kind == 'double' or not math.isfinite(drawn) or abs(drawn) < 3e38 else 0.0
        if kind in INTEGERS:
            low, high = INTEGERS[kind]
            return rng.choice((low, high, 0, rng.randint(low, high), rng.randint(0, 100)))
        if kind == 'boolean':
            return rng.random() < 0.5
        if kind == 'octet':
            return bytes([rng.randrange(256)])
        if kind.startswith(('string', 'wstring')):
            return rng.choice(TEXTS)
        return self.message(class_of(kind), depth + 1)

    def message(self, kind: Any, depth: int = 0) -> Any:
        """Return a message of a type, with every field drawn."""
        made = kind()
        if depth < DEEPEST:
            for field, name in kind.get_fields_and_field_types().items():
                setattr(made, field, self.value(name, depth))
        return made

    def changed(self, message: Any, depth: int = 0) -> Any:
        """Return an honest message with one field, here or within, drawn anew."""
        fields = message.get_fields_and_field_types()
        if not fields or depth > DEEPEST:
            return message
        field = self.rng.choice(list(fields))
        value, kind = getattr(message, field), fields[field]
        if hasattr(value, 'get_fields_and_field_types'):
            setattr(message, field, self.changed(value, depth + 1))
        elif kind.startswith('sequence') and len(value) and self.rng.random() < 0.7:
            self._change_one(message, field, kind)
        else:
            setattr(message, field, self.value(kind, depth))
        return message

    def _change_one(self, message: Any, field: str, kind: str) -> None:
        values = list(getattr(message, field))
        index = self.rng.randrange(len(values))
        if hasattr(values[index], 'get_fields_and_field_types'):
            values[index] = self.changed(values[index], DEEPEST)
        elif kind == 'sequence<octet>':
            return
        else:
            values[index] = self.value(kind.removeprefix('sequence<').rstrip('>').split(',')[0])
        setattr(message, field, values)

    def honest(self, kind: Any, sample: bytes | None) -> Any:
        """Return what was last sent by an honest peer, or a message of defaults."""
        return kind() if sample is None else deserialize_message(sample, kind)

    def broken(self, kind: Any, sample: bytes | None) -> bytes:
        """Return bytes that are hardly a message of the type."""
        rng, data = self.rng, bytearray(sample or serialize_message(self.message(kind)))
        way = rng.randrange(4)
        if way == 0:
            return rng.randbytes(rng.randrange(0, 100))
        if way == 1:
            return bytes(data[: rng.randrange(len(data))])
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if way == 2 and len(data) > 8:
            at = rng.randrange(4, len(data) - 3)
            data[at : at + 4] = b'\xff\xff\xff\xff'
        return bytes(data)
