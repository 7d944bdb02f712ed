"""ONNX Runtime's execution providers: what computes a network. Only those that this machine has can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, get_args

from dp_ros.errors import ConfigError, check_choice, listed

ProviderName = Literal['cpu', 'openvino', 'cuda', 'tensorrt']
PROVIDERS: Mapping[str, str] = {
    'cpu': 'CPUExecutionProvider',
    'openvino': 'OpenVINOExecutionProvider',
    'cuda': 'CUDAExecutionProvider',
    'tensorrt': 'TensorrtExecutionProvider',
}

LEAST_MEMORY = 2**31
"""Bytes that networks may take on the processor; more where the first one is large."""


def import_onnxruntime() -> Any:
    """Return the module onnxruntime; ConfigError where it is not installed, with the ways to install it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f'the networks need onnxruntime, which cannot be imported ({error}); install it with rosdep '
            "(python3-onnxruntime-pip), or with pip: pip install onnxruntime, or the extra 'runtime'"
        ) from error
    return onnxruntime


def check_provider(provider: ProviderName) -> None:
    """Raise ConfigError unless the installed ONNX Runtime was built with a provider."""
    onnxruntime = import_onnxruntime()
    check_choice('execution_provider', provider, get_args(ProviderName))
    here = onnxruntime.get_available_providers()
    if PROVIDERS[provider] not in here:
        allowed = [name for name, full in PROVIDERS.items() if full in here]
        raise ConfigError(
            f'execution_provider: got {provider!r}, allowed {listed(allowed)}: '
            f'onnxruntime {onnxruntime.__version__} here was not built with {PROVIDERS[provider]}'
        )


def open_session(model: bytes, threads: int, provider: ProviderName) -> Any:
    """Return an inference session of an ONNX file's content: ``provider`` runs what it can, and the processor the rest.

    Raises
    ------
    ConfigError
        If the provider is not there, or can't be started: a library that it needs is missing, say.

    """
    onnxruntime = import_onnxruntime()
    check_provider(provider)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.log_severity_level = 4  # what is an error is raised
    _bound_memory(len(model))
    options.add_session_config_entry('session.use_env_allocators', '1')
    session = onnxruntime.InferenceSession(model, options, providers=_chain(provider, threads))
    # Where a provider can't be started, ONNX Runtime takes the next one without an error.
    running = session.get_providers()
    if running[0] != PROVIDERS[provider]:
        raise ConfigError(f'execution_provider: got {provider!r}, which could not be started; {running[0]} can')
    return session


@lru_cache(maxsize=1)
def _bounded() -> list[int]:
    return []


def _bound_memory(model: int) -> None:
    """Bound what all sessions of the process reserve on the processor, once, by the size of the first ``model``.

    A graph of a few bytes may ask for any amount.
    """
    onnxruntime = import_onnxruntime()
    if not _bounded():
        most = max(LEAST_MEMORY, 8 * model)
        kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        where = onnxruntime.OrtMemoryInfo('Cpu', kind, 0, onnxruntime.OrtMemType.DEFAULT)
        onnxruntime.create_and_register_allocator(where, onnxruntime.OrtArenaCfg({'max_mem': most}))
        _bounded().append(most)


def _chain(provider: ProviderName, threads: int) -> list[Any]:
    """Return the provider with its options, and those that take over what it can't run."""
    cpu = PROVIDERS['cpu']
    # As exact as on the processor: the numbers recorded at export must be reproduced.
    cuda = (PROVIDERS['cuda'], {'use_tf32': '0'})
    if provider == 'openvino':
        options = {'device_type': 'CPU', 'precision': 'FP32', 'num_of_threads': str(threads), 'num_streams': '1'}
        return [(PROVIDERS[provider], options), cpu]
    if provider == 'cuda':
        return [cuda, cpu]
    if provider == 'tensorrt':
        return [PROVIDERS[provider], cuda, cpu]
    return [cpu]
