"""Share options between commands; choices stand here as text, because the modules that have them import NumPy."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dp_ros.errors import ConfigError

SAMPLERS = ['ddim', 'ddpm', 'dpmsolver++', 'unipc', 'euler', 'regression']
CONTINUITIES = ['none', 'rtc', 'prefix', 'ensemble']


class _Worlds:
    """Find the names of the worlds, as choices of an option, when they are needed; paths of files are taken too."""

    def __iter__(self) -> Iterator[str]:
        from dp_ros.simulation.registry import world_names

        return iter(world_names())

    def __contains__(self, name: object) -> bool:
        return name in tuple(self) or str(name).endswith(('.yaml', '.yml'))


def command(commands: argparse._SubParsersAction, name: str, run: object, text: str) -> argparse.ArgumentParser:
    """Add a command, and return its parser."""
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = commands.add_parser(name, help=text, description=text, formatter_class=formatter)
    parser.set_defaults(run=run)
    return parser


def bundle_arguments(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the arguments ``bundle`` and ``--world``, that `bundle_and_world` reads."""
    parser.add_argument('bundle', help=f'bundle, as {example}')
    world_argument(parser, 'without it, the one that fits')


def world_argument(parser: argparse.ArgumentParser, otherwise: str = 'without it, the one of the demo') -> None:
    """Add the argument ``--world``, None where it is not given."""
    parser.add_argument('--world', default=None, choices=_Worlds(), metavar='WORLD',
                        help=f'simulated robot, of %(choices)s, or the YAML file of one; {otherwise}')  # fmt: skip


def speed_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument ``--policy-speed``."""
    parser.add_argument('--policy-speed', type=float, default=1.0,
                        help='how many times as fast as it was shown the policy is played')  # fmt: skip


def continuity_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument ``--continuity``."""
    parser.add_argument('--continuity', default='none', choices=CONTINUITIES,
                        help='how a chunk goes on from the last one')  # fmt: skip


def node_arguments(parser: argparse.ArgumentParser, through: str = '') -> None:
    """Add the arguments that say how the policy's nodes run."""
    parser.add_argument('--composed', action='store_true', help=f"{through}the policy's three nodes in one process")
    parser.add_argument('--realtime-priority', type=int, default=0,
                        help=f'{through}SCHED_FIFO priority of the three nodes, where it is permitted')  # fmt: skip
    parser.add_argument('--cpu-dma-latency', type=int, default=-1, help=f'{through}longest that a processor may take '
                        'to wake up [us], where it is permitted; -1 for any')  # fmt: skip


def bundle_folder(path: str) -> Path:
    """Return the bundle that a user names: a path, or a shipped one."""
    from dp_ros.paths import locate

    return locate(path)


def bundle_and_world(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options ``bundle`` and ``world``; without a world, the one that fits the bundle."""
    from dp_ros.policy.bundle.manifest import load_bundle
    from dp_ros.simulation.registry import world_for

    folder = bundle_folder(options.bundle)
    try:
        world = options.world or world_for(load_bundle(folder).task)
    except ConfigError as error:
        if 'recordings' not in options:
            raise
        raise ConfigError(f'{error}; or --recordings, in place of a world') from None
    return {'bundle': folder, 'world': world}
