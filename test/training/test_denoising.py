"""The GIF of denoising: a panel for each sampler, at one clock; what cannot be drawn is refused."""

from __future__ import annotations

import imageio.v3 as imageio
import numpy as np
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('gym_pusht', reason='gym_pusht is not installed (extra: sim)')

from dp_ros.cli.main import main
from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.errors import ConfigError
from dp_ros.evaluation.denoising import BANNER, HEIGHT, DenoisingSettings, panels
from test.tiny_bundle import write_tiny_bundle


def test_each_panel_goes_from_noise_to_its_chunks(tmp_path, capsys):
    folder, out = write_tiny_bundle(tmp_path / 'tiny'), tmp_path / 'new' / 'out.gif'
    shown = ['--panels', 'ddpm:12', 'ddim:4', '--chunks', '3', '--every', '4']
    assert main(['denoise', str(folder), *shown, '--out', str(out)]) == 0
    assert 'out.gif: 15 frames' in capsys.readouterr().out
    frames = imageio.imread(out).astype(int)
    assert frames.shape[1:] == (HEIGHT + BANNER, 2 * HEIGHT, 3)
    # The two are as noisy at first; the second is done after 4 calls, and waits.
    right = frames[:, BANNER:, HEIGHT:]
    assert np.abs(right[0] - right[1]).max() > 50
    assert np.abs(right[1] - right[2]).max() < 50
    assert np.abs(frames[1, BANNER:, :HEIGHT] - frames[2, BANNER:, :HEIGHT]).max() > 50


def test_without_panels_it_is_all_levels_of_ddpm_beside_the_bundles_own(tmp_path):
    folder = write_tiny_bundle(tmp_path / 'tiny')
    first, second = panels(folder, None)
    assert (first.sampler, first.sampling_steps, second.sampler) == ('ddpm', 100, 'ddim')


def test_a_folder_in_place_of_a_file_is_refused_before_anything_is_drawn_or_played(tmp_path, capsys):
    folder = write_tiny_bundle(tmp_path / 'tiny')
    assert main(['denoise', str(folder), '--out', str(tmp_path)]) == 1
    assert f"got '{tmp_path}', which is a folder or lies in a file, allowed a file" in capsys.readouterr().err
    for path in (tmp_path, folder / 'bundle.json' / 'x.json'):
        with pytest.raises(SystemExit):
            main(['evaluate', str(folder), '--episodes', '1', '--json', str(path)])
        assert 'which is a folder or lies in a file' in capsys.readouterr().err


def test_what_cannot_be_drawn_is_refused(tmp_path):
    folder = write_tiny_bundle(tmp_path / 'tiny')
    with pytest.raises(ConfigError, match=r'panels: got .ddim.,'):
        panels(folder, ['ddim'])
    with pytest.raises(ConfigError, match=r'sampler: got .heun.'):
        panels(folder, ['heun:3'])
    with pytest.raises(ConfigError, match='sampling_steps: got 200, allowed 1 to diffusion_steps'):
        panels(folder, ['ddim:200'])
    with pytest.raises(ConfigError, match='panels: got'):
        panels(folder, ['ddim:²'])
    for change, words in (({'panels': ()}, 'panels: got none'), ({'at': 0.0}, 'at: got 0'), ({'chunks': 0}, 'chunks')):
        whole = {'bundle': folder, 'world': 'pusht', 'out': tmp_path / 'x.gif', 'panels': (SamplerSettings(),)}
        with pytest.raises(ConfigError, match=words):
            DenoisingSettings(**{**whole, **change})
