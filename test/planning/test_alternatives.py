"""Of the samples that come with a chunk, which one the planner follows among obstacles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('pinocchio', reason='the extra planning is not installed')

from dp_ros.data import Chunk, Refusal
from dp_ros.motion.alternatives import accept_clear
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
    verdict = accept_clear(resting(scene), chunk, T0, **options)
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
    taken = accept_clear(planner, replace(blocked, alternatives=(turning(0.9 * STEP), turning(1.1 * STEP))), T0)
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
    verdict = accept_clear(resting(), replace(beyond, alternatives=(turning(-STEP),)), T0)
    assert isinstance(verdict, Refusal) and verdict.stop


@pytest.mark.parametrize('scene', [Scene(frame='base'), None])
def test_where_nothing_is_in_the_way_alternatives_change_no_bit_and_none_is_tried(scene):
    asked = []
    chunk = turning(STEP)
    if scene is None:
        planner = Planner(JOINTS, DT, LIMITS, keep_steps=12, max_joint_age=10**9)
        for stamp in (T0 - DT, T0):
            seen(planner, stamp, START)
        planner.rest_at(START, T0)
    else:
        planner = resting(scene)
    taken = accept_clear(planner, replace(chunk, alternatives=(turning(-STEP),)), T0, lambda: bool(asked.append(0)))
    assert isinstance(taken, Planned)
    assert taken.alternative == 0
    same(taken, followed(chunk, Scene(frame='base')))
    assert not asked


def test_no_alternative_is_begun_once_the_time_is_up():
    chunk = replace(turning(STEP), alternatives=(turning(0.9 * STEP), turning(-STEP)))
    left = iter((True, False))
    taken = followed(chunk, more=lambda: next(left))
    assert taken.alternative == 0
    same(taken, followed(turning(STEP)))
    left = iter((True, True))
    assert followed(chunk, more=lambda: next(left)).alternative == 2
