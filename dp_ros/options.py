"""Declare an option once: the field of a frozen dataclass carries default, range, unit, text and liveness.

Parameters of nodes, options of the command line and the files that list them are made from these fields. People give
times in seconds; a field made with ``nanoseconds=True`` holds whole nanoseconds, and `build` converts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.errors import ConfigError, listed

T = TypeVar('T')
INFINITE = float('inf')


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option, as people give it. Its type is that of ``default``; ``()`` stands for a list of strings.

    Attributes
    ----------
    name
        What people call it; empty: the name of the field that it belongs to.
    unit
        Of the number, for people.
    low, high
        Smallest and largest number allowed, both included. A number needs both.
    choices
        The strings allowed; any when empty.
    live
        Whether it may be changed while a node runs.
    nanoseconds
        Whether the field holds whole nanoseconds of what people give in seconds.
    example
        What to show, in YAML, where the default is an empty list.

    """

    name: str = ''
    default: bool | int | float | str | tuple[str, ...]
    description: str
    unit: str = ''
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    nanoseconds: bool = False
    example: str = ''

    def __post_init__(self) -> None:
        if self.is_number != (self.low is not None and self.high is not None):
            raise ConfigError(f'option {self.name}: got {self.low} to {self.high}, allowed a range for each number')

    @property
    def is_number(self) -> bool:
        """Whether it is a number, which has a range."""
        return isinstance(self.default, int | float) and not isinstance(self.default, bool)

    @property
    def text(self) -> str:
        """The description, with the unit at the end of its first clause."""
        if not self.unit:
            return self.description
        return re.sub(r'(?=[.;:]( |$))', f' [{self.unit}]', self.description, count=1)

    def check(self, value: object) -> None:
        """Raise :class:`ConfigError` unless people may give this value; 1 is not 1.0, as in ROS."""
        if self.default == ():
            fits = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
            allowed = 'a list of strings'
        elif self.is_number:
            fits, allowed = type(value) is type(self.default), f'{self._kind()} from {self.low} to {self.high}'
            fits = fits and self.holds(value)
        elif self.choices:
            fits, allowed = value in self.choices, listed(map(repr, self.choices))
        else:
            fits, allowed = type(value) is type(self.default), self._kind()
        if not fits:
            raise ConfigError(f'{self.name}: got {value!r}, allowed {allowed}')

    def holds(self, value: Any) -> bool:
        """Return whether a number lies in the range, or a string among the choices."""
        if self.low is not None and self.high is not None:
            return bool(self.low <= value <= self.high)
        return not self.choices or value in self.choices

    def _kind(self) -> str:
        # With the decimal point: ROS does not take 1 for 1.0.
        return {bool: 'true or false', int: 'a whole number', float: 'a number with a decimal point'}.get(
            type(self.default), 'a string'
        )


def option(default: Any, description: str, **details: Any) -> Any:
    """Return a dataclass field with its `Option`; ``details`` are the other fields of it."""
    made = Option(default=default, description=description, **details)
    return field(default=to_nanoseconds(default) if made.nanoseconds else default, metadata={'option': made})


def options_of(cls: type, prefix: str = '') -> tuple[Option, ...]:
    """Return the options of a dataclass, named; fields made without `option` are none."""
    return tuple(_named(cls, prefix).values())


def build(cls: type[T], values: Mapping[str, Any], prefix: str = '') -> T:
    """Make the dataclass ``cls`` of values by option name, as people give them; the rest keep their defaults."""
    given = {key: o for key, o in _named(cls, prefix).items() if o.name in values}
    return cls(**{key: to_nanoseconds(values[o.name]) if o.nanoseconds else values[o.name] for key, o in given.items()})


def check_options(made: object, where: str = '') -> None:
    """Raise :class:`ConfigError` for a field of a dataclass that is out of its range; None passes."""
    for key, o in _named(type(made), '').items():
        value = getattr(made, key)
        if value is None:
            continue
        if o.nanoseconds:
            value = value / NANOSECONDS
        if not o.holds(value):
            allowed = listed(o.choices) if o.choices else f'{o.low} to {o.high}'
            raise ConfigError(f'{where}{o.name}: got {value}, allowed {allowed}{" " * bool(o.unit)}{o.unit}')


def check_values(values: Mapping[str, object], known: Sequence[Option], where: str) -> None:
    """Raise :class:`ConfigError` for an unknown name, or a value that its option does not allow."""
    by_name = {o.name: o for o in known}
    unknown = sorted(set(values) - set(by_name))
    if unknown:
        raise ConfigError(
            f'{where}: got unknown parameter {listed(map(repr, unknown))}, allowed {listed(sorted(by_name))}'
        )
    for name, value in values.items():
        by_name[name].check(value)


def _named(cls: type, prefix: str) -> dict[str, Option]:
    found = {f.name: f.metadata['option'] for f in fields(cls) if 'option' in f.metadata}
    return {key: replace(o, name=prefix + (o.name or key)) for key, o in found.items()}
