"""pytest as ROS 2 Jazzy has it: an older pytest, and plugins of launch that are loaded wherever they are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import test

ROOT = Path(__file__).resolve().parents[1]
# Refused by every pytest, as that of launch_testing is by pytest 9.
PLUGIN = 'def pytest_pycollect_makemodule(no_such_argument):\n    pass\n'


NAMES = ('launch_testing', 'launch_ros')  # of the entry points
FILE = 'test/policy/test_clock_watch.py'  # imports little


@pytest.mark.slow
def test_the_tests_run_where_launchs_plugins_are_installed(tmp_path: Path) -> None:
    (tmp_path / 'plugin_of_launch.py').write_text(PLUGIN)
    info = tmp_path / 'plugin_of_launch-1.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: plugin-of-launch\nVersion: 1\n')
    points = ''.join(f'{name} = plugin_of_launch\n' for name in NAMES)
    (info / 'entry_points.txt').write_text(f'[pytest11]\n{points}')
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get('PYTHONPATH', '')])}

    def collect(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, '-m', 'pytest', '-q', '--collect-only', '-p', 'no:cacheprovider', *options, FILE]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=140)

    done = collect()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    unblocked = collect('-o', 'addopts=', '-p', f'no:{NAMES[1]}')
    assert unblocked.returncode != 0, 'the plugin does no harm, so nothing was tried'
    assert 'no_such_argument' in unblocked.stdout + unblocked.stderr


def test_the_package_test_is_this_folder_and_not_pythons() -> None:
    assert [Path(folder) for folder in test.__path__] == [ROOT / 'test']
