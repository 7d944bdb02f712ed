"""What a thread that predicts and callbacks that begin anew do to each other, at the worst moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from dp_ros.data import Chunk, Window
from dp_ros.nodes.policy_executor.inference import Inference, Job, Prediction
from dp_ros.nodes.policy_executor.inference_settings import Settings
from dp_ros.policy.continuity import Continuation

DT = 100_000_000
LIMIT = 10.0  # [s]


class Policy:
    """Predicts zeros, and keeps what each chunk had to go on from; ``fails`` is raised instead."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.bundle: Any = self
        self.name, self.fails = 'zeros', fails
        self.given: list[Any] = []

    def calls(self, _: np.ndarray | None = None) -> int:
        return 1

    def chunk(
        self, window: Window, rng: Any, overlap: Any = None, goal: Any = None, start: Any = None, **_: Any
    ) -> Chunk:
        if self.fails is not None:
            raise self.fails
        self.given.append((overlap is not None, start is not None))
        return Chunk(stamp=window.stamp, control_dt=DT, joints=('a',), actions=np.zeros((16, 1)))


class Outlet:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.published: list[Prediction] = []
        self.told = threading.Semaphore(0)

    def announce(self) -> None: ...

    def give_way(self) -> None: ...

    def publish(self, prediction: Prediction) -> None:
        self.published.append(prediction)

    def tell(self, prediction: Prediction, published: int) -> None:
        self.told.release()


def window(tick: int) -> Window:
    stamps = np.array([tick - 1, tick], dtype=np.int64) * DT
    return Window(stamps=stamps, streams={'joints': np.zeros((2, 1))})


def settings(policy: Policy, fallback: Policy | None = None) -> Settings:
    given: dict[str, Any] = {'policy': policy, 'fallback': fallback}
    return Settings(exec_horizon=4, deadline=DT, seed=0, continuity='rtc', **given)


@pytest.fixture
def outlet() -> Outlet:
    return Outlet()


@pytest.fixture
def inference(outlet: Outlet) -> Any:
    made = Inference(outlet, lambda: 100 * DT, lambda text: None)
    yield made
    made.stop()


class Generation(int):
    """A number that lets something happen just after it was compared."""

    then: Callable[[], None]

    def __eq__(self, other: object) -> bool:
        same = int(self) == other
        self.then()
        return same

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__


def test_the_fallback_of_an_earlier_activation_does_not_take_over_in_the_next(inference):
    """Found in the thread, with the executor activated anew between the look at the generation and what follows."""
    anew: list[threading.Thread] = []

    def activate() -> None:
        inference.start_anew()
        inference.clear()

    def activated_meanwhile() -> None:
        if not anew:
            anew.append(threading.Thread(target=activate))
            anew[0].start()
            anew[0].join(0.3)  # with the lock held it has to wait, and goes on afterwards

    generation = Generation(inference.generation)
    generation.then = activated_meanwhile
    chosen = settings(Policy(fails=ValueError('broken')), fallback=Policy())
    job = Job(window=window(1), settings=chosen, number=0, generation=generation)
    inference.predict(job)
    anew[0].join(LIMIT)
    assert inference.switched == ''


def test_a_chunk_goes_on_from_one_and_the_same_chunk_though_all_begins_anew_meanwhile(inference, outlet, monkeypatch):
    policy = Policy()
    inference.submit(window(1), settings(policy))
    assert outlet.told.acquire(timeout=LIMIT)
    start = Continuation.start

    def interrupted(self: Continuation, *arguments: Any) -> Any:
        found = start(self, *arguments)
        inference.start_anew()
        return found

    monkeypatch.setattr(Continuation, 'start', interrupted)
    inference.predict(Job(window=window(3), settings=settings(policy), number=1, generation=inference.generation))
    assert policy.given == [(False, False), (True, True)]


class Choosing(Policy):
    """Gives chunks of zeros with an alternative of ones, and keeps the first action that each had to go on from."""

    def chunk(
        self, window: Window, rng: Any, overlap: Any = None, goal: Any = None, start: Any = None, **_: Any
    ) -> Chunk:
        self.given.append(None if start is None else float(start[0, 0]))
        zeros, ones = (
            Chunk(stamp=window.stamp, control_dt=DT, joints=('a',), actions=np.full((16, 1), value))
            for value in (0.0, 1.0)
        )
        return replace(zeros, alternatives=(ones,))


def choosing(inference, outlet) -> tuple[Choosing, Callable[[int], None]]:
    """Return a policy whose chunks have an alternative, and what lets it predict at a tick."""
    policy = Choosing()

    def predict(tick: int) -> None:
        inference.submit(window(tick), settings(policy))
        assert outlet.told.acquire(timeout=LIMIT)

    return policy, predict


def test_a_chunk_goes_on_from_the_alternative_that_is_executed_and_from_none_of_before_all_began_anew(
    inference, outlet
):
    policy, predict = choosing(inference, outlet)
    predict(1)
    predict(3)
    inference.executed(3 * DT, 1)
    predict(5)
    assert policy.given == [None, 0.0, 1.0]
    inference.start_anew()  # as where a simulation starts anew, with the same stamps
    inference.executed(3 * DT, 1)
    inference.start_anew()
    predict(3)
    predict(5)
    assert policy.given[3:] == [None, 0.0]


def test_a_report_that_is_late_repeated_or_of_before_all_began_anew_changes_no_choice(inference, outlet):
    policy, predict = choosing(inference, outlet)
    predict(1)
    predict(3)
    inference.executed(3 * DT, 1)
    inference.executed(1 * DT, 0)  # late
    predict(5)
    assert policy.given == [None, 0.0, 1.0]
    inference.executed(3 * DT, 1)  # repeated
    predict(7)
    assert policy.given[3:] == [0.0]
    inference.start_anew()
    inference.executed(3 * DT, 1)  # of before, and the next chunk has the same stamp
    predict(3)
    predict(5)
    assert policy.given[4:] == [None, 0.0]
