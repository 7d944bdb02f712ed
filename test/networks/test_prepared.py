"""What is computed beforehand changes nothing that comes out."""

from __future__ import annotations

import pytest
import torch

from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.networks.prepared import PreparedNetwork
from dp_ros.networks.settings import NetworkSettings
from dp_ros.task.spec import ActionSpec, JointStream, TaskSpec

LEVELS = 20
TASK = TaskSpec(
    streams=(JointStream(name='joints', topic='/joint_states', joints=('a', 'b'), units=('rad', 'm')),),
    action=ActionSpec(topic='/command', joints=('a', 'b'), units=('rad', 'm')),
)
SIZES = NetworkSettings(channels=(16, 32, 64), level_width=16)


def both(
    settings: NetworkSettings = SIZES, marks: int = 0, outputs: int = 1
) -> tuple[DiffusionNetwork, PreparedNetwork]:
    torch.manual_seed(0)
    network = DiffusionNetwork(TASK, settings, mask_channels=marks, outputs=outputs).eval()
    return network, PreparedNetwork(network, levels=LEVELS, pred_horizon=TASK.pred_horizon).eval()


@torch.no_grad()
@pytest.mark.parametrize(('marks', 'outputs'), [(0, 1), (1, 1), (0, 2)])
@pytest.mark.parametrize('batch', [1, 5])
@pytest.mark.parametrize('reach', [1.0, 30.0])
def test_the_prepared_unet_predicts_what_the_trained_one_does(batch, marks, outputs, reach):
    network, prepared = both(marks=marks, outputs=outputs)
    for parameter in network.denoiser.parameters():
        parameter.mul_(1.0 + reach / 10)  # activations far from 0 too
    prepared = PreparedNetwork(network, levels=LEVELS, pred_horizon=TASK.pred_horizon)
    joints = reach * torch.randn(batch, TASK.obs_horizon, 2)
    x_k, k = reach * torch.randn(batch, TASK.pred_horizon, 2 + marks), torch.randint(0, LEVELS, (batch,))
    expected = network(x_k, k, joints)
    got = prepared.denoiser(x_k, k, prepared.encoder(joints))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
def test_every_level_has_its_row():
    network, prepared = both()
    k, joints = torch.arange(LEVELS), torch.randn(1, TASK.obs_horizon, 2).expand(LEVELS, -1, -1)
    x_k = torch.randn(1, TASK.pred_horizon, 2).expand(LEVELS, -1, -1)
    got = prepared.denoiser(x_k, k, prepared.encoder(joints))
    torch.testing.assert_close(got, network(x_k, k, joints), rtol=1e-4, atol=1e-5)
    assert len(torch.unique(got[:, 0, 0])) == LEVELS


@pytest.mark.parametrize('kind', ['transformer', 'mlp'])
def test_other_denoisers_are_left_alone(kind):
    network, prepared = both(NetworkSettings(denoiser=kind, width=32, layers=1))
    assert prepared.encoder is network.encoder and prepared.denoiser is network.denoiser


def test_the_trained_network_stays_as_it_was():
    network, _ = both()
    torch.manual_seed(0)
    untouched = DiffusionNetwork(TASK, SIZES)
    for name, value in untouched.state_dict().items():
        assert torch.equal(network.state_dict()[name], value)
    assert all(parameter.requires_grad for parameter in network.parameters())
