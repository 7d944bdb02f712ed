"""Of the samples that come with a chunk, follow one that stays clear of obstacles before one that does not.

The first is planned as any chunk. Only where something is in its way are the others tried, in their order, by the same
checks; the first that is clear to its end is followed. Where none is, the plan is what it would be without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dp_ros.data import Chunk, Refusal
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner


def accept_clear(
    planner: Planner, chunk: Chunk, now: int, more: Callable[[], bool] = lambda: True
) -> Planned | Refusal:
    """Splice a chunk, or an alternative of it that is clear of obstacles, into the plan at ``now`` [ns].

    ``more`` tells, before each alternative, whether there is time for one.
    """
    before = planner.checkpoint()
    verdict = planner.accept(chunk, now)
    if isinstance(verdict, Refusal) or verdict.blocked is None:
        return verdict
    first = planner.checkpoint()
    planner.rollback(before)
    for number, other in enumerate(chunk.alternatives, start=1):
        if not more():
            break
        planned = planner.accept(other, now, whole=True)
        if isinstance(planned, Planned):
            return replace(planned, alternative=number)
    planner.rollback(first)
    return verdict
