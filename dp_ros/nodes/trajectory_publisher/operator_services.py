"""Serve what a person asks of the publisher: to stop, and to let chunks move the arm again."""

from __future__ import annotations

from collections.abc import Callable

from std_srvs.srv import Trigger

from dp_ros.motion.safety.safety_states import Cause, Reason
from dp_ros.nodes.trajectory_publisher.local_reset import ONLY_HERE, Answer, ResetSocket
from dp_ros.nodes.trajectory_publisher.motion import Motion
from dp_ros.ros.lifecycle import ManagedNode


class Operator:
    """Offers ``~/hold`` and ``~/reset``, the latter by a socket of this machine where there is one.

    Parameters
    ----------
    node
        Whose services they are.
    motion
        What is stopped.
    socket
        Where a person at this machine releases the latch; None where the service does.
    reset
        Lets chunks move the arm again; returns why not, or ''.
    report
        Publishes the safety state.

    """

    def __init__(
        self,
        node: ManagedNode,
        motion: Motion,
        socket: ResetSocket | None,
        reset: Callable[[], str],
        report: Callable[[], None],
    ) -> None:
        self._node, self._motion, self._socket = node, motion, socket
        self._reset, self._report = reset, report
        callbacks = (('~/reset', self._on_reset), ('~/hold', self._on_hold))
        self._services = [node.create_service(Trigger, *each) for each in callbacks]

    def serve(self) -> None:
        """Answer who asks by the socket."""
        if self._socket is not None:
            safety = self._motion.safety
            self._socket.serve(str(safety.reason) if safety.latched else '', self._answer)

    def close_socket(self) -> None:
        """Let nobody ask by the socket any more."""
        if self._socket is not None:
            self._socket.close()

    def close(self) -> None:
        """Remove the services."""
        for service in self._services:
            self._node.destroy_service(service)

    def _answer(self) -> Answer:
        safety = self._motion.safety
        before = safety.reason if safety.latched else None
        objection = self._reset()
        done = f'reset after: {before}' if before else 'it was not stopped'
        answer = Answer(success=not objection, message=f'not reset: {objection}' if objection else done)
        self._node.get_logger().info(answer.message)
        self._report()
        return answer

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        answer = self._answer() if self._socket is None else ONLY_HERE
        response.success, response.message = answer.success, answer.message
        return response

    def _on_hold(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._motion.latch(Reason(cause=Cause.OPERATOR, text='~/hold was called'))
        left = max(0, (self._motion.rests_at or 0) - self._node.now())
        response.success = True
        response.message = f'stopped until ~/reset is called; at rest in {left / 1e9:.1f} s'
        self._report()
        return response
