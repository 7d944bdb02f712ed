"""How `dp_ros latency` puts a chunk's times together from what the nodes report of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.messages.status import ChunkReport, InferenceReport
from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec
from dp_ros.tools.latency import KEPT, Stopwatch, table

TASK = TaskSpec(
    streams=(JointStream(name='joints', topic='/joint_states', joints=('a',), units=('rad',)),),
    action=ActionSpec(topic='/command', joints=('a',), units=('rad',)),
)
T = 1_700_000_000_000_000_000
MS = 1_000_000


def inferred(number: int, milliseconds: float) -> InferenceReport:
    return InferenceReport(
        observation=T + number * 100 * MS, inference_start=0, inference_end=0, inference_ms=milliseconds,
        network_calls=1, policy='tiny', number=number, published=0,
    )  # fmt: skip


def published(number: int, *after: float, late: bool = False) -> ChunkReport:
    observation = T + number * 100 * MS
    names = ('inference_start', 'inference_end', 'received', 'published')
    times: dict[str, Any] = {name: observation + int(ms * MS) for name, ms in zip(names, after, strict=True)}
    return ChunkReport(observation=observation, late=late, **times)


def test_a_chunk_s_time_is_divided_into_its_parts():
    watch = Stopwatch(TASK)
    watch.inferred(inferred(0, 14.5))
    watch.published(published(0, 3, 18, 20, 26))
    parts = {part: pytest.approx([ms / 1e3]) for part, ms in {
        'robot': 0, 'observing': 3, 'network': 14.5, 'handing on': 2, 'planning': 6, 'nodes': 11.5, 'whole': 26,
    }.items()}  # fmt: skip
    assert watch.parts == parts


def test_what_the_robot_takes_to_send_its_last_message_is_not_the_nodes():
    watch = Stopwatch(TASK)
    for after in (1.5, 2.0, 0.5):
        watch.robot_sent(T, T + int(after * MS))
    watch.robot_sent(T - 30 * MS, T + 2 * MS)  # a camera's, of before the tick
    watch.inferred(inferred(0, 14.5))
    watch.published(published(0, 3, 18, 20, 26))
    assert {part: watch.parts[part] for part in ('robot', 'observing', 'nodes', 'whole')} == {
        'robot': [pytest.approx(0.002)], 'observing': [pytest.approx(0.001)],
        'nodes': [pytest.approx(0.0095)], 'whole': [pytest.approx(0.026)],
    }  # fmt: skip


def test_a_robot_that_sends_when_inference_has_begun_takes_no_more_than_until_then():
    watch = Stopwatch(TASK)
    watch.robot_sent(T, T + 50 * MS)
    watch.inferred(inferred(0, 14.5))
    watch.published(published(0, 3, 18, 20, 26))
    assert watch.parts['robot'] == [pytest.approx(0.003)]
    assert watch.parts['observing'] == [0.0]


def test_the_publisher_may_be_heard_before_the_executor():
    watch = Stopwatch(TASK)
    watch.published(published(0, 3, 18, 20, 26))
    watch.inferred(inferred(0, 14.5))
    watch.inferred(inferred(0, 14.5))
    assert watch.parts['network'] == [pytest.approx(0.0145)]
    assert watch.parts['whole'] == [pytest.approx(0.026)]


def test_what_only_one_of_the_two_reports_is_not_kept_for_ever():
    watch = Stopwatch(TASK)
    for number in range(1000):
        watch.inferred(inferred(2 * number, 14.5))
        watch.published(published(2 * number + 1, 3, 18, 20, 26))
    watch.inferred(inferred(1, 14.5))
    watch.inferred(inferred(1999, 14.5))
    assert len(watch.parts['whole']) == 1


def test_however_long_it_runs_only_the_newest_chunks_are_kept():
    watch = Stopwatch(TASK)
    for number in range(1000):
        watch.robot_sent(T + number * 100 * MS, T + number * 100 * MS + MS)
        watch.inferred(inferred(number, 14.5))
        watch.published(published(number, 3, 18, 20, 26))
    assert len(watch.parts['whole']) == 1000
    tables = [value for value in vars(watch).values() if isinstance(value, (dict, set)) and value is not watch.parts]
    assert max(map(len, tables)) <= KEPT


def test_a_chunk_of_whose_inference_the_publisher_had_not_heard_is_counted():
    watch = Stopwatch(TASK)
    watch.published(ChunkReport(observation=T, received=T + 20 * MS, published=T + 26 * MS))
    watch.inferred(inferred(0, 14.5))
    assert (watch.untold, watch.parts['whole']) == (1, [])


def test_a_late_chunk_that_was_not_called_late_is_found():
    watch = Stopwatch(TASK)
    for number, late in enumerate((True, False)):
        watch.inferred(inferred(number, 90))
        watch.published(published(number, 3, 93, 95, 101, late=late))
    assert (watch.late, watch.unreported) == (1, 1)


def test_a_refused_chunk_is_counted():
    watch = Stopwatch(TASK)
    watch.inferred(inferred(0, 14.5))
    watch.published(ChunkReport(observation=T, received=T + 1, refused='nan'))
    assert watch.refused == 1
    assert not any(watch.parts.values())


def test_a_refused_chunk_has_the_times_until_the_publisher_had_it():
    watch = Stopwatch(TASK, last_sent=lambda observation: observation + 2 * MS, refused_too=True)
    report = InferenceReport(
        observation=T, inference_start=T + 3 * MS, inference_end=T + 18 * MS, inference_ms=14.5, network_calls=1,
        policy='tiny', number=0, published=0,
    )  # fmt: skip
    for number, reason in enumerate(('a: got 3.25, allowed -1e-3', 'a: got 4, allowed 0.5')):
        watch.inferred(replace(report, observation=T + number))
        watch.published(ChunkReport(observation=T + number, received=T + 20 * MS, refused=reason))
    first = {part: times[0] for part, times in watch.parts.items() if times}
    assert first == {'robot': 0.002, 'observing': 0.001, 'network': 0.0145, 'handing on': 0.002}
    assert (watch.refused, watch.refusals) == (2, {'a: got N, allowed N': 2})


def test_a_table_has_a_line_for_each_part_even_where_nothing_was_heard():
    nothing = {'p50': None, 'p95': None, 'p99': None}
    summary = {
        'ms': {'network': {'p50': 14.5, 'p95': 15.0, 'p99': 16.0}, 'nodes': nothing}, 'chunks': 0, 'seconds': 1.0,
        'exec_horizon': 1, 'late': 0, 'late_unreported': 0, 'refused': 0, 'untold': 0,
        'memory_mb': {'policy_executor': 137.0}, 'processor_percent': {'policy_executor': 12.4},
    }  # fmt: skip
    lines = table(summary).splitlines()
    assert lines[1].split() == ['network', '14.50', '15.00', '16.00']
    assert lines[2].split() == ['nodes', '-', '-', '-']
