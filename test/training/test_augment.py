"""Pictures changed at random: alike within a window, otherwise from window to window, and within their range."""

from __future__ import annotations

import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch

from dp_ros.errors import ConfigError
from dp_ros.training.samples.augment import AugmentSettings, augment, disturbed

KINDS = [{'shift': 3}, {'brightness': 0.4}, {'contrast': 0.4}, {'saturation': 0.6}, {'blur': 1.5}]


def images() -> torch.Tensor:
    one = torch.rand((1, 1, 3, 20, 24), generator=torch.Generator().manual_seed(0)) * 2 - 1
    return one.expand(4, 2, 3, 20, 24).clone()


def changed(seed: int = 0, **settings) -> torch.Tensor:
    return augment(images(), AugmentSettings(**settings), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('settings', KINDS)
def test_a_windows_pictures_are_changed_alike_and_windows_differ(settings):
    after = changed(**settings)
    assert after.shape == images().shape
    torch.testing.assert_close(after[:, 0], after[:, 1])
    assert (after[0] - after[1]).abs().max() > 1e-3
    assert (after - images()).abs().max() > 1e-2
    assert after.min() >= -1 - 1e-5 and after.max() <= 1 + 1e-5


@pytest.mark.parametrize('settings', KINDS)
def test_the_seed_decides(settings):
    torch.testing.assert_close(changed(**settings), changed(**settings))
    assert (changed(1, **settings) - changed(2, **settings)).abs().max() > 1e-3


def test_nothing_asked_for_changes_nothing():
    torch.testing.assert_close(changed(), images())


def test_vectors_get_noise_of_their_own_as_large_as_asked():
    vectors, settings = torch.zeros(64, 2, 50), AugmentSettings(noise=0.1)
    noise = disturbed(vectors, settings, torch.Generator().manual_seed(0))
    assert noise.std() == pytest.approx(0.1, rel=0.03) and noise.mean() == pytest.approx(0.0, abs=0.01)
    assert len(noise.unique()) > 0.9 * noise.numel()
    torch.testing.assert_close(noise, disturbed(vectors, settings, torch.Generator().manual_seed(0)))
    assert disturbed(vectors, AugmentSettings(blur=1.0), torch.Generator()) is vectors


def test_a_shift_moves_pixels_by_whole_places():
    before, after = images()[0, 0], changed(shift=2)[0, 0]
    inner = after[:, 2:-2, 2:-2]
    found = [(y, x) for y in range(5) for x in range(5) if torch.equal(inner, before[:, y : y + 16, x : x + 20])]
    assert len(found) == 1


def test_a_blur_keeps_flat_surfaces_and_softens_edges():
    flat = torch.full((1, 1, 3, 16, 16), 0.3)
    settings, generator = AugmentSettings(blur=3.0), torch.Generator().manual_seed(0)
    torch.testing.assert_close(augment(flat, settings, generator), flat)
    edge = flat.clone()
    edge[..., 8:] = -0.5
    soft = augment(edge, settings, generator)
    assert (soft[..., 1:] - soft[..., :-1]).abs().max() < 0.6 * 0.8
    torch.testing.assert_close(soft[..., 0, :], soft[..., 15, :])


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'shift': -1}, 'augment.shift: got -1, allowed 0 to 64'),
        ({'blur': 11.0}, 'augment.blur: got 11.0, allowed 0 to 10'),
    ],
)
def test_changes_beyond_reason_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        AugmentSettings(**wrong)
