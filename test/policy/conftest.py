"""A tiny bundle, exported once for all tests that load, alter or run it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def tiny() -> ModuleType:
    """The module test/tiny_bundle.py."""
    pytest.importorskip('torch', reason='torch exports the tiny bundle')
    return _load(Path(__file__).parents[1] / 'tiny_bundle.py')


@pytest.fixture(scope='session')
def original(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle with TorchScript twins, not to be altered."""
    return tiny.write_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'tiny', torchscript=True)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may alter."""
    return Path(shutil.copytree(original, tmp_path / 'tiny'))
