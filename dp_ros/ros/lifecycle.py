"""What all nodes share: the lifecycle with `autostart`, checked parameters, and diagnostics."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import JumpHandle, JumpThreshold, ROSClock, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.task import Future

from dp_ros.errors import DpRosError
from dp_ros.options import Option, options_of
from dp_ros.policy.node_options import LifecycleOptions
from dp_ros.ros.callback_errors import CallbackErrors
from dp_ros.ros.diagnostics import ERROR, OK, Diagnostics
from dp_ros.ros.guarded_node import GuardedNode
from dp_ros.ros.main import run as run
from dp_ros.ros.parameters import declare, refuse_unknown, value_of

(AUTOSTART,) = options_of(LifecycleOptions)
STATE = 'lifecycle'
WARN_PERIOD = 5.0  # [s] between two log lines of one kind


def reliable(depth: int) -> QoSProfile:
    """Return the quality of service for what must not be lost: reliable, keeping the last ``depth`` messages."""
    return QoSProfile(depth=depth, reliability=QoSReliabilityPolicy.RELIABLE)


class ManagedNode(GuardedNode, LifecycleNode):
    """A lifecycle node. A subclass says what its transitions do, by overriding the methods without ``on_``.

    They raise :class:`DpRosError` to refuse; the error is logged, stands in the diagnostics, and ends the process with
    exit code 1 if the node started itself.

    Parameters
    ----------
    name
        The node's name.
    parameters
        Its parameters, besides `autostart`.
    patterns
        Names of parameters that only a bundle can tell (see :func:`refuse_unknown`).
    options
        Passed on to the ROS node.

    """

    def __init__(
        self,
        name: str,
        parameters: Sequence[Option],
        *,
        patterns: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self._jump: JumpHandle | None = None
        super().__init__(name, **options)
        self._service_change_state.callback = self._only_if_possible(self._service_change_state.callback)
        self._known = {parameter.name: parameter for parameter in (AUTOSTART, *parameters)}
        try:
            refuse_unknown(self, self._known, patterns or {})
            declare(self, self._known.values())
        except DpRosError:
            self.destroy_node()
            raise
        self.died: Future = Future()
        self.diagnostics = Diagnostics(self, self._refresh)
        self.callback_errors = CallbackErrors(self.get_logger(), self.diagnostics)
        self.diagnostics.report(STATE, OK, 'unconfigured')
        self.add_on_set_parameters_callback(self._check_set)
        self.add_post_set_parameters_callback(lambda _: self.apply(self.values()))
        self._jump = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True),
            post_callback=self._on_jump,
        )

    # What a subclass overrides.

    def configure(self) -> None:
        """Load and check everything that can be checked before the robot moves."""

    def activate(self) -> None:
        """Start fresh."""

    def deactivate(self) -> None:
        """Stop. After an interruption there is no way to publish any more."""

    def cleanup(self) -> None:
        """Give back what `configure` took; also called when that failed half-way."""

    def stopped(self) -> None:
        """Note that the node was deactivated or shut down as somebody wanted; it ends abnormally without this."""

    def ended(self) -> None:
        """Note that the process ends in order, after `close`."""

    def restart(self, reason: str) -> None:
        """Forget what was collected, because the clock jumped. Only called while active."""

    def refresh(self) -> None:
        """Bring the diagnostics up to date."""

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise :class:`DpRosError` if these values of all parameters don't fit together."""

    def apply(self, values: Mapping[str, Any]) -> None:
        """Take over parameters that were changed live and passed `check`."""

    # What a subclass uses.

    def value(self, name: str) -> Any:
        """Return a parameter's value."""
        return value_of(self, name)

    def values(self) -> dict[str, Any]:
        """Return all declared parameters of this node."""
        return {name: value_of(self, name) for name in self._known}

    def options(self) -> tuple[Option, ...]:
        """Return the options behind the declared parameters."""
        return tuple(self._known.values())

    def declare_more(self, parameters: Sequence[Option]) -> None:
        """Declare parameters whose names came from the bundle. Those known already stay as they are."""
        new = [parameter for parameter in parameters if parameter.name not in self._known]
        self._known |= {parameter.name: parameter for parameter in new}
        declare(self, [parameter for parameter in new if not self.has_parameter(parameter.name)])

    def now(self) -> int:
        """Return robot time [ns]: the ROS clock, or 0 while a simulated clock has not begun."""
        return int(self.get_clock().now().nanoseconds)

    def steady(self) -> int:
        """Return steady time [ns], which nothing but its passing changes: for how long ago something was heard."""
        return time.monotonic_ns()

    @property
    def simulated_time(self) -> bool:
        """Whether robot time comes from /clock."""
        clock = self.get_clock()
        return isinstance(clock, ROSClock) and bool(clock.ros_time_is_active)

    @property
    def state(self) -> str:
        """The lifecycle state, as `inactive`."""
        return str(self._state_machine.current_state[1])

    @property
    def active(self) -> bool:
        """Whether the node is in its active state."""
        return self.state == 'active'

    def start(self) -> bool:
        """Configure and activate; return whether both went well."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    # Transitions as ROS calls them.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Configure, or clean up again if that is refused."""
        result = self._attempt('configure', self.configure, 'inactive')
        if result != TransitionCallbackReturn.SUCCESS:
            self.cleanup()
            return result
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Activate. Publishers first, since `activate` may already publish."""
        result = super().on_activate(state)
        if result == TransitionCallbackReturn.SUCCESS:
            result = self._attempt('activate', self.activate, 'active')
        if result != TransitionCallbackReturn.SUCCESS:
            self.deactivate()
            super().on_deactivate(state)
            self.stopped()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate. Publishers last, since stopping may need them."""
        result = self._attempt('deactivate', self.deactivate, 'inactive')
        super().on_deactivate(state)
        if result == TransitionCallbackReturn.SUCCESS:
            self.stopped()
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Clean up."""
        result = self._attempt('cleanup', self.cleanup, 'unconfigured')
        super().on_cleanup(state)
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop whatever runs."""
        result = self._attempt('shutdown', self.close, 'finalized')
        if result == TransitionCallbackReturn.SUCCESS:
            self.stopped()
        return result

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after an unexpected error, with nothing running."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Destroy the node. The clock would keep it alive for ever, with its services, by the jump callback."""
        if self._jump is not None:
            self._jump.unregister()
            self._jump = None
        super().destroy_node()
        # Its services go with the state machine, and until then would take requests meant for the next of this name.
        self._state_machine.destroy_when_not_in_use()

    def close(self) -> None:
        """Deactivate and clean up, whatever the state."""
        self.deactivate()
        self.cleanup()

    def _refresh(self) -> None:
        if self.callback_errors is not None:
            self.callback_errors.report()
        self.refresh()

    def _only_if_possible(self, change: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Refuse a transition that this state lacks; rclpy would let the error end the process."""

        def changed(request: Any, response: Any) -> Any:
            transitions = {(label if request.transition.label else number): label for number, label, *_ in self._ways()}
            if (request.transition.label or request.transition.id) in transitions:
                return change(request, response)
            state, allowed = self.state, ', '.join(transitions.values())
            got = request.transition.label or f'number {request.transition.id}'
            self.get_logger().error(f'transition: got {got} in state {state}, allowed {allowed}')
            response.success = False
            return response

        return changed

    def _ways(self) -> list[tuple[Any, ...]]:
        return list(self._state_machine.available_transitions)

    def _attempt(self, what: str, action: Callable[[], None], then: str) -> TransitionCallbackReturn:
        try:
            action()
        except DpRosError as error:
            self.get_logger().error(f'{what} refused: {error}')
            self.diagnostics.report(STATE, ERROR, f'{what} refused: {error}', now=True)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy would swallow it without a word
            if not self.context.ok():
                return TransitionCallbackReturn.FAILURE  # interrupted half-way
            self.get_logger().error(f'{what} failed: {error}\n{traceback.format_exc()}')
            self.diagnostics.report(STATE, ERROR, f'{what} failed: {error}', now=True)
            return TransitionCallbackReturn.ERROR
        self.get_logger().info(then)
        self.diagnostics.report(STATE, OK, then, now=True)
        return TransitionCallbackReturn.SUCCESS

    def _check_set(self, parameters: list[Parameter]) -> SetParametersResult:
        if self.active and any(p.name == 'use_sim_time' for p in parameters):
            reason = 'use_sim_time: got a change while active, allowed before'
            return SetParametersResult(successful=False, reason=reason)
        if not all(p.name for p in parameters):  # rclpy takes it for one that was declared
            return SetParametersResult(successful=False, reason="parameter: got the name '', allowed a declared one")
        # A list without entries is declared without a value.
        proposed = {p.name: () if p.value is None else p.value for p in parameters if p.name in self._known}
        try:
            for name, value in proposed.items():
                self._known[name].check(value)
            self.check(self.values() | proposed)
        except DpRosError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _on_jump(self, jump: TimeJump) -> None:
        if self.active:
            self.restart(f'the clock jumped by {jump.delta.nanoseconds / 1e9:.3f} s')
