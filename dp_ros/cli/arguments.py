"""Make the command line from settings: a frozen dataclass declares each option once, and is made from what was given.

A command fills its parser when it is chosen, so that no other command's modules are imported.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from dp_ros.bounded_files import writable_file
from dp_ros.errors import ConfigError
from dp_ros.options import Option, options_of, types_of
from dp_ros.paths import locate

if TYPE_CHECKING:
    from dp_ros.training.settings import TrainSettings

T = TypeVar('T')
Fill = Callable[['CommandParser'], None]
Run = Callable[..., int]


class CommandParser(argparse.ArgumentParser):
    """The parser of a command, which has its options from when it is used.

    Attributes
    ----------
    fill
        Adds the options; None once it has.

    """

    fill: Fill | None = None

    def filled(self) -> CommandParser:
        """Add the options, unless that is done; return the parser."""
        fill, self.fill = self.fill, None
        if fill is not None:
            fill(self)
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments as `argparse` does, with the options added."""
        self.filled()
        return super().parse_known_args(args, namespace)

    def settings(self, cls: type, *names: str, **changed: Any) -> None:
        """Add the options ``names`` of the dataclass ``cls``; all of them without names.

        ``changed`` has another default of some, or a mapping of what `argparse` is to know instead, where ``flag`` is
        what the option is called. One without a default is positional, unless it is ``required`` or has a ``flag``.
        """
        add_settings(self, cls, *names, **changed)

    def world(self, otherwise: str = 'without it, the one of the demo') -> None:
        """Add the option ``--world``, None where it is not given."""
        from dp_ros.simulation.registry import world_names

        self.add_argument('--world', default=None, choices=_Worlds(world_names()), metavar='WORLD',
                          help=f'simulated robot, of %(choices)s, or the YAML file of one; {otherwise}')  # fmt: skip

    def bundle(self, example: str) -> None:
        """Add the argument ``bundle`` and the option ``--world``, that `bundle_and_world` reads."""
        self.add_argument('bundle', help=f'bundle, as {example}')
        self.world('without it, the one that fits')

    def file(self, name: str, text: str) -> None:
        """Add an option of a file that is written, None where it is not given."""
        self.add_argument(f'--{name}', type=written_file, default=None, help=text)


def written_file(text: str) -> Path:
    """Return the path of a file that a command will write; for argparse, which a folder is an error to."""
    try:
        return writable_file(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class _Worlds(tuple[str, ...]):
    """Names of worlds, as choices of an option; paths of files are taken too."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or str(name).endswith(('.yaml', '.yml'))


def add_settings(to: argparse._ActionsContainer, cls: type, *names: str, **changed: Any) -> None:
    """Add options as `CommandParser.settings` does, to a parser or a group of one."""
    known = {o.name: o for o in options_of(cls)}
    defaults = {f.name: f.default for f in fields(cls)}
    for name in names or known:
        new = changed.get(name, {})
        details = _details(known[name], types_of(cls)[name], defaults[name])
        details |= new if isinstance(new, dict) else {'default': new}
        if defaults[name] is MISSING and not {'required', 'flag'} & details.keys():
            to.add_argument(name, **details)
            continue
        usual = f'--{"no-" * (details.get("action") == "store_false")}{name.replace("_", "-")}'
        to.add_argument(details.pop('flag', usual), dest=name, **details)


def _details(made: Option, hint: Any, default: Any) -> dict[str, Any]:
    """Return what `argparse` is to know of an option."""
    details: dict[str, Any] = {'help': made.text.replace('%', '%%')}
    if default is not MISSING:
        details['default'] = default
    if hint is bool:
        return {**details, 'action': 'store_false' if default else 'store_true'}
    if _is_list(hint):
        details['nargs'] = '+'
        hint = get_args(hint)[0]
    if made.choices:
        return {**details, 'choices': list(made.choices)}
    return {**details, 'type': hint}


def _is_list(hint: Any) -> bool:
    return isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Sequence)


def made_of(cls: type[T], options: argparse.Namespace, **given: Any) -> T:
    """Return the dataclass ``cls`` of what the command line has of its fields; ``given`` counts before that."""
    asked = vars(options)
    values = {f.name: asked[f.name] for f in fields(cls) if f.name in asked}  # type: ignore[arg-type]
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return cls(**{**values, **given})


COMMANDS: dict[str, tuple[str, Fill, Run]] = {}
"""By name, what a command does, what fills its parser, and what runs it."""


def command(text: str, fill: Fill = lambda _: None) -> Callable[[Run], Run]:
    """Make a command of the function that runs it, and that it is called after; ``fill`` fills its parser."""

    def made(run: Run) -> Run:
        COMMANDS[run.__name__.strip('_').replace('_', '-')] = text, fill, run
        return run

    return made


def add_command(commands: argparse._SubParsersAction, name: str) -> None:
    """Add one of `COMMANDS` to the parser of all."""
    text, fill, run = COMMANDS[name]
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = commands.add_parser(name, help=text, description=text, formatter_class=formatter)
    parser.fill = fill
    parser.set_defaults(run=run)


def training_config(path: Path | str) -> TrainSettings:
    """Read the training configuration that a user names: a path, or a shipped one."""
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.settings import TrainSettings

    return read_yaml(locate(path), TrainSettings)


def bundle_and_world(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options ``bundle`` and ``world``; without a world, the one that fits the bundle."""
    from dp_ros.policy.bundle.manifest import load_bundle
    from dp_ros.simulation.registry import world_for

    folder = locate(options.bundle)
    try:
        world = options.world or world_for(load_bundle(folder).task)
    except ConfigError as error:
        if 'recordings' not in options:
            raise
        raise ConfigError(f'{error}; or --recordings, in place of a world') from None
    return {'bundle': folder, 'world': world}
