"""Of the samples that come with a chunk, follow one that stays clear of obstacles before one that does not.

The first is planned as any chunk. Only where something is in its way are the others tried, in their order, by the same
checks; the first that is clear to its end is followed. Where none is, the plan is what it would be without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import takewhile

from dp_ros.data import Chunk, Refusal
from dp_ros.motion.outcome import Planned
from dp_ros.motion.planner import Planner


class ClearChunk:
    """Splices a chunk, or an alternative of it that is clear of obstacles, into the plan; called again, once more.

    An alternative that was clear the time before is tried first then: a plan that was late costs little to repeat.

    Parameters
    ----------
    planner
        What plans.
    chunk
        The chunk, with its alternatives.
    more
        Tells, before each alternative, whether there is time for one.
    resting
        Whether the robot is to stay where it rests until something is clear: a way around is looked for from there.

    """

    def __init__(
        self, planner: Planner, chunk: Chunk, more: Callable[[], bool] = lambda: True, *, resting: bool = False
    ) -> None:
        self._planner, self._chunk, self._more, self._resting = planner, chunk, more, resting
        self._likely: tuple[int, ...] = ()

    def accept(self, now: int) -> Planned | Refusal:
        """Plan at ``now`` [ns], as `Planner.accept`."""
        planner, chunk = self._planner, self._chunk
        found, self._likely = self._first_clear(self._likely, now), ()
        if found is None:
            before = planner.checkpoint()
            verdict = planner.accept(chunk, now)
            if isinstance(verdict, Refusal) or verdict.blocked is None:
                return verdict
            first = planner.checkpoint()
            planner.rollback(before)
            found = self._first_clear(takewhile(lambda _: self._more(), range(1, 1 + len(chunk.alternatives))), now)
            if found is None and self._resting:
                return Refusal(reason=f'a way around is looked for: {verdict.blocked}', passing=True)
            if found is None:
                planner.rollback(first)
                return verdict
        self._likely = (found.alternative,)
        return found

    def _first_clear(self, numbers: Iterable[int], now: int) -> Planned | None:
        """Splice the first of some alternatives that is clear to its end; None, and nothing changed, if none is."""
        for number in numbers:
            planned = self._planner.accept(self._chunk.choice(number), now, whole=True)
            if isinstance(planned, Planned):
                return replace(planned, alternative=number)
        return None
