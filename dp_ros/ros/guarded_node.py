"""A node that outlives whatever its peers send it: see `dp_ros.ros.callback_errors`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import CompressedImage, Image

from dp_ros.ros.callback_errors import CallbackError, CallbackErrors, answering

# Decoded by the middleware, which is four times as fast for a picture, and drops in silence what it cannot decode.
# That such a stream stays away is said by whoever waits for it.
LARGE = (Image, CompressedImage)


class GuardedNode(Node):
    """Decodes messages in its own callbacks, and answers every request; what goes wrong reaches `on_callback_error`.

    No error comes out of a callback: an EventsExecutor that gets one leaves messages lying until others come.
    """

    def __init__(self, name: str, **options: Any) -> None:
        self.callback_errors: CallbackErrors | None = None
        super().__init__(name, **options)
        self.callback_errors = CallbackErrors(self.get_logger())
        for service in self.services:  # those of parameters and of the lifecycle
            service.callback = answering(service.callback, partial(self._failed, service.srv_name, harmless=True))

    def on_callback_error(self, error: CallbackError) -> None:
        """Count and name an error that came out of a callback."""
        if self.callback_errors is not None:
            self.callback_errors.note(error)

    def handle_error(self, error: CallbackError) -> None:
        """Deal with an error, whatever comes of that; not with what fails because ROS has ended."""
        if not self.context.ok():
            return
        try:
            self.on_callback_error(error)
        except Exception as further:
            self.get_logger().error(f'{error}; and then {type(further).__name__}: {further}')

    def guarded(self, where: str, callback: Callable[..., None]) -> Callable[..., None]:
        """Return a callback that raises nothing."""

        @wraps(callback)  # rclpy looks at its signature
        def called(*args: Any) -> None:
            try:
                callback(*args)
            except Exception as error:
                self.handle_error(CallbackError(where=where, error=error, harmless=False))

        return called

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable[..., None], qos_profile: Any, *, raw: bool = False,
        **options: Any,
    ) -> Subscription:  # fmt: skip
        """Subscribe; what cannot be decoded is counted under the topic's name, and reaches no callback."""
        resolved = str(self.resolve_topic_name(topic))
        guarded = self.guarded(f'subscription {resolved}', callback)
        if raw or msg_type in LARGE:
            guarded = _with_info(guarded)
        else:
            raw, guarded = True, partial(self._decode, msg_type, resolved, guarded)
        return super().create_subscription(msg_type, topic, guarded, qos_profile, raw=raw, **options)

    def create_timer(self, timer_period_sec: float, callback: Callable[..., None], *args: Any, **options: Any) -> Timer:
        """Call at intervals."""
        where = f'timer of {getattr(callback, "__qualname__", callback)}'
        return super().create_timer(timer_period_sec, self.guarded(where, callback), *args, **options)

    def create_service(
        self, srv_type: Any, srv_name: str, callback: Callable[[Any, Any], Any], **options: Any
    ) -> Service:
        """Serve; a request whose handler fails is answered."""
        if self.callback_errors is not None:  # else it is one of rclpy's own
            callback = answering(callback, partial(self._failed, str(self.resolve_service_name(srv_name))))
        return super().create_service(srv_type, srv_name, callback, **options)

    def _decode(self, msg_type: Any, topic: str, callback: Callable[[Any], None], data: bytes) -> None:
        try:
            message = deserialize_message(data, msg_type)
        except Exception as error:  # of a kind that differs from one middleware to the next
            what = f'subscription {topic}: not a {msg_type.__name__}'
            self.handle_error(CallbackError(where=what, error=error, harmless=True))
            return
        callback(message)

    def _failed(self, service: str, error: Exception, *, harmless: bool = False) -> None:
        self.handle_error(CallbackError(where=f'service {service}', error=error, harmless=harmless))


def _with_info(callback: Callable[..., None]) -> Callable[..., None]:
    """Return a callback that takes apart message and information: rclpy 7.1's EventsExecutor passes them as one."""

    @wraps(callback)
    def called(*taken: Any) -> None:
        callback(*(taken[0] if isinstance(taken[0], tuple) else taken))

    return called
