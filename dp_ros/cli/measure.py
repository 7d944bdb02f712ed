"""Measure a machine, and a policy among obstacles: bench, latency, tune, obstacles."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from dp_ros.cli.arguments import (
    bundle_and_world,
    bundle_arguments,
    bundle_folder,
    command,
    continuity_argument,
    node_arguments,
    speed_argument,
)


def add_bench(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = (
        "Measure what a chunk costs, beside others' ways to make it, and how fast recordings are read; "
        'or what a training step costs.'
    )
    parser = command(commands, 'bench', _bench, text)
    parser.add_argument('--bundle', default='models/pusht_mirror', help='bundle whose task and network are measured')
    parser.add_argument('--sizes', nargs='+', default=['bundle'],
                        help='networks: bundle (its own), tiny, small, base, paper, paper_image')  # fmt: skip
    parser.add_argument('--steps', type=int, nargs='+', default=None,
                        help='network calls per chunk; without it, as many of 1, 4 and 10 as fit')  # fmt: skip
    parser.add_argument(
        '--threads', type=int, nargs='+', default=[1, 2], help='CPU threads of one network call or step'
    )
    parser.add_argument('--contenders', nargs='+',
                        default=['onnxruntime', 'torchscript', 'onnxruntime, diffusers', 'torch, diffusers', 'lerobot'],
                        help='who makes the chunk, also "onnxruntime, int8" and "onnxruntime, float16"; '
                        'lerobot only where that package is installed')  # fmt: skip
    parser.add_argument('--rounds', type=int, default=None,
                        help='turns of each contender (default: 50), or of each way to train (20)')  # fmt: skip
    parser.add_argument('--seconds', type=float, default=60.0, help='longest time for one combination [s]')
    parser.add_argument('--no-memory', dest='memory', action='store_false', help='leave memory out')
    parser.add_argument('--cameras', type=int, nargs='+', default=[],
                        help='numbers of cameras of 96 x 96 pixels: how the cost of a chunk grows')  # fmt: skip
    parser.add_argument('--horizons', type=int, nargs='+', default=[],
                        help='prediction horizons: how the cost of a chunk grows')  # fmt: skip
    parser.add_argument('--messages', type=int, nargs='+', default=[200_000],
                        help='joint states in each bag that is read; 0: none')  # fmt: skip
    parser.add_argument('--json', type=Path, default=None, help='write the numbers here')
    parser.add_argument('--plot', type=Path, default=None, help='draw the chunks here (PNG)')
    group = parser.add_argument_group('a training step', 'Beside a plain loop, on the same network and batch.')
    group.add_argument('--training', metavar='CONFIG', default=None,
                       help='measure this, a training configuration (YAML), and no chunks')  # fmt: skip
    group.add_argument('--batch', type=int, help="windows in a batch, instead of the configuration's")
    group.add_argument('--preset', help="size of the network by name, instead of the configuration's")
    group.add_argument('--device', choices=['cpu', 'cuda'], help="instead of the configuration's")
    group.add_argument('--compiled', action='store_true', help='also the compiled network; compiling takes minutes')
    group.add_argument('--bf16', action='store_true', help='also bfloat16')
    group.add_argument('--processes', type=int, default=0,
                       help='also bfloat16 in so many processes of one thread, which share the batch')  # fmt: skip
    group.add_argument('--turn', type=int, default=3, help='steps in a turn')


def _bench(options: argparse.Namespace) -> int:
    options.rounds = options.rounds or (20 if options.training else 50)
    return _bench_training(options) if options.training else _bench_chunks(options)


def _bench_training(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.bench.train import BenchTrainSettings, run_bench_train
    from dp_ros.paths import locate
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.settings import TrainSettings

    names = {f.name for f in dataclasses.fields(BenchTrainSettings)} - {'config'}
    chosen = {name: getattr(options, name) for name in names}
    config = read_yaml(locate(options.training), TrainSettings)
    return run_bench_train(BenchTrainSettings(config=config, **chosen), print)


def _bench_chunks(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.bench.bench import BenchSettings, run_bench

    names = {f.name for f in dataclasses.fields(BenchSettings)} - {'bundle'}
    chosen = {name: getattr(options, name) for name in names}
    return run_bench(BenchSettings(**{**chosen, 'bundle': bundle_folder(options.bundle)}), print)


def add_latency(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Run the nodes with a simulated robot, and say where the time from observation to command goes.'
    parser = command(commands, 'latency', _latency, text)
    bundle_arguments(parser, 'models/pusht_mirror')
    parser.add_argument('--seconds', type=float, default=60.0, help='how long, in wall time [s]')
    speed_argument(parser)
    parser.add_argument('--exec-horizon', type=int, default=1, help='control steps from one chunk to the next')
    parser.add_argument('--sampling-steps', type=int, default=None, help="instead of the bundle's")
    parser.add_argument('--warm-steps', type=int, default=0,
                        help='network calls of a chunk that starts from the last one, 0 for none')  # fmt: skip
    parser.add_argument('--samples', type=int, default=1, help='chunks drawn at once, of which one is taken')
    continuity_argument(parser)
    parser.add_argument('--threads', type=int, default=1, help='threads of one network call')
    parser.add_argument('--seed', type=int, default=300_000, help='seed of the first episode')
    node_arguments(parser)
    parser.add_argument('--json', type=Path, default=None, help='write the numbers here')


def _latency(options: argparse.Namespace) -> int:
    import json

    from dp_ros.evaluation.scores import EvaluationSettings
    from dp_ros.tools.latency import run_latency

    names = (
        'policy_speed',
        'exec_horizon',
        'sampling_steps',
        'warm_steps',
        'samples',
        'continuity',
        'threads',
        'seed',
        'composed',
        'realtime_priority',
        'cpu_dma_latency',
    )
    chosen = {name: getattr(options, name) for name in names}
    settings = EvaluationSettings(through='ros', **chosen, **bundle_and_world(options))
    summary = run_latency(settings, options.seconds, print)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(summary, indent=1) + '\n')
    return 1 if summary['late_unreported'] or not summary['chunks'] else 0


def add_tune(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = "Measure a bundle on this machine, and write the executor's parameters that meet a deadline."
    parser = command(commands, 'tune', _tune, text)
    parser.add_argument('bundle', help='bundle, as models/pusht_mirror')
    parser.add_argument('--output', type=Path, default=None, help='parameter file to write; without it, it is shown')
    parser.add_argument('--deadline', type=float, default=0.0,
                        help='longest time from an observation to its chunk [s]; 0: control_dt')  # fmt: skip
    parser.add_argument('--share', type=float, default=0.8, help='of the deadline, what inference may take')
    parser.add_argument('--threads', type=int, nargs='+', default=(),
                        help='threads to try; without it, 1, 2, 4 ... up to the processors')  # fmt: skip
    parser.add_argument('--rounds', type=int, default=30, help='chunks to measure of each kind')
    parser.add_argument('--backend', default='onnxruntime', choices=['onnxruntime', 'torchscript'], help='runtime')
    parser.add_argument('--provider', default='cpu', choices=['cpu', 'openvino', 'cuda', 'tensorrt'],
                        help='execution provider of ONNX Runtime')  # fmt: skip
    speed_argument(parser)
    parser.add_argument('--guidance-scale', type=float, default=1.0, help='of a bundle trained with guidance')
    parser.add_argument('--recordings', type=Path, default=None, metavar='PATH',
                        help='measure on observations of this recording or dataset, in place of zeros')  # fmt: skip


def _tune(options: argparse.Namespace) -> int:
    from dp_ros.tools.tune import TuneSettings, run_tune

    names = {f.name for f in dataclasses.fields(TuneSettings)} - {'bundle'}
    chosen = {name: getattr(options, name) for name in names}
    return run_tune(TuneSettings(**{**chosen, 'bundle': bundle_folder(options.bundle)}), print)


def add_obstacles(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = (
        'Play a policy of point_navigation among obstacles that it does not know: alone, with checks, with a way '
        'around, and beside a path planner and a control-barrier filter.'
    )
    parser = command(commands, 'obstacles', _obstacles, text)
    parser.add_argument(
        '--bundle', default='models/point_navigation', help='a policy of point_navigation or point_obstacle'
    )
    parser.add_argument('--contenders', nargs='+', default=['policy', 'checks', 'hybrid', 'planning', 'barrier'],
                        help='policy, checks, hybrid, planning, barrier')  # fmt: skip
    parser.add_argument('--layout', default='row',
                        help='row: three discs; beside: that of point_obstacle, and one closes its left')  # fmt: skip
    parser.add_argument('--speeds', type=float, nargs='+', default=[0.0, 0.1, 0.3],
                        help='greatest speeds of the obstacles, 0 for still ones [m/s]')  # fmt: skip
    parser.add_argument('--episodes', type=int, default=200, help='episodes of each, on the same seeds')
    parser.add_argument('--seed', type=int, default=100_000, help='seed of the first episode')
    parser.add_argument('--samples', type=int, default=1, help='chunks drawn at once, of which one is taken')
    parser.add_argument('--alternatives', type=int, default=0,
                        help='how many of the others may be followed where the one taken is not clear')  # fmt: skip
    parser.add_argument('--clearance', type=float, default=0.02, help='least distance from obstacles [m]')
    parser.add_argument('--cost', type=int, default=0, metavar='CHECKS',
                        help='measure so many checks of seven joints among 20 shapes instead')  # fmt: skip
    parser.add_argument('--seconds', type=float, default=20.0, help='longest episode [s]')
    parser.add_argument('--workers', type=int, default=1, help='processes that share the episodes')
    parser.add_argument('--json', type=Path, default=None, help='write the numbers here')


def _obstacles(options: argparse.Namespace) -> int:
    if options.cost:
        from dp_ros.evaluation.obstacles.cost import report_costs

        print(report_costs(options.cost))
        return 0
    from dp_ros.evaluation.obstacles.bench import ObstacleSettings, run_obstacles

    names = ('layout', 'episodes', 'seed', 'samples', 'alternatives', 'clearance', 'seconds', 'workers')
    run_obstacles(
        ObstacleSettings(
            bundle=bundle_folder(options.bundle),
            contenders=tuple(options.contenders),
            speeds=tuple(options.speeds),
            output=options.json,
            **{name: getattr(options, name) for name in names},
        ),
        print,
    )
    return 0
