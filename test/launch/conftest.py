"""Whether dp_ros is where `ros2 launch` looks for it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def installed() -> None:
    """Skip where launch would not find the executables."""
    packages = pytest.importorskip('ament_index_python.packages', reason='ament_index_python is not installed')
    try:
        prefix = Path(packages.get_package_prefix('dp_ros'))
    except packages.PackageNotFoundError:
        pytest.skip('dp_ros is not installed for ROS (colcon build, then source install/setup.bash)')
    if not (prefix / 'lib' / 'dp_ros' / 'policy_executor').exists():
        pytest.skip(f'dp_ros in {prefix} has no executables')
