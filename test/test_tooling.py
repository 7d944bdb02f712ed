"""pytest as ROS 2 Jazzy has it: an older pytest, and plugins of launch that are loaded wherever they are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import test

ROOT = Path(__file__).resolve().parents[1]
# Refused by every pytest, as that of launch_testing is by pytest 9.
PLUGIN = 'def pytest_pycollect_makemodule(no_such_argument):\n    pass\n'


@pytest.mark.slow
@pytest.mark.parametrize('name', ['launch_testing', 'launch_ros'])
def test_the_tests_run_where_launchs_plugins_are_installed(tmp_path: Path, name: str) -> None:
    (tmp_path / 'plugin_of_launch.py').write_text(PLUGIN)
    info = tmp_path / 'plugin_of_launch-1.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: plugin-of-launch\nVersion: 1\n')
    (info / 'entry_points.txt').write_text(f'[pytest11]\n{name} = plugin_of_launch\n')
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get('PYTHONPATH', '')])
    command = [sys.executable, '-m', 'pytest', '-q', '--collect-only', '-p', 'no:cacheprovider']
    env = {**os.environ, 'PYTHONPATH': path}
    arguments: dict[str, Any] = {'cwd': ROOT, 'env': env, 'capture_output': True, 'text': True}
    done = subprocess.run([*command, 'test/test_messages.py'], timeout=240, **arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    unblocked = subprocess.run([*command, '-o', 'addopts=', 'test/test_messages.py'], timeout=240, **arguments)
    assert unblocked.returncode != 0, 'the plugin does no harm, so nothing was tried'
    assert 'no_such_argument' in unblocked.stdout + unblocked.stderr


def test_the_package_test_is_this_folder_and_not_pythons() -> None:
    assert [Path(folder) for folder in test.__path__] == [ROOT / 'test']
