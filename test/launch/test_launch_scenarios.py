"""The scenarios under launch, as a test of its own process: launch_testing wants the main thread and its own names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Not `launch` itself: the repository's own folder of that name would do for that.
pytest.importorskip('launch.actions', reason='launch is not installed; it comes with ROS')
pytest.importorskip('launch_ros.actions', reason='launch_ros is not installed; it comes with ROS')
pytest.importorskip('launch_testing.launch_test', reason='launch_testing is not installed; it comes with ROS')
pytest.importorskip('mujoco', reason='mujoco is not installed')

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.usefixtures('installed')]


def test_the_scenarios_hold_under_launch(tmp_path: Path) -> None:
    file = Path(__file__).parent / 'scenarios_launch.py'
    # Elsewhere than in the repository, whose folder launch would hide the package.
    done = subprocess.run(
        [sys.executable, '-m', 'launch_testing.launch_test', str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    assert 'Ran 4 tests' in done.stderr + done.stdout
