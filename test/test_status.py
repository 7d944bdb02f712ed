"""Typed values to the keys of a message and back, strictly."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from dp_ros.errors import DataError
from dp_ros.messages.status import ChunkReport, Episode, InferenceReport, Status, decode, encode

T = 1_700_000_000_000_000_000
STATUS = Status(
    state='latched', reason='~/hold was called: twice', cause='operator', latched=True, stamp=T, observation=T - 1,
    joint_state=T - 2, rests_at=T + 3, chunks=7, published=5, refused=2, late=1, latency=0.0251,
)  # fmt: skip
CHUNK = ChunkReport(observation=T, received=T + 1, refused='too old')
INFERENCE = InferenceReport(
    observation=T, inference_start=T + 1, inference_end=T + 2, inference_ms=14.512, network_calls=10, policy='tiny',
    number=0, published=T + 3,
)  # fmt: skip
EPISODE = Episode(seed=3, elapsed=1.25, score=0.1 + 0.2, success=True, rejected=0, details={'side': 'left'})


def pairs(values: dict[str, str]) -> list[Any]:
    return [SimpleNamespace(key=key, value=value) for key, value in values.items()]


@pytest.mark.parametrize(
    'value',
    [
        STATUS,
        Status(state='inactive', stamp=0),
        CHUNK,
        replace(CHUNK, refused='', published=T + 2, late=True, latency=1e-9, cost=0.1, policy='tiny'),
        INFERENCE,
        replace(INFERENCE, sampling_steps=4, dropped_sampling_steps=6),
        EPISODE,
        replace(EPISODE, details={}),
    ],
)
def test_a_value_comes_back_as_it_was(value):
    values = encode(value)
    assert all(isinstance(key, str) and isinstance(text, str) for key, text in values.items())
    assert decode(type(value), pairs(values)) == value


def test_what_only_some_executors_report_may_be_missing():
    values = {key: text for key, text in encode(INFERENCE).items() if 'sampling' not in key}
    assert decode(InferenceReport, pairs(values)) == INFERENCE


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'state': 'hold'},
            "Status state: got 'hold', allowed inactive, waiting, running, finishing, slowing, ",
        ),
        ({'latched': 'yes'}, "Status latched: got 'yes', allowed True or False"),
        ({'chunks': ''}, "Status chunks: got '', allowed a whole number"),
        ({'chunks': '1.5'}, "Status chunks: got '1.5', allowed a whole number"),
        ({'latency': 'nan'}, "Status latency: got 'nan', allowed a finite number"),
        ({'latency': 'soon'}, "Status latency: got 'soon', allowed a number"),
        ({'colour': 'red'}, 'Status: got keys cause, chunks, colour, .*, allowed cause, chunks, joint_state'),
        ({'reason': None}, 'Status: got keys cause, .* refused, rests_at, .*, allowed cause, .* reason, refused'),
    ],
)
def test_keys_and_values_that_no_status_has_are_refused(changes, message):
    values = {key: text for key, text in {**encode(STATUS), **changes}.items() if text is not None}
    with pytest.raises(DataError, match=message):
        decode(Status, pairs(values))


def test_a_key_that_comes_twice_is_refused():
    with pytest.raises(DataError, match="ChunkReport: got key 'received' twice, allowed once"):
        decode(ChunkReport, [*pairs(encode(CHUNK)), SimpleNamespace(key='received', value='1')])


def test_an_episode_without_its_score_is_refused():
    values = {key: text for key, text in encode(EPISODE).items() if key != 'score'}
    with pytest.raises(DataError, match='Episode: got keys elapsed, rejected, seed, success, allowed elapsed'):
        decode(Episode, pairs(values))
