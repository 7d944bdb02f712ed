"""What training does differently for each family of policies: one line each in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dp_ros.policy.normalizer import Normalizer
from dp_ros.recordings.episodes.episode import Episode
from dp_ros.training.distillation import make_objective
from dp_ros.training.samples.windows import WindowDataset
from dp_ros.training.sequence.objective import SequenceObjective
from dp_ros.training.sequence.windows import SequenceDataset
from dp_ros.training.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class TrainedFamily:
    """How a family's samples are made, what its loss is, and what the network takes over from the samples first."""

    windows: Callable[[TrainSettings, Sequence[Episode], Normalizer], WindowDataset]
    objective: Callable[[TrainSettings, Any, Normalizer], Any]
    fit: Callable[[TrainSettings, Any, Any], object]


TRAINED_FAMILIES = {
    'diffusion': TrainedFamily(
        windows=lambda settings, episodes, normalizer: WindowDataset(episodes, settings.task, normalizer),
        objective=make_objective,
        fit=lambda settings, network, windows: None,
    ),
    'sequence': TrainedFamily(
        windows=lambda settings, episodes, normalizer: SequenceDataset(
            episodes, settings.task, normalizer, settings.sequence
        ),
        objective=lambda settings, network, normalizer: SequenceObjective(network),
        fit=lambda settings, network, windows: network.edges.copy_(
            windows.edges(settings.sequence.bins, network.actions)
        ),
    ),
}
