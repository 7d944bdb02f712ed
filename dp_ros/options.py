"""Declare an option once: the field of a frozen dataclass carries default, range, unit, text and liveness.

Parameters of nodes, options of the command line (`dp_ros.cli.arguments`) and the files that list them are made from
these fields. People give times in seconds; a field made with ``nanoseconds=True`` holds whole nanoseconds, and `build`
converts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dp_ros.data import NANOSECONDS, to_nanoseconds
from dp_ros.errors import ConfigError, check_choice, check_range, listed, unknown_parameter

T = TypeVar('T')
INFINITE = float('inf')
REQUIRED = MISSING
"""The default of an option that has none."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option, as people give it. A node's parameter has the type of ``default``; ``()`` is a list of strings.

    On the command line the type is that of the field, which may be optional: None is not given.

    Attributes
    ----------
    name
        What people call it; empty: the name of the field that it belongs to.
    unit
        Of the number, for people.
    low, high
        Smallest and largest number allowed, both included, or of each in a list. A number needs both.
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
    default: Any
    description: str
    unit: str = ''
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    nanoseconds: bool = False
    example: str = ''

    def __post_init__(self) -> None:
        ranged = self.low is not None and self.high is not None
        if self.is_number > ranged or (ranged and isinstance(self.default, bool | str)):
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
        first = re.match(r'.*?(?=[.;:]( |$)|$)', self.description)
        assert first is not None
        return f'{first[0]} [{self.unit}]{self.description[first.end() :]}'

    def check(self, value: object) -> None:
        """Raise :class:`ConfigError` unless people may give this value; 1 is not 1.0, as in ROS."""
        if self.default == ():
            fits = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
            allowed = 'a list of strings'
        elif self.is_number:
            endless = (self.low, self.high) == (-math.inf, math.inf)
            within = ', not nan' if endless else f' from {self.low} to {self.high}'
            fits, allowed = type(value) is type(self.default) and self.holds(value), f'{self._kind()}{within}'
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
    value = to_nanoseconds(default) if made.nanoseconds else default
    return field(default=value, metadata={'option': made})


def like(cls: type, name: str, default: Any, description: str = '') -> Any:
    """Return a field with range and choices of the option ``name`` of ``cls``, its text too unless there is another."""
    known = {o.name: o for o in options_of(cls)}[name]
    made = replace(known, default=default, description=description or known.description)
    return field(default=default, metadata={'option': made})


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
        given = getattr(made, key)
        for value in given if isinstance(given, list | tuple) else [given]:
            if value is not None and o.choices:
                check_choice(f'{where}{o.name}', value, o.choices)
            elif value is not None and o.low is not None and o.high is not None:
                number = value / NANOSECONDS if o.nanoseconds else value
                check_range(f'{where}{o.name}', number, o.low, o.high, unit=o.unit)


def check_values(values: Mapping[str, object], known: Sequence[Option], where: str) -> None:
    """Raise :class:`ConfigError` for an unknown name, or a value that its option does not allow."""
    by_name = {o.name: o for o in known}
    unknown = sorted(set(values) - set(by_name))
    if unknown:
        raise ConfigError(f'{where}: {unknown_parameter(unknown, sorted(by_name))}')
    for name, value in values.items():
        by_name[name].check(value)


@lru_cache
def types_of(cls: type) -> dict[str, Any]:
    """Return the types of the fields of a dataclass; of an optional one, without None."""
    return {name: _without_none(hint) for name, hint in get_type_hints(cls).items()}


def _without_none(hint: Any) -> Any:
    given = [h for h in get_args(hint) if h is not NoneType]
    return given[0] if get_origin(hint) in (Union, UnionType) else hint


def literals(hint: Any) -> tuple[str, ...]:
    """Return what a ``Literal``, or a list of one, may be; () for other types."""
    inner = get_args(hint)
    return inner if get_origin(hint) is Literal else literals(inner[0]) if inner else ()


def _named(cls: type, prefix: str) -> Mapping[str, Option]:
    found = {f.name: f.metadata['option'] for f in fields(cls) if 'option' in f.metadata}
    return {
        key: replace(o, name=prefix + (o.name or key), choices=o.choices or literals(types_of(cls)[key]))
        for key, o in found.items()
    }
