"""ament's linters, where ROS has installed them. Elsewhere ruff and mypy (`make lint types`) check the same."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What ruff checks by other rules: layout of docstrings, order of imports, re-exported names, line length.
PEP257 = ['--convention', 'numpy', '--add-ignore', 'D105', 'D107', 'D401', 'D405', 'D407', 'D410', 'D411', '--']
ARGUMENTS = {
    'ament_flake8': ['--config', 'setup.cfg', 'dp_ros', 'launch', 'doc', 'setup.py'],
    'ament_pep257': [*PEP257, 'dp_ros', 'launch', 'doc', 'setup.py'],
    'ament_mypy': ['--config', 'setup.cfg', 'dp_ros'],
    'ament_xmllint': ['package.xml'],
}


@pytest.mark.slow
@pytest.mark.parametrize('linter', ARGUMENTS)
def test_the_linter_finds_nothing(linter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    main = pytest.importorskip(f'{linter}.main', reason=f'{linter} is not installed').main
    monkeypatch.chdir(ROOT)
    assert main(argv=ARGUMENTS[linter]) == 0


def test_each_linter_is_a_test_dependency() -> None:
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert set(ARGUMENTS) <= {element.text for element in manifest.iter('test_depend')}
