"""Where an episode begins and ends within a recording."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dp_ros.errors import ConfigError, DataError, listed
from dp_ros.options import check_options, option
from dp_ros.recordings.episodes.stillness import moving_steps

STRING, BOOL = 'std_msgs/msg/String', 'std_msgs/msg/Bool'
SERVICE_EVENT = '/_service_event'
SET_BOOL_EVENT = 'std_srvs/srv/SetBool_Event'
_REQUESTS = (0, 1)  # sent by the client, received by the server
# Serialized, service_msgs/ServiceEventInfo ends here; the request follows, a list of one where contents are recorded.
_REQUEST = 44


# fmt: off
@dataclass(frozen=True, kw_only=True)
class CutSettings:
    """Choose what divides a recording into episodes; a gap in the streams does so always."""

    by: Literal['file', 'marker', 'service', 'idle'] = option(
        'file', '`file`: nothing else. `marker`: a topic that says when an episode starts and stops. `service`: '
        'recorded calls of a service. `idle`: a stretch without motion.',
    )
    topic: str = option('', "The marker's topic (`std_msgs/String` or `Bool`), or the service's name.")
    start: str = option(
        'start', 'What a String marker says at the start, in part or whole, in any case of letters. A Bool marker is '
        'true from start to stop.',
    )
    stop: str = option('stop', 'What it says at the stop.')
    stop_service: str = option(
        '', 'The service whose call ends an episode. Empty: a call with a bool (`std_srvs/SetBool`) starts with true '
        'and stops with false, and any other call starts one where none is on, and stops it where one is.',
    )
    idle_seconds: float = option(
        2.0, 'How long no commanded or observed joint is faster than `idle_speed` in an idle stretch, where what '
        'sensors tremble by is no motion.', unit='s', low=0.1, high=3600.0,
    )
    idle_speed: float = option(0.005, 'See `idle_seconds`.', unit='rad/s or m/s', low=1e-6, high=3600.0)
    idle_margin: float = option(
        0.5, 'How much of an idle stretch stays at either end.', unit='s', low=0.0, high=3600.0
    )
    shortest: float = option(0.0, 'Shorter episodes are left out.', unit='s', low=0.0, high=3600.0)

    def __post_init__(self) -> None:
        check_options(self, 'cut.')
        if self.by in ('marker', 'service') and not self.topic:
            raise ConfigError(f'cut.topic: got none, allowed the {self.by} that cuts')
        if self.by == 'marker' and (not self.start or not self.stop or self.start.lower() == self.stop.lower()):
            raise ConfigError(f'cut.start and cut.stop: got {self.start!r} and {self.stop!r}, allowed two words')
        if 2.0 * self.idle_margin > self.idle_seconds:
            raise ConfigError(
                f'cut.idle_margin: got {self.idle_margin}, allowed up to half of idle_seconds ({self.idle_seconds})'
            )
# fmt: on


BY_FILE = CutSettings()


def cut_topics(cut: CutSettings) -> list[str]:
    """Return the topics that say where to cut."""
    if cut.by == 'marker':
        return [cut.topic]
    if cut.by == 'service':
        return [_event_topic(name) for name in (cut.topic, cut.stop_service) if name]
    return []


def _event_topic(service: str) -> str:
    return service if service.endswith(SERVICE_EVENT) else service + SERVICE_EVENT


def cut_types(cut: CutSettings, topic: str, kind: str) -> tuple[str, ...]:
    """Return the ROS types that ``topic``, recorded as ``kind``, may have to cut by."""
    if cut.by == 'marker':
        return (STRING, BOOL)
    return (kind,) if kind.endswith('_Event') else ('<package>/srv/<Service>_Event',)


class Cutter:
    """Starts and stops of episodes by ``cut``, whose topics have ROS ``types``, and which episode a time belongs to."""

    def __init__(self, cut: CutSettings, types: Mapping[str, str]) -> None:
        self._cut = cut
        self._types = dict(types)
        self._edges: deque[tuple[int, bool]] = deque()
        self._on = self._newest_on = not cut_topics(cut)
        self._number = 0
        self._last_call = b''
        self.starts = self.stops = self.unstopped = 0
        self.unknown: dict[str, int] = {}

    def push(self, topic: str, received: int, message: Any) -> None:
        """Add what a cutting topic said at ``received`` [ns]: a marker's message, or a service event's bytes."""
        on = self._call(topic, message) if self._types[topic].endswith('_Event') else self._marker(message)
        if on is not None:
            self._edges.append((received, on))
            self.unstopped += on and self._newest_on
            self.starts += on
            self.stops += not on
            self._newest_on = on

    def _marker(self, msg: Any) -> bool | None:
        if isinstance(msg.data, bool | np.bool_):
            return bool(msg.data) if bool(msg.data) != self._newest_on else None
        word = msg.data.lower()
        if self._cut.stop.lower() in word:
            return False
        if self._cut.start.lower() in word:
            return True
        key = msg.data if msg.data in self.unknown or len(self.unknown) < 20 else 'others'
        self.unknown[key] = self.unknown.get(key, 0) + 1
        return None

    def _call(self, topic: str, data: bytes | memoryview) -> bool | None:
        if len(data) < _REQUEST + 4 or data[4] not in _REQUESTS:
            return None
        call = bytes(data[16:32]) + bytes(data[36:44])  # the client, and which of its calls; between them is padding
        if call == self._last_call:
            return None  # the client's event and the server's, both recorded
        self._last_call = call
        if self._cut.stop_service:
            return topic == _event_topic(self._cut.topic)
        if self._types[topic] != SET_BOOL_EVENT:
            return not self._newest_on
        if not int.from_bytes(data[_REQUEST : _REQUEST + 4], 'little' if data[1] & 1 else 'big'):
            raise DataError(
                'got a call of SetBool without its contents; allowed service introspection with contents, '
                'or services of their own for start and stop'
            )
        return bool(data[_REQUEST + 4])

    def objection(self) -> str:
        """Return why what was heard divides no recording, or ''."""
        if self.starts < 2 or self.stops or not self.unknown:
            return ''
        return (
            f'cut: got {self.starts} starts, no stop, and {listed(map(repr, self.unknown))}; allowed starts alone, or '
            f'with stops that say {self._cut.stop!r} (cut.stop)'
        )

    def oddity(self) -> str:
        """Return what is odd about what was heard, and no reason to refuse it, or ''."""
        parts = []
        if self.unstopped:
            parts.append(f'{self.unstopped} of {self.starts} episodes are not stopped before the next')
        if self.unknown:
            said = listed(f'{text!r} ({count} times)' for text, count in self.unknown.items())
            parts.append(f'neither start nor stop is {said}')
        return '; '.join(parts)

    def episode(self, t: int) -> int | None:
        """Return the number of the episode that is on at ``t`` [ns], None between two; ``t`` must not run backwards."""
        while self._edges and self._edges[0][0] <= t:
            _, on = self._edges.popleft()
            self._number += on  # a second start ends the episode before
            self._on = on
        return self._number if self._on else None


def busy_parts(
    actions: np.ndarray, states: Sequence[np.ndarray], control_dt: float, cut: CutSettings
) -> list[tuple[int, int]]:
    """Return the stretches [first, end) of ticks between idle ones, with their margins.

    Joints are at ticks ``control_dt`` [s] apart [rad or m]: actions (N, A), and any number of states (N, C).
    """
    moving = np.zeros(len(actions), dtype=bool)
    for values in (actions, *states):
        moving[1:] |= moving_steps(values, cut.idle_speed * control_dt)
    steps = np.flatnonzero(moving)
    if len(steps) == 0:
        return [(0, len(actions))] if len(actions) * control_dt < cut.idle_seconds else []
    margin = round(cut.idle_margin / control_dt)
    still = np.diff(steps) - 1
    breaks = np.flatnonzero(still * control_dt >= cut.idle_seconds)
    firsts = [steps[0], *(steps[b + 1] for b in breaks)]
    lasts = [*(steps[b] for b in breaks), steps[-1]]
    parts = [
        (max(0, int(f) - 1 - margin), min(len(actions), int(e) + 1 + margin))
        for f, e in zip(firsts, lasts, strict=True)
    ]
    if steps[0] * control_dt < cut.idle_seconds:
        parts[0] = (0, parts[0][1])
    if (len(actions) - 1 - steps[-1]) * control_dt < cut.idle_seconds:
        parts[-1] = (parts[-1][0], len(actions))
    return parts
