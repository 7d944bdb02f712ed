"""Summaries: intervals and percentiles against known values."""

import json
from pathlib import Path

import pytest

from dp_ros.errors import ConfigError, DataError
from dp_ros.evaluation.instructed import Instructed
from dp_ros.evaluation.scores import (
    EpisodeResult,
    EvaluationSettings,
    collided,
    percentiles,
    summarize,
    table,
    wilson95,
)
from dp_ros.simulation.instructions import Asked


def test_wilson_interval_of_published_examples():
    # Newcombe 1998 (Statistics in Medicine 17), table I, method 3
    for successes, trials, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson95(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_wilson_refuses_more_successes_than_trials():
    with pytest.raises(DataError, match='got 3 of 2'):
        wilson95(3, 2)


def test_percentiles_are_in_milliseconds():
    assert percentiles([i / 1000 for i in range(1, 102)]) == {'p50': 51.0, 'p95': 96.0, 'p99': 100.0}
    assert percentiles([]) == {'p50': None, 'p95': None, 'p99': None}


def test_a_summary_holds_plain_values_and_every_episode():
    results = [
        EpisodeResult(seed=7, score=1.0, success=True, seconds=12.0, chunks=3, latency=[0.02], deadline_misses=0),
        EpisodeResult(seed=8, score=0.5, success=False, seconds=30.0, chunks=4, latency=[0.04, 0.2], deadline_misses=1),
    ]
    summary = json.loads(json.dumps(summarize(results, world='pusht')))
    assert summary['mean_score'] == 0.75
    assert summary['success_rate'] == 0.5
    assert summary['seeds'] == [7, 8] and summary['scores'] == [1.0, 0.5]
    assert summary['deadline_misses'] == 1 and summary['chunks'] == 7
    assert summary['world'] == 'pusht'
    assert '0.750' in table(summary) and '1 of 3 chunks' in table(summary)


def test_the_ways_that_were_taken_are_counted_where_a_task_has_two():
    def result(side: str) -> EpisodeResult:
        return EpisodeResult(seed=1, score=1.0, success=True, seconds=6.0, chunks=8, side=side)

    summary = summarize([result('left'), result('right'), result('left'), result('')])
    assert summary['sides'] == {'left': 2, 'right': 1}
    assert 'ways taken        left 67% (2), right 33% (1)' in table(summary)
    assert 'sides' not in summarize([result('')])


def test_what_was_asked_for_in_words_is_summed_up_by_meaning():
    def result(meaning: str, force: float | None, *, right: bool = True) -> EpisodeResult:
        found = {'right_object': str(right), 'wrong_object': str(not right)}
        details = found if force is None else {**found, 'grip_force': str(force)}
        one = Instructed.of(Asked(meaning=meaning, text=f'now {meaning}'), details)
        return EpisodeResult(seed=1, score=1.0, success=right, seconds=6.0, chunks=8, instructed=one)

    forces = [('gently', 5.0), ('gently', 7.0), ('firmly', 15.0)]
    summary = summarize([*(result(*pair) for pair in forces), result('firmly', None, right=False)])
    asked = json.loads(json.dumps(summary))['instructed']
    assert (asked['asked'], asked['successes'], asked['right_object'], asked['wrong_object']) == (4, 3, 3, 1)
    gently, firmly = asked['by_meaning']['gently'], asked['by_meaning']['firmly']
    assert gently['grip_force'] == 6.0 and gently['grip_force_range'] == [5.0, 7.0]
    assert 5.0 <= gently['grip_force_ci95'][0] < gently['grip_force_ci95'][1] <= 7.0
    assert (firmly['grip_force'], firmly['grip_force_ci95'], firmly['successes']) == (15.0, None, 1)
    assert [one['grip_force'] for one in asked['episodes']] == [5.0, 7.0, 15.0, None]
    assert 'right object      3 of 4' in table(summary) and 'gently          2 of 2 succeeded, grip 6.0' in table(
        summary
    )
    assert 'instructed' not in summarize([EpisodeResult(seed=1, score=1.0, success=True, seconds=6.0, chunks=8)])


def test_collisions_are_counted_where_a_world_reports_them():
    def result(**details: str) -> EpisodeResult:
        return EpisodeResult(seed=1, score=1.0, success=True, seconds=6.0, chunks=8, collided=collided(details))

    summary = summarize([result(collided='True'), result(collided='False'), result(collided='False')])
    assert summary['collisions'] == 1
    assert 'collisions        in 1 of 3 episodes' in table(summary)
    assert 'collisions' not in summarize([result()])


def test_no_episodes_are_refused():
    with pytest.raises(DataError, match='got 0 episodes'):
        summarize([])


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match=r'episodes: got 0, allowed 1 to 100000'):
        EvaluationSettings(bundle=Path('b'), episodes=0)
