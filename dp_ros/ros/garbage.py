"""Python's garbage collector, kept out of the moments that count.

It looks through what is new whenever enough of that has come together, be it in the middle of planning, and all
threads wait: 0.3 to 1.5 ms where a chunk's way through the nodes takes 3. Here it does so when it is told: in a process
that makes chunks when one is out and no window waits, in others when they have dealt with a tick or a chunk.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import count

BY_ITSELF = 100_000  # objects more than before, after which it need not be told: a node that waits makes few
WHOLE = 100  # times that it looks at what is new, to one that it looks at what is older too

_times: Iterator[int] | None = None


def put_off() -> None:
    """Leave alone all that is there by now, and collect when told.

    A full collection that looked through what a process begins with would take longer than planning does.
    """
    global _times
    gc.collect()
    gc.freeze()
    gc.set_threshold(BY_ITSELF, 10, 10)
    _times = count(1)


def collect() -> None:
    """Collect now, because nobody waits for anything; nothing where it was not put off."""
    if _times is not None:
        gc.collect(2 if next(_times) % WHOLE == 0 else 1)
