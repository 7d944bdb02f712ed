"""A sequence model in the node policy_executor: its own parameters are live, those of diffusion are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from dp_ros import Policy
from dp_ros.errors import ConfigError
from dp_ros.nodes.policy_executor.inference_settings import PARAMETERS, make_settings
from test.nodes.test_policy_executor import Live
from test.tiny_bundle import write_tiny_bundle, write_tiny_sequence

VALUES = {p.name: p.default for p in PARAMETERS} | {'exec_horizon': 2}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_sequence(tmp_path_factory.mktemp('bundles') / 'tiny'))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'sampler': 'ddim', 'warm_steps': 2}, 'sampler, warm_steps: got for bundle tiny of family sequence'),
        ({'anytime': True}, 'anytime: got for bundle tiny'),
        ({'continuity': 'rtc'}, "continuity: got 'rtc' for bundle tiny of family sequence"),
        ({'asked_return': 3.0}, 'asked_return: got 3, allowed -20 to 0'),
    ],
)
def test_parameters_that_do_not_fit_are_refused(folder: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_settings(Policy.load(folder), VALUES | changes)


def test_a_diffusion_policy_refuses_what_is_asked_of_a_sequence_model(tmp_path) -> None:
    policy = Policy.load(write_tiny_bundle(tmp_path / 'other'))
    with pytest.raises(ConfigError, match='beams, keep_clear: got for bundle other of family diffusion'):
        make_settings(policy, VALUES | {'beams': 3, 'keep_clear': ['block_pose:0.1']})


def test_the_node_plans_with_the_return_that_is_asked_for_now(ros: Any, folder: str) -> None:
    live = Live(ros, folder, exec_horizon=2, temperature=0.0)
    for tick in (1, 2):
        live.send(tick)
    policy = Policy.load(folder, temperature=0.0)
    first = live.wait_for(1)[0]
    np.testing.assert_allclose(first.actions, policy.chunk(live.window(2)).actions, atol=1e-6)
    (refused,) = live.set(asked_return=5.0)
    assert not refused.successful and 'asked_return: got 5, allowed -20 to 0' in refused.reason
    (accepted,) = live.set(asked_return=-12.0)
    assert accepted.successful
    for tick in (3, 4):
        live.send(tick)
    second = live.wait_for(2)[1]
    rewards = policy.chunk(live.window(2)).rewards
    assert rewards is not None
    gained = float(rewards[:2].sum())
    asked = policy.with_settings(asked_return=-12.0)
    np.testing.assert_allclose(second.actions, asked.chunk(live.window(4), gained=gained).actions, atol=1e-6)
    assert not np.allclose(second.actions, policy.chunk(live.window(4)).actions)
