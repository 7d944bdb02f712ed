"""A ROS domain for this run of the tests: free, on this machine only, and never one that a robot may be in."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

FIRST_PORT = 6000  # DDS uses 7400 and up
DOMAINS = range(1, 101)  # above 101 DDS's ports meet Linux's outgoing ones


def _claim_domain() -> tuple[int, socket.socket]:
    """Return a domain and a socket whose port says that it is taken, for as long as this process lives."""
    start = os.getpid() % len(DOMAINS)
    for domain in (*DOMAINS[start:], *DOMAINS[:start]):
        claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            claim.bind(('127.0.0.1', FIRST_PORT + domain))
        except OSError:
            claim.close()
            continue
        return domain, claim
    raise RuntimeError(f'ROS domain: got none free, allowed {DOMAINS[0]} to {DOMAINS[-1]}')


# Before anything imports rclpy, and for the node processes that tests start.
_domain, _claim = _claim_domain()
os.environ['ROS_DOMAIN_ID'] = str(_domain)
if os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp').startswith('rmw_fastrtps'):
    os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(Path(__file__).with_name('loopback.xml'))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'SYSTEM_DEFAULT'  # what the profile says
else:
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

# A latch outlives the process of its publisher, and tests kill publishers on purpose: none may find another's.
_home = tempfile.TemporaryDirectory(prefix='dp_ros_test_')
os.environ['ROS_HOME'] = _home.name

if find_spec('hypothesis'):
    from hypothesis import settings

    # Every run tries the same cases; HYPOTHESIS_PROFILE=explore draws new ones.
    settings.register_profile('repeatable', derandomize=True)
    settings.register_profile('explore', derandomize=False)
    settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'repeatable'))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope='module')
def own_domain() -> Iterator[int]:
    """Put a module's tests in a domain of their own: nodes that share names with others' would answer for them."""
    before = os.environ['ROS_DOMAIN_ID']
    domain, claim = _claim_domain()
    os.environ['ROS_DOMAIN_ID'] = str(domain)
    yield domain
    os.environ['ROS_DOMAIN_ID'] = before
    claim.close()


@pytest.fixture(autouse=True)
def own_ros_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a folder for what nodes leave behind; what a module starts for all its tests shares one."""
    monkeypatch.setenv('ROS_HOME', str(tmp_path_factory.mktemp('ros_home')))
