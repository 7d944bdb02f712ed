"""Which execution providers are taken and refused. What other builds of ONNX Runtime would say is put in its place."""

from __future__ import annotations

import sys
from typing import Any

import pytest

onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

from dp_ros.errors import ConfigError
from dp_ros.paths import locate
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.manifest import load_bundle

BUNDLE = 'models/pusht_mirror'


class Session:
    """A session as a build of ONNX Runtime with other providers would open it."""

    running = ('CPUExecutionProvider',)
    asked: Any = None

    def __init__(self, _: str, options: Any, providers: Any) -> None:
        Session.asked = providers

    def get_providers(self) -> list[str]:
        return list(self.running)


def built_with(monkeypatch: pytest.MonkeyPatch, *providers: str) -> None:
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: list(providers))
    monkeypatch.setattr(onnxruntime, 'InferenceSession', Session)


def test_a_provider_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    built_with(monkeypatch, 'OpenVINOExecutionProvider', 'CPUExecutionProvider')
    with pytest.raises(ConfigError, match=r"execution_provider: got 'cuda', allowed cpu, openvino: onnxruntime"):
        open_backend(load_bundle(locate(BUNDLE)), provider='cuda')


def test_a_provider_that_does_not_start_is_refused_though_the_processor_would_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built_with(monkeypatch, 'CUDAExecutionProvider', 'CPUExecutionProvider')
    with pytest.raises(ConfigError, match="got 'cuda', which could not be started; CPUExecutionProvider can"):
        open_backend(load_bundle(locate(BUNDLE)), provider='cuda')


def test_a_graphics_processor_is_asked_to_be_exact_and_the_processor_does_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built_with(monkeypatch, 'TensorrtExecutionProvider', 'CUDAExecutionProvider', 'CPUExecutionProvider')
    with pytest.raises(ConfigError, match='could not be started'):
        open_backend(load_bundle(locate(BUNDLE)), provider='tensorrt')
    assert Session.asked == [
        'TensorrtExecutionProvider', ('CUDAExecutionProvider', {'use_tf32': '0'}), 'CPUExecutionProvider',
    ]  # fmt: skip


def test_a_provider_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="execution_provider: got 'npu', allowed cpu, openvino, cuda, tensorrt"):
        open_backend(load_bundle(locate(BUNDLE)), provider='npu')


def test_torchscript_has_no_provider() -> None:
    with pytest.raises(ConfigError, match="execution_provider: got 'cuda', allowed cpu with backend torchscript"):
        open_backend(load_bundle(locate(BUNDLE)), backend='torchscript', provider='cuda')


def test_without_onnxruntime_the_error_names_it_and_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ConfigError, match=r'need onnxruntime.*python3-onnxruntime-pip.*pip install onnxruntime'):
        open_backend(load_bundle(locate(BUNDLE)))
