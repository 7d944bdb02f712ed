"""Whether one publisher speaks on a topic, or several: each numbers its messages by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

UNSUPPORTED = 2**64 - 1  # what some middleware gives for a number
HEARD = 20  # messages that are looked back on


class SourceWatch:
    """Tell the messages of several publishers from those of one by their sequence numbers.

    A number that is not above the last comes from another publisher: once where a publisher was restarted, again and
    again where two speak.

    Parameters
    ----------
    most
        Steps back among the last messages that are no second publisher.

    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._last = -1
        self._steps: deque[bool] = deque(maxlen=HEARD)

    def heard(self, info: Mapping[str, Any]) -> None:
        """Take the information that came with a message."""
        number = info.get('publication_sequence_number')
        if number is None or not 0 < number < UNSUPPORTED:
            return
        self._steps.append(number <= self._last)
        self._last = number

    @property
    def several(self) -> bool:
        """Whether more than one publisher has spoken lately."""
        return sum(self._steps) > self._most
