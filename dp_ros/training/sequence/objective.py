"""The loss of a sequence model: how unlikely it finds each token of a recorded chunk, on average."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dp_ros.networks.sequence import SequenceNetwork


class SequenceObjective:
    """Cross-entropy, called as `dp_ros.training.objective.Objective` is.

    Parameters
    ----------
    network
        Has the bins; what is called may be wrapped.

    """

    def __init__(self, network: SequenceNetwork) -> None:
        self._network = network

    def __call__(
        self,
        network: nn.Module,
        streams: tuple[Tensor, ...],
        values: Tensor,
        generator: torch.Generator,
        counted: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch; nothing is drawn.

        Parameters
        ----------
        streams, values
            Normalized: (B, T, ...) each; and what the tokens stand for (B, P, K) float64.
        counted
            Which steps count (B, P, 1) bool; None for all.

        """
        tokens, offsets = self._network.tokens(values)
        logits = network(tokens, offsets, *streams)
        if counted is None:
            return functional.cross_entropy(logits.flatten(0, 2), tokens.flatten())
        steps = counted.squeeze(-1)
        return functional.cross_entropy(logits[steps].flatten(0, 1), tokens[steps].flatten())
