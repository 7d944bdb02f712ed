from __future__ import annotations

import threading

from dp_ros.nodes.policy_executor.latest_job_thread import LatestJobThread


def test_the_newest_job_wins_and_the_skipped_ones_are_counted():
    begun, proceed, handled, finished = threading.Event(), threading.Event(), [], threading.Event()

    def handle(job: int) -> None:
        begun.set()
        assert proceed.wait(10)
        handled.append(job)
        if job == 4:
            finished.set()

    worker: LatestJobThread[int] = LatestJobThread(handle, 'test')
    worker.submit(1)
    assert begun.wait(10)
    for job in (2, 3, 4):
        worker.submit(job)
    assert worker.waiting
    proceed.set()
    assert finished.wait(10)
    assert handled == [1, 4]
    assert worker.skipped == 2
    assert worker.stop(10)


def test_a_forgotten_job_is_not_handled():
    begun, proceed, handled = threading.Event(), threading.Event(), []

    def handle(job: int) -> None:
        begun.set()
        assert proceed.wait(10)
        handled.append(job)

    worker: LatestJobThread[int] = LatestJobThread(handle, 'test')
    worker.submit(1)
    assert begun.wait(10)
    worker.submit(2)
    worker.forget()
    assert not worker.waiting
    proceed.set()
    assert worker.stop(10)
    assert handled == [1]


def test_a_job_that_does_not_end_is_reported():
    proceed, begun = threading.Event(), threading.Event()

    def handle(_: int) -> None:
        begun.set()
        proceed.wait(10)

    worker: LatestJobThread[int] = LatestJobThread(handle, 'test')
    worker.submit(1)
    assert begun.wait(10)
    assert not worker.stop(0.01)
    proceed.set()
    assert worker.stop(10)
