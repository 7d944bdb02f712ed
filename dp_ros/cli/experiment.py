"""Experiments that train and score: sweep."""

from __future__ import annotations

import argparse
from pathlib import Path

from dp_ros.cli.arguments import command, world_argument


def add_sweep(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = (
        'Train and evaluate every combination of some settings on the same episodes: a table with intervals, a plot. '
        'The same command goes on where it was interrupted.'
    )
    parser = command(commands, 'sweep', _sweep, text)
    parser.add_argument('config', help='training configuration (YAML) that is varied')
    parser.add_argument('--data', type=Path, required=True, help='recordings, as for dp_ros train')
    parser.add_argument('--out', type=Path, required=True, help='folder for trainings, episodes, table and plot')
    parser.add_argument('--vary', action='append', default=[], metavar='KEY=VALUE,VALUE',
                        help='a key of the configuration as objective.diffusion_steps, of the evaluation as '
                        'run.sampling_steps, or data; several are crossed')  # fmt: skip
    parser.add_argument('--variant', action='append', default=[], metavar='NAME:KEY=VALUE,KEY=VALUE',
                        help='several keys changed together, as one value of the column variant; '
                        'NAME: alone is the configuration as it is')  # fmt: skip
    parser.add_argument('--seeds', type=int, default=1, help="training seeds of each, from the configuration's on")
    world_argument(parser, 'without it, the one with these joints')
    parser.add_argument('--episodes', type=int, default=200, help='episodes of each, on consecutive seeds')
    parser.add_argument('--seed', type=int, default=100_000, help='seed of the first episode')
    parser.add_argument('--seconds', type=float, default=30.0, help='longest episode [s]')
    parser.add_argument('--processes', type=int, default=1,
                        help='that share the work; with several, chunks take longer than they would alone')  # fmt: skip
    parser.add_argument('--ray', default='', metavar='ADDRESS',
                        help='a Ray cluster that does the work, as 10.0.0.1:6379 (extra: cluster)')  # fmt: skip


def _sweep(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.settings import EvaluationSettings
    from dp_ros.evaluation.sweep.sweep import SweepSettings, run_sweep
    from dp_ros.paths import locate
    from dp_ros.simulation.registry import world_with
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.settings import TrainSettings

    training = read_yaml(locate(options.config), TrainSettings)
    evaluation = EvaluationSettings(
        bundle=Path(),
        world=options.world or world_with(training.task.action.joints),
        episodes=options.episodes,
        seed=options.seed,
        seconds=options.seconds,
        threads=1,
    )
    settings = SweepSettings(
        training=training,
        data=options.data,
        vary=options.vary,
        variants=options.variant,
        seeds=options.seeds,
        evaluation=evaluation,
        out=options.out,
        processes=options.processes,
        ray=options.ray,
    )
    return run_sweep(settings, print)
