"""A critic learnt from what a policy lived through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from dp_ros.errors import DataError
from dp_ros.networks.critic import Critic
from dp_ros.training.experience import STILL, Experience

BATCH = 512
LEARNING_RATE, WEIGHT_DECAY = 1.5e-3, 1e-2
HOLD_OUT = 10  # one episode of so many


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A critic in evaluation mode, and how its values go with what came, in episodes that it has not seen."""

    critic: Critic
    correlation: float


def fit_critic(experience: Experience, *, epochs: int, seed: int = 0) -> Fitted:
    """Return a critic of ``experience``.

    Raises
    ------
    DataError
        If no episode succeeded: nothing tells a good chunk from a poor one.

    """
    projection, low, moves, worth, episode = experience.tensors()
    if not (worth > 0).any():
        raise DataError(f'{experience.episodes} episodes: got no success, allowed one or more to learn from')
    held = episode % HOLD_OUT == HOLD_OUT - 1
    torch.manual_seed(seed)
    critic = Critic(
        torch.from_numpy(projection.center),
        torch.from_numpy(projection.project),
        moves[~held].mean(dim=0),
        moves[~held].std(dim=0).clamp(min=STILL),
    )
    features = torch.cat((low, (moves - critic.mean) / critic.scale), dim=1)
    total = max(1, epochs * int((~held).sum()) // BATCH)
    with tqdm(total=total * len(critic.members), unit='step', desc='critic', dynamic_ncols=True) as bar:
        for member in critic.members:
            _fit(member, features[~held], worth[~held], total, bar)
    critic.eval()
    round_to_half(critic)
    with torch.no_grad():
        values = torch.sigmoid(torch.cat([member(features[held]) for member in critic.members], dim=1)).mean(dim=1)
    return Fitted(critic=critic, correlation=_correlation(values.numpy(), worth[held].numpy()))


def _fit(member: nn.Module, features: Tensor, worth: Tensor, total: int, bar: tqdm) -> None:
    optimizer = torch.optim.AdamW(member.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=total + 1)
    member.train()
    for _ in range(total):
        drawn = torch.randint(len(features), (BATCH,))
        # What came is a share of 1, not a class: its expectation is what this loss is lowest at.
        loss = nn.functional.binary_cross_entropy_with_logits(member(features[drawn])[:, 0], worth[drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.update()


@torch.no_grad()
def round_to_half(critic: Critic) -> None:
    """Round the weights to what float16 can hold, in which they are stored; the projection is rounded already."""
    for values in critic.parameters():
        values.copy_(values.to(torch.float16).to(torch.float32))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
