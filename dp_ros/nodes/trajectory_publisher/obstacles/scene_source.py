"""A topic of obstacles: listened to as its publishers offer it, and asked for what was said before.

Publishers of scenes differ. What draws markers mostly keeps the last ones for those who join later; move_group keeps
nothing, publishes differences, and answers the service `get_planning_scene`. Who asks for what a publisher does not
keep hears nothing at all, so the subscription is as they are, and made again when they change.
"""

from __future__ import annotations

import importlib
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.task import Future

from dp_ros.errors import DataError
from dp_ros.nodes.trajectory_publisher.obstacles.messages import message_type, take
from dp_ros.planning.scene import Item, LiveScene
from dp_ros.ros.lifecycle import ManagedNode

SCENE = 'topics.planning_scene'
LARGEST = 2**20
"""Bytes of a message with many obstacles."""
DEPTH = 100
MOST_LATER = 1000
"""Differences that are kept until the scene that they belong to is known."""
AGAIN = 2_000_000_000
"""After so long a question is put again [ns]."""
WANTED = 4 | 8 | 16 | 32
"""Of moveit_msgs/PlanningSceneComponents: what is attached, names and shapes of objects, the octomap."""
UNKNOWN = 'got no whole scene yet, allowed one on the topic, or from get_planning_scene beside it'


def decoded(kind: type, message: bytes, largest: int) -> Any:
    """Return a message of ``kind``; :class:`DataError` if it is none, or larger than ``largest`` [bytes]."""
    if len(message) > largest:
        raise DataError(f'got a message of {len(message)} bytes, allowed up to {largest}')
    try:
        return deserialize_message(message, kind)
    except Exception as error:  # whatever the type support raises over foreign bytes
        raise DataError(f'got a message that cannot be decoded ({error})') from error


class SceneSource:
    """Bring a scene up to date with one topic, from `open` to `close`.

    Parameters
    ----------
    node
        Who listens.
    parameter
        The parameter that names the topic, one of `messages.PACKAGES`.
    scene
        What is brought up to date.

    """

    def __init__(self, node: ManagedNode, parameter: str, scene: LiveScene) -> None:
        self._node, self._parameter, self._scene = node, parameter, scene
        self._kind = message_type(parameter)
        self._topic = str(node.resolve_topic_name(node.value(parameter)))
        self._offer = (QoSReliabilityPolicy.RELIABLE, QoSDurabilityPolicy.VOLATILE)
        self._subscription: Any = None
        self._client: Any = None
        self._later: list[Any] | None = None  # differences, while the scene that they belong to is not known
        self._asked: Future | None = None
        self._asked_at = 0

    def open(self) -> None:
        """Listen. Of a planning scene nothing is known before the whole of it; other topics have no whole."""
        self._offer = self._offered()
        self._listen()
        if self._parameter == SCENE:
            self._later = []
            self._scene.bring(SCENE, {**self._scene.items(SCENE), '': Item(fault=UNKNOWN)})
            service = f'{self._topic.rpartition("/")[0]}/get_planning_scene'
            kind = importlib.import_module('moveit_msgs.srv').GetPlanningScene
            self._client = self._node.create_client(kind, service)
        self.look()

    def close(self) -> None:
        """Listen no more; what was brought stays."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        if self._client is not None:
            self._node.destroy_client(self._client)
        self._subscription = self._client = self._asked = self._later = None

    def look(self) -> None:
        """Listen as the publishers offer it, and ask for the whole scene if that is not known."""
        offered = self._offered()
        if offered != self._offer:
            self._offer = offered
            self._node.destroy_subscription(self._subscription)
            self._listen()
        if self._later is None or self._client is None or not self._client.service_is_ready():
            return
        now = self._node.steady()
        if self._asked is None or now - self._asked_at > AGAIN:
            request = self._client.srv_type.Request()
            request.components.components = WANTED
            self._asked, self._asked_at = self._client.call_async(request), now
            self._asked.add_done_callback(self._on_answer)

    def _offered(self) -> tuple[QoSReliabilityPolicy, QoSDurabilityPolicy]:
        """Return the most that all publishers offer; what was asked for before, where there is none."""
        profiles = [info.qos_profile for info in self._node.get_publishers_info_by_topic(self._topic)]
        if not profiles:
            return self._offer
        lossy = any(profile.reliability == QoSReliabilityPolicy.BEST_EFFORT for profile in profiles)
        kept = all(profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for profile in profiles)
        return (
            QoSReliabilityPolicy.BEST_EFFORT if lossy else QoSReliabilityPolicy.RELIABLE,
            QoSDurabilityPolicy.TRANSIENT_LOCAL if kept else QoSDurabilityPolicy.VOLATILE,
        )

    def _listen(self) -> None:
        profile = QoSProfile(depth=DEPTH, reliability=self._offer[0], durability=self._offer[1])
        # Without rclpy's own event callbacks: one that is ready when its subscription goes would end the executor.
        none = SubscriptionEventCallbacks(use_default_callbacks=False)
        self._subscription = self._node.create_subscription(
            self._kind, self._topic, self._on_message, profile, raw=True, event_callbacks=none
        )

    def _on_message(self, message: bytes) -> None:
        try:
            self._take(decoded(self._kind, message, LARGEST))
        except DataError as error:
            self._scene.wrong(self._parameter, str(error))

    def _on_answer(self, future: Future) -> None:
        if future is self._asked and future.exception() is None:
            self._take(future.result().scene)

    def _take(self, message: Any) -> None:
        later = self._later
        if later is None:
            take(self._parameter, message, self._scene)
        elif message.is_diff:
            self._later = [*later, message][-MOST_LATER:]
        else:
            self._later = None
            for each in (message, *later):
                take(self._parameter, each, self._scene)
