"""Parameters of the nodes, declared once: type, range, description, and whether they may change while running.

An unknown name among a node's overrides (YAML or command line) is an error that names the known ones: a misspelt
parameter must not leave a robot running with a default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from dp_ros.errors import ConfigError, listed

# What rclpy itself reads from the overrides of every node.
STANDARD = re.compile(r'use_sim_time|start_type_description_service|qos_overrides\..+')


@dataclass(frozen=True, kw_only=True)
class Param:
    """One parameter. Its type is that of ``default``; ``()`` stands for a list of strings.

    Attributes
    ----------
    low, high
        Smallest and largest number allowed, both included.
    choices
        The strings allowed; any when empty.
    live
        Whether `ros2 param set` may change it on a running node.

    """

    name: str
    default: bool | int | float | str | tuple[str, ...]
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    def __post_init__(self) -> None:
        number = isinstance(self.default, int | float) and not isinstance(self.default, bool)
        if number != (self.low is not None and self.high is not None):
            raise ConfigError(f'parameter {self.name}: got {self.low} to {self.high}, allowed a range for each number')

    def descriptor(self) -> ParameterDescriptor:
        """Return the ROS description, with range, choices and read-only flag."""
        descriptor = ParameterDescriptor(description=self.description, read_only=not self.live)
        if self.low is not None and self.high is not None:
            if isinstance(self.default, float):
                floats = FloatingPointRange(from_value=float(self.low), to_value=float(self.high))
                descriptor.floating_point_range = [floats]
            else:
                integers = IntegerRange(from_value=int(self.low), to_value=int(self.high))
                descriptor.integer_range = [integers]
        if self.choices:
            descriptor.additional_constraints = 'one of: ' + listed(self.choices)
        return descriptor

    def check(self, value: object) -> None:
        """Raise :class:`ConfigError` if the value is not allowed."""
        if self.default == ():
            fits = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
            allowed = 'a list of strings'
        elif self.low is not None and self.high is not None:
            fits, allowed = type(value) is type(self.default), f'{self._kind()} from {self.low} to {self.high}'
            fits = fits and self.low <= value <= self.high  # type: ignore[operator]
        elif self.choices:
            fits, allowed = value in self.choices, listed(map(repr, self.choices))
        else:
            fits, allowed = type(value) is type(self.default), self._kind()
        if not fits:
            raise ConfigError(f'{self.name}: got {value!r}, allowed {allowed}')

    def _kind(self) -> str:
        # With the decimal point: ROS does not take 1 for 1.0.
        return {bool: 'true or false', int: 'a whole number', float: 'a number with a decimal point'}.get(
            type(self.default), 'a string'
        )


def declare(node: Node, parameters: Iterable[Param]) -> None:
    """Declare parameters on a node; an override that is not allowed is a :class:`ConfigError`."""
    given = overrides(node)
    for parameter in parameters:
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        # rclpy can't tell the type of an empty list, so a list without entries is declared as "typed, not set".
        value = default if default != [] else Parameter.Type.STRING_ARRAY
        if parameter.name in given:
            parameter.check(given[parameter.name].value)
        node.declare_parameter(parameter.name, value, parameter.descriptor())


def value_of(node: Node, name: str) -> Any:
    """Return a declared parameter's value; a list comes as a tuple."""
    value = node.get_parameter_or(name, Parameter(name)).value
    if value is None:
        return ()
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def overrides(node: Node) -> Mapping[str, Parameter]:
    """Return what YAML files and the command line set for this node, declared or not.

    rclpy offers no public way to these without declaring whatever they name.
    """
    return dict(node._parameter_overrides)


def refuse_unknown(node: Node, known: Iterable[str], patterns: Mapping[str, str]) -> None:
    """Raise :class:`ConfigError` if an override has a name that the node does not know.

    Parameters
    ----------
    node
        The node whose overrides are looked at.
    known
        Names of declared parameters.
    patterns
        Regular expressions of further names that are allowed, each with the way to show it to people.

    """
    known = list(known)
    unknown = [
        name
        for name in overrides(node)
        if name not in known and not STANDARD.fullmatch(name) and not any(re.fullmatch(p, name) for p in patterns)
    ]
    if unknown:
        raise ConfigError(
            f'{node.get_fully_qualified_name()}: got unknown parameter {listed(map(repr, sorted(unknown)))}, '
            f'allowed {listed([*sorted(known), *patterns.values()])}'
        )
