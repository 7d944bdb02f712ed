"""How many threads a network call takes: the fewest, unless more are worth the cores that they take from others."""

from __future__ import annotations

import os
from collections.abc import Mapping

GAIN = 1.15
"""So many times faster must more threads be."""
MOST_THREADS = 64


def thread_counts(processors: int = 0) -> tuple[int, ...]:
    """Return 1, 2, 4 ... up to ``processors``, and their number itself; 0: those that this process may use."""
    processors = min(processors or len(os.sched_getaffinity(0)), MOST_THREADS)
    counts = {min(2**power, processors) for power in range(MOST_THREADS.bit_length())}
    return tuple(sorted(counts))


def fewest_threads(seconds: Mapping[int, float]) -> int:
    """Return the number of threads to take, by what a chunk takes with each number of them [s]."""
    chosen = min(seconds)
    for count in sorted(seconds):
        if seconds[chosen] > GAIN * seconds[count]:
            chosen = count
    return chosen
