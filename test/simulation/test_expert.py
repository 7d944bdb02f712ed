from __future__ import annotations

import numpy as np
import pytest

from dp_ros.errors import ConfigError

pytest.importorskip('gym_pusht', reason='the simulation is not installed')

from dp_ros.simulation.worlds.pusht.expert import AREA, GOAL, PushTExpert
from dp_ros.simulation.worlds.pusht.world import PushTWorld


def _demonstrate(seed: int, steps: int = 250) -> tuple[float, np.ndarray]:
    world, expert = PushTWorld(), PushTExpert(np.random.default_rng(seed))
    world.reset(seed)
    best, targets = 0.0, []
    for _ in range(steps):
        block = world.poses['block']
        targets.append(expert.target(world.joint_positions, block.position, block.orientation))
        for _ in range(10):
            world.step(targets[-1])
        best = max(best, world.coverage)
        if best > 0.95:
            break
    return best, np.array(targets)


def test_the_goal_is_the_benchmarks() -> None:
    np.testing.assert_allclose(PushTWorld().env.goal_pose, GOAL)


def test_it_usually_succeeds_and_stays_inside() -> None:
    results = [_demonstrate(seed) for seed in range(4)]
    assert sum(best > 0.95 for best, _ in results) >= 3
    for _, targets in results:
        assert (targets * 1e3 >= AREA[0]).all() and (targets * 1e3 <= AREA[1]).all()


def test_its_randomness_is_the_generators() -> None:
    (_, first), (_, again) = _demonstrate(7, 150), _demonstrate(7, 150)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize('control_dt', [0.0, 0.005, 1.5, np.nan])
def test_a_rate_it_cannot_push_at_is_refused(control_dt: float) -> None:
    with pytest.raises(ConfigError, match=r'expert control_dt: got .*, allowed 0.01 to 1 s'):
        PushTExpert(np.random.default_rng(0), control_dt=control_dt)


def test_a_block_at_the_goal_is_left_alone() -> None:
    at_goal = ((GOAL[0] / 1e3, GOAL[1] / 1e3, 0.0), (0.0, 0.0, np.sin(GOAL[2] / 2), np.cos(GOAL[2] / 2)))
    target = PushTExpert(np.random.default_rng(0)).target((0.1, 0.1), *at_goal)
    np.testing.assert_allclose(target, [0.1, 0.1])
    outside = PushTExpert(np.random.default_rng(0)).target((0.005, 0.51), *at_goal)
    np.testing.assert_allclose(outside * 1e3, AREA)
