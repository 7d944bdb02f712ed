"""Scores of the failure monitor against closed forms, its thresholds, and bundles that carry it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_ros.errors import BundleError, ConfigError, DataError, DpRosError
from dp_ros.policy.bundle.bundle import MANIFEST, MONITOR
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.bundle.monitor_spec import MonitorSpec, conformal_threshold, successes_needed
from dp_ros.policy.failure_monitor import FailureMonitor, RunningScores, chunk_distance, chunk_entropy, monitor_of
from dp_ros.policy.policy import DiffusionPolicy

SPEC = MonitorSpec(
    samples=4, window=2, bin_width=0.05, steps=16, level=0.9, episodes=20, novelty=0.5, entropy=0.5, consistency=1.0,
    seconds=5.0,
)  # fmt: skip
DT = 100_000_000


def samples(*offsets: float, steps: int = 4) -> np.ndarray:
    """Return chunks of one joint, each the same number throughout, (N, P, 1)."""
    return np.repeat(np.array(offsets, dtype=np.float32)[:, None, None], steps, axis=1)


def test_the_entropy_is_that_of_the_counts():
    assert chunk_entropy(samples(0.3, 0.3, 0.3, 0.3), 0.1) == pytest.approx(0.0)
    assert chunk_entropy(samples(-1.0, -1.0, 1.0, 1.0), 0.1) == pytest.approx(np.log(2))
    assert chunk_entropy(samples(-3.0, -1.0, 1.0, 3.0), 0.1) == pytest.approx(np.log(4))
    assert chunk_entropy(samples(-3.0, -1.0, 1.0, 3.0), 100.0) == pytest.approx(0.0)


def test_what_is_close_together_is_in_one_bin_wherever_it_is():
    """Of bins that lie anywhere an edge may go through it."""
    for middle in np.linspace(0.0, 0.1, 11):
        assert chunk_entropy(samples(middle - 0.01, middle, middle, middle + 0.01), 0.1) == pytest.approx(0.0)


def test_the_distance_is_none_between_the_same_and_two_between_what_is_far():
    near, far = samples(0.0, 0.1), samples(5.0, 5.1)
    assert chunk_distance(near, near) == pytest.approx(0.0)
    assert chunk_distance(samples(0.0, 0.0), samples(9.0, 9.0)) == pytest.approx(2.0)
    assert 0.0 < chunk_distance(near, samples(0.0, 0.2)) < chunk_distance(near, far)


def test_inconsistency_is_that_of_the_same_steps_and_adds_up():
    running = RunningScores(1, 0.1, 4)
    ramp = np.arange(4, dtype=np.float32)[None, :, None].repeat(2, axis=0)
    first = running.add(0, DT, 1.0, ramp)
    same = running.add(2 * DT, DT, 1.0, ramp + 2.0)  # two steps later it says the same of each time
    other = running.add(4 * DT, DT, 1.0, ramp + 9.0)
    assert (first['consistency'], same['consistency']) == (0.0, 0.0)
    assert other['consistency'] == pytest.approx(2.0)
    assert other['seconds'] == pytest.approx(0.4)


def test_scores_are_means_of_the_last_windows():
    running = RunningScores(2, 0.1, 4)
    found = [running.add(i * DT, DT, novelty, samples(0.0, 0.0))['novelty'] for i, novelty in enumerate((1, 3, 5))]
    assert found == [1.0, 2.0, 4.0]


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(DataError, match='novelty: got'):
        RunningScores(2, 0.1, 4).add(0, DT, bad, samples(0.0, 0.0))
    with pytest.raises(DataError, match='samples: got'):
        chunk_entropy(samples(0.0, bad), 0.1)
    with pytest.raises(DataError, match='samples: got 1, allowed 2 or more'):
        chunk_entropy(samples(0.0), 0.1)
    with pytest.raises(DataError, match='shape'):
        chunk_distance(samples(0.0, steps=3), samples(0.0, steps=4))


def test_a_further_success_stays_below_the_threshold_as_often_as_asked():
    draw = np.random.default_rng(0)
    below = [draw.exponential() <= conformal_threshold(draw.exponential(size=39), 0.95) for _ in range(4000)]
    assert 0.94 < np.mean(below) < 0.985  # 0.95 to 0.95 + 1/40


@pytest.mark.parametrize(('level', 'needed'), [(0.95, 19), (0.9, 9), (0.5, 1), (0.99, 99)])
def test_too_few_successes_are_refused_with_the_number_needed(level, needed):
    assert successes_needed(level) == needed
    assert conformal_threshold(np.arange(needed), level) == needed - 1
    with pytest.raises(DataError, match=f'got {needed - 1}, allowed {needed} or more for level {level:g}'):
        conformal_threshold(np.arange(needed - 1), level)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'samples': 1}, 'monitor samples: got 1, allowed 2 to 64'),
        ({'novelty': float('nan')}, 'monitor novelty: got nan'),
        ({'entropy': 0.0}, 'monitor entropy: got 0.0'),
        ({'rule': 'either'}, 'monitor episodes: got 18, allowed 19 or more for level 0.9'),
        ({'level': 0.99}, 'monitor episodes: got 20, allowed 99 or more for level 0.99'),
    ],
)
def test_thresholds_that_mean_nothing_are_refused(change, message):
    if 'rule' in change:
        assert replace(SPEC, **change).rule == 'either'
        change |= {'episodes': 18}  # each threshold is of level 0.95
    with pytest.raises(BundleError, match=message):
        replace(SPEC, **change)


@pytest.fixture(scope='module')
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with a monitor."""
    pytest.importorskip('torch', reason='torch is not installed')
    from dp_ros.training.monitor import fit_novelty, write_with_monitor
    from test.tiny_bundle import write_tiny_bundle

    folder = tmp_path_factory.mktemp('monitor')
    bundle = load_bundle(write_tiny_bundle(folder / 'tiny'))
    conds = np.random.default_rng(0).normal(size=(300, bundle.parity().cond.shape[1])) * 0.1
    novelty = fit_novelty(conds[:200], conds[200:], steps=100)
    return write_with_monitor(bundle, folder / 'watched', novelty, SPEC, record={'world': 'pusht'}).folder


def test_a_bundle_carries_the_monitor_and_nothing_else_changes(watched):
    plain, bundle = load_bundle(watched.parent / 'tiny'), load_bundle(watched)
    assert bundle.monitor == SPEC
    assert bundle.files[MONITOR]
    assert plain.monitor is None
    assert 'monitor' not in json.loads((plain.folder / MANIFEST).read_text())  # as before there were monitors
    same = set(plain.files) - {'parity.npz'}
    assert {file: bundle.files[file] for file in same} == {file: plain.files[file] for file in same}
    one, other = (DiffusionPolicy.load(folder) for folder in (plain.folder, watched))
    assert np.array_equal(one.chunk(one.blank_window()).actions, other.chunk(other.blank_window()).actions)


def test_what_was_never_seen_is_novel_and_the_level_is_held_until_the_window_is_full(watched):
    policy = DiffusionPolicy.load(watched)
    width = policy.bundle.parity().cond.shape[1]
    usual = policy.backend.novelty(np.zeros((1, width), np.float32))
    assert policy.backend.novelty(np.full((1, width), 3.0, np.float32))[0] > 2.0 * usual[0]
    monitor = FailureMonitor(policy)
    windows = [replace(policy.blank_window(), stamps=np.array([i, i + 1]) * DT) for i in range(2)]
    verdicts = [monitor.verdict(window, np.random.default_rng(0)) for window in windows]
    assert verdicts[0].scores == pytest.approx({**verdicts[1].scores, 'seconds': 0.0, 'consistency': 0.0}, abs=1e-6)
    assert not verdicts[0].failing
    assert verdicts[1].failing == (min(verdicts[1].scores['novelty'], verdicts[1].scores['entropy']) >= 0.5)


def test_a_bundle_without_a_monitor_or_at_another_speed_has_none(watched):
    with pytest.raises(ConfigError, match='got bundle tiny, which has none, allowed one of dp_ros monitor'):
        monitor_of(DiffusionPolicy.load(watched.parent / 'tiny'))
    with pytest.raises(ConfigError, match='got policy_speed 2, allowed 1'):
        monitor_of(DiffusionPolicy.load(watched, policy_speed=2.0))


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda m: m.pop('monitor'), 'got none in bundle.json and a monitor.onnx, allowed both or neither'),
        (lambda m: m['files'].pop(MONITOR), 'got thresholds in bundle.json and no monitor.onnx'),
        (lambda m: m['monitor'].update(novelty=1e400), 'got the number 1e400, allowed finite numbers only'),
        (lambda m: m['monitor'].update(steps=17), r'monitor steps: got 17, allowed up to pred_horizon \(16\)'),
        (lambda m: m['monitor'].update(extra=1), "got unknown key 'extra'"),
    ],
)
def test_a_spoilt_manifest_is_refused(watched, tmp_path, spoil, message):
    folder = tmp_path / 'watched'
    folder.mkdir()
    for file in watched.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    spoil(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest).replace('Infinity', '1e400'))
    with pytest.raises(DpRosError, match=message):
        load_bundle(folder)


def test_another_network_in_its_place_is_refused(watched, tmp_path):
    import torch

    from dp_ros.networks.novelty import Features, Novelty
    from dp_ros.training.monitor import write_with_monitor

    bundle, width = load_bundle(watched.parent / 'tiny'), 9  # the encoder gives 8
    other = Novelty(Features(torch.zeros(width), torch.eye(width), torch.ones(width), torch.ones(())))
    with pytest.raises((RuntimeError, BundleError)):
        write_with_monitor(bundle, tmp_path / 'other', other, SPEC, record={})
    assert not (tmp_path / 'other').exists()
