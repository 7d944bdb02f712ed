"""Measure a machine, and a policy among obstacles: bench, latency, tune, obstacles."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dp_ros.bounded_files import write_json
from dp_ros.cli.arguments import CommandParser, add_settings, bundle_and_world, command, made_of, training_config
from dp_ros.errors import ConfigError
from dp_ros.paths import locate


def _bench_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.bench.bench import BenchSettings
    from dp_ros.evaluation.bench.train import BenchTrainSettings

    parser.add_argument('--bundle', default='models/pusht_mirror', help='bundle whose task and network are measured')
    parser.settings(BenchSettings, rounds=None, contenders={'metavar': 'CONTENDER'})
    group = parser.add_argument_group('a training step', 'Beside a plain loop, on the same network and batch.')
    group.add_argument('--training', metavar='CONFIG', default=None,
                       help='measure this, a training configuration (YAML), and no chunks')  # fmt: skip
    names = ('batch', 'preset', 'device', 'compiled', 'bf16', 'processes', 'turn')
    add_settings(group, BenchTrainSettings, *names)


@command(
    "Measure what a chunk costs, beside others' ways to make it, and how fast recordings are read; "
    'or what a training step costs.',
    _bench_options,
)
def _bench(options: argparse.Namespace) -> int:
    options.rounds = options.rounds or (20 if options.training else 50)
    return _bench_training(options) if options.training else _bench_chunks(options)


def _bench_training(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.bench.train import BenchTrainSettings, run_bench_train

    config = training_config(options.training)
    return run_bench_train(made_of(BenchTrainSettings, options, config=config), print)


def _bench_chunks(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.bench.bench import BenchSettings, run_bench

    return run_bench(made_of(BenchSettings, options, bundle=locate(options.bundle)), print)


LATENCY = (
    *('policy_speed', 'exec_horizon', 'sampling_steps', 'warm_steps', 'samples', 'continuity', 'threads', 'seed'),
    *('composed', 'realtime_priority', 'cpu_dma_latency', 'picture_size'),
)


def _latency_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.settings import EvaluationSettings

    parser.bundle('models/pusht_mirror')
    parser.add_argument('--seconds', type=float, default=60.0, help='how long, in wall time [s]')
    horizon = {'default': 1, 'help': 'control steps from one chunk to the next'}
    own = {'exec_horizon': horizon, 'threads': 1, 'seed': 300_000}
    parser.settings(EvaluationSettings, *LATENCY, **own)
    parser.file('json', 'write the numbers here')
    group = parser.add_argument_group('recordings', 'Their sensors are played into the nodes; nothing is commanded.')
    group.add_argument('--recordings', type=Path, nargs='+', default=None, metavar='BAGS',
                       help='recordings, folders of them, or datasets, in place of a world')  # fmt: skip
    group.add_argument('--params-file', type=Path, default=None, metavar='FILE',
                       help="the robot's; without it, limits as dp_ros init would write them")  # fmt: skip


@command(
    'Run the nodes with a simulated robot, or on recordings of any robot, and say where the time from observation '
    'to command goes.',
    _latency_options,
)
def _latency(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.settings import EvaluationSettings
    from dp_ros.tools.latency import run_latency

    usual = {'through': 'ros', 'seconds': EvaluationSettings.seconds}
    if options.recordings:
        summary = _latency_played(options, usual)
    else:
        if options.params_file:
            raise ConfigError(f'params_file: got {options.params_file} without recordings, allowed with them only')
        settings = made_of(EvaluationSettings, options, **usual, **bundle_and_world(options))
        summary = run_latency(settings, options.seconds, print)
    write_json(options.json, summary)
    return 1 if summary['late_unreported'] or not summary['chunks'] else 0


def _latency_played(options: argparse.Namespace, usual: dict[str, Any]) -> dict[str, Any]:
    import tempfile

    from dp_ros.evaluation.settings import EvaluationSettings
    from dp_ros.tools.played.dataset import playable
    from dp_ros.tools.played.latency import run_played_latency

    if options.world:
        raise ConfigError(f'world: got {options.world!r} with recordings, allowed one of the two')
    usual |= {'bundle': locate(options.bundle), 'world': EvaluationSettings.world}
    settings = made_of(EvaluationSettings, options, **usual)
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as folder:
        params_file, bundle = options.params_file, settings.load()
        recordings = playable(options.recordings, bundle, Path(folder) / 'bags')
        if params_file is None:
            from dp_ros.audit.proposal.init import suggested_limits

            params_file = Path(folder) / 'limits.yaml'
            params_file.write_text(suggested_limits(recordings, bundle.task.action.joints), encoding='utf-8')
        return run_played_latency(settings, recordings, params_file, options.seconds, print)


def _tune_options(parser: CommandParser) -> None:
    from dp_ros.tools.tune import TuneSettings

    parser.add_argument('bundle', help='bundle, as models/pusht_mirror')
    parser.settings(TuneSettings, recordings={'metavar': 'PATH'})


@command("Measure a bundle on this machine, and write the executor's parameters that meet a deadline.", _tune_options)
def _tune(options: argparse.Namespace) -> int:
    from dp_ros.tools.tune import TuneSettings, run_tune

    return run_tune(made_of(TuneSettings, options, bundle=locate(options.bundle)), print)


def _obstacles_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.obstacles.bench import ObstacleSettings

    parser.add_argument(
        '--bundle', default='models/point_navigation',
        help='a policy of point_navigation, point_obstacle or pick_place',
    )  # fmt: skip
    parser.settings(ObstacleSettings)
    parser.add_argument('--cost', type=int, default=0, metavar='CHECKS',
                        help='measure so many checks of seven joints among 20 shapes instead')  # fmt: skip


@command(
    'Play a policy of point_navigation or pick_place among obstacles that it does not know: alone, with checks, '
    'with a way around, and beside a path planner and a control-barrier filter.',
    _obstacles_options,
)
def _obstacles(options: argparse.Namespace) -> int:
    if options.cost:
        from dp_ros.evaluation.obstacles.cost import report_costs

        print(report_costs(options.cost))
        return 0
    from dp_ros.evaluation.obstacles.bench import ObstacleSettings, run_obstacles

    run_obstacles(made_of(ObstacleSettings, options, bundle=locate(options.bundle)), print)
    return 0
