"""What is measured of seams, against motions made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dp_ros.data import Chunk
from dp_ros.evaluation.seams import SeamRecorder

DT, CYCLE = 100_000_000, 10_000_000


def line(stamp: int, offset: float = 0.0, speed: float = 0.01) -> Chunk:
    """Return a chunk of 16 steps on a straight line through time, ``offset`` beside it."""
    actions = speed * (stamp // DT + np.arange(16.0))[:, None] * [3.0, 4.0] + [offset, 0.0]
    return Chunk(stamp=stamp, control_dt=DT, joints=('x', 'y'), actions=actions)


def recorded(*chunks: Chunk, dropped: int = 1) -> SeamRecorder:
    recorder = SeamRecorder(DT, CYCLE)
    for chunk in chunks:
        first = chunk.stamp + dropped * DT
        recorder.taken(chunk, first, first - DT // 2)
    return recorder


def test_chunks_that_agree_make_no_seam():
    seams = recorded(line(0), line(8 * DT), line(16 * DT)).finish(24 * DT)
    assert seams.jump == pytest.approx(0.0, abs=1e-12)
    assert seams.turn_at_seams == pytest.approx(0.0, abs=1e-12)
    assert seams.turn_inside == pytest.approx(0.0, abs=1e-12)


def test_a_jump_is_how_far_the_new_chunk_is_from_the_last_one_where_it_takes_over():
    seams = recorded(line(0), line(8 * DT, 0.02), line(16 * DT, -0.02)).finish(24 * DT)
    assert seams.jump == pytest.approx((0.02 + 0.04) / 2)
    # Both second differences over a seam are as large as its jump.
    assert seams.turn_at_seams == pytest.approx(0.03)
    assert seams.turn_inside == pytest.approx(0.0, abs=1e-12)


def test_a_chunk_that_has_ended_rests_at_its_last_step():
    late = line(20 * DT)
    assert recorded(line(0), late, dropped=0).finish(30 * DT).jump == pytest.approx(5 * 0.05)


def test_jerk_is_the_third_derivative_of_the_commands_at_seams_and_elsewhere():
    # Jerk of 6 m/s^3 up to 1 s, 60 after it; the splice at 1.6 s is a seam from 1.55 to 1.75 s.
    recorder = SeamRecorder(DT, CYCLE)
    for now in range(0, 20 * DT, CYCLE):
        t = now / 1e9
        recorder.commanded(now, np.array([t**3 if t < 1.5 else 10.0 * t**3 + 5.0, 0.0]))
        if now in (0, 16 * DT):
            recorder.taken(line(now), now, now)
    seams = recorder.finish(20 * DT)
    assert seams.jerk_at_seams == pytest.approx(60.0, rel=1e-3)
    assert seams.jerk_inside > seams.jerk > 100.0, 'the step of the commands at 1.5 s'


def test_without_a_second_chunk_there_is_no_seam_to_measure():
    seams = recorded(line(0)).finish(8 * DT)
    assert math.isnan(seams.jump) and math.isnan(seams.jerk_at_seams)
    assert seams.turn_inside == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(SeamRecorder(DT, CYCLE).finish(0).turn_inside)
