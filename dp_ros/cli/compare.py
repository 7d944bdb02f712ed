"""Several ways side by side: compare, delays, denoise."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from dp_ros.cli.arguments import SAMPLERS, bundle_and_world, bundle_arguments, bundle_folder, command, speed_argument
from dp_ros.errors import DataError


def add_compare(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = command(commands, 'compare', _compare, 'Compare two evaluations on the seeds they share.')
    parser.add_argument('first', type=Path, help='summary of dp_ros evaluate --json')
    parser.add_argument('second', type=Path, help='another one')
    parser.add_argument('--json', type=Path, default=None, help='write the comparison here')


def _compare(options: argparse.Namespace) -> int:
    import json

    from dp_ros.evaluation.comparison import compare, comparison_table

    found = compare(*(_summary(path) for path in (options.first, options.second)))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=2) + '\n')
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


def add_delays(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Score the ways to go on from one chunk to the next under delays, on the same seeds.'
    parser = command(commands, 'delays', _delays, text)
    bundle_arguments(parser, 'models/pusht_mirror')
    parser.add_argument('--ways', nargs='+', default=None,
                        choices=['none', 'blend', 'rtc', 'rtc+blend', 'prefix', 'prefix+blend', 'ensemble',
                                 'ensemble+blend'],
                        help="of the executor, each with the publisher's cross-fade (blend) or without; "
                        'the others are compared with the first; without it, those of blend, rtc+blend, '
                        'ensemble+blend and none that the bundle can')  # fmt: skip
    parser.add_argument('--delays', type=int, nargs='+', default=[0, 2, 4],
                        help='time from observation to command [control steps]')  # fmt: skip
    parser.add_argument('--episodes', type=int, default=200, help='episodes of each, on consecutive seeds')
    parser.add_argument('--seed', type=int, default=400_000, help='seed of the first episode')
    speed_argument(parser)
    parser.add_argument('--sampler', default=None, choices=SAMPLERS, help="instead of the bundle's")
    parser.add_argument('--sampling-steps', type=int, default=None, help="instead of the bundle's")
    parser.add_argument('--exec-horizon', type=int, default=None, help="instead of the bundle's")
    parser.add_argument('--seconds', type=float, default=30.0, help='longest episode [s]')
    parser.add_argument('--threads', type=int, default=1, help='threads of one network call')
    parser.add_argument('--json', type=Path, default=None, help='write what was found here, also on the way')
    parser.add_argument('--plot', type=Path, default=None, help='draw it here (PNG)')


def _delays(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.delay_sweep import DelaySettings, run_delays, usual_ways
    from dp_ros.evaluation.scores import EvaluationSettings

    names = {f.name for f in dataclasses.fields(EvaluationSettings)} & vars(options).keys()
    evaluation = EvaluationSettings(**{**{n: getattr(options, n) for n in names}, **bundle_and_world(options)})
    chosen = {name: getattr(options, name) for name in ('delays', 'json', 'plot')}
    ways = options.ways or usual_ways(evaluation.bundle)
    return run_delays(DelaySettings(evaluation=evaluation, ways=ways, **chosen), print)


def add_denoise(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Draw chunks as they come out of noise, a panel for each sampler: a GIF.'
    parser = command(commands, 'denoise', _denoise, text)
    bundle_arguments(parser, 'models/pusht_mirror')
    parser.add_argument('--panels', nargs='+', default=None, metavar='SAMPLER:STEPS',
                        help='as ddpm:100 ddim:10; without it, both where the bundle can, else its own')  # fmt: skip
    parser.add_argument('--recordings', type=Path, default=None, metavar='PATH', help='ask at a moment of this '
                        'recording or dataset, of its first episode, in place of a simulated robot')  # fmt: skip
    parser.add_argument('--seed', type=int, default=100_000, help='seed of the episode')
    parser.add_argument('--at', type=float, default=1.0, help='how far into the episode the policy is asked [s]')
    parser.add_argument('--chunks', type=int, default=24, help='chunks in each panel, from different noise')
    parser.add_argument('--every', type=int, default=1, help='network calls from one frame to the next')
    parser.add_argument('--out', type=Path, default=Path('denoising.gif'), help='write the GIF here')


def _denoise(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.denoising import DenoisingSettings, film_denoising, panels

    chosen = {name: getattr(options, name) for name in ('seed', 'at', 'chunks', 'every', 'out', 'recordings')}
    where: dict[str, Any] = {'bundle': bundle_folder(options.bundle), 'world': options.world or ''}
    if not options.recordings:
        where = bundle_and_world(options)
    return film_denoising(DenoisingSettings(**chosen, **where, panels=panels(where['bundle'], options.panels)), print)
