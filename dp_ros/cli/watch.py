"""Know when a policy fails: monitor, outcomes."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from dp_ros.cli.arguments import bundle_and_world, bundle_arguments, bundle_folder, command, speed_argument


def add_monitor(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Calibrate a failure monitor on the successful episodes of a policy, and write a bundle with it.'
    parser = command(commands, 'monitor', _monitor, text)
    bundle_arguments(parser, 'models/push_block_state')
    parser.add_argument('--out', type=Path, required=True, help='folder to write: the bundle with a monitor')
    parser.add_argument('--recordings', type=Path, nargs='+', default=(), metavar='PATH',
                        help='recordings of successful episodes, in place of episodes that the policy plays')  # fmt: skip
    parser.add_argument('--episodes', type=int, default=150, help='episodes to play, on consecutive seeds')
    parser.add_argument('--seed', type=int, default=3_000_000, help='seed of the first episode')
    parser.add_argument('--seconds', type=float, default=30.0, help='longest episode [s]')
    speed_argument(parser)
    parser.add_argument('--samples', type=int, default=8, help='chunks drawn at a window, for their entropy')
    parser.add_argument('--window', type=int, default=2, help='windows that scores are averaged over')
    parser.add_argument('--level', type=float, default=0.95, help='share of successful episodes without a false alarm')
    parser.add_argument('--workers', type=int, default=1, help='processes that share the episodes')
    parser.add_argument('--overwrite', action='store_true', help='replace a bundle that is there')


def _monitor(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.monitor.calibrate import MonitorSettings, run_monitor

    names = {f.name for f in dataclasses.fields(MonitorSettings)} - {'bundle', 'world'}
    chosen: dict[str, Any] = {name: getattr(options, name) for name in names}
    where = {'bundle': bundle_folder(options.bundle)} if options.recordings else bundle_and_world(options)
    return run_monitor(MonitorSettings(**chosen, **where), print)
