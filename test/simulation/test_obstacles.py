"""A policy among obstacles, some of which it does not know, played in one process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip('pinocchio', reason='the extra planning is not installed')
pytest.importorskip('mujoco', reason='mujoco is not installed (extra: sim)')

from dp_ros.errors import ConfigError
from dp_ros.evaluation.obstacles.bench import ObstacleRunner, ObstacleSettings, run_obstacles
from dp_ros.motion.checks.limits import check
from dp_ros.motion.trajectory import Trajectory
from dp_ros.paths import locate
from dp_ros.simulation.arm.kinematics import BENT, Arm, ToolPose
from dp_ros.simulation.world import Scene
from dp_ros.simulation.worlds.pick_place.blocked import blocked_pick_place
from dp_ros.simulation.worlds.pick_place.model import model
from dp_ros.simulation.worlds.pick_place.spec import TRAY

BLOCKED = 100_002
"""A seed at which the policy goes where a disc that it does not know is in its way."""
BOX_IN_HAND = 100_001
"""A seed whose first start has the hand where the box goes."""


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


def test_the_rival_obeys_the_limits_that_all_others_obey():
    settings = ObstacleSettings(bundle=locate('models/point_navigation'), contenders=('barrier',), speeds=(0.3,))
    runner = ObstacleRunner(settings, 'barrier', 0.3)
    episode = runner.episode(BLOCKED)
    limits, send = episode.planner.limits, episode.send
    assert limits is not None and np.isfinite(limits.weakest).all()
    sent: list[Trajectory] = []

    def kept(trajectory: Trajectory) -> None:
        sent.append(trajectory)
        send(trajectory)

    episode.send = kept  # type: ignore[method-assign]
    runner.play(episode)
    assert len(sent) > 10 and all(check(trajectory, limits) is None for trajectory in sent)


@pytest.mark.parametrize('contender', ['hybrid', 'checks'])
def test_only_who_can_leave_is_gone_when_a_disc_comes_to_where_it_rests(contender):
    """At this seed a disc would run into a point that stays where it rests."""
    settings = ObstacleSettings(
        bundle=locate('models/point_navigation'), contenders=(contender,), speeds=(0.3,), seed=100_021, episodes=1,
        seconds=15.0,
    )  # fmt: skip
    (row,) = run_obstacles(settings, lambda _: None)['rows']
    assert row['own_contact'] == 0
    assert (row['contact'] == 0) is (row['retreats'] > 0) is (contender == 'hybrid')


def test_the_box_stands_between_where_a_policy_has_never_seen_it_and_touching_it_counts():
    world = blocked_pick_place(0.0).make_world(disturbance=0.0)
    for seed in range(20):
        world.reset(seed)
        box, red = world.poses['obstacle'].position, world.poses['red_box'].position
        assert red[1] <= -0.03 and box[1] == 0.115
        way = red[0] + (0.115 - red[1]) / (TRAY[1] - red[1]) * (TRAY[0] - red[0])
        assert abs(box[0] - way) <= 0.02
    tool = ToolPose(x=box[0], y=box[1] - 0.10, yaw=0.0)
    arm = Arm(model())
    joints = arm.solve(tool, BENT, 0.11)
    world.set_scene(Scene(joints=(*joints, 0.04), poses=world.poses))
    assert world.progress.details['collisions'] == 0.0
    for y in np.linspace(tool.y, box[1], 150):
        joints = arm.solve(ToolPose(x=box[0], y=float(y), yaw=0.0), joints, 0.11)
        world.step(np.array([*joints, 0.04]))
    assert world.progress.details['collisions'] >= 1.0
    world.reset(0)
    assert world.progress.details['collisions'] == 0.0


def test_a_moving_box_goes_to_and_fro_at_its_greatest_speed():
    world = blocked_pick_place(0.3).make_world(disturbance=0.0)
    world.reset(1)
    rest, places = world.joint_positions, []
    for _ in range(250):
        world.step(rest)
        places.append(world.poses['obstacle'].position)
    x, y, _ = np.array(places).T
    assert np.ptp(x) == pytest.approx(0.2, abs=0.002) and np.ptp(y) == 0.0
    assert np.abs(np.diff(x)).max() / 0.01 == pytest.approx(0.3, rel=0.01)


@pytest.mark.slow
def test_planned_paths_take_the_box_around_what_is_in_the_way():
    row = on_the_table('planning')
    assert (row['safe'], row['contact']) == (1, 0) and row['ways'] >= 2


def test_without_checks_the_policy_runs_into_the_box_and_with_them_it_stops():
    alone, checked = on_the_table('policy'), on_the_table('checks')
    assert alone['contact'] == 1
    assert (checked['contact'], checked['reached']) == (0, 0)


def on_the_table(contender: Any) -> dict[str, Any]:
    settings = ObstacleSettings(
        bundle=locate('models/pick_place_image'), contenders=(contender,), layout='box', speeds=(0.0,), seed=100_001,
        episodes=1, seconds=8.0 if contender != 'planning' else 25.0,
    )  # fmt: skip
    (row,) = run_obstacles(settings, lambda _: None)['rows']
    return row


def test_what_a_layout_has_not_is_refused():
    with pytest.raises(ConfigError, match='contenders: got barrier with layout box, allowed where discs are'):
        ObstacleSettings(bundle=locate('models/pick_place_image'), layout='box', contenders=('barrier',))
    with pytest.raises(ConfigError, match='world pick_place'):
        run_obstacles(ObstacleSettings(bundle=locate('models/point_navigation'), layout='box'), print)


@pytest.mark.parametrize('seed', [0, 1, 2, BOX_IN_HAND])
def test_a_moving_box_runs_into_no_hand_that_stays_where_it_begins(seed):
    world = blocked_pick_place(0.3).make_world(disturbance=0.0)
    world.reset(seed)
    rest = world.joint_positions
    for _ in range(220):  # to and fro once
        world.step(rest)
    assert world.progress.details['collisions'] == 0.0
