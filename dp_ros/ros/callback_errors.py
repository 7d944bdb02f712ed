"""Errors that come out of callbacks: counted, named and reported, so that none of them ends a node.

A peer can publish what cannot be decoded, call services at any time, and set parameters of types that do not exist.
Where a service's handler fails its caller still gets an answer: that it was not done, and why.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.impl.rcutils_logger import RcutilsLogger

from dp_ros.ros.diagnostics import ERROR, OK, WARN, Diagnostics

STATUS = 'callbacks'
LOG_PERIOD = 5.0  # [s] between two log lines about one place
RECENT = 10.0  # [s] after the last error for which the status is above OK
LONGEST = 300  # characters of an error that are shown: a message may quote megabytes
FAST = 50  # errors within a second, after which each next one makes the loop pause
PAUSE = 0.005  # [s]
GIVE_UP = 10.0  # [s] of nothing but errors, after which nothing works any more


@dataclass(frozen=True, kw_only=True, eq=False)
class CallbackError:
    """An error that came out of a callback, or out of taking what the callback was to get.

    Attributes
    ----------
    where
        The subscription, service or timer, with its name.
    error
        What was raised.
    harmless
        Whether none of the node's own work was cut short: a message that cannot be decoded, or a request that rclpy's
        own services refuse.

    """

    where: str
    error: Exception
    harmless: bool

    def __str__(self) -> str:
        text = f'{self.where}: {type(self.error).__name__}: {self.error}'
        return text if len(text) <= LONGEST else f'{text[:LONGEST]}...'


class CallbackErrors:
    """Counts errors by where they came from, logs them now and then, and reports them. In one thread.

    Parameters
    ----------
    logger
        Where they are logged.
    diagnostics
        Where they are reported, or None.

    """

    def __init__(self, logger: RcutilsLogger, diagnostics: Diagnostics | None = None) -> None:
        self._logger, self._diagnostics = logger, diagnostics
        self.counts: dict[str, int] = {}
        self._logged: dict[str, float] = {}
        self._last: tuple[float, CallbackError] | None = None

    def note(self, error: CallbackError) -> None:
        """Count an error; log and report it."""
        now = time.monotonic()
        self.counts[error.where] = self.counts.get(error.where, 0) + 1
        self._last = (now, error)
        if now - self._logged.get(error.where, -LOG_PERIOD) >= LOG_PERIOD:
            self._logged[error.where] = now
            trace = '' if error.harmless else '\n' + ''.join(traceback.format_exception(error.error))
            self._logger.error(f'{error} ({self.counts[error.where]} so far){trace}')
            self.report(now=True)

    def report(self, *, now: bool = False) -> None:
        """Bring the status up to date; there is none before the first error."""
        if self._last is None or self._diagnostics is None:
            return
        when, error = self._last
        age = time.monotonic() - when
        level = OK if age > RECENT else WARN if error.harmless else ERROR
        text = str(error) if age <= RECENT else f'no error for {age:.0f} s; the last: {error}'
        self._diagnostics.report(STATUS, level, text, {**self.counts, 'total': sum(self.counts.values())}, now=now)


class Patience:
    """Keeps a loop in which errors follow each other from taking a whole processor, and ends one that does only that.

    `went_well` is called after each turn without an error, `failed` after each other.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=FAST)
        self._since: float | None = None

    def went_well(self) -> None:
        """Note a turn without an error."""
        self._since = None

    def failed(self, error: Exception) -> None:
        """Wait a little if errors come fast; raise the error if for `GIVE_UP` there was nothing else."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > GIVE_UP:
            raise error
        self._times.append(now)
        if len(self._times) == FAST and now - self._times[0] < 1.0:
            time.sleep(PAUSE)


def answering(callback: Callable[[Any, Any], Any], caught: Callable[[Exception], None]) -> Callable[[Any, Any], Any]:
    """Return a service's handler that answers whatever happens; ``caught`` gets what ``callback`` raised."""

    def answer(request: Any, response: Any) -> Any:
        try:
            return callback(request, response)
        except Exception as error:
            caught(error)
            return _refusal(request, response, f'{type(error).__name__}: {error}'[:LONGEST])

    return answer


def _refusal(request: Any, response: Any, reason: str) -> Any:
    """Return the answer that it was not done. Of parameters, those set before the one that failed stay so."""
    refused = type(response)()
    fields = refused.get_fields_and_field_types()
    result = SetParametersResult(successful=False, reason=reason)
    if hasattr(request, 'parameters') and 'results' in fields:
        done = list(response.results)
        left = len(request.parameters) - len(done) - 1
        after = SetParametersResult(successful=False, reason='not set, because one before it failed')
        refused.results = [*done, result, *[after] * left]
    elif fields.get('result', '').endswith('SetParametersResult'):
        refused.result = result
    elif 'message' in fields:
        refused.message = f'failed: {reason}'
    return refused  # `success`, where there is one, is false
