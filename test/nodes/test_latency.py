"""How `dp_ros latency` puts a chunk's times together from what the nodes say of it."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec
from dp_ros.tools.latency import KEPT, Stopwatch, table

TASK = TaskSpec(
    streams=(JointStream(name='joints', topic='/joint_states', joints=('a',), units=('rad',)),),
    action=ActionSpec(topic='/command', joints=('a',), units=('rad',)),
)
T = 1_700_000_000_000_000_000
MS = 1_000_000


def said(node: str, message: str = '', **values: Any) -> DiagnosticArray:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticArray(status=[DiagnosticStatus(name=f'{node}: chunk', message=message, values=pairs)])


def inferred(number: int, milliseconds: float) -> DiagnosticArray:
    return said('policy_executor', observation=T + number * 100 * MS, inference_ms=f'{milliseconds:.3f}')


def published(number: int, *after: float, message: str = 'published') -> DiagnosticArray:
    observation = T + number * 100 * MS
    names = ('inference_start', 'inference_end', 'received', 'published')
    times = {name: observation + int(ms * MS) for name, ms in zip(names, after, strict=True)}
    return said('trajectory_publisher', message, observation=observation, **times)


def test_a_chunk_s_time_is_divided_into_its_parts():
    watch = Stopwatch(TASK)
    watch.hear(inferred(0, 14.5))
    watch.hear(published(0, 3, 18, 20, 26))
    parts = {part: pytest.approx([ms / 1e3]) for part, ms in {
        'robot': 0, 'observing': 3, 'network': 14.5, 'handing on': 2, 'planning': 6, 'nodes': 11.5, 'whole': 26,
    }.items()}  # fmt: skip
    assert watch.parts == parts


def test_what_the_robot_takes_to_send_its_last_message_is_not_the_nodes():
    watch = Stopwatch(TASK)
    for after in (1.5, 2.0, 0.5):
        watch.robot_sent(T, T + int(after * MS))
    watch.robot_sent(T - 30 * MS, T + 2 * MS)  # a camera's, of before the tick
    watch.hear(inferred(0, 14.5))
    watch.hear(published(0, 3, 18, 20, 26))
    assert {part: watch.parts[part] for part in ('robot', 'observing', 'nodes', 'whole')} == {
        'robot': [pytest.approx(0.002)], 'observing': [pytest.approx(0.001)],
        'nodes': [pytest.approx(0.0095)], 'whole': [pytest.approx(0.026)],
    }  # fmt: skip


def test_a_robot_that_sends_when_inference_has_begun_takes_no_more_than_until_then():
    watch = Stopwatch(TASK)
    watch.robot_sent(T, T + 50 * MS)
    watch.hear(inferred(0, 14.5))
    watch.hear(published(0, 3, 18, 20, 26))
    assert watch.parts['robot'] == [pytest.approx(0.003)]
    assert watch.parts['observing'] == [0.0]


def test_the_publisher_may_be_heard_before_the_executor():
    watch = Stopwatch(TASK)
    watch.hear(published(0, 3, 18, 20, 26))
    watch.hear(inferred(0, 14.5))
    watch.hear(inferred(0, 14.5))
    assert watch.parts['network'] == [pytest.approx(0.0145)]
    assert watch.parts['whole'] == [pytest.approx(0.026)]


def test_what_is_repeated_counts_once_and_what_was_half_heard_not_at_all():
    watch = Stopwatch(TASK)
    watch.hear(published(0, 3, 18, 20, 26))
    for _ in range(3):
        watch.hear(inferred(1, 14.5))
        watch.hear(published(1, 3, 18, 20, 26))
    assert len(watch.parts['whole']) == 1


def test_however_long_it_runs_only_the_newest_chunks_are_kept():
    watch = Stopwatch(TASK)
    for number in range(1000):
        for _ in range(2):
            watch.robot_sent(T + number * 100 * MS, T + number * 100 * MS + MS)
            watch.hear(inferred(number, 14.5))
            watch.hear(published(number, 3, 18, 20, 26))
    assert len(watch.parts['whole']) == 1000
    tables = [value for value in vars(watch).values() if isinstance(value, (dict, set)) and value is not watch.parts]
    assert max(map(len, tables)) == KEPT


def test_a_chunk_of_whose_inference_the_publisher_had_not_heard_is_counted():
    watch = Stopwatch(TASK)
    watch.hear(said('trajectory_publisher', 'published', observation=T, received=T + 20 * MS, published=T + 26 * MS))
    watch.hear(inferred(0, 14.5))
    assert (watch.untold, watch.parts['whole']) == (1, [])


def test_a_late_chunk_that_was_not_called_late_is_found():
    watch = Stopwatch(TASK)
    for number, message in enumerate(('late', 'published')):
        watch.hear(inferred(number, 90))
        watch.hear(published(number, 3, 93, 95, 101, message=message))
    assert (watch.late, watch.unreported) == (1, 1)


def test_a_refused_chunk_is_counted():
    watch = Stopwatch(TASK)
    watch.hear(said('trajectory_publisher', 'refused: nan', observation=T, received=T + 1, refused='nan'))
    assert watch.refused == 1
    assert watch.parts['whole'] == []


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
