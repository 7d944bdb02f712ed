"""Several ways side by side: compare, delays, denoise."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dp_ros.bounded_files import write_json
from dp_ros.cli.arguments import CommandParser, bundle_and_world, command, made_of
from dp_ros.errors import DataError
from dp_ros.paths import locate


def _compare_options(parser: CommandParser) -> None:
    parser.add_argument('first', type=Path, help='summary of dp_ros evaluate --json')
    parser.add_argument('second', type=Path, help='another one')
    parser.file('json', 'write the comparison here')


@command('Compare two evaluations on the seeds they share.', _compare_options)
def _compare(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.comparison import compare, comparison_table

    found = compare(*(_summary(path) for path in (options.first, options.second)))
    write_json(options.json, found, indent=2)
    print(f'first   {options.first}\nsecond  {options.second}\n')
    print(comparison_table(found))
    return 0


def _summary(path: Path) -> dict[str, Any]:
    from dp_ros.bounded_files import MOST_JSON, from_json, read_bytes

    try:
        summary = from_json(read_bytes(path, MOST_JSON), finite=False)
    except ValueError as error:
        raise DataError(f'{path}: got {error}, allowed a summary of dp_ros evaluate --json') from error
    missing = [k for k in ('seeds', 'scores', 'successes') if not isinstance(summary, dict) or k not in summary]
    if missing:
        raise DataError(f'{path}: got no {", ".join(missing)}, allowed a summary of dp_ros evaluate --json')
    _check_episodes(path, summary)
    return dict(summary)


def _check_episodes(path: Path, summary: dict[str, Any]) -> None:
    for name, kind, what in (
        ('seeds', int, 'whole numbers'),
        ('scores', (int, float), 'numbers'),
        ('successes', bool, 'true or false'),
    ):
        values = summary[name]
        right = isinstance(values, list) and all(
            isinstance(v, kind) and isinstance(v, bool) == (kind is bool) for v in values
        )
        if not right:
            raise DataError(f'{path} {name}: got {str(values)[:60]}, allowed a list of {what}')
    lengths = {name: len(summary[name]) for name in ('seeds', 'scores', 'successes')}
    if len(set(lengths.values())) > 1:
        got = ', '.join(f'{count} {name}' for name, count in lengths.items())
        raise DataError(f'{path}: got {got}, allowed one of each for every episode')


def _delays_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.delay_sweep import DelaySettings
    from dp_ros.evaluation.settings import EvaluationSettings

    parser.bundle('models/pusht_mirror')
    parser.settings(DelaySettings, 'ways', 'delays', ways=None)
    names = ('episodes', 'seed', 'policy_speed', 'sampler', 'sampling_steps', 'exec_horizon', 'seconds', 'threads')
    own = {'episodes': 200, 'seed': 400_000, 'threads': 1}
    parser.settings(EvaluationSettings, *names, **own)
    parser.settings(DelaySettings, 'json', 'plot')


@command('Score the ways to go on from one chunk to the next under delays, on the same seeds.', _delays_options)
def _delays(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.delay_sweep import DelaySettings, run_delays, usual_ways
    from dp_ros.evaluation.settings import EvaluationSettings

    evaluation = made_of(EvaluationSettings, options, **bundle_and_world(options))
    ways = tuple(options.ways or usual_ways(evaluation.bundle))
    return run_delays(made_of(DelaySettings, options, evaluation=evaluation, ways=ways), print)


def _denoise_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.denoising import DenoisingSettings

    parser.bundle('models/pusht_mirror')
    parser.add_argument('--panels', nargs='+', default=None, metavar='SAMPLER:STEPS',
                        help='as ddpm:100 ddim:10; without it, both where the bundle can, else its own')  # fmt: skip
    parser.settings(DenoisingSettings, recordings={'metavar': 'PATH'})


@command('Draw chunks as they come out of noise, a panel for each sampler: a GIF.', _denoise_options)
def _denoise(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.denoising import DenoisingSettings, film_denoising, panels

    where: dict[str, Any] = {'bundle': locate(options.bundle), 'world': options.world or ''}
    if not options.recordings:
        where = bundle_and_world(options)
    chosen = panels(where['bundle'], options.panels)
    return film_denoising(made_of(DenoisingSettings, options, **where, panels=chosen), print)
