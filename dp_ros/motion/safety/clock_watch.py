"""Whether robot time passes as it should: stamps from before and after a jump of the clock can't be compared.

A simulated clock may run at any rate, or stand still. The system's clock tells of no jump: it is compared with a
steady clock, which no one can set. Times are [ns] and handed in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Jump:
    """Robot time jumped ``by`` [ns], after ``earliest`` [ns]; without the jump it would be ``unjumped`` [ns] now."""

    by: int
    unjumped: int
    earliest: int


class ClockWatch:
    """Compare two clocks whenever it is asked to.

    Parameters
    ----------
    tolerance
        Difference between two looks that is no jump [ns]; a clock that is slewed, or a thread that waits between
        reading the one and the other, makes small ones.
    simulated
        Robot time is a simulated clock's: only backwards is a jump.

    """

    def __init__(self, tolerance: int, *, simulated: bool) -> None:
        self._tolerance = tolerance
        self._simulated = simulated
        self._last: tuple[int, int] | None = None

    def look(self, now: int, steady: int) -> Jump | None:
        """Return the jump of robot time since the last look, if there was one."""
        last, self._last = self._last, (now, steady)
        if last is None:
            return None
        unjumped = last[0] if self._simulated else last[0] + steady - last[1]
        by = now - unjumped
        jumped = by < 0 if self._simulated else abs(by) > self._tolerance
        return Jump(by=by, unjumped=unjumped, earliest=last[0]) if jumped else None
