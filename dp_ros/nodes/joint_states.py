"""The newest joint state, decoded when it is asked for and not when it arrives: most are never looked at."""

from __future__ import annotations

from dataclasses import replace

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState

from dp_ros import messages
from dp_ros.config import JointStream
from dp_ros.errors import DpRosError
from dp_ros.nodes.diagnostics import OK, WARN, Diagnostics
from dp_ros.policy.seeding import MeasuredState

STATUS = 'joint states'


class JointStates:
    """Joint states of one stream; times are robot time [ns].

    Parameters
    ----------
    stream
        The joints wanted, in order, and the topic.
    max_age
        Oldest stamp that counts, and the farthest ahead of now [ns].

    """

    def __init__(self, stream: JointStream, max_age: int) -> None:
        self._stream = stream
        self._speeds = replace(stream, fields=('velocity',))
        self._max_age = max_age
        self._began: int | None = None
        self.received = self.wrong = 0
        self._counted = 0
        self.forget()

    def forget(self) -> None:
        """Forget all states, as after a jump of the clock."""
        self._newest: tuple[int, bytes] | None = None
        self.state: MeasuredState | None = None
        self.fault = f'{self._stream.topic}: got no joint state yet, allowed one before anything moves'

    def receive(self, message: bytes, now: int) -> None:
        """Keep a serialized joint state that arrived at ``now``."""
        self.received += 1
        self._newest = (now, message)

    def read(self, now: int) -> MeasuredState | None:
        """Return the newest good state of all, however old; `fault` says what is wrong with the newest, if anything."""
        if self._newest is None:
            return self.state
        (arrival, serialized), self._newest = self._newest, None
        try:
            decoded = self._decoded(serialized, arrival)
        except DpRosError as error:
            decoded, self.fault = None, str(error)
        if decoded is not None and decoded.stamp - now > self._max_age:
            ahead = (decoded.stamp - now) / 1e9
            decoded = None
            self.fault = f'{self._stream.topic}: got a stamp {ahead:.3f} s ahead, allowed {self._max_age / 1e9:.3f} s'
        if decoded is None:
            self.wrong += 1
            return self.state
        # One stamped before the last is late; or a simulation begins anew, and its clock has yet to tell.
        if self.state is None or decoded.stamp >= self.state.stamp:
            self.state, self.fault = decoded, ''
        return self.state

    def _decoded(self, serialized: bytes, arrival: int) -> MeasuredState:
        message = deserialize_message(serialized, JointState)
        positions = messages.decode(self._stream, message)
        speeds = messages.decode(self._speeds, message) if len(message.velocity) else 0.0 * positions
        return MeasuredState(stamp=messages.stamp_of(message) or arrival, positions=positions, velocities=speeds)

    def report(self, diagnostics: Diagnostics, now: int) -> None:
        """Say how often joint states come and how old the newest good one is."""
        rate = 0.0
        if self._began is not None and now > self._began:
            rate = (self.received - self._counted) / (now - self._began) * 1e9
        self._began, self._counted = now, self.received
        age = None if self.state is None else now - self.state.stamp
        values = {
            'topic': self._stream.topic,
            'rate_hz': f'{rate:.1f}',
            'age_ms': '' if age is None else f'{age / 1e6:.1f}',
            'max_age_ms': f'{self._max_age / 1e6:.1f}',
            'received': self.received,
            'wrong': self.wrong,
        }
        old = age is not None and abs(age) > self._max_age
        text = self.fault or ('the newest good one is too old' if old else 'arriving')
        diagnostics.report(STATUS, WARN if self.fault or old else OK, text, values)
