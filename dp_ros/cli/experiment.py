"""Experiments that train and score: sweep, reinforce."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dp_ros.cli.arguments import CommandParser, bundle_and_world, command, made_of, training_config


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


@command(
    'Train and evaluate every combination of some settings on the same episodes: a table with intervals, a plot. '
    'The same command goes on where it was interrupted.',
    _sweep_options,
)
def _sweep(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.settings import EvaluationSettings
    from dp_ros.evaluation.sweep.sweep import SweepSettings, run_sweep
    from dp_ros.simulation.registry import world_for

    training = training_config(options.config)
    evaluation = made_of(
        EvaluationSettings, options, bundle=Path(), world=options.world or world_for(training.task), threads=1
    )
    return run_sweep(made_of(SweepSettings, options, training=training, evaluation=evaluation), print)


def _reinforce_options(parser: CommandParser) -> None:
    from dp_ros.evaluation.reinforcement.reinforce import ReinforceSettings

    parser.bundle('models/point_obstacle')
    parser.settings(ReinforceSettings)


@command(
    'Learn from trial and error in a simulated world: steer a diffusion policy, or learn one from nothing.',
    _reinforce_options,
)
def _reinforce(options: argparse.Namespace) -> int:
    from dp_ros.evaluation.reinforcement.reinforce import ReinforceSettings, run_reinforce

    return run_reinforce(made_of(ReinforceSettings, options, **bundle_and_world(options)), print)
