"""A short part of `make fuzz-peers`, the same each time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('gym_pusht', reason='gym-pusht is not installed')
pytest.importorskip('torch', reason='the bundle is exported from torch, which is not installed')

SEED, COUNT = 15, 200

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.usefixtures('own_domain')]


@pytest.mark.parametrize('composed', [False, True])
def test_whatever_peers_publish_call_and_set_no_process_ends_and_every_node_answers(tmp_path, composed):
    spec = importlib.util.spec_from_file_location('peers', Path(__file__).with_name('peers.py'))
    assert spec is not None and spec.loader is not None
    peers = importlib.util.module_from_spec(spec)
    sys.modules['peers'] = peers
    spec.loader.exec_module(peers)
    found = peers.run(tmp_path, seed=SEED, count=COUNT, composed=composed)
    assert sum(found.done.values()) == COUNT
    assert len(found.done) == 8, f'some kind of attack was not made: {found.done}'
