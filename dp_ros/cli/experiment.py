"""Experiments that train and score: sweep, reinforce."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dp_ros.cli.arguments import CommandParser, bundle_and_world, command, made_of


def add_sweep(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = (
        'Train and evaluate every combination of some settings on the same episodes: a table with intervals, a plot. '
        'The same command goes on where it was interrupted.'
    )
    command(commands, 'sweep', _sweep_options, _sweep, text)


def _sweep_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.settings import EvaluationSettings
    from dp_ros.evaluation.sweep.sweep import SweepSettings

    parser.add_argument('config', help='training configuration (YAML) that is varied')
    again: dict[str, Any] = {'action': 'append', 'nargs': None, 'default': []}
    parser.settings(
        SweepSettings,
        data={'required': True},
        out={'required': True},
        vary={**again, 'metavar': 'KEY=VALUE,VALUE'},
        variants={**again, 'metavar': 'NAME:KEY=VALUE,KEY=VALUE', 'flag': '--variant'},
    )
    parser.world('without it, the one with these joints')
    parser.settings(
        EvaluationSettings, 'episodes', 'seed', 'seconds', 'workers', 'ray', episodes=200, ray={'metavar': 'ADDRESS'}
    )


def _sweep(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.settings import EvaluationSettings
    from dp_ros.evaluation.sweep.sweep import SweepSettings, run_sweep
    from dp_ros.paths import locate
    from dp_ros.simulation.registry import world_for
    from dp_ros.task.yaml_reader import read_yaml
    from dp_ros.training.settings import TrainSettings

    training = read_yaml(locate(options.config), TrainSettings)
    evaluation = made_of(
        EvaluationSettings, options, bundle=Path(), world=options.world or world_for(training.task), threads=1
    )
    return run_sweep(made_of(SweepSettings, options, training=training, evaluation=evaluation), print)


def add_reinforce(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    text = 'Learn from trial and error in a simulated world: steer a diffusion policy, or learn one from nothing.'
    command(commands, 'reinforce', _reinforce_options, _reinforce, text)


def _reinforce_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.reinforcement.reinforce import ReinforceSettings

    parser.bundle('models/point_obstacle')
    parser.settings(ReinforceSettings)


def _reinforce(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.reinforcement.reinforce import ReinforceSettings, run_reinforce

    return run_reinforce(made_of(ReinforceSettings, options, **bundle_and_world(options)), print)
