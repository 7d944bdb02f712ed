"""All kinds of networks and encoders: shapes, independence of a batch's samples, presets, export."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.errors import ConfigError
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.networks.resnet import ResNet18, load_weights
from dp_ros.networks.settings import PRESETS, NetworkSettings
from dp_ros.task.spec import ActionSpec, ImageStream, Instruction, JointStream, PoseStream, TaskSpec

JOINTS = JointStream(name='joints', topic='/joint_states', joints=('a', 'b'), units=('rad', 'm'))
POSE = PoseStream(name='pose', topic='/pose', features=('x', 'y', 'z'))
CAMERAS = tuple(ImageStream(name=n, topic=f'/{n}/image', height=48, width=64) for n in ('left', 'right'))
TASK = TaskSpec(
    streams=(JOINTS, POSE), action=ActionSpec(topic='/command', joints=('a', 'b'), units=('rad', 'm')), pred_horizon=8,
    exec_horizon=4,
)  # fmt: skip
SEEING = dataclasses.replace(TASK, streams=(JOINTS, *CAMERAS))
KINDS = {
    'unet': NetworkSettings(channels=(16, 32), level_width=16),
    'transformer': NetworkSettings(denoiser='transformer', width=32, layers=2, heads=2),
    'mlp': NetworkSettings(denoiser='mlp', width=64, layers=2, level_width=16),
}


def made(task: TaskSpec, settings: NetworkSettings) -> DiffusionNetwork:
    torch.manual_seed(0)
    return DiffusionNetwork(task, settings).eval()


def batch(task: TaskSpec, size: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(3, s.height, s.width) if isinstance(s, ImageStream) else s.shape for s in task.streams]
    streams = [torch.rand((size, task.obs_horizon, *shape), generator=generator) * 2 - 1 for shape in shapes]
    x_k = torch.randn((size, task.pred_horizon, 2), generator=generator)
    return x_k, torch.arange(size) * 30, *streams


@pytest.mark.parametrize('kind', list(KINDS))
@torch.no_grad()
def test_samples_of_a_batch_do_not_touch_each_other(kind):
    network, inputs = made(TASK, KINDS[kind]), batch(TASK, 3)
    whole = network(*inputs)
    assert whole.shape == (3, 8, 2)
    torch.testing.assert_close(whole[1:2], network(*(i[1:2] for i in inputs)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('kind', list(KINDS))
@pytest.mark.parametrize('changed', [0, 1, 2, 3])
@torch.no_grad()
def test_every_input_bears_on_the_prediction(kind, changed):
    network, inputs = made(TASK, KINDS[kind]), list(batch(TASK, 1))
    before = network(*inputs)
    inputs[changed] = inputs[changed] + 1
    assert (network(*inputs) - before).abs().max() > 1e-5


@torch.no_grad()
def test_in_the_transformer_an_action_does_not_see_later_ones():
    network, (x_k, *rest) = made(TASK, KINDS['transformer']), batch(TASK, 1)
    later = x_k.clone()
    later[:, 5:] += 1
    difference = (network(later, *rest) - network(x_k, *rest)).abs().amax(dim=(0, 2))
    assert difference[:5].max() < 1e-6 < difference[5]


def test_a_token_for_each_observation_holds_all_streams_of_its_time():
    network = made(TASK, KINDS['transformer'])
    joints, pose = torch.tensor([[[1.0, 2], [11, 12]]]), torch.tensor([[[3.0, 4, 5], [13, 14, 15]]])
    tokens = network.encoder(joints, pose)[:, network.encoder.columns]
    np.testing.assert_array_equal(tokens[0].numpy(), [[1, 2, 3, 4, 5], [11, 12, 13, 14, 15]])


@pytest.mark.parametrize('camera', ['light', 'resnet18'])
@pytest.mark.parametrize('shared', [True, False])
@torch.no_grad()
def test_cameras_have_an_encoder_each_or_share_one(camera, shared):
    settings = dataclasses.replace(KINDS['unet'], camera=camera, camera_shared=shared)
    network, inputs = made(SEEING, settings), batch(SEEING, 1)
    assert network(*inputs).shape == (1, 8, 2)
    encoders = network.encoder.cameras
    assert (encoders['left'] is encoders['right']) == shared
    swapped = network.encoder(inputs[2], inputs[4], inputs[3])
    same = torch.allclose(swapped[:, 4:132], network.encoder(*inputs[2:])[:, 132:], atol=1e-6)
    assert same == shared


@torch.no_grad()
def test_a_goal_scales_what_cameras_see():
    asked = dataclasses.replace(SEEING, goals=(Instruction(),))
    plain, scaled = (
        made(asked, dataclasses.replace(KINDS['unet'], camera_goal=on, goal_width=8)).encoder for on in (False, True)
    )
    *streams, words = *batch(asked, 2)[2:], torch.randn((2, 256), generator=torch.Generator().manual_seed(2))
    seen = slice(4, 4 + 2 * 2 * 64)
    difference = scaled(*streams, words) - scaled(*streams, words.flip(0))
    assert difference[:, :4].abs().max() == 0.0 and (difference[:, seen].abs().amax(dim=0) > 0.0).all()
    for name, camera in plain.cameras.items():
        scaled.cameras[name].load_state_dict(camera.state_dict(), strict=False)
        torch.nn.init.zeros_(scaled.cameras[name].film.weight)
    torch.testing.assert_close(scaled(*streams, words)[:, seen], plain(*streams, words)[:, seen])
    one = scaled(*(stream[1:] for stream in streams), words[1:])
    torch.testing.assert_close(one, scaled(*streams, words)[1:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_goal_that_is_left_out_scales_nothing():
    asked = dataclasses.replace(SEEING, goals=(Instruction(),), guidance='goal')
    encoder = made(asked, dataclasses.replace(KINDS['unet'], camera_goal=True, goal_mixing=16)).encoder
    *streams, words = *batch(asked, 2)[2:], torch.randn((2, 256), generator=torch.Generator().manual_seed(2))
    left_out = encoder(*streams, words, torch.zeros((2, 1)))
    torch.testing.assert_close(left_out, encoder(*streams, words.flip(0), torch.zeros((2, 1))))
    given = [encoder(*streams, goal, torch.ones((2, 1))) for goal in (words, words.flip(0))]
    assert not torch.allclose(given[0], given[1]) and not torch.allclose(given[0], left_out)


def test_cameras_are_scaled_by_no_goal_that_is_not_there_nor_left_out_themselves():
    scaled = dataclasses.replace(KINDS['unet'], camera_goal=True)
    with pytest.raises(ConfigError, match=r'camera_goal: got it for a task with no goals, allowed with goals'):
        made(SEEING, scaled)
    with pytest.raises(ConfigError, match=r"network.camera_goal: got it for a task with guidance 'observation'"):
        made(dataclasses.replace(SEEING, goals=(Instruction(),), guidance='observation'), scaled)
    with pytest.raises(ConfigError, match=r'network.goal_mixing: got it for a task with no goals'):
        made(SEEING, dataclasses.replace(KINDS['unet'], goal_mixing=8))


@torch.no_grad()
def test_goals_are_multiplied_with_what_is_observed():
    asked = dataclasses.replace(TASK, goals=(Instruction(),))
    plain, mixed = (made(asked, dataclasses.replace(KINDS['unet'], goal_mixing=n)).encoder for n in (0, 16))
    *streams, words = *batch(asked, 2)[2:], torch.randn((2, 256), generator=torch.Generator().manual_seed(2))

    def product(encoder):
        """Return what observation and goal do together beyond the sum of what each does."""
        values = [[encoder(*(s[i : i + 1] for s in streams), words[j : j + 1]) for j in (0, 1)] for i in (0, 1)]
        return (values[0][0] - values[0][1] - values[1][0] + values[1][1]).abs()

    assert product(plain).max() < 1e-6 < product(mixed).min()


def test_presets_have_the_sizes_that_they_say():
    for preset, low, high in (('tiny', 0.9e6, 1.5e6), ('small', 4e6, 5e6), ('base', 15e6, 19e6)):
        network = DiffusionNetwork(TASK, NetworkSettings(preset=preset))
        assert low < sum(p.numel() for p in network.parameters()) < high
    with torch.device('meta'):
        for preset, low, high in (('paper', 60e6, 70e6), ('paper_image', 235e6, 265e6)):
            network = DiffusionNetwork(TASK, NetworkSettings(preset=preset))
            assert low < sum(p.numel() for p in network.denoiser.parameters()) < high


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'preset': 'huge'}, "network.preset: got 'huge', allowed '', tiny, small"),
        ({'preset': 'tiny', 'denoiser': 'mlp'}, "network.preset: got 'tiny' with denoiser 'mlp', allowed unet"),
        ({'preset': 'tiny', 'channels': (8, 16)}, "network: got preset 'tiny' and channels, allowed one or the other"),
        ({'width': 30, 'heads': 4}, r'network.width: got 30, allowed multiples of 2 \* heads \(8\)'),
        ({'layers': 0}, 'network.layers: got 0'),
        ({'dropout': 1.0}, 'network.dropout: got 1.0'),
        ({'level_width': 5}, 'network.level_width: got 5'),
        ({'heads': 2}, "network: got heads, which denoiser 'unet' does not use; allowed channels, level_width, kernel"),
        ({'denoiser': 'mlp', 'dropout': 0.2, 'groups': 4}, 'got dropout, groups, which denoiser'),
        ({'camera_goal': True, 'camera': 'resnet18'}, "network.camera_goal: got true for camera 'resnet18'"),
        ({'goal_mixing': 8, 'denoiser': 'transformer'}, "network.goal_mixing: got 8 with denoiser 'transformer'"),
        ({'goal_mixing': -1}, 'network.goal_mixing: got -1'),
        ({'camera_weights': 'x.pt'}, "network.camera_weights: got some for camera 'light'"),
    ],
)
def test_settings_that_make_no_network_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        NetworkSettings(**wrong)


def test_a_preset_can_be_read_back_from_what_it_became():
    settings = NetworkSettings(preset='base')
    assert settings.channels == PRESETS['base']['channels']
    assert NetworkSettings(**dataclasses.asdict(settings)) == settings


def test_pretrained_weights_are_read_from_a_file_and_wrong_ones_named(tmp_path):
    torch.manual_seed(1)
    source, target = ResNet18(), ResNet18()
    weights = {name: value for name, value in source.state_dict().items() if not name.startswith('head.')}
    weights |= {'fc.weight': torch.zeros(1000, 512), 'bn1.running_mean': torch.zeros(64)}  # torchvision's has them
    torch.save(weights, tmp_path / 'resnet18.pt')
    load_weights(target, tmp_path / 'resnet18.pt')
    name = 'layer4.1.conv2.weight'
    torch.testing.assert_close(target.state_dict()[name], source.state_dict()[name])
    del weights['layer3.0.conv1.weight']
    torch.save(weights, tmp_path / 'lacking.pt')
    with pytest.raises(ConfigError, match=r'lacks layer3\.0\.conv1\.weight'):
        load_weights(target, tmp_path / 'lacking.pt')
    (tmp_path / 'broken.pt').write_bytes(b'no')
    with pytest.raises(ConfigError, match='cannot be read'):
        load_weights(target, tmp_path / 'broken.pt')
