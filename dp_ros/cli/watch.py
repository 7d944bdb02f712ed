"""Know when a policy fails: monitor, outcomes."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from dp_ros.cli.arguments import bundle_and_world, bundle_arguments, bundle_folder, command, speed_argument
from dp_ros.errors import ConfigError

STUDY_SEED = 5_000_000


def add_monitor(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Calibrate a failure monitor on the successful episodes of a policy, and write a bundle with it.'
    parser = command(commands, 'monitor', _monitor, text)
    bundle_arguments(parser, 'models/push_block_state')
    parser.add_argument('--out', type=Path, default=None, help='folder to write: the bundle with a monitor')
    parser.add_argument('--recordings', type=Path, nargs='+', default=(), metavar='PATH',
                        help='recordings of successful episodes, in place of episodes that are played')  # fmt: skip
    parser.add_argument('--episodes', type=int, default=150, help='episodes to play, on consecutive seeds')
    parser.add_argument('--seed', type=int, default=None,
                        help='seed of the first episode; without it, 3000000, or 5000000 with --study')  # fmt: skip
    parser.add_argument('--seconds', type=float, default=30.0, help='longest episode [s]')
    speed_argument(parser)
    parser.add_argument('--samples', type=int, default=8, help='chunks drawn at a window, for their entropy')
    parser.add_argument('--window', type=int, default=3, help='windows that scores are averaged over')
    parser.add_argument('--level', type=float, default=0.95, help='share of successful episodes without a false alarm')
    parser.add_argument('--rule', default='both', choices=['both', 'either'],
                        help='a failure is foretold where novelty and entropy exceed their thresholds, or either; '
                        'either is for failures without hesitation, and needs more episodes')  # fmt: skip
    parser.add_argument('--workers', type=int, default=1, help='processes that share the episodes')
    parser.add_argument('--overwrite', action='store_true', help='replace a bundle that is there')
    parser.add_argument('--study', action='store_true', help='of a bundle that has a monitor, measure how well it '
                        'foretells failures: in the world as it is, and made wrong in several ways; without --seed '
                        'on other seeds than those of calibration')  # fmt: skip
    parser.add_argument('--faults', nargs='+', default=None, metavar='FAULT',
                        help='with --study: what is made wrong; without it, all that can be in the world')  # fmt: skip
    parser.add_argument('--json', type=Path, default=None, help='with --study: write what was found here')
    parser.add_argument('--plot', type=Path, default=None,
                        help='with --study: draw the scores of an episode that fails (PNG)')  # fmt: skip


def _monitor(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.monitor.calibrate import MonitorSettings, run_monitor

    if options.study:
        return _study(options)
    if options.out is None:
        raise ConfigError('out: got none, allowed a folder for the bundle with a monitor, or --study')
    _only_with_study(options)
    names = {f.name for f in dataclasses.fields(MonitorSettings)} - {'bundle', 'world', 'seed'}
    chosen: dict[str, Any] = {name: getattr(options, name) for name in names}
    if options.seed is not None:
        chosen['seed'] = options.seed
    where = {'bundle': bundle_folder(options.bundle)} if options.recordings else bundle_and_world(options)
    return run_monitor(MonitorSettings(**chosen, **where), print)


def _study(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.monitor.study import StudySettings, run_study
    from dp_ros.evaluation.settings import EvaluationSettings

    for name in ('out', 'recordings'):
        if getattr(options, name):
            raise ConfigError(f'{name}: got it with --study, allowed without: nothing is calibrated')
    names = ('episodes', 'seconds', 'policy_speed', 'workers')
    chosen: dict[str, Any] = {name: getattr(options, name) for name in names}
    seed = STUDY_SEED if options.seed is None else options.seed
    evaluation = EvaluationSettings(**chosen, seed=seed, threads=1, **bundle_and_world(options))
    given = {name: getattr(options, name) for name in ('faults', 'json', 'plot')}
    return run_study(StudySettings(evaluation=evaluation, **given), print)


def _only_with_study(options: argparse.Namespace) -> None:
    for name in ('faults', 'json', 'plot'):
        if getattr(options, name) is not None:
            raise ConfigError(f'{name}: got it without --study, allowed with it only')


def add_outcomes(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Print what became of episodes, as the node outcomes has counted them, or add one.'
    parser = command(commands, 'outcomes', _outcomes, text)
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
    parser.add_argument('--plot', type=Path, default=None, help='draw the rate of each day here (PNG)')


def _outcomes(options: argparse.Namespace) -> int:
    import time

    from dp_ros.errors import check_range
    from dp_ros.policy.bundle.manifest import load_bundle
    from dp_ros.tools.outcomes.rate import measured_of, plot, table
    from dp_ros.tools.outcomes.store import EpisodeOutcome, OutcomeStore

    check_range('newest', options.newest, 1, 100_000)
    measured = None
    if options.measured_bundle:
        measured = measured_of(load_bundle(bundle_folder(options.measured_bundle)).provenance)
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
