"""Write the reference pages that the code itself decides: node parameters, the training file, the command line.

    python doc/generate_reference.py            # after a parameter, a setting or an option has changed
    python doc/generate_reference.py --check    # exit code 1 where a page is stale

The pages are committed, so that building the documentation needs neither ROS nor torch.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import math
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / 'doc' / 'reference'
SHIPPED = ROOT / 'config' / 'train'
EXAMPLES = {
    'A complete file': ROOT / 'doc' / 'reference' / 'examples' / 'arm.yaml',
    'Rarer forms': ROOT / 'doc' / 'reference' / 'examples' / 'leader.yaml',
}
NO_MORE = '...\n'  # by which PyYAML ends a lone value
NODES = {
    **{name: f'nodes.{name}.node' for name in ('observation_buffer', 'policy_executor', 'trajectory_publisher')},
    'simulated_robot': 'nodes.simulated_robot.node',
    'black_box': 'tools.black_box',
    'outcomes': 'tools.outcomes.recorder',
}
STANDARD = ('use_sim_time', 'start_type_description_service')  # ROS's own
UNKNOWN = 'no_parameter_has_this_name'
HEAD = '<!-- Written by doc/generate_reference.py; change the code, then run it again. -->\n\n'

PARAMETERS = """# Node parameters

All nodes refuse a parameter that they lack, and a value out of range; the error lists what is allowed. A parameter
marked *live* may be changed while the node runs (`ros2 param set`); all others are read when the node starts.
`config/policy.yaml` is a parameter file with every parameter and longer explanations: copy it, keep what you change.
Each node also has ROS's own `use_sim_time`.
"""
TRAINING = """# The training file

`dp_ros train --config FILE` reads one YAML file. A key that is not below is an error, and the error lists the keys that
are allowed. Two complete files are at the end of this page, others in `config/train/`; the examples are from these,
where the default says too little. *required* means that there is no default.
"""
COMMANDS = """# Command line

`dp_ros COMMAND --help` shows the same. In a colcon workspace write `ros2 run dp_ros dp_ros COMMAND`. The exit code is 0
on success, 1 on an error, 2 on a wrong option, 130 after Ctrl-C; `check-bag` adds 3 for warnings with `--strict`.
"""


def main(args: list[str] | None = None) -> int:
    """Write the pages, or compare them with what is there; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument('--check', action='store_true', help='write nothing; exit code 1 where a page is stale')
    options = parser.parse_args(args)
    written = pages()
    stale = [name for name, text in written.items() if _differs(REFERENCE / name, text)]
    if options.check:
        for name in stale:
            print(f'doc/reference/{name} is stale: run python doc/generate_reference.py', file=sys.stderr)
        return 1 if stale else 0
    for name, text in written.items():
        (REFERENCE / name).write_text(text, encoding='utf-8')
    print(f'wrote {", ".join(stale) or "nothing, all pages were up to date"}')
    return 0


def pages() -> dict[str, str]:
    """Return the text of each generated page by file name."""
    return {
        'parameters.md': HEAD + PARAMETERS + ''.join(_node_section(name) for name in NODES),
        'training_file.md': HEAD + TRAINING + ''.join(_settings_sections()),
        'command_line.md': HEAD + COMMANDS + ''.join(_command_sections()),
    }


def _differs(path: Path, text: str) -> bool:
    return not path.is_file() or path.read_text(encoding='utf-8') != text


# Parameters, as a node declares them to ROS.


def node_parameters(name: str) -> tuple[list[tuple[str, Any, Any]], list[str]]:
    """Return (name, default, descriptor) of each parameter of a node, and the names that depend on its bundle."""
    import rclpy

    node_class = _node_class(name)
    rclpy.init(args=[])
    try:
        allowed = _refusal(node_class).partition('allowed ')[2].split(', ')
        node = node_class()
        declared = {key: p.value for key, p in node.get_parameters_by_prefix('').items() if key not in STANDARD}
        # A list without entries is declared, and not set.
        found = [(key, [] if value is None else value, node.describe_parameter(key)) for key, value in declared.items()]
        node.destroy_node()
    finally:
        rclpy.shutdown()
    return found, [key for key in allowed if '<' in key]


def _node_class(name: str) -> type:
    from rclpy.node import Node

    module = f'dp_ros.{NODES[name]}'
    importlib.import_module(module)
    classes = {c for c in _subclasses(Node) if c.__module__ == module}
    (node_class,) = classes
    return node_class


def _subclasses(cls: type) -> Iterator[type]:
    children: list[type] = cls.__subclasses__()
    for child in children:
        yield child
        yield from _subclasses(child)


def _refusal(node_class: type) -> str:
    try:
        node_class(cli_args=['--ros-args', '-p', f'{UNKNOWN}:=1'])
    except ValueError as error:
        return str(error)
    raise RuntimeError(f'{node_class.__name__}: got no refusal of the parameter {UNKNOWN}, allowed one')


def _node_section(name: str) -> str:
    found, patterns = node_parameters(name)
    rows = [
        (f'`{key}`', _default(value), _parameter_range(descriptor), '' if descriptor.read_only else 'live',
         descriptor.description)
        for key, value, descriptor in found
    ]  # fmt: skip
    text = f'\n## {name}\n\n{_table(("parameter", "default", "allowed", "", "what it does"), rows)}'
    if patterns:
        text += f'\nFurther names depend on the bundle and on the robot: {_listed(patterns)}.\n'
    return text


def _parameter_range(descriptor: Any) -> str:
    ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
    if ranges:
        return f'{_number(ranges[0].from_value)} to {_number(ranges[0].to_value)}'
    choices = descriptor.additional_constraints.partition('one of: ')[2]
    return ', '.join(f'`{choice}`' if choice else "`''`" for choice in choices.split(', ')) if choices else ''


# The training file, from its dataclasses.


def _settings_sections() -> Iterator[str]:
    settings = importlib.import_module('dp_ros.training.settings').TrainSettings
    yield from _dataclass_sections(settings, '', _examples(settings))
    for title, file in EXAMPLES.items():
        yield f'\n## {title}\n\n```yaml\n{file.read_text(encoding="utf-8")}```\n'


def _examples(settings: type) -> dict[tuple[str, str], dict[str, str]]:
    """Return an example of each key by section and kind, from complete files, which are read as `dp_ros train` does."""
    read_yaml = importlib.import_module('dp_ros.task.yaml_reader').read_yaml
    found: dict[tuple[str, str], dict[str, str]] = {}
    for file in (*EXAMPLES.values(), *sorted(SHIPPED.glob('*.yaml'))):
        read_yaml(file, settings)
        _collect(yaml.safe_load(file.read_text(encoding='utf-8')), '', found)
    return found


def _collect(given: Mapping[str, Any], where: str, found: dict[tuple[str, str], dict[str, str]]) -> None:
    own = found.setdefault((where, given.get('kind', '')), {})
    for key, value in given.items():
        name = f'{where}.{key}' if where else key
        if isinstance(value, list) and isinstance(value[0], dict):
            for entry in value:
                _collect(entry, f'{name}[]', found)
        elif isinstance(value, dict) and all(isinstance(entry, dict) for entry in value.values()):
            for entry in value.values():
                _collect(entry, f'{name}.NAME', found)
        elif isinstance(value, dict) and key != 'columns':
            _collect(value, name, found)
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
            own.setdefault(key, f'`{text.removesuffix(NO_MORE).strip()}`')


def _dataclass_sections(cls: type, where: str, examples: dict[tuple[str, str], dict[str, str]]) -> Iterator[str]:
    hints = get_type_hints(cls)
    title = f'`{where}`' if where else 'The top level'
    kind = getattr(cls, 'kind', None)
    if kind:
        title += f', `kind: {kind}`'
    rows, below = [], []
    shown = examples.get((where, kind or ''), {})
    if kind:
        rows.append(('`kind`', f'`{kind}`', '*required*', '', '', 'chooses this form'))
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        text = _metadata_text(field)
        nested = list(_nested(hints[field.name]))
        name = f'{where}.{field.name}' if where else field.name
        if nested:
            suffix = _container(hints[field.name])
            below += [(entry, name + suffix) for entry in nested]
            text = text or 'see below'
        default, example = _field_default(field, bool(nested)), shown.get(field.name, '')
        example = '' if example == default.replace('"', '') else example  # the default is its own example
        option = field.metadata.get('option')
        allowed = '' if option is None or option.low is None else f'{_number(option.low)} to {_number(option.high)}'
        rows.append((f'`{field.name}`', _type_text(hints[field.name]), default, allowed, example, text))
    lead, columns = ' '.join((cls.__doc__ or '').split()), ('key', 'type', 'default', 'allowed', 'example', 'meaning')
    yield f'\n## {title}\n\n{lead}\n\n{_table(columns, rows)}'
    for entry, name in below:
        yield from _dataclass_sections(entry, name, examples)


def _nested(hint: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        yield hint
    for argument in get_args(hint) if get_origin(hint) is not Literal else ():
        yield from _nested(argument)


def _container(hint: Any) -> str:
    origin: Any = get_origin(hint)
    return {tuple: '[]', dict: '.NAME', Mapping: '.NAME'}.get(origin, '')


def _type_text(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ', '.join(f'`{a}`' if a != '' else "`''`" for a in arguments)
    if origin is tuple:
        return f'list of {_type_text(arguments[0])}'
    if origin in (dict, Mapping):
        return f'mapping of names to {_type_text(arguments[1])}'
    if origin in (types.UnionType, typing.Union):
        return ' or '.join(_type_text(a) for a in arguments)
    if getattr(hint, 'kind', None):
        return f'`kind: {hint.kind}`'
    if dataclasses.is_dataclass(hint):
        return 'mapping'
    names = {str: 'text', int: 'whole number', float: 'number', bool: 'true or false', type(None): 'nothing'}
    return names.get(hint, getattr(hint, '__name__', str(hint)))


def _field_default(field: Any, nested: bool) -> str:
    if field.default is not dataclasses.MISSING:
        return _default(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return '' if nested else _default(field.default_factory())
    return '*required*'


def _metadata_text(field: Any) -> str:
    if 'option' in field.metadata:
        return str(field.metadata['option'].text)
    return next((str(field.metadata[key]) for key in ('description', 'text', 'help') if key in field.metadata), '')


# The command line, from its parsers.


def _command_sections() -> Iterator[str]:
    for name, parser in commands().items():
        rows = []
        for action in parser._actions:
            if '--help' in action.option_strings or action.help == argparse.SUPPRESS:
                continue
            shown = ', '.join(f'`{option}`' for option in action.option_strings) or f'`{action.metavar or action.dest}`'
            told = (action.help or '') % {'choices': ', '.join(map(str, action.choices or ()))}
            rows.append((shown, _option_values(action), _option_default(action), told))
        text = parser.description or ''
        yield f'\n## dp_ros {name}\n\n{text}\n'
        if rows:
            yield f'\n{_table(("option", "value", "default", "what it does"), rows)}'


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command of ``dp_ros`` by its name."""
    parser = importlib.import_module('dp_ros.cli.main').build_parser()
    (found,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {name: parser.filled() for name, parser in found.choices.items()}


def _option_values(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ''
    if action.choices is not None:
        values = ', '.join(f'`{choice}`' for choice in action.choices)
    else:
        kind: Any = action.type
        written = importlib.import_module('dp_ros.cli.arguments').written_file
        values = {int: 'whole number', float: 'number', Path: 'path', written: 'path'}.get(kind, 'text')
    return f'{values}; one or more' if action.nargs == '+' else values


def _option_default(action: argparse.Action) -> str:
    if action.required or not action.option_strings:
        return '*required*'
    if action.default is None or isinstance(action.default, bool) or action.default in ((), ''):
        return ''
    values = action.default if isinstance(action.default, list | tuple) else [action.default]
    return ' '.join(f'`{value}`' for value in values)


# Markdown.


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return f'`{str(value).lower()}`'
    if isinstance(value, int | float):
        return f'`{_number(value)}`'
    if isinstance(value, str):
        return f'`{value}`' if value else "`''`"
    plain = list(value) if isinstance(value, Iterable) and not isinstance(value, Mapping) else value
    return f'`{json.dumps(plain)}`' if plain else 'none'


def _number(value: float) -> str:
    if isinstance(value, int) or not math.isfinite(value):
        return {'inf': '.inf', '-inf': '-.inf'}.get(str(value), str(value))
    return f'{value:g}' if value != int(value) or abs(value) >= 1e6 else f'{value:.1f}'


def _listed(names: Iterable[str]) -> str:
    return ', '.join(f'`{name}`' for name in names)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple('---' for _ in head), *rows]
    return ''.join('| ' + ' | '.join(_cell(cell) for cell in line) + ' |\n' for line in lines)


def _cell(text: str) -> str:
    # Outside of code, < begins a tag; a bar would end the cell.
    parts = re.split(r'(`[^`]*`)', ' '.join(text.replace('``', '`').split()))
    escaped = (part if part.startswith('`') else part.replace('<', '&lt;').replace('*', r'\*') for part in parts)
    text = ''.join(escaped).replace('|', r'\|')
    return text.replace(r'\*required\*', '*required*')


if __name__ == '__main__':
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
