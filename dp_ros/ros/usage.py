"""Print how a node is started and what its parameters are, for `--help`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from rclpy.context import Context

WIDTH = 100


def wants_help(args: Sequence[str] | None) -> bool:
    """Return whether ``--help`` or ``-h`` is among a process's own arguments, before ``--ros-args``."""
    words = list(sys.argv[1:] if args is None else args)
    own = words[: words.index('--ros-args')] if '--ros-args' in words else words
    return not {'-h', '--help'}.isdisjoint(own)


def show_usage(text: str, kinds: Sequence[Callable[..., Any]]) -> None:
    """Print the help of a process that runs nodes of these kinds.

    Parameters
    ----------
    text
        What it does; its first paragraph is shown.
    kinds
        Makes each node from ``context`` and ``start_parameter_services``; its parameters are what it declares.

    """
    program = Path(sys.argv[0]).name
    lines = [f'usage: {program} [--ros-args [-p PARAMETER:=VALUE] [--params-file FILE] [-r __ns:=/NAMESPACE]]', '']
    lines += [fill(text.partition('\n\n')[0], WIDTH), '']
    context = Context()
    context.init(args=[])
    try:
        for kind in kinds:
            node = kind(context=context, start_parameter_services=False, use_global_arguments=False)
            lines.append(f'Parameters of {node.get_name()}, with their defaults:')
            for option in node.options():
                default = list(option.default) if isinstance(option.default, tuple) else repr(option.default)
                limits = f', {option.low:g} to {option.high:g}' if option.is_number else ''
                changes = ', live' if option.live else ''
                lines.append(f'  {option.name}  ({default}{limits}{changes})')
                indent = ' ' * 6
                lines.append(fill(option.text, WIDTH, initial_indent=indent, subsequent_indent=indent))
            lines.append('')
            node.destroy_node()
    finally:
        context.try_shutdown()
    lines.append('doc/reference/parameters.md has them as a table; config/policy.yaml is a file with all of them.')
    sys.stdout.write('\n'.join(lines) + '\n')
