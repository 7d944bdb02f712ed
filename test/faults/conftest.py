"""Fixtures of the injected faults. What they need is imported only where they are used: a robot may lack it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NEEDED = {
    'rclpy': 'rclpy is not installed',
    'gym_pusht': 'gym-pusht is not installed',
    'torch': 'the bundle is exported from torch, which is not installed',
}


@pytest.fixture
def off_the_table() -> Callable[[Any], None]:
    """Return a change of a pose with which the network gives NaN."""
    from .graph import circling

    def change(message: Any) -> None:
        message.pose.position.x = circling.OFF_TABLE

    return change


@pytest.fixture
def other_bundle(tmp_path: Path) -> Path:
    """A bundle for a robot with other joints."""
    from .graph import circling

    folder: Path = circling.write_circling_bundle(tmp_path / 'other', joints=('elbow', 'wrist'))
    return folder


@pytest.fixture(scope='module')
def start_graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Return a function that starts the nodes, with `Graph`'s options."""
    for name, reason in NEEDED.items():
        pytest.importorskip(name, reason=reason)
    from .graph import Graph

    graphs: list[Graph] = []

    def begin(**options: Any) -> Graph:
        graphs.append(Graph(tmp_path_factory.mktemp('graph'), **options))
        return graphs[-1]

    yield begin
    for graph in graphs:
        graph.close()
