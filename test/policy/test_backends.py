from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from dp_ros.errors import BundleError, ConfigError
from dp_ros.policy.backends.sessions import OnnxRuntime, open_backend
from dp_ros.policy.bundle.manifest import load_bundle

BACKENDS = ('onnxruntime', 'torchscript')


def edited(content, edit):
    """Return an ONNX model after ``edit(model)``."""
    onnx = pytest.importorskip('onnx', reason='onnx edits the graph')
    model = onnx.load_from_string(content)
    edit(model)
    return model.SerializeToString()


def with_network(tiny, folder, file, content):
    """Return a bundle with one network replaced; its hashes are right."""
    networks, _ = tiny.tiny_networks(tiny.TASK)
    return load_bundle(tiny.write_tiny_bundle(folder, networks={**networks, file: content}))


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('threads', [1, 2])
def test_it_reproduces_what_was_recorded(original, backend, threads):
    bundle = load_bundle(original)
    opened, parity = open_backend(bundle, backend=backend, threads=threads), bundle.parity()
    np.testing.assert_allclose(opened.encode(parity.inputs), parity.cond, atol=1e-6)
    np.testing.assert_allclose(opened.predict(parity.x_k, parity.k, parity.cond), parity.prediction, atol=1e-6)


def test_backends_agree_at_batches_that_were_not_recorded(original):
    bundle = load_bundle(original)
    onnxruntime, torchscript = (open_backend(bundle, backend=name) for name in BACKENDS)
    rng = np.random.default_rng(0)
    for batch in (1, 5):
        x_k = rng.standard_normal((batch, 16, 2), dtype=np.float32)
        k = rng.integers(100, size=batch)
        cond = rng.standard_normal((batch, 8), dtype=np.float32)
        np.testing.assert_allclose(onnxruntime.predict(x_k, k, cond), torchscript.predict(x_k, k, cond), atol=1e-5)


def test_streams_may_come_in_any_order(original):
    bundle = load_bundle(original)
    parity = bundle.parity()
    turned = dict(reversed(list(parity.inputs.items())))
    for backend in BACKENDS:
        np.testing.assert_allclose(open_backend(bundle, backend=backend).encode(turned), parity.cond, atol=1e-6)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('what', ['cond', 'prediction'])
def test_a_difference_from_what_was_recorded_is_refused_with_its_size(tiny, tmp_path, backend, what):
    networks, parity = tiny.tiny_networks(tiny.TASK, torchscript=True)
    shift = np.zeros_like(getattr(parity, what))
    shift.flat[-1] = 1e-3
    shifted = dataclasses.replace(parity, **{what: getattr(parity, what) + shift})
    tiny.write_tiny_bundle(tmp_path / 'tiny', networks=networks, parity=shifted)
    with pytest.raises(
        BundleError, match=f'{what} by {backend}: got a difference of 0.001 from .*, allowed up to 0.0001'
    ):
        open_backend(load_bundle(tmp_path / 'tiny'), backend=backend)


def test_a_difference_within_tolerance_is_let_pass(tiny, tmp_path):
    _, parity = tiny.tiny_networks(tiny.TASK)
    tiny.write_tiny_bundle(tmp_path / 'tiny', parity=dataclasses.replace(parity, prediction=parity.prediction + 5e-5))
    open_backend(load_bundle(tmp_path / 'tiny'))


def test_a_network_of_another_task_is_refused_by_its_input_names(tiny, tmp_path):
    renamed = dataclasses.replace(tiny.TASK.streams[0], name='gripper')
    networks, _ = tiny.tiny_networks(dataclasses.replace(tiny.TASK, streams=(renamed, tiny.TASK.streams[1])))
    bundle = with_network(tiny, tmp_path / 'tiny', 'encoder.onnx', networks['encoder.onnx'])
    with pytest.raises(
        BundleError, match='got inputs block_pose, gripper, allowed block_pose, joint_states'
    ) as refusal:
        open_backend(bundle)
    assert str(tmp_path / 'tiny' / 'encoder.onnx') in str(refusal.value)


@pytest.mark.parametrize(
    ('file', 'horizons', 'message'),
    [
        (
            'encoder.onnx',
            {'obs_horizon': 3},
            r"input 'joint_states': got shape \(batch, 3, 2\), allowed \(batch, 2, 2\)",
        ),
        ('denoiser.onnx', {'pred_horizon': 8}, r"input 'x_k': got shape \(batch, 8, 2\), allowed \(batch, 16, 2\)"),
    ],
)
def test_a_network_of_another_task_is_refused_by_its_input_shapes(tiny, tmp_path, file, horizons, message):
    networks, _ = tiny.tiny_networks(dataclasses.replace(tiny.TASK, **horizons))
    bundle = with_network(tiny, tmp_path / 'tiny', file, networks[file])
    with pytest.raises(BundleError, match=f'{file}: {message}'):
        open_backend(bundle)


def test_a_denoiser_for_another_width_of_cond_is_refused(tiny, tmp_path):
    networks, _ = tiny.tiny_networks(tiny.TASK, width=9)
    bundle = with_network(tiny, tmp_path / 'tiny', 'denoiser.onnx', networks['denoiser.onnx'])
    with pytest.raises(BundleError, match=r"input 'cond': got shape \(batch, 9\), allowed \(batch, 8\)"):
        open_backend(bundle)


def test_levels_of_another_type_are_refused(tiny, tmp_path):
    def to_int32(model):
        model.graph.input[1].type.tensor_type.elem_type = 6

    networks, _ = tiny.tiny_networks(tiny.TASK)
    bundle = with_network(tiny, tmp_path / 'tiny', 'denoiser.onnx', edited(networks['denoiser.onnx'], to_int32))
    with pytest.raises(BundleError, match=r"input 'k': got tensor\(int32\), allowed tensor\(int64\)"):
        open_backend(bundle)


def test_an_output_of_another_name_is_refused(tiny, tmp_path):
    def rename(model):
        old = model.graph.output[0].name
        model.graph.output[0].name = 'noise'
        for node in model.graph.node:
            node.output[:] = ['noise' if name == old else name for name in node.output]

    networks, _ = tiny.tiny_networks(tiny.TASK)
    bundle = with_network(tiny, tmp_path / 'tiny', 'denoiser.onnx', edited(networks['denoiser.onnx'], rename))
    with pytest.raises(BundleError, match=r'denoiser.onnx: got outputs noise, allowed prediction'):
        open_backend(bundle)


def test_a_batch_that_is_not_free_is_refused(tiny, tmp_path):
    def fix_batch(model):
        for value in model.graph.input:
            value.type.tensor_type.shape.dim[0].dim_value = 2

    networks, _ = tiny.tiny_networks(tiny.TASK)
    bundle = with_network(tiny, tmp_path / 'tiny', 'denoiser.onnx', edited(networks['denoiser.onnx'], fix_batch))
    with pytest.raises(BundleError, match=r'(?s)bundle tiny: onnxruntime cannot run it \(.*Got: 1 Expected: 2'):
        open_backend(bundle)


@pytest.mark.parametrize('backend', BACKENDS)
def test_a_file_that_is_no_network_is_refused(tiny, tmp_path, backend):
    networks, _ = tiny.tiny_networks(tiny.TASK, torchscript=True)
    file = 'denoiser.onnx' if backend == 'onnxruntime' else 'denoiser.ts'
    tiny.write_tiny_bundle(tmp_path / 'tiny', networks={**networks, file: b'something else'})
    with pytest.raises(BundleError, match=f'{file}: cannot be loaded'):
        open_backend(load_bundle(tmp_path / 'tiny'), backend=backend)


def test_torchscript_needs_its_twins(tiny, tmp_path):
    bundle = load_bundle(tiny.write_tiny_bundle(tmp_path / 'tiny'))
    with pytest.raises(
        BundleError, match="got 'torchscript', but the bundle was exported without it; allowed onnxruntime"
    ):
        open_backend(bundle, backend='torchscript')


def test_torchscript_needs_torch(original, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch', None)
    with pytest.raises(ConfigError, match='torch is not installed; allowed onnxruntime'):
        open_backend(load_bundle(original), backend='torchscript')


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'backend': 'tensorrt'}, "backend: got 'tensorrt', allowed onnxruntime, torchscript"),
        ({'threads': 0}, 'threads: got 0, allowed 1 to 64'),
        ({'threads': 65}, 'threads: got 65, allowed 1 to 64'),
    ],
)
def test_a_backend_that_does_not_exist_is_refused(original, wrong, message):
    with pytest.raises(ConfigError, match=message):
        open_backend(load_bundle(original), **wrong)


def test_onnx_runtime_has_the_threads_asked_for_and_they_do_not_spin(original):
    opened = OnnxRuntime(load_bundle(original), threads=2)
    for session in (opened.encoder, opened.denoiser):
        options = session.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
        assert options.get_session_config_entry('session.intra_op.allow_spinning') == '0'


def test_an_output_of_another_shape_is_refused(tiny, tmp_path):
    networks, parity = tiny.tiny_networks(tiny.TASK, torchscript=True)
    wide, _ = tiny.tiny_networks(tiny.TASK, torchscript=True, width=9)
    mixed = {**networks, 'encoder.ts': wide['encoder.ts']}
    bundle = load_bundle(tiny.write_tiny_bundle(tmp_path / 'tiny', networks=mixed, parity=parity))
    with pytest.raises(BundleError, match=r'bundle tiny: cond: got shape \(2, 9\), allowed \(2, 8\)'):
        open_backend(bundle, backend='torchscript')
