"""Large weights in 8 bits: what is replaced, how far it is from the network, and how a bundle says so."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

pytest.importorskip('torch', reason='torch is not installed (extra: train)')
import torch
from torch import nn

from dp_ros.errors import BundleError, ConfigError
from dp_ros.networks.settings import NetworkSettings
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.bundle import TOLERANCE
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.bundle.parity import Parity
from dp_ros.training.export.export import INT8_TOLERANCE, export_network
from dp_ros.training.export.quantize import QUANTIZED_FROM, block_quantized, quantize
from dp_ros.training.run_folder import make_network
from test.tiny_bundle import NORMALIZER
from test.training.test_trainer import SETTINGS

SIZES = {
    'unet': NetworkSettings(channels=(32, 128), level_width=32),
    'mlp': NetworkSettings(denoiser='mlp', width=512, layers=2, level_width=32),
    'transformer': NetworkSettings(denoiser='transformer', width=192, layers=1, heads=2),
}


def as_onnx(module: nn.Module, *inputs: torch.Tensor) -> bytes:
    """Return a module as ONNX whose batch may have any size."""
    buffer, names = io.BytesIO(), [f'x{i}' for i in range(len(inputs))]
    axes = {name: {0: 'batch'} for name in (*names, 'y')}
    torch.onnx.export(
        module.eval(), inputs, buffer, input_names=names, output_names=['y'], dynamic_axes=axes, dynamo=False
    )
    return buffer.getvalue()


def run(model: bytes, *inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model)
    output: np.ndarray = session.run(None, {i.name: x for i, x in zip(session.get_inputs(), inputs, strict=True)})[0]
    return output


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


@pytest.mark.parametrize('block', [32, 128])
def test_a_weight_is_a_number_times_its_block_s_scale(block: int) -> None:
    rows = np.random.default_rng(0).standard_normal((3, 256)) * np.geomspace(1e-6, 1e3, 256)
    rows[1, :block] = 0.0
    numbers, scales = block_quantized(rows, block)
    back = (numbers.astype(float) - 128) * scales.reshape(3, -1, 1)
    most = np.abs(rows.reshape(numbers.shape)).max(axis=-1, keepdims=True)
    assert (np.abs(back - rows.reshape(numbers.shape)) <= most / 253).all()
    assert not back.reshape(rows.shape)[1, :block].any()


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize(('channels', 'kernel', 'length'), [((128, 128), 5, 4), ((128, 192), 3, 1), ((96, 256), 7, 9)])
@torch.no_grad()
def test_a_convolution_is_the_same_product(channels: tuple[int, int], kernel: int, length: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Conv1d(*channels, kernel, padding=kernel // 2, bias=bias)
    x = torch.randn(3, channels[0], length)
    model = quantize(as_onnx(layer, x))
    assert 'Conv' not in operators(model) and operators(model).count('MatMulNBits') == 1
    expected = layer(x).numpy()
    for count in (1, 3):
        np.testing.assert_allclose(run(model, x[:count].numpy()), expected[:count], atol=0.02)


@torch.no_grad()
def test_a_linear_layer_is_the_same_product() -> None:
    torch.manual_seed(0)
    for layer, x in (
        (nn.Linear(256, 512), torch.randn(3, 256)),
        (nn.Linear(256, 512, bias=False), torch.randn(3, 5, 256)),
    ):
        model = quantize(as_onnx(layer, x))
        assert 'MatMulNBits' in operators(model)
        np.testing.assert_allclose(run(model, x.numpy()), layer(x).numpy(), atol=0.02)


@pytest.mark.parametrize(
    ('layer', 'shape'),
    [
        (nn.Conv1d(128, 128, 3, stride=2, padding=1), (2, 128, 8)),
        (nn.Conv1d(128, 128, 5), (2, 128, 8)),
        (nn.Conv1d(128, 128, 5, padding=4, dilation=2), (2, 128, 8)),
        (nn.Conv1d(512, 512, 5, padding=2, groups=2), (2, 512, 8)),
        (nn.Conv1d(128, 128, 4, padding=2), (2, 128, 8)),
        (nn.ConvTranspose1d(128, 128, 4, stride=2, padding=1), (2, 128, 8)),
        (nn.Conv1d(64, 64, 5, padding=2), (2, 64, 8)),  # too small to gain
        (nn.Linear(300, 512), (2, 300)),  # rows that no block divides
    ],
)
def test_what_is_no_such_product_is_left_alone(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    before = as_onnx(layer, x)
    after = quantize(before)
    assert operators(after) == operators(before)
    np.testing.assert_array_equal(run(after, x.numpy()), run(before, x.numpy()))


def test_a_convolution_that_says_nothing_of_its_padding_has_none_and_is_left_alone() -> None:
    model = onnx.load_from_string(as_onnx(nn.Conv1d(128, 128, 5), torch.randn(2, 128, 8)))
    (node,) = model.graph.node
    kept = [a for a in node.attribute if a.name == 'kernel_shape']
    del node.attribute[:]
    node.attribute.extend(kept)
    assert operators(quantize(model.SerializeToString())) == ['Conv']


def test_a_network_s_weights_that_may_be_any_at_run_time_are_left_alone() -> None:
    class Product(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x @ y

    x, y = torch.randn(2, 4, 512), torch.randn(2, 512, 512)
    assert QUANTIZED_FROM < 512 * 512
    assert 'MatMulNBits' not in operators(quantize(as_onnx(Product(), x, y)))


@pytest.fixture(scope='module', params=list(SIZES))
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    settings = dataclasses.replace(SETTINGS, network=SIZES[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    task = settings.task
    low = {name: (-1.0,) * len(NORMALIZER.low['action']) for name in ('joints', 'action')}
    normalizer = dataclasses.replace(NORMALIZER, low=low, high={n: (1.0,) * len(v) for n, v in low.items()})
    assert len(task.action.joints) == 2
    for weights in ('float16', 'int8'):
        torch.manual_seed(0)
        network = make_network(settings).eval()
        export_network(
            settings, network, normalizer, folder / weights, weights=weights, provenance={}, name=f'tiny_{weights}'
        )
    return folder / 'float16', folder / 'int8'


def test_a_bundle_in_8_bits_is_smaller_close_to_the_network_and_says_how_close(folders: tuple[Path, Path]) -> None:
    whole, small = (load_bundle(folder) for folder in folders)
    assert (whole.tolerance, small.tolerance) == (TOLERANCE, INT8_TOLERANCE)
    assert (whole.name, small.name) == ('tiny_float16', 'tiny_int8')
    sizes = [b.path('denoiser.onnx').stat().st_size for b in (whole, small)]
    assert sizes[1] < 0.85 * sizes[0]
    assert 'MatMulNBits' in operators(small.path('denoiser.onnx').read_bytes())
    parity = small.parity()
    got = open_backend(small).predict(parity.x_k, parity.k, parity.cond)
    difference = np.abs(got - parity.prediction).max()
    assert 1e-6 < difference < INT8_TOLERANCE


def test_beyond_its_tolerance_a_bundle_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    small = load_bundle(folders[1])
    parity = small.parity()
    wrong = Parity(
        inputs=parity.inputs, cond=parity.cond, x_k=parity.x_k, k=parity.k, prediction=parity.prediction + 0.2
    )
    object.__setattr__(small, 'parity', lambda: wrong)
    with pytest.raises(BundleError, match=r'prediction by onnxruntime: got a difference .* allowed up to 0.05'):
        open_backend(small)


@pytest.mark.parametrize('tolerance', [0.0, -1.0, 0.06, float('nan')])
def test_a_bundle_may_not_allow_itself_any_difference(folders: tuple[Path, Path], tolerance: float) -> None:
    manifest = json.loads((folders[1] / 'bundle.json').read_text())
    with pytest.raises(BundleError, match=r'tolerance: got \S+, allowed more than 0, up to 0.05'):
        dataclasses.replace(load_bundle(folders[1]), tolerance=tolerance)
    assert manifest['tolerance'] == INT8_TOLERANCE


def test_torchscript_knows_no_8_bits(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, network=SIZES['mlp'])
    with pytest.raises(ConfigError, match="weights: got 'int8' with torchscript, allowed without"):
        network, folder = make_network(settings), tmp_path / 'b'
        export_network(settings, network, NORMALIZER, folder, weights='int8', torchscript=True, provenance={})
    assert not (tmp_path / 'b').exists()
