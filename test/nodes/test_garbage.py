"""The garbage collector is told when to look, and looks at nothing in between."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from dp_ros.nodes import garbage


@pytest.fixture
def put_off(monkeypatch) -> Iterator[Callable[[], None]]:
    """Return `garbage.put_off`, which the tests' own process gets over."""
    monkeypatch.setattr(garbage, '_times', None)
    thresholds = gc.get_threshold()
    yield garbage.put_off
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.fixture
def looked(monkeypatch) -> list[int]:
    """Return the generations that were looked at."""
    seen: list[int] = []
    monkeypatch.setattr(gc, 'collect', lambda generation=2: seen.append(generation))
    return seen


class Knot:
    """Refers to itself, so that only the collector takes it away."""

    def __init__(self, gone: list[int]) -> None:
        self.self, self.gone = self, gone

    def __del__(self) -> None:
        self.gone.append(1)


def test_nothing_is_looked_at_in_between_and_all_that_is_new_when_told(put_off):
    put_off()
    gone: list[int] = []
    for _ in range(5000):
        Knot(gone)
    assert gone == []
    garbage.collect()
    assert len(gone) == 5000


def test_what_grew_old_as_garbage_is_found_too(put_off, monkeypatch):
    monkeypatch.setattr(garbage, 'WHOLE', 4)
    put_off()
    gone: list[int] = []
    knot = Knot(gone)
    garbage.collect()
    garbage.collect()
    del knot
    garbage.collect()
    assert gone == []
    garbage.collect()
    assert gone == [1]


def test_who_is_never_told_looks_in_the_end(put_off, monkeypatch):
    monkeypatch.setattr(garbage, 'BY_ITSELF', 1000)
    put_off()
    gone: list[int] = []
    for _ in range(5000):
        Knot(gone)
    assert gone


def test_where_it_was_not_put_off_telling_it_does_nothing(monkeypatch, looked):
    monkeypatch.setattr(garbage, '_times', None)
    garbage.collect()
    assert looked == []
