"""Paired comparison: intervals and McNemar's test against known values."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from dp_ros.cli.main import main
from dp_ros.errors import DataError
from dp_ros.evaluation.comparison import bootstrap95, compare, comparison_table, mcnemar
from dp_ros.evaluation.scores import EpisodeResult, summarize
from dp_ros.evaluation.seams import Seams


def summary(scores, *, first_seed=0, jump=None, **about):
    def seams(number):
        return None if jump is None else Seams(
            jump=jump + 0.001 * number, turn_at_seams=jump, turn_inside=float('nan'), jerk_at_seams=1.0,
            jerk_inside=1.0, jerk=1.0,
        )  # fmt: skip

    results = [
        EpisodeResult(seed=first_seed + i, score=s, success=s >= 1.0, seconds=1.0, chunks=1, seams=seams(i))
        for i, s in enumerate(scores)
    ]
    return json.loads(json.dumps(summarize(results, world='pusht', **about)))


def test_the_bootstrap_interval_of_a_normal_sample_is_the_usual_one():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    half = 1.96 * values.std(ddof=1) / 20.0
    low, high = bootstrap95(values)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert bootstrap95(values) == (low, high), 'the same each time'
    assert bootstrap95(values[:1]) is None


def test_mcnemar_of_known_tables():
    # Binomial tails by hand: (1 + 12 + 66) / 2^12, doubled; and equal splits.
    assert mcnemar(2, 10) == mcnemar(10, 2) == pytest.approx(2 * 79 / 4096)
    assert mcnemar(0, 0) == mcnemar(5, 5) == 1.0
    assert 0.0 < mcnemar(900, 1100) < 1e-4, 'beyond the range of floats'


def test_only_the_seeds_that_both_have_are_compared_pair_by_pair():
    first = summary([0.5, 1.0, 1.0, 0.2, 1.0, 1.0])  # seeds 0 to 5
    second = summary([0.9, 1.0, 0.4, 1.0, 1.0], first_seed=2)  # seeds 2 to 6
    found = compare(first, second)
    assert found['pairs'] == 4
    assert found['score']['difference'] == pytest.approx(np.mean([0.9 - 1.0, 1.0 - 0.2, 0.4 - 1.0, 0.0]))
    low, high = found['score']['ci95']
    assert low < found['score']['difference'] < high
    success = found['success']
    assert (success['only_first'], success['only_second'], success['mcnemar_p']) == (2, 1, 1.0)
    assert 'seams' not in found
    assert '4 pairs' in comparison_table(found)


def test_seams_are_compared_where_both_were_measured():
    found = compare(summary([1.0, 0.5], jump=0.03), summary([1.0, 0.7], jump=0.01))
    assert found['seams']['jump']['difference'] == pytest.approx(-0.02)
    assert found['seams']['turn_inside']['difference'] is None, 'no number in either'
    table = comparison_table(found)
    assert 'jump' in table and 'nothing measured in both' in table
    assert 'seams' not in compare(summary([1.0], jump=0.03), summary([1.0]))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match=r'seeds: got 0 to 1 and 5 to 5, allowed some in common'):
        compare(summary([1.0, 1.0]), summary([1.0], first_seed=5))
    with pytest.raises(DataError, match=r'longest_episode_s: got 30.0 and 20.0, allowed the same in both'):
        compare(summary([1.0], longest_episode_s=30.0), summary([1.0], longest_episode_s=20.0))
    compare(summary([1.0], longest_episode_s=30.0), summary([1.0]))  # an older summary does not say


def test_the_command_reads_two_summaries_and_says_what_a_wrong_file_lacks(tmp_path, capsys):
    for name, scores in (('a', [1.0, 0.5]), ('b', [1.0, 1.0])):
        (tmp_path / f'{name}.json').write_text(json.dumps(summary(scores)))
    out = tmp_path / 'new' / 'c.json'
    assert main(['compare', str(tmp_path / 'a.json'), str(tmp_path / 'b.json'), '--json', str(out)]) == 0
    assert 'mean score' in capsys.readouterr().out
    assert json.loads(out.read_text())['score']['difference'] == pytest.approx(0.25)
    (tmp_path / 'b.json').write_text('{"seeds": [1]}')
    assert main(['compare', str(tmp_path / 'a.json'), str(tmp_path / 'b.json')]) == 1
    assert 'b.json: got no scores, successes, allowed a summary' in capsys.readouterr().err
    (tmp_path / 'b.json').write_text('no json')
    assert main(['compare', str(tmp_path / 'a.json'), str(tmp_path / 'b.json')]) == 1
    assert 'allowed a summary of dp_ros evaluate --json' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('damage', 'reason'),
    [
        ({'seeds': 3}, r'seeds: got 3, allowed a list of whole numbers'),
        ({'seeds': [[1], 2]}, r'seeds: got \[\[1\], 2\], allowed a list of whole numbers'),
        ({'scores': [1.0, None]}, r'scores: got \[1.0, None\], allowed a list of numbers'),
        ({'successes': [1, 0]}, r'successes: got \[1, 0\], allowed a list of true or false'),
        ({'scores': [1.0]}, r'got 2 seeds, 1 scores, 2 successes, allowed one of each for every episode'),
    ],
)
def test_a_damaged_summary_is_refused_by_the_command(tmp_path, capsys, damage, reason):
    good, bad = tmp_path / 'good.json', tmp_path / 'bad.json'
    good.write_text(json.dumps(summary([1.0, 0.5])))
    bad.write_text(json.dumps(summary([1.0, 0.5]) | damage))
    assert main(['compare', str(good), str(bad)]) == 1
    error = capsys.readouterr().err
    assert re.search(reason, error) and 'bad.json' in error
