"""The denoiser: shapes, conditioning, and what it refuses."""

import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from dp_ros.errors import ConfigError
from dp_ros.networks.unet1d import Unet1d


def small() -> Unet1d:
    torch.manual_seed(0)
    return Unet1d(actions=3, cond_width=5, channels=(16, 32), level_width=16)


def test_prediction_has_the_shape_of_the_chunk():
    x_k, k, cond = torch.randn(4, 8, 3), torch.tensor([0, 1, 50, 99]), torch.randn(4, 5)
    assert small()(x_k, k, cond).shape == (4, 8, 3)


def test_samples_of_a_batch_do_not_touch_each_other():
    net, x_k, cond = small().eval(), torch.randn(2, 8, 3), torch.randn(2, 5)
    k = torch.tensor([3, 70])
    alone = net(x_k[1:], k[1:], cond[1:])
    torch.testing.assert_close(net(x_k, k, cond)[1:], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('changed', ['level', 'cond'])
def test_prediction_depends_on_level_and_conditioning(changed):
    net, x_k, cond = small().eval(), torch.randn(1, 8, 3), torch.zeros(1, 5)
    other_k = torch.tensor([60]) if changed == 'level' else torch.tensor([5])
    other_cond = cond + 1 if changed == 'cond' else cond
    before = net(x_k, torch.tensor([5]), cond)
    assert (net(x_k, other_k, other_cond) - before).abs().max() > 1e-4


def test_channels_that_groups_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match=r'got \(12, 32\), allowed multiples of groups \(8\)'):
        Unet1d(actions=1, cond_width=1, channels=(12, 32))
