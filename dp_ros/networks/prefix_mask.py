"""Channels of x_k beside the actions, which mark those that are given: added to a network that was trained without."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from dp_ros.errors import ConfigError

Network = TypeVar('Network', bound=nn.Module)


def add_prefix_mask(network: nn.Module, marked: Network, actions: int) -> Network:
    """Return ``marked``, a network like ``network`` with a prefix mask too, with its weights; the mask has none yet.

    Parameters
    ----------
    network, marked
        The same but for their masks; all weights of the second are replaced.
    actions
        Action channels A of x_k.

    Raises
    ------
    ConfigError
        If the first layer of one of the two has as many channels as x_k, and passes it on as it is.

    """
    weights, wanted = network.state_dict(), marked.state_dict()
    if weights.keys() != wanted.keys():
        allowed = f'neither {actions} nor {actions + 1} of them'
        raise ConfigError(f'channels: got {actions} actions and as many first, or one more, allowed {allowed}')
    for name, weight in weights.items():
        if weight.shape != wanted[name].shape:
            weights[name] = _widened(weight, wanted[name].shape[1], actions)
    marked.load_state_dict(weights)
    return marked.train(network.training)


def _widened(weight: Tensor, inputs: int, actions: int) -> Tensor:
    """Return the weight of a layer that x_k goes into, (outputs, inputs, ...), with zeros for its mask, one an action.

    Such a layer sees the channels of one action, or those of a whole chunk, action by action, and then others.
    """
    times = inputs - weight.shape[1]
    seen, others = weight[:, : actions * times], weight[:, actions * times :]
    blank = weight.new_zeros(len(weight), times, 1, *weight.shape[2:])
    marked = torch.cat((seen.unflatten(1, (times, actions)), blank), dim=2).flatten(1, 2)
    return torch.cat((marked, others), dim=1)
