"""Know when a policy fails: monitor, outcomes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dp_ros.cli.arguments import CommandParser, bundle_and_world, command, made_of
from dp_ros.errors import ConfigError
from dp_ros.paths import locate

STUDY_SEED = 5_000_000


def _monitor_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.monitor.calibrate import MonitorSettings
    from dp_ros.evaluation.monitor.study import StudySettings

    parser.bundle('models/push_block_state')
    seed = 'seed of the first episode; without it, 3000000, or 5000000 with --study'
    parser.settings(
        MonitorSettings,
        out={'flag': '--out', 'default': None},
        recordings={'metavar': 'PATH'},
        seed={'default': None, 'help': seed},
    )
    parser.add_argument('--study', action='store_true', help='of a bundle that has a monitor, measure how well it '
                        'foretells failures: in the world as it is, and made wrong in several ways; without --seed '
                        'on other seeds than those of calibration')  # fmt: skip
    parser.settings(StudySettings, faults={'metavar': 'FAULT'})


@command(
    'Calibrate a failure monitor on the successful episodes of a policy, and write a bundle with it.', _monitor_options
)
def _monitor(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.monitor.calibrate import MonitorSettings, run_monitor

    if options.study:
        return _study(options)
    if options.out is None:
        raise ConfigError('out: got none, allowed a folder for the bundle with a monitor, or --study')
    for name in ('faults', 'json', 'plot'):
        if getattr(options, name) is not None:
            raise ConfigError(f'{name}: got it without --study, allowed with it only')
    where = {'bundle': locate(options.bundle)} if options.recordings else bundle_and_world(options)
    seed = {} if options.seed is None else {'seed': options.seed}
    del options.seed, options.world
    return run_monitor(made_of(MonitorSettings, options, **where, **seed), print)


def _study(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.monitor.study import StudySettings, run_study
    from dp_ros.evaluation.settings import EvaluationSettings

    for name in ('out', 'recordings'):
        if getattr(options, name):
            raise ConfigError(f'{name}: got it with --study, allowed without: nothing is calibrated')
    usual: dict[str, Any] = {'seed': STUDY_SEED if options.seed is None else options.seed, 'threads': 1, 'samples': 1}
    evaluation = made_of(EvaluationSettings, options, **usual, **bundle_and_world(options))
    return run_study(made_of(StudySettings, options, evaluation=evaluation), print)


def _outcomes_options(parser: CommandParser) -> None:
    parser.add_argument('file', type=Path, help='SQLite file of the node outcomes')
    parser.add_argument('--add', default=None, choices=['success', 'failure', 'unknown'],
                        help='add an episode that has just ended; the file is made if it is not there')  # fmt: skip
    parser.add_argument('--episode-seconds', type=float, default=0.0, help='with --add: how long it was [s]')
    parser.add_argument('--note', default='', help='with --add: whatever is to be remembered of it')
    parser.add_argument('--policy', default='', help="with --add: the policy's name")
    parser.add_argument('--measured-bundle', default='',
                        help='compare with what the monitor of this bundle was calibrated on')  # fmt: skip
    parser.add_argument('--newest', type=int, default=1000, help='episodes that are read, the newest ones')
    parser.add_argument('--rows', type=int, default=10, help='episodes that are printed one by one')
    parser.file('plot', 'draw the rate of each day here (PNG)')


@command('Print what became of episodes, as the node outcomes has counted them, or add one.', _outcomes_options)
def _outcomes(options: argparse.Namespace) -> int:
    import time

    from dp_ros.errors import check_range
    from dp_ros.policy.bundle.manifest import load_bundle
    from dp_ros.tools.outcomes.rate import measured_of, plot, table
    from dp_ros.tools.outcomes.store import EpisodeOutcome, OutcomeStore

    check_range('newest', options.newest, 1, 100_000)
    measured = None
    if options.measured_bundle:
        measured = measured_of(load_bundle(locate(options.measured_bundle)).provenance)
        if measured is None:
            raise ConfigError(
                f'measured_bundle: got {options.measured_bundle}, which was measured nowhere, allowed one of dp_ros '
                'monitor with a world'
            )
    with OutcomeStore(options.file, make=options.add is not None) as store:
        if options.add is not None:
            check_range('episode_seconds', options.episode_seconds, 0.0, 86400.0, unit='s')
            now = time.time()
            store.add(
                EpisodeOutcome(
                    began=now - options.episode_seconds, ended=now, outcome=options.add, source='person',
                    bundle=options.policy, note=options.note,
                )
            )  # fmt: skip
        episodes = store.episodes(options.newest)
    print(table(episodes, measured, rows=options.rows))
    if options.plot:
        plot(episodes, measured, options.plot)
        print(options.plot)
    return 0
