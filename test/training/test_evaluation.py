"""Evaluation in one process."""

from pathlib import Path

import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')

from dp_ros.errors import ConfigError
from dp_ros.simulation.scores import EvaluationSettings
from dp_ros.training.evaluation import evaluate_direct
from test.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'tiny')


def test_the_same_seeds_give_the_same_scores(tiny: Path) -> None:
    settings = EvaluationSettings(bundle=tiny, episodes=2, seed=3, seconds=3.0)
    first, second = evaluate_direct(settings), evaluate_direct(settings)
    assert first['scores'] == second['scores']
    assert first['chunks'] == second['chunks'] > 0


def test_an_exec_horizon_beyond_the_chunk_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r'exec_horizon: got 17, allowed 1 to pred_horizon \(16\)'):
        evaluate_direct(EvaluationSettings(bundle=tiny, episodes=1, exec_horizon=17))
