"""Declare options as parameters of nodes: type, range, description, and whether they may change while running.

An unknown name among a node's overrides (YAML or command line) is an error that names the known ones: a misspelt
parameter must not leave a robot running with a default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from dp_ros.errors import ConfigError, listed, unknown_parameter
from dp_ros.options import Option

# What rclpy itself reads from the overrides of every node.
STANDARD = re.compile(r'use_sim_time|start_type_description_service|qos_overrides\..+')


def descriptor(parameter: Option) -> ParameterDescriptor:
    """Return the ROS description of an option, with range, choices and read-only flag."""
    made = ParameterDescriptor(description=parameter.text, read_only=not parameter.live)
    if parameter.low is not None and parameter.high is not None:
        if isinstance(parameter.default, float):
            floats = FloatingPointRange(from_value=float(parameter.low), to_value=float(parameter.high))
            made.floating_point_range = [floats]
        else:
            made.integer_range = [IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high))]
    if parameter.choices:
        made.additional_constraints = 'one of: ' + listed(parameter.choices)
    return made


def declare(node: Node, parameters: Iterable[Option]) -> None:
    """Declare parameters on a node; an override that is not allowed is a :class:`ConfigError`."""
    given = overrides(node)
    for parameter in parameters:
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        # rclpy can't tell the type of an empty list, so a list without entries is declared as "typed, not set".
        value = default if default != [] else Parameter.Type.STRING_ARRAY
        if parameter.name in given:
            parameter.check(given[parameter.name].value)
        node.declare_parameter(parameter.name, value, descriptor(parameter))


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
        there_are = [*sorted(known), *patterns.values()]
        raise ConfigError(f'{node.get_fully_qualified_name()}: {unknown_parameter(sorted(unknown), there_are)}')
