"""A lifecycle node that outlives whatever its peers send it: see `dp_ros.ros.callback_errors`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import deserialize_message
from rclpy.service import Service
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from dp_ros.ros.callback_errors import CallbackError, CallbackErrors, answering

# Decoded by the middleware, which is four times as fast for a picture, and drops in silence what it cannot decode.
# That such a stream stays away is said by whoever waits for it.
LARGE = (Image, CompressedImage)


class GuardedNode(LifecycleNode):
    """Decodes messages in its own callbacks, and answers every request; what goes wrong reaches `on_callback_error`."""

    def __init__(self, name: str, **options: Any) -> None:
        self.callback_errors: CallbackErrors | None = None
        super().__init__(name, **options)
        self.callback_errors = CallbackErrors(self.get_logger())
        for service in self.services:  # those of parameters and of the lifecycle
            service.callback = answering(service.callback, partial(self._caught, service.srv_name, harmless=True))

    def on_callback_error(self, error: CallbackError) -> None:
        """Count and name an error that came out of a callback."""
        if self.callback_errors is not None:
            self.callback_errors.note(error)

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable[..., Any], qos_profile: Any, *, raw: bool = False,
        **options: Any,
    ) -> Subscription:  # fmt: skip
        """Subscribe; what cannot be decoded is counted under the topic's name, and reaches no callback."""
        if not raw and msg_type not in LARGE:
            resolved = str(self.resolve_topic_name(topic))
            raw, callback = True, partial(self._decode, msg_type, resolved, callback)
        return super().create_subscription(msg_type, topic, callback, qos_profile, raw=raw, **options)

    def create_service(
        self, srv_type: Any, srv_name: str, callback: Callable[[Any, Any], Any], **options: Any
    ) -> Service:
        """Serve; a request whose handler fails is answered."""
        if self.callback_errors is not None:  # else it is one of rclpy's own
            callback = answering(callback, partial(self._caught, str(self.resolve_service_name(srv_name))))
        return super().create_service(srv_type, srv_name, callback, **options)

    def _decode(self, msg_type: Any, topic: str, callback: Callable[[Any], Any], data: bytes) -> None:
        try:
            message = deserialize_message(data, msg_type)
        except Exception as error:  # of a kind that differs from one middleware to the next
            what = f'subscription {topic}: not a {msg_type.__name__}'
            self.on_callback_error(CallbackError(where=what, error=error, harmless=True))
            return
        callback(message)

    def _caught(self, service: str, error: Exception, *, harmless: bool = False) -> None:
        self.on_callback_error(CallbackError(where=f'service {service}', error=error, harmless=harmless))
