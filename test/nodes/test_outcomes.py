"""What became of episodes: the file, the rate that is made of it, and the node that fills it."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dp_ros.cli.main import main
from dp_ros.errors import DataError
from dp_ros.tools.outcomes.rate import Measured, advice, measured_of, rate_of
from dp_ros.tools.outcomes.store import EpisodeOutcome, OutcomeStore

NOON = 1_790_000_000.0


def episode(outcome: Any, at: float = NOON, **changes: Any) -> EpisodeOutcome:
    return EpisodeOutcome(began=at, ended=at + 5.0, outcome=outcome, **changes)


def test_what_is_added_is_there_when_the_file_is_opened_again(tmp_path):
    path = tmp_path / 'new' / 'outcomes.sqlite3'
    added = [episode('success', source='world', bundle='b'), episode('failure', NOON + 9, foretold=True, note="'; --")]
    for one in added:
        with OutcomeStore(path) as store:
            store.add(one)
    with OutcomeStore(path, make=False) as store:
        assert store.episodes() == added
        assert store.episodes(newest=1) == added[1:]
        assert store.episodes(since=NOON + 10) == added[1:]


def test_the_file_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr('dp_ros.tools.outcomes.store.MOST_EPISODES', 3)
    with OutcomeStore(tmp_path / 'o') as store:
        for number in range(5):
            store.add(episode('success', NOON + number))
        assert [e.began - NOON for e in store.episodes()] == [2, 3, 4]


def test_another_file_is_refused_and_left_as_it_is(tmp_path):
    other, text = tmp_path / 'other.sqlite3', tmp_path / 'text'
    with sqlite3.connect(other) as base:
        base.execute('CREATE TABLE episodes (began REAL)')
    text.write_text('not a database, whoever looks at it' * 100)
    for path, message in ((other, 'got another SQLite file'), (text, 'cannot be read')):
        before = path.read_bytes()
        with pytest.raises(DataError, match=message):
            OutcomeStore(path)
        assert path.read_bytes() == before
    with pytest.raises(DataError, match='got no such file'):
        OutcomeStore(tmp_path / 'none', make=False)
    with pytest.raises(DataError, match='allowed times, in this order'):
        EpisodeOutcome(began=2.0, ended=1.0, outcome='success')


def test_the_rate_has_fallen_where_its_interval_is_below_what_was_measured():
    measured = Measured(successes=97, episodes=100)
    good = [episode('success', NOON + i) for i in range(20)]
    bad = [episode('failure', NOON + 100 + i) for i in range(10)]
    assert advice(rate_of(good), measured) == ''
    assert advice(rate_of(bad[:9]), measured) == ''  # too few
    assert advice(rate_of(bad), measured).startswith('fallen: 0 of 10 succeed')
    assert advice(rate_of([*good, *[episode('unknown')] * 50]), measured) == ''
    said = advice(rate_of([*good, *bad]), measured)
    assert said.startswith('fallen: 20 of 30 succeed (49% to 81%), measured were 92% to 99%; record demonstrations')
    assert said.count(' to 20') == 5, 'when the last five failed'
    assert advice(rate_of(bad), None) == ''


def test_recordings_that_were_chosen_are_no_measurement():
    assert measured_of({'monitor': {'world': 'pusht', 'successes': 3, 'episodes': 4}}) == Measured(
        successes=3, episodes=4
    )
    assert measured_of({'monitor': {'world': '', 'successes': 4, 'episodes': 4}}) is None
    assert measured_of({}) is None


def test_the_command_adds_and_prints(tmp_path, capsys):
    path, picture = tmp_path / 'o.sqlite3', tmp_path / 'o.png'
    assert main(['outcomes', str(path), '--add', 'success', '--episode-seconds', '7', '--note', 'by hand']) == 0
    assert main(['outcomes', str(path), '--add', 'failure', '--plot', str(picture)]) == 0
    printed = capsys.readouterr().out
    assert 'by hand' in printed
    assert '1 of 2 succeed' in printed
    assert picture.read_bytes().startswith(b'\x89PNG')
    assert main(['outcomes', str(tmp_path / 'none')]) == 1
    assert 'got no such file' in capsys.readouterr().err


def test_the_node_counts_what_the_world_and_a_person_say(ros, tmp_path):
    from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
    from std_srvs.srv import SetBool

    from dp_ros.messages.status import Episode, MonitorReport, Status, encode
    from dp_ros.tools.outcomes.recorder import Outcomes
    from dp_ros.tools.recorder import LATCHED

    path = tmp_path / 'outcomes.sqlite3'
    node = ros.create(Outcomes, outcomes_file=str(path), measured_successes=100, measured_episodes=100)
    assert node.start()
    kinds = {'trajectory_publisher/status': LATCHED, 'policy_executor/monitor': LATCHED, 'simulated_robot/episode': 10}
    topics = {topic: ros.talk(DiagnosticStatus, f'/{topic}', qos) for topic, qos in kinds.items()}

    def say(topic: str, value: Any, until: Any) -> None:
        message = DiagnosticStatus(values=[KeyValue(key=k, value=v) for k, v in encode(value).items()])
        topics[topic].publish(message)
        ros.wait(until, f'{value}')

    def is_(state: Any, until: Any) -> None:
        say('trajectory_publisher/status', Status(state=state, stamp=0), until)

    def world(seed: int, elapsed: float, until: Any, success: bool = False) -> None:
        say(
            'simulated_robot/episode',
            Episode(seed=seed, elapsed=elapsed, score=0.5, success=success, rejected=0),
            until,
        )

    def counted(number: int) -> Any:
        return lambda: len(stored(path)) == number

    def under_way() -> bool:
        return node._began is not None

    refused = ros.call(SetBool, '/outcomes/outcome', SetBool.Request(data=True))
    assert not refused.success
    world(1, 0.0, lambda: node._world is not None)
    is_('running', under_way)
    world(1, 2.0, counted(1), success=True)
    world(2, 0.0, lambda: not node._counted)
    is_('running', under_way)
    say(
        'policy_executor/monitor',
        MonitorReport(observation=1, level=1.5, failing=True, policy='b'),
        lambda: node._foretold,
    )
    world(3, 0.0, counted(2))  # begun anew without success
    is_('running', under_way)
    is_('latched', lambda: node._ended is not None)
    assert ros.call(SetBool, '/outcomes/outcome', SetBool.Request(data=False)).success
    is_('running', under_way)
    is_('latched', lambda: node._ended is not None)
    is_('running', counted(4))  # nobody said anything
    found = stored(path)
    assert [(e.outcome, e.source) for e in found] == [
        ('success', 'world'), ('failure', 'world'), ('failure', 'person'), ('unknown', 'none'),
    ]  # fmt: skip
    assert [e.foretold for e in found] == [False, True, False, False]
    assert found[1].bundle == 'b'
    ros.status('outcomes: outcomes', DiagnosticStatus.OK, '1 of 3 succeed (6% to 79%), 1 unknown')
    with OutcomeStore(path) as store:
        for _ in range(7):
            store.add(replace(found[1], began=time.time(), ended=time.time()))
    ros.status('outcomes: outcomes', DiagnosticStatus.WARN, 'fallen: 1 of 10 succeed')


def stored(path: Path) -> Any:
    with OutcomeStore(path, make=False) as store:
        return store.episodes(since=time.time() - 1000.0)
