"""The bundles in models/: whole, small, and as good as they are said to be."""

from pathlib import Path

import numpy as np
import pytest

from dp_ros.evaluation.scores import EvaluationSettings
from dp_ros.paths import share_folder
from dp_ros.policy.bundle.bundle import WEIGHTS
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.simulation.registry import check_world, world_names, world_spec

BUNDLES = sorted(p.parent for p in (share_folder() / 'models').glob('*/bundle.json'))


@pytest.mark.parametrize('world', [name for name in world_names() if world_spec(name).bundle])
def test_there_is_a_bundle_for_each_demo(world: str) -> None:
    spec = world_spec(world)
    settings = EvaluationSettings(
        world=world, through='ros', bundle=share_folder() / spec.bundle, policy_speed=spec.policy_speed
    )
    bundle = settings.load()
    check_world(world, bundle.task, bundle.name)


@pytest.mark.parametrize('folder', BUNDLES, ids=lambda p: p.name)
def test_a_shipped_bundle_is_whole_and_small(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.name == folder.name
    sizes = {f: bundle.path(f).stat().st_size for f in bundle.files}
    weights = sizes.pop(WEIGHTS, 0)
    assert sum(sizes.values()) <= 10_000_000, 'what a robot reads'
    assert weights <= 11_000_000


@pytest.mark.parametrize('folder', [f for f in BUNDLES if (f / WEIGHTS).exists()], ids=lambda p: p.name)
def test_a_shipped_bundle_with_weights_can_be_trained_further(folder: Path) -> None:
    pytest.importorskip('torch', reason='torch is not installed (extra: train)')
    import torch

    from dp_ros.networks.prepared import PreparedNetwork
    from dp_ros.training.run_folder import load_network

    settings, network, _, _ = load_network(folder)
    if load_bundle(folder).family == 'sequence':
        return  # reading its weights has compared the logits
    parity = load_bundle(folder).parity()
    prepared = PreparedNetwork(network, levels=settings.objective.diffusion_steps, pred_horizon=16)
    inputs = [torch.from_numpy(values) for values in parity.inputs.values()]
    np.testing.assert_allclose(prepared.encoder(*inputs).detach(), parity.cond, atol=1e-6)


@pytest.mark.slow
def test_the_pusht_policy_solves_the_benchmark() -> None:
    """On ten of the seeds that it is evaluated on, with a wide margin: what is tested is the way, not the score."""
    pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')
    from dp_ros.evaluation.episodes import evaluate_direct

    summary = evaluate_direct(EvaluationSettings(bundle=share_folder() / 'models/pusht_mirror', episodes=10))
    assert isinstance(summary['mean_score'], float)
    assert summary['mean_score'] > 0.85
