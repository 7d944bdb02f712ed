"""Worlds made wrong, calibration on episodes, and what is counted of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed')

from dp_ros.cli.main import main
from dp_ros.errors import ConfigError, DataError
from dp_ros.evaluation.episodes import evaluate_direct
from dp_ros.evaluation.monitor.calibrate import MonitorSettings, calibrate
from dp_ros.evaluation.monitor.study import BOTH, EITHER, Watched, roc_auc, study_table, summarize_study
from dp_ros.evaluation.monitor.traces import Trace
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.policy.bundle.monitor_spec import MonitorSpec
from dp_ros.simulation.registry import make_world
from dp_ros.simulation.wrong_worlds import OFFSET, SHIFT, make_wrong, wrong_names

DT = 100_000_000
BUNDLE: Any = SimpleNamespace(task=SimpleNamespace(pred_horizon=4))


def trace(seed: int, success: bool = True, far: float = 0.0, spread: float = 0.1, windows: int = 6) -> Trace:
    draw = np.random.default_rng(seed)
    conds = draw.normal(far, 1.0, size=(windows, 5)).astype(np.float32)
    return Trace(
        seed=seed, success=success, seconds=windows / 2, control_dt=DT, every=conds, conds=conds,
        stamps=np.arange(windows) * 5 * DT,
        samples=draw.normal(0.0, spread, size=(windows, 8, 4, 2)).astype(np.float32),
    )  # fmt: skip


def settings(**changes: Any) -> MonitorSettings:
    plain = {'bundle': Path('b'), 'out': Path('o'), 'world': 'point_obstacle'}
    return MonitorSettings(**{**plain, **changes})


def test_a_wrong_joint_is_read_too_high_and_driven_too_low():
    right, wrong = make_world('point_obstacle'), make_wrong('point_obstacle', 'joint_offset')
    for world in (right, wrong):
        world.reset(3)
    start = right.joint_positions
    np.testing.assert_allclose(wrong.joint_positions - start, [OFFSET, 0.0], atol=1e-12)
    for _ in range(200):
        wrong.step(start)
    np.testing.assert_allclose(wrong.joint_positions, start, atol=1e-3)  # what it reads is what was asked for


def test_what_is_shifted_is_read_beside_and_judged_where_it_is():
    right, wrong = make_world('point_obstacle'), make_wrong('point_obstacle', 'object_shifted')
    for world in (right, wrong):
        world.reset(3)
    for name, pose in right.poses.items():
        np.testing.assert_allclose(np.subtract(wrong.poses[name].position, pose.position), [0.0, SHIFT, 0.0])
    assert wrong.progress == right.progress


def test_a_fault_that_a_world_cannot_have_is_refused():
    known = ('joint_offset', 'object_shifted', 'object_larger', 'object_moving')
    assert wrong_names('point_obstacle', sees=False) == known
    assert 'camera_moved' in wrong_names('pusht', sees=True)
    with pytest.raises(ConfigError, match="fault: got 'object_round', allowed joint_offset, object_shifted"):
        make_wrong('point_obstacle', 'object_round')


def test_physics_made_wrong_leave_those_of_others_as_they_are():
    pytest.importorskip('mujoco', reason='mujoco is not installed')
    from dp_ros.simulation.worlds.push_block.world import model

    before = model().geom_friction.copy()
    make_wrong('push_block', 'friction_halved')
    assert np.array_equal(model().geom_friction, before)


@pytest.mark.parametrize('fault', ['camera_elsewhere', 'table_grey', 'object_orange', 'object_round', 'object_smaller'])
def test_what_is_wrong_in_pick_place_is_seen_there_alone(fault):
    right, wrong = make_world('pick_place'), make_wrong('pick_place', fault)
    for world in (right, wrong):
        world.reset(0)
    seen = right.render('camera')
    assert np.abs(seen.astype(int) - wrong.render('camera')).max() > 20
    np.testing.assert_array_equal(make_world('pick_place').render('camera'), seen)
    np.testing.assert_array_equal(wrong.joint_positions, right.joint_positions)


def test_an_evaluation_plays_in_a_world_made_wrong():
    settings = EvaluationSettings(
        bundle=Path('models/point_obstacle'), world='point_obstacle', episodes=1, seconds=1.0, fault='joint_offset'
    )
    summary = evaluate_direct(settings)
    assert summary['fault'] == 'joint_offset'
    assert summary['scores'] != evaluate_direct(replace(settings, fault=''))['scores']
    with pytest.raises(ConfigError, match="fault: got 'rain', allowed joint_offset"):
        evaluate_direct(replace(settings, fault='rain'))
    with pytest.raises(ConfigError, match="fault: got 'joint_offset' through ros, allowed direct only"):
        replace(settings, through='ros')


def test_thresholds_come_from_episodes_that_were_not_learnt_from_and_hold_on_others():
    good = [trace(seed) for seed in range(80)]
    found = calibrate([*good, trace(99, success=False)], BUNDLE, settings(), fit_steps=300)
    assert found[1].episodes == 40
    others = [calibrated_alarm(found, trace(1000 + seed)) for seed in range(60)]
    assert np.mean(others) <= 0.15
    assert all(calibrated_alarm(found, trace(2000 + seed, far=6.0, spread=0.4)) for seed in range(10))


def calibrated_alarm(found: Any, other: Trace) -> bool:
    from dp_ros.evaluation.monitor.traces import highest, scored
    from dp_ros.training.monitor import novelty_of

    novelty, spec = found
    scores = scored(other, novelty_of(novelty, other.conds), spec.window, spec.bin_width, spec.steps)
    return all(highest(scores[name], spec.window) >= getattr(spec, name) for name in ('novelty', 'entropy'))


@pytest.mark.parametrize(('rule', 'needed'), [('both', 38), ('either', 78)])
def test_too_few_successes_are_refused_with_the_number_needed(rule, needed):
    traces = [trace(seed, success=seed >= 5) for seed in range(needed + 4)]
    with pytest.raises(DataError, match=f'got {needed - 1} of {needed + 4}, allowed {needed} or more for level 0.95'):
        calibrate(traces, BUNDLE, settings(rule=rule))
    with pytest.raises(ConfigError, match=f'episodes: got {needed - 1}, allowed {needed} or more'):
        settings(rule=rule, episodes=needed - 1)


def test_the_command_refuses_what_does_not_go_together(capsys):
    for options, message in (
        ([], 'out: got none'),
        (['--out', 'x', '--plot', 'p.png'], 'plot: got it without --study'),
        (['--study', '--out', 'x'], 'out: got it with --study'),
        (['--study', '--world', 'push_block'], 'monitor: got bundle push_block_state, which has none'),
    ):
        assert main(['monitor', 'models/push_block_state', *options]) == 1
        assert message in capsys.readouterr().err
    assert main(['monitor', 'models/push_block_bc', '--out', 'x', '--world', 'push_block']) == 1
    assert 'by regression, allowed one that samples' in capsys.readouterr().err


def test_the_table_counts_alarms_and_how_long_they_took():
    spec = MonitorSpec(
        samples=8, window=1, bin_width=0.1, steps=4, level=0.9, episodes=9, novelty=1.0, entropy=1.0, consistency=1.0,
        seconds=1.2,
    )  # fmt: skip
    quiet, late = np.zeros(6), np.array([0.0, 0.0, 0.0, 2.0, 2.0, 2.0])

    def episode(seed: int, success: bool, novelty: np.ndarray, entropy: np.ndarray) -> Watched:
        shares = {'novelty': novelty, 'entropy': entropy, 'consistency': quiet, 'seconds': np.arange(6) / 2 / 1.2}
        shares |= {BOTH: np.minimum(novelty, entropy), EITHER: np.maximum(novelty, entropy)}
        return Watched(trace=trace(seed, success), condition='as it is', shares=shares)

    episodes = [episode(0, False, late, late), episode(1, False, late, quiet), episode(2, True, quiet, late)]
    summary = summarize_study(episodes, spec)
    both, either = summary['detectors'][BOTH], summary['detectors'][EITHER]
    assert (both['foretold'], both['false_alarms'], both['detection_s']) == (1, 0, 1.5)
    assert (either['foretold'], either['false_alarms']) == (2, 1)
    assert either['false_alarms_per_hour'] == pytest.approx(3600 / 3)
    assert both['auc'] == pytest.approx(0.75)
    assert both['auc_early'] == pytest.approx(0.5)  # before 1.2 s nothing was to be seen
    assert summary['conditions']['as it is']['foretold'][BOTH] == 1
    assert '50% (9%-91%)' in study_table(summary)
    assert roc_auc([], [1.0]) is None
