"""Whether a bundle fits the robot that it is to move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dp_ros.data import to_nanoseconds
from dp_ros.errors import BundleError, DpRosError, listed, order_advice
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.task.spec import ImageStream, JointStream, Stream
from dp_ros.task.streams import picture_advice


def check_compatibility(
    bundle: Bundle,
    *,
    joints: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    control_dt: float | None = None,
    topic_types: Mapping[str, str] | None = None,
) -> None:
    """Raise :class:`BundleError`, naming the field, unless the bundle fits what the robot's parameters say.

    Parameters
    ----------
    joints, units
        The robot's joints in the controller's order, and ``m`` or ``rad`` for each.
    control_dt
        Time between actions [s].
    topic_types
        By stream name, the type of the topic that feeds it, for instance ``sensor_msgs/msg/Image``.

    """
    task = bundle.task

    def compare(what: str, got: object, allowed: object, advice: str = '') -> None:
        if got != allowed:
            raise BundleError(
                f'bundle {bundle.name} does not fit the robot: {what}: got {got} in the bundle, allowed {allowed} '
                f"(the robot's){advice}"
            )

    if joints is not None:
        compare('joints', listed(task.action.joints), listed(joints), order_advice(task.action.joints, joints))
    if units is not None:
        compare('units', listed(task.action.units), listed(units))
    if control_dt is not None:
        compare('control_dt [ns]', to_nanoseconds(task.control_dt), to_nanoseconds(control_dt))
    for name, kind in (topic_types or {}).items():
        stream = _stream(bundle, name)
        compare(f'stream {name!r} topic type', topic_type(stream), kind, advice_on_pictures(stream, kind))


def advice_on_pictures(stream: Stream, kind: str) -> str:
    """Return what to do where a stream's pictures are published as the other of their two types, or ''."""
    advice = picture_advice(kind, {topic_type(stream)})
    return advice and f'; give topics.{stream.name} a topic of {topic_type(stream)}, or train anew: {advice}'


def topic_type(stream: Stream) -> str:
    """Return the ROS message type that feeds a stream."""
    if isinstance(stream, ImageStream):
        return f'sensor_msgs/msg/{"CompressedImage" if stream.compressed else "Image"}'
    return 'sensor_msgs/msg/JointState' if isinstance(stream, JointStream) else 'geometry_msgs/msg/PoseStamped'


def _stream(bundle: Bundle, name: str) -> Stream:
    try:
        return bundle.task.stream(name)
    except DpRosError as error:
        raise BundleError(f'bundle {bundle.name} does not fit the robot: {error}') from error
