"""A look at the policy while it trains: episodes in a world, on seeds kept for that. The best checkpoint is kept.

The validation loss does not choose it: it rises while success still grows, because several ways to go are right and the
loss knows one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from dp_ros.evaluation.episodes import evaluate_direct
from dp_ros.evaluation.scores import EvaluationSettings
from dp_ros.evaluation.world_planner import world_goal
from dp_ros.policy.normalizer import Normalizer
from dp_ros.simulation.instructions import asked_for
from dp_ros.simulation.registry import check_world, make_world, world_spec
from dp_ros.training.export.export import export_network
from dp_ros.training.run_folder import PolicyNetwork
from dp_ros.training.settings import TrainSettings
from dp_ros.training.trainer import RollOut


def rollouts_of(settings: TrainSettings) -> RollOut | None:
    """Return what plays the episodes that a training configuration asks for; None where it asks for none.

    Raises
    ------
    ConfigError
        The world is not one, does not have the task's joints, is not installed, or can't be asked what the task is.

    """
    if not settings.rollouts.world:
        return None
    check_world(settings.rollouts.world, settings.task, f'training of {settings.name}')
    spec, world = world_spec(settings.rollouts.world), make_world(settings.rollouts.world)
    world_goal(spec.name, settings.task, world, asked_for(spec, settings.task, settings.rollouts.seed))
    return roll_out


def roll_out(settings: TrainSettings, network: PolicyNetwork, normalizer: Normalizer) -> dict[str, Any]:
    """Return the summary of a network's episodes, run as `dp_ros evaluate` runs them; the network is left as it is."""
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as scratch:
        bundle = export_network(
            settings, network, normalizer, Path(scratch) / settings.name, weights='float32', provenance={}
        )
        return evaluate_direct(EvaluationSettings.of(settings.rollouts, bundle=bundle.folder, threads=1))
