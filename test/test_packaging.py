"""What package.xml, setup.py and the folders say of each other."""

from __future__ import annotations

import ast
import configparser
import itertools
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement

import dp_ros
from dp_ros.errors import ConfigError
from dp_ros.paths import locate, share_folder

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'doc').rglob('*.md'))]
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()


@pytest.fixture
def packaging(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py hands to setuptools."""
    called: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **arguments: called.update(arguments))
    monkeypatch.chdir(ROOT)
    runpy.run_path('setup.py')
    return called


def shared(packaging: dict[str, Any]) -> dict[str, str]:
    """Return what is installed where, below ``share``."""
    return {f'{folder}/{Path(file).name}': file for folder, files in packaging['data_files'] for file in files}


def test_the_package_says_the_version_of_its_manifest() -> None:
    assert MANIFEST.findtext('version') == dp_ros.__version__


def test_the_ament_index_gets_its_marker(packaging: dict[str, Any]) -> None:
    marker = shared(packaging)['share/ament_index/resource_index/packages/dp_ros']
    assert (ROOT / marker).is_file()


def test_everything_shipped_is_installed_as_it_lies(packaging: dict[str, Any]) -> None:
    tracked = [
        path
        for folder in ('launch', 'config', 'models')
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    ]
    expected = {f'share/dp_ros/{path.relative_to(ROOT).as_posix()}' for path in [*tracked, ROOT / 'package.xml']}
    assert expected == {target for target in shared(packaging) if target.startswith('share/dp_ros/')}


def test_colcon_puts_the_executables_where_ros2_run_looks(packaging: dict[str, Any]) -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / 'setup.cfg')
    assert settings['install']['install_scripts'] == settings['develop']['script_dir'] == '$base/lib/dp_ros'
    scripts = {script.split(' = ')[0] for script in packaging['entry_points']['console_scripts']}
    run = set(re.findall(r'ros2 run dp_ros (\w+)', ''.join(page.read_text(encoding='utf-8') for page in PAGES)))
    assert {'dp_ros', 'trajectory_publisher', 'policy_container'} <= run <= scripts


def test_each_executable_has_its_function(packaging: dict[str, Any]) -> None:
    for script in packaging['entry_points']['console_scripts']:
        module, function = script.split(' = ')[1].split(':')
        path = ROOT / Path(*module.split('.'))
        source = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
        body = ast.parse(source.read_text(encoding='utf-8')).body
        defined = {node.name for node in body if isinstance(node, ast.FunctionDef)}
        imported = {alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert function in defined | imported, script


def test_every_version_is_pinned_once(packaging: dict[str, Any]) -> None:
    pins: dict[str, str] = {}
    for requirement in itertools.chain(*packaging['extras_require'].values()):
        name, version = requirement.split('==')
        assert pins.setdefault(name.lower(), version) == version, requirement


def _packages_imported(*folders: str) -> set[str]:
    names = set()
    for path in (file for folder in folders for file in (ROOT / folder).rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add((node.module or '').split('.')[0])
    return names - set(sys.stdlib_module_names) - {'dp_ros'}


# Its wheel keeps the package in a folder that pip's records do not tell apart.
OTHER_NAMES = {'pinocchio': 'pin'}


def _normalized(name: str) -> str:
    return re.sub('[-_.]+', '-', name).lower()


def test_every_package_imported_is_declared(packaging: dict[str, Any]) -> None:
    declared = {_normalized(pin.split('==')[0]) for pin in itertools.chain(*packaging['extras_require'].values())}
    installed = packages_distributions()
    for name in _packages_imported('dp_ros'):
        names = [*installed.get(name, [OTHER_NAMES.get(name, name)]), f'ros-jazzy-{name}']
        distributions = {_normalized(distribution) for distribution in names}
        assert distributions & declared, f'{name}: no extra in setup.py brings it (one of {sorted(distributions)})'


def test_every_ros_package_imported_is_in_the_manifest(packaging: dict[str, Any]) -> None:
    wheels = {pin.split('==')[0].removeprefix('ros-jazzy-') for pin in packaging['extras_require']['ros']}
    depends = {element.text for element in MANIFEST.iter('exec_depend')}
    assert {wheel.replace('-', '_') for wheel in wheels} - {'rmw_fastrtps_cpp'} <= depends
    ros = {name for name in _packages_imported('dp_ros', 'launch') if _normalized(name) in wheels}
    assert ros | {'launch', 'launch_ros'} <= depends


def test_the_licence_and_the_changelog_are_those_of_the_manifest() -> None:
    licence = MANIFEST.find('license')
    assert licence is not None
    assert (licence.text, licence.get('file')) == ('Apache-2.0', 'LICENSE')
    assert 'Apache License' in (ROOT / 'LICENSE').read_text(encoding='utf-8')
    head = (ROOT / 'CHANGELOG.rst').read_text(encoding='utf-8').splitlines()[:3]
    assert head == ['^' * 28, f'Changelog for package {MANIFEST.findtext("name")}', '^' * 28]
    assert {url.get('type') for url in MANIFEST.iter('url')} == {'website', 'repository', 'bugtracker'}


def test_numpy_of_jazzy_and_of_newer_distributions_is_allowed(packaging: dict[str, Any]) -> None:
    requirements = [Requirement(text) for text in packaging['install_requires']]
    (numpy,) = (requirement for requirement in requirements if requirement.name == 'numpy')
    assert all(version in numpy.specifier for version in ('1.26.4', '2.2.6', '2.3.4', '2.4.6'))


def test_a_robot_needs_no_torch(packaging: dict[str, Any]) -> None:
    extras = packaging['extras_require']
    robot = [*packaging['install_requires'], *extras['runtime'], *extras['ros']]
    assert not [requirement for requirement in robot if 'torch' in requirement]


def test_the_share_folder_of_a_checkout_is_its_root() -> None:
    assert share_folder(ROOT / 'dp_ros') == ROOT


@pytest.mark.parametrize('site', ['lib/python3.11/site-packages', 'local/lib/python3.12/dist-packages', ''])
def test_the_share_folder_of_an_installation_is_beside_its_packages(tmp_path: Path, site: str) -> None:
    share = tmp_path / 'share' / 'dp_ros'
    share.mkdir(parents=True)
    (share / 'package.xml').touch()
    assert share_folder(tmp_path / site / 'dp_ros') == share


def test_an_installation_without_its_share_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'share folder: got no package.xml around .*, allowed a checkout or an inst'):
        share_folder(tmp_path / 'site-packages' / 'dp_ros')


def test_a_path_is_taken_as_given_before_what_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate('package.xml') == share_folder() / 'package.xml'
    Path('package.xml').touch()
    assert locate('package.xml') == Path('package.xml')


def test_a_path_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"path: got 'models/none', which does not exist; allowed .*models/none or "):
        locate('models/none')


def test_the_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, '-m', 'dp_ros', '--version'], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert (done.returncode, done.stdout.strip()) == (0, dp_ros.__version__), done.stderr
