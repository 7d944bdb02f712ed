"""A policy among obstacles, some of which it does not know, played in one process."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip('pinocchio', reason='the extra planning is not installed')

from dp_ros.evaluation.obstacles.bench import ObstacleSettings, run_obstacles
from dp_ros.paths import locate

BLOCKED = 100_002
"""A seed at which the policy goes where a disc that it does not know is in its way."""


def played(alternatives: int) -> dict[str, Any]:
    settings = ObstacleSettings(
        bundle=locate('models/point_obstacle'), contenders=('checks',), layout='beside', speeds=(0.0,), seed=BLOCKED,
        episodes=1, seconds=8.0, samples=8, alternatives=alternatives,
    )  # fmt: skip
    (row,) = run_obstacles(settings, lambda _: None)['rows']
    return row


def test_where_the_side_that_the_policy_chose_is_closed_an_alternative_leads_past_the_other():
    alone, chosen = played(0), played(7)
    assert (alone['reached'], alone['contact'], alone['alternatives']) == (0, 0, 0)
    assert (chosen['safe'], chosen['contact']) == (1, 0)
    assert chosen['alternatives'] >= 1
