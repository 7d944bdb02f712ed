"""Keep how far learning is, so that the same command goes on after it was ended, by Ctrl-C or a kill.

A checkpoint is one file beside the bundle that is to be written, of tensors and plain values: networks and optimizers,
the decisions to learn from, the curve, and the seeds of the next episodes. It is written where all that was collected
has been learnt from. Episodes that were under way then are not gone on with, and not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dp_ros.errors import ConfigError, listed
from dp_ros.training.run_folder import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from dp_ros.evaluation.reinforcement.reinforce import ReinforceSettings

FREE = ('out', 'overwrite', 'workers')
"""Settings that may differ when learning goes on."""
TRANSITIONS = ('observations', 'next_observations', 'actions', 'rewards', 'dones', 'timeouts')
"""Arrays of the replay buffer of stable-baselines3."""


class Checkpoint:
    """The checkpoint of what learns ``settings.out`` by these settings, from the bundle with this hash."""

    def __init__(self, settings: ReinforceSettings, bundle_sha256: str) -> None:
        self.path = settings.out.with_name(f'{settings.out.name}.checkpoint.pt')
        kept = {name: value for name, value in asdict(settings).items() if name not in FREE}
        self._settings = {**kept, 'bundle': bundle_sha256}

    def read(self) -> dict[str, Any] | None:
        """Return what `write` was given, or None where there is no checkpoint.

        Raises
        ------
        ConfigError
            If it is of other settings.
        DataError
            If it can't be read.

        """
        if not self.path.is_file():
            return None
        saved = load_checkpoint(self.path)
        theirs = saved.pop('settings')
        other = [name for name, value in self._settings.items() if theirs.get(name) != value]
        if other:
            raise ConfigError(
                f'{self.path}: got a checkpoint of learning with another {listed(other)}, allowed the same settings; '
                'without the file, learning begins anew'
            )
        return saved

    def write(self, state: Mapping[str, Any]) -> None:
        """Write ``state``, in place of what was there."""
        self.path.absolute().parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self.path, {**state, 'settings': self._settings})

    def remove(self) -> None:
        """Remove the checkpoint: learning is done."""
        self.path.unlink(missing_ok=True)


def model_state(model: Any) -> dict[str, Any]:
    """Return what a model of stable-baselines3 has learnt, and what it goes on to learn from."""
    state = {'decisions': model.num_timesteps, 'parameters': model.get_parameters()}
    buffer = getattr(model, 'replay_buffer', None)
    if buffer is None:  # PPO's decisions are learnt from once
        return state
    filled = buffer.buffer_size if buffer.full else buffer.pos
    arrays = {name: torch.from_numpy(getattr(buffer, name)[:filled].copy()) for name in TRANSITIONS}
    return {
        **state,
        'log_entropy': model.log_ent_coef.detach(),
        'transitions': {**arrays, 'position': buffer.pos, 'full': buffer.full},
    }


def restore_model(model: Any, state: Mapping[str, Any]) -> None:
    """Give a new model what `model_state` returned."""
    model.num_timesteps = state['decisions']
    model.set_parameters(state['parameters'])
    if 'transitions' not in state:
        return
    with torch.no_grad():
        model.log_ent_coef.copy_(state['log_entropy'])
    buffer, saved = model.replay_buffer, state['transitions']
    for name in TRANSITIONS:
        values: np.ndarray = saved[name].numpy()
        getattr(buffer, name)[: len(values)] = values
    buffer.pos, buffer.full = saved['position'], saved['full']
