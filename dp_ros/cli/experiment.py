"""Experiments that train and score: sweep, reinforce."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from dp_ros.cli.arguments import bundle_and_world, bundle_arguments, command, world_argument


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
    from dp_ros.simulation.registry import world_for
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.settings import TrainSettings

    training = read_yaml(locate(options.config), TrainSettings)
    evaluation = EvaluationSettings(
        bundle=Path(),
        world=options.world or world_for(training.task),
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


def add_reinforce(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Learn from trial and error in a simulated world: steer a diffusion policy, or learn one from nothing.'
    parser = command(commands, 'reinforce', _reinforce, text)
    bundle_arguments(parser, 'models/point_obstacle')
    parser.add_argument('out', type=Path, help='folder to write: a bundle')
    parser.add_argument('--method', default='dsrl', choices=['dsrl', 'sac', 'ppo'],
                        help='dsrl: choose the noise that the policy samples from; sac, ppo: a policy of its own, with '
                        "the bundle's observations and normalizer")  # fmt: skip
    parser.add_argument('--steps', type=int, default=10_000, help='decisions to learn from')
    parser.add_argument('--envs', type=int, default=8, help='episodes that run side by side')
    parser.add_argument('--workers', type=int, default=1, help='more than 1: each in a process of its own')
    parser.add_argument('--seed', type=int, default=3_000_000, help='seed of the first episode, and of what is drawn')
    parser.add_argument('--exec-horizon', type=int, default=0,
                        help="control steps between decisions; 0: the bundle's")  # fmt: skip
    parser.add_argument('--sampling-steps', type=int, default=4, help='dsrl: network calls of a chunk')
    parser.add_argument('--bound', type=float, default=1.5, help='dsrl: largest noise, in standard deviations')
    parser.add_argument('--speed', type=float, default=0.7,
                        help='sac, ppo: of a joint at most [rad/s or m/s]; how far a decision reaches')  # fmt: skip
    parser.add_argument('--discount', type=float, default=0.9, help='how much less a reward is worth a second later')
    parser.add_argument('--entropy', type=float, default=0.02,
                        help="dsrl, sac: weight of the actions' entropy at first")  # fmt: skip
    parser.add_argument('--width', type=int, default=64, help='of the hidden layers')
    parser.add_argument('--layers', type=int, default=2, help='hidden layers')
    parser.add_argument('--learning-rate', type=float, default=1e-3, help='of Adam')
    parser.add_argument('--seconds', type=float, default=12.0, help='longest episode [s]')
    parser.add_argument('--loop', default='light', choices=['light', 'full'],
                        help='episodes to learn from: light, without planner and controller; full, as evaluations run '
                        'them, at a tenth of the speed')  # fmt: skip
    parser.add_argument('--overwrite', action='store_true', help='replace a bundle that is there')


def _reinforce(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.reinforcement.reinforce import ReinforceSettings, run_reinforce

    names = {f.name for f in dataclasses.fields(ReinforceSettings)} - {'bundle', 'world'}
    chosen = {name: getattr(options, name) for name in names}
    return run_reinforce(ReinforceSettings(**chosen, **bundle_and_world(options)), print)
