"""A critic learnt from what a policy lived through."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from dp_ros.errors import ConfigError, DataError
from dp_ros.networks.critic import Critic, CriticInputs
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.parity import state_shapes, state_width
from dp_ros.policy.normalizer import ACTION
from dp_ros.training.critic.experience import Experience

BATCH = 512
LEARNING_RATE, WEIGHT_DECAY = 1.5e-3, 1e-2
HOLD_OUT = 10  # one episode of so many
TAKE_OVER = 2
"""Steps that are executed beyond exec_horizon, until the next chunk takes over."""
STILL = 1e-4
"""A number that varies less than this is not scaled by how much: normalized ones are between -1 and 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A critic in evaluation mode, and how its values go with what came, in episodes that it has not seen.

    That is mostly how well it tells one state from another; whether it chooses well is seen by playing.
    """

    critic: Critic
    correlation: float


def fit_critic(experience: Experience, bundle: Bundle, *, epochs: int, seed: int = 0) -> Fitted:
    """Return a critic of what the policy of ``bundle`` lived through.

    Raises
    ------
    DataError
        If no episode that is learnt from succeeded: nothing tells a good chunk from a poor one.

    """
    projection, rows = experience.rows()
    held = rows.episode % HOLD_OUT == HOLD_OUT - 1
    if not (rows.worth[~held] > 0).any() or int((~held).sum()) < BATCH:
        raise DataError(
            f'{experience.episodes} episodes: got {int((rows.worth[~held] == 1).sum())} successes in '
            f'{int((~held).sum())} chunks to learn from, allowed one or more in {BATCH} or more'
        )
    torch.manual_seed(seed)
    base, offset = where_joints_are(bundle)
    inputs = CriticInputs(
        torch.from_numpy(projection.center), torch.from_numpy(projection.project), base, offset,
        used=min(bundle.task.pred_horizon, bundle.task.exec_horizon + TAKE_OVER),
    )  # fmt: skip
    raw = inputs.raw_of(rows.low, rows.state, rows.actions)
    inputs.mean.copy_(raw[~held].mean(dim=0))
    inputs.scale.copy_(raw[~held].std(dim=0).clamp(min=STILL))
    critic = Critic(inputs)
    features = (raw - inputs.mean) / inputs.scale
    outcome = torch.stack((rows.worth, rows.near), dim=1)
    total = max(1, epochs * int((~held).sum()) // BATCH)
    with tqdm(total=total * len(critic.members), unit='step', desc='critic', dynamic_ncols=True) as bar:
        for member in critic.members:
            _fit(member, features[~held], outcome[~held], total, bar)
    critic.eval()
    round_to_half(critic)
    with torch.no_grad():
        values = torch.stack([torch.sigmoid(member(features[held])[:, 0]) for member in critic.members]).mean(dim=0)
    return Fitted(critic=critic, correlation=_correlation(values.numpy(), rows.worth[held].numpy()))


def where_joints_are(bundle: Bundle) -> tuple[Tensor, Tensor]:
    """Return (S, A) and (A,) that make normalized actions of where the joints are, out of the state.

    Zeros where no stream says that; and where actions are relative, which count from there already.
    """
    task, actions = bundle.task, len(bundle.task.action.joints)
    vectors = state_shapes(task)
    base, offset = torch.zeros(state_width(task), actions), torch.zeros(actions)
    try:
        name, columns = task.base_columns()
    except ConfigError:
        return base, offset
    if task.action.relative:
        return base, offset
    first = sum(int(np.prod(v)) for n, v in takewhile(lambda item: item[0] != name, vectors.items()))
    newest = first + (task.obs_horizon - 1) * vectors[name][1]
    # Both normalizations are affine, so what they do to 0 and to 1 says all.
    ends = [np.full(vectors[name][1], end) for end in (-1.0, 1.0)]
    low, high = (
        bundle.normalizer.normalize(ACTION, bundle.normalizer.denormalize(name, end)[list(columns)]) for end in ends
    )
    for action, column in enumerate(columns):
        base[newest + column, action] = float(high[action] - low[action]) / 2
        offset[action] = float(high[action] + low[action]) / 2
    return base, offset


def _fit(member: nn.Module, features: Tensor, outcome: Tensor, total: int, bar: tqdm) -> None:
    optimizer = torch.optim.AdamW(member.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=total + 1)
    member.train()
    for _ in range(total):
        drawn = torch.randint(len(features), (BATCH,))
        # What came is a share of 1, not a class: its expectation is what this loss is lowest at.
        loss = nn.functional.binary_cross_entropy_with_logits(member(features[drawn]), outcome[drawn])
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
