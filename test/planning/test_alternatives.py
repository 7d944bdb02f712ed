"""Of the samples that come with a chunk, which one the planner follows among obstacles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('pinocchio', reason='the extra planning is not installed')

from dp_ros.data import Chunk, Refusal
from dp_ros.motion.alternatives import ClearChunk
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner
from dp_ros.planning.scene import Obstacle, Scene, Sphere
from test.planning.test_collision import (
    CLEARANCE,
    DT,
    JOINTS,
    LIMITS,
    MS,
    T0,
    balls,
    dense,
    distances,
    planner_among,
    seen,
)

START = np.array([0.0, 0.3])
STEP = 0.08  # [rad]
LEFT = np.array([0.8, 0.3])  # on the way of who turns the first joint by positive steps, and of nobody else


AMONG = Scene(
    frame='base',
    obstacles=(
        Obstacle(name='ball', shape=Sphere(radius=0.08), position=(*map(float, balls(LEFT[np.newaxis])[0, 1]), 0.0)),
    ),
)


def turning(step: float, stamp: int = T0 - 50 * MS) -> Chunk:
    """Return a chunk that turns the first joint by ``step`` [rad] at each control step."""
    actions = START + np.outer(np.arange(1, 17), (step, 0.0))
    return Chunk(stamp=stamp, control_dt=DT, joints=JOINTS, actions=actions)


def resting(scene: Scene = AMONG) -> Planner:
    return planner_among(scene, START)[0]


def followed(chunk: Chunk, scene: Scene = AMONG, **options: Any) -> Planned:
    verdict = ClearChunk(resting(scene), chunk, **options).accept(T0)
    assert isinstance(verdict, Planned), verdict
    return verdict


def same(one: Planned, other: Planned) -> None:
    for field in ('times', 'positions', 'velocities'):
        assert getattr(one.trajectory, field).tobytes() == getattr(other.trajectory, field).tobytes()
    assert one.trajectory.stamp == other.trajectory.stamp


def test_the_first_alternative_that_is_clear_is_followed_as_if_it_were_the_chunk():
    blocked, right = turning(STEP), turning(-STEP)
    taken = followed(replace(blocked, alternatives=(turning(0.9 * STEP), right, turning(-0.5 * STEP))))
    assert (taken.alternative, taken.blocked) == (2, None)
    same(taken, followed(right))
    assert taken.trajectory.positions[-1, 0] < -1.0
    assert distances(dense(taken.trajectory, T0), AMONG.obstacles).min() >= CLEARANCE


def test_where_no_alternative_is_clear_the_chunk_is_followed_as_far_as_without_them():
    blocked = turning(STEP)
    planner, plain = resting(), resting()
    taken = ClearChunk(planner, replace(blocked, alternatives=(turning(0.9 * STEP), turning(1.1 * STEP)))).accept(T0)
    alone = plain.accept(blocked, T0)
    assert isinstance(taken, Planned) and isinstance(alone, Planned)
    assert taken.alternative == 0 and str(taken.blocked) == str(alone.blocked) and taken.blocked is not None
    same(taken, alone)
    assert planner.plan is taken.trajectory
    later = T0 + 400 * MS
    for each in (planner, plain):
        seen(each, later)
    # Nothing of what was tried is left: the next chunk becomes the same plan.
    after, other = (each.accept(turning(-STEP, later - 50 * MS), later) for each in (planner, plain))
    assert isinstance(after, Planned) and isinstance(other, Planned)
    same(after, other)


def test_an_alternative_is_held_to_what_a_chunk_is_held_to_and_one_that_is_refused_stops_nothing():
    beyond = turning(-2.0 * LIMITS.upper[0] / 16.0)  # leaves the joint's range
    assert isinstance(resting().accept(beyond, T0), Refusal)
    taken = followed(replace(turning(STEP), alternatives=(beyond, turning(-STEP))))
    assert taken.alternative == 2
    none = followed(replace(turning(STEP), alternatives=(beyond,)))
    assert none.alternative == 0
    same(none, followed(turning(STEP)))


def test_a_chunk_that_is_refused_is_refused_whatever_comes_with_it():
    beyond = turning(2.0 * LIMITS.upper[0] / 16.0)
    verdict = ClearChunk(resting(), replace(beyond, alternatives=(turning(-STEP),))).accept(T0)
    assert isinstance(verdict, Refusal) and verdict.stop


@pytest.mark.parametrize('scene', [Scene(frame='base'), None])
def test_where_nothing_is_in_the_way_alternatives_change_no_bit_and_none_is_tried(scene):
    chunk = turning(STEP)
    if scene is None:
        planner = Planner(JOINTS, DT, LIMITS, keep_steps=12, max_joint_age=10**9)
        for stamp in (T0 - DT, T0):
            seen(planner, stamp, START)
        planner.rest_at(START, T0)
    else:
        planner = resting(scene)
    both = replace(chunk, alternatives=(turning(-STEP),))
    taken = ClearChunk(planner, both, lambda: pytest.fail('nothing is to be tried')).accept(T0)
    assert isinstance(taken, Planned)
    assert taken.alternative == 0
    same(taken, followed(chunk, Scene(frame='base')))


def test_no_alternative_is_begun_once_the_time_is_up():
    chunk = replace(turning(STEP), alternatives=(turning(0.9 * STEP), turning(-STEP)))
    left = iter((True, False))
    taken = followed(chunk, more=lambda: next(left))
    assert taken.alternative == 0
    same(taken, followed(turning(STEP)))
    left = iter((True, True))
    assert followed(chunk, more=lambda: next(left)).alternative == 2


def test_planned_again_the_alternative_that_was_clear_is_tried_first_and_the_chunk_if_it_is_clear_no_longer():
    planner, tried = resting(), []
    accept, before = planner.accept, planner.checkpoint()

    def counted(chunk: Chunk, now: int, **how: Any) -> Any:
        tried.append(float(chunk.actions[0, 0]) / STEP)
        return accept(chunk, now, **how)

    planner.accept = counted  # type: ignore[method-assign]
    plan = ClearChunk(planner, replace(turning(STEP), alternatives=(turning(0.9 * STEP), turning(-STEP))))
    for _ in range(2):
        planned = plan.accept(T0)
        assert isinstance(planned, Planned) and planned.alternative == 2
        planner.rollback(before)
    assert tried == pytest.approx([1.0, 0.9, -1.0, -1.0])
    same(planned, followed(turning(-STEP)))
    tried.clear()
    planner.keep_clear(planner_among(Scene(frame='base', obstacles=(mirrored(AMONG),)), START)[1])
    planned = plan.accept(T0)
    assert isinstance(planned, Planned) and (planned.alternative, planned.blocked) == (0, None)
    assert tried == pytest.approx([-1.0, 1.0])


def shaking(stamp: int, step: float) -> np.ndarray:
    """Return the steps of `turning`, moved forth and back in turns."""
    chunk = turning(step, stamp)
    return chunk.actions + 0.1 * np.outer((-1.0) ** np.arange(16), (1.0, 1.0))


def test_a_blocked_chunk_leaves_no_trace_where_its_alternative_is_followed_instead():
    planner, plain = (planner_among(AMONG, START, blend_steps=8)[0] for _ in range(2))
    later, back = T0 + 600 * MS, turning(-0.02)
    for each in (planner, plain):
        assert isinstance(each.accept(back, T0), Planned)
        seen(each, later)
    stamp = later - 50 * MS
    other = replace(turning(-0.03, stamp), actions=turning(-0.03, stamp).actions + 0.05)
    blocked = replace(other, actions=shaking(stamp, STEP), alternatives=(other,))
    taken, alone = ClearChunk(planner, blocked).accept(later), plain.accept(other, later)
    assert isinstance(taken, Planned) and isinstance(alone, Planned)
    assert taken.alternative == 1
    same(taken, alone)


def mirrored(scene: Scene) -> Obstacle:
    """Return the obstacle in the way of who turns the other way."""
    (ball,) = scene.obstacles
    place = balls(LEFT[np.newaxis] * (-1.0, 1.0))[0, 1]
    return replace(ball, position=(*map(float, place), 0.0))


@pytest.mark.parametrize('alternatives', [(), (turning(0.9 * STEP),)])
def test_while_a_way_is_looked_for_from_where_the_robot_rests_a_blocked_chunk_moves_nothing(alternatives):
    planner, untouched = resting(), resting()
    plan = planner.plan
    refused = ClearChunk(planner, replace(turning(STEP), alternatives=alternatives), resting=True).accept(T0)
    assert isinstance(refused, Refusal) and refused.passing and not refused.stop
    assert 'a way around is looked for' in refused.reason and 'ball' in refused.reason
    assert planner.plan is plan
    # One that is clear ends the search, as if the refused one had never come; so does an alternative.
    for each in (turning(-STEP), replace(turning(STEP), alternatives=(turning(-STEP),))):
        planner.rollback(untouched.checkpoint())
        taken = ClearChunk(planner, each, resting=True).accept(T0)
        assert isinstance(taken, Planned)
        same(taken, followed(turning(-STEP)))
