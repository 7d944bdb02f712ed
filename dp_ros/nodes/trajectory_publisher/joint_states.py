"""Joint states as they arrive: decoded, judged, and handed on if they can be true.

A joint state is evidence, not truth. One that cannot be decoded, or that no joint can have reached since the last, is
refused and counted. Messages that name none of the joints are another driver's, and nobody's fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState

from dp_ros.errors import DataError, DpRosError
from dp_ros.messages import encoding
from dp_ros.motion.safety.measured_states import AGREED, SEVERAL, MeasuredState, Plausibility
from dp_ros.nodes.trajectory_publisher.controllers.endpoints import SourceWatch
from dp_ros.robot.joint_limits import JointLimits
from dp_ros.ros.diagnostics import OK, WARN, Diagnostics
from dp_ros.task.spec import JointStream

STATUS = 'joint states'
SPEAKERS = 2
"""Steps back of the sequence number among the last messages that may come from a publisher's restart."""
DECODED = 7_000_000
"""Joint states that arrive sooner after the last are looked at only when one is asked for [ns]."""
LARGEST = 1_000_000
"""No joint state is larger [bytes]."""


class JointStates:
    """Joint states of one stream; times are robot time [ns].

    Parameters
    ----------
    stream
        The joints wanted, in order, and the topic.
    max_age
        Oldest stamp that counts, and the farthest ahead of now [ns].
    limits, continuous
        Of the joints: what they can reach, and which turn without end (A,).
    take
        Is handed each good state.
    before
        What received them until the node was deactivated, if it was: a robot has not gone far since.

    Attributes
    ----------
    plausibility
        What judges them.

    """

    def __init__(
        self,
        stream: JointStream,
        max_age: int,
        limits: JointLimits,
        continuous: np.ndarray,
        take: Callable[[MeasuredState], None],
        before: JointStates | None = None,
    ) -> None:
        self._stream = stream
        self._speeds = replace(stream, fields=('velocity',))
        self._max_age = max_age
        self._limits, self._continuous = limits, continuous
        self._take = take
        self._began: int | None = None
        self.received = self.wrong = self.implausible = self.others = 0
        self._counted = self._told = 0
        self._last_refused = ''
        self._sources = SourceWatch(SPEAKERS)
        self.plausibility: Plausibility = Plausibility(limits, continuous)
        self.forget()
        if before is not None:
            self.plausibility = before.plausibility
            self.plausibility.resume()

    def forget(self) -> None:
        """Forget all states, as after a jump of the clock."""
        self._newest: tuple[int, bytes] | None = None
        self._decoded = 0
        self.state: MeasuredState | None = None
        self.plausibility = Plausibility(self._limits, self._continuous)
        self._refused: tuple[MeasuredState, int] | None = None
        self.fault = f'{self._stream.topic}: got no joint state yet, allowed one before anything moves'

    @property
    def topic(self) -> str:
        """Where joint states come from."""
        return self._stream.topic

    @property
    def several_sources(self) -> str:
        """Why joint states come from more than one source, or ''."""
        if not self._sources.several:
            return ''
        return f'{self._stream.topic}: got the same joints from several publishers in turn, allowed one source of each'

    def trusted(self, now: int) -> bool:
        """Tell whether the newest joint state is good, and from the one source."""
        return self.read(now) is not None and not (self.fault or self.several_sources)

    def forget_sources(self) -> None:
        """Forget who published: where two still do, that shows again at once."""
        self._sources = SourceWatch(SPEAKERS)

    @property
    def untrue(self) -> str:
        """Why joint states are not believed any more, or ''."""
        if self.plausibility.refused < SEVERAL:
            return ''
        return f'{self.plausibility.refused} joint states in a row cannot be true: {self.fault}'

    def receive(self, message: bytes, now: int, info: Mapping[str, Any]) -> None:
        """Take a serialized joint state that arrived at ``now``."""
        self.received += 1
        if len(message) > LARGEST:
            self.wrong += 1
            self.fault = f'{self._stream.topic}: got a message of {len(message)} bytes, allowed up to {LARGEST}'
            return
        if not encoding.names_any(message, self._stream.joints):
            self.others += 1
            return
        self._sources.heard(info)
        self._newest = (now, message)
        if not 0 <= now - self._decoded < DECODED:
            self.read(now)

    def read(self, now: int) -> MeasuredState | None:
        """Return the newest good state of all, however old; `fault` says what is wrong with the newest, if anything."""
        if self._newest is None:
            return self.state
        (arrival, serialized), self._newest = self._newest, None
        self._decoded = arrival
        try:
            self._judge(self._decode(serialized, arrival), arrival, now)
        except DpRosError as error:
            self.wrong += 1
            self.fault = str(error)
        except Exception as error:  # whatever the middleware and its type support raise over foreign bytes
            self.wrong += 1
            self.fault = f'{self._stream.topic}: got a message that cannot be decoded, allowed a JointState ({error})'
        return self.state

    def adopt(self) -> MeasuredState | None:
        """Take the last refused states for true, if they agree; return the last; for a robot that is not moved."""
        if self._refused is None or self.plausibility.agreeing < AGREED:
            return None
        state, arrival = self._refused
        self._refused = None
        self.plausibility.take(state, arrival)
        self.state, self.fault = state, ''
        return state

    def _judge(self, decoded: MeasuredState, arrival: int, now: int) -> None:
        if decoded.stamp - now > self._max_age:
            ahead = (decoded.stamp - now) / 1e9
            raise DataError(
                f'{self._stream.topic}: got a stamp {ahead:.3f} s ahead, allowed {self._max_age / 1e9:.3f} s'
            )
        # One stamped before the last is late; or a simulation begins anew, and its clock has yet to tell.
        if self.state is not None and decoded.stamp < self.state.stamp:
            return
        implausible = self.plausibility.fault(decoded, arrival)
        if implausible:
            self.implausible += 1
            self._refused = (decoded, arrival)
            self.fault = self._last_refused = f'{self._stream.topic}: {implausible}'
            return
        if self.state is None or decoded.stamp > self.state.stamp:
            self._take(decoded)
        self.state, self.fault = decoded, ''

    def _decode(self, serialized: bytes, arrival: int) -> MeasuredState:
        message = deserialize_message(serialized, JointState)
        positions = encoding.decode(self._stream, message)
        speeds = 0.0 * positions
        if len(message.velocity) == len(message.name):
            with suppress(DataError):  # positions tell as much
                speeds = encoding.decode(self._speeds, message)
        return MeasuredState(stamp=encoding.stamp_of(message) or arrival, positions=positions, velocities=speeds)

    def report(self, diagnostics: Diagnostics, now: int) -> None:
        """Say how often joint states come and how old the newest good one is."""
        rate, own = 0.0, self.received - self.others
        if self._began is not None and now > self._began:
            rate = (own - self._counted) / (now - self._began) * 1e9
        self._began, self._counted = now, own
        age = None if self.state is None else now - self.state.stamp
        values = {
            'topic': self._stream.topic,
            'rate_hz': f'{rate:.1f}',
            'age_ms': '' if age is None else f'{age / 1e6:.1f}',
            'max_age_ms': f'{self._max_age / 1e6:.1f}',
            'received': self.received,
            'wrong': self.wrong,
            'implausible': self.implausible,
            'of_other_joints': self.others,
        }
        old = age is not None and abs(age) > self._max_age
        refused, self._told = self.implausible - self._told, self.implausible
        text = self.fault or ('the newest good one is too old' if old else 'arriving')
        if refused and not self.fault:
            text = f'{refused} refused lately that cannot be true: {self._last_refused}'
        diagnostics.report(STATUS, WARN if self.fault or old or refused else OK, text, values)
