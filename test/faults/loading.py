"""Modules of the folder test, which is no package, by their names."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TEST = Path(__file__).parents[1]


def load(name: str) -> ModuleType:
    """Return a module of the folder test, which is no package."""
    spec = importlib.util.spec_from_file_location(name, TEST / f'{name}.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
