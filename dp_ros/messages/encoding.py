"""ROS messages to values and back, for live nodes and for bags alike.

Reading (`dp_ros.messages.decoding`, whose names are here too) goes by attribute names. Writing needs message classes:
ROS's own, imported when first asked for, or others that are given. Stamps are in [ns].
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS, Chunk
from dp_ros.errors import ConfigError
from dp_ros.messages.decoding import (
    COMPRESSED_IMAGE,
    FLOAT64,
    IMAGE,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    POSE,
    STRING,
    TrajectoryFields,
    belongs,
    check_positions,
    chunk_from_message,
    decode,
    decode_aligned,
    joint_vector,
    names_any,
    nearer_sign,
    pose_features,
    stamp_of,
    trajectory_value,
    type_of,
)
from dp_ros.messages.images import resize_rgb

__all__ = [
    'COMPRESSED_IMAGE',
    'FLOAT64',
    'IMAGE',
    'JOINT_STATE',
    'JOINT_TRAJECTORY',
    'POSE',
    'STRING',
    'MessageTypes',
    'TrajectoryFields',
    'belongs',
    'check_positions',
    'chunk_from_message',
    'chunk_to_message',
    'decode',
    'decode_aligned',
    'joint_vector',
    'names_any',
    'nearer_sign',
    'pose_features',
    'resize_rgb',
    'ros_types',
    'stamp_of',
    'to_compressed_image',
    'to_float64',
    'to_image',
    'to_joint_state',
    'to_joint_trajectory',
    'to_pose',
    'to_string',
    'trajectory_value',
    'type_of',
]


@dataclass(frozen=True, kw_only=True)
class MessageTypes:
    """Message classes to build with, from ROS or from rosbags, and how each holds a list of numbers."""

    Time: Any
    Duration: Any
    Header: Any
    Float64: Any
    String: Any
    JointState: Any
    Point: Any
    Quaternion: Any
    Pose: Any
    PoseStamped: Any
    Image: Any
    CompressedImage: Any
    JointTrajectory: Any
    JointTrajectoryPoint: Any
    floats: Callable[[Any], Any]
    octets: Callable[[bytes], Any]


@lru_cache(maxsize=1)
def ros_types() -> MessageTypes:
    """Return ROS's own message classes."""
    try:
        from builtin_interfaces.msg import Duration, Time
        from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
        from sensor_msgs.msg import CompressedImage, Image, JointState
        from std_msgs.msg import Float64, Header, String
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
    except ImportError as error:
        raise ConfigError(
            f'ROS messages cannot be imported ({error}); source a ROS installation, or install the extra '
            "'ros': pip install 'dp_ros[ros]'"
        ) from error
    return MessageTypes(
        Time=Time,
        Duration=Duration,
        Header=Header,
        Float64=Float64,
        String=String,
        JointState=JointState,
        Point=Point,
        Quaternion=Quaternion,
        Pose=Pose,
        PoseStamped=PoseStamped,
        Image=Image,
        CompressedImage=CompressedImage,
        JointTrajectory=JointTrajectory,
        JointTrajectoryPoint=JointTrajectoryPoint,
        floats=lambda values: array('d', np.asarray(values, dtype=np.float64).tobytes()),
        octets=lambda data: array('B', data),
    )


def _header(types: MessageTypes, stamp: int, frame_id: str) -> Any:
    sec, nanosec = divmod(int(stamp), NANOSECONDS)
    return types.Header(stamp=types.Time(sec=sec, nanosec=nanosec), frame_id=frame_id)


def to_joint_state(
    *,
    stamp: int,
    name: Sequence[str],
    position: Any,
    velocity: Any = (),
    effort: Any = (),
    frame_id: str = '',
    types: MessageTypes | None = None,
) -> Any:
    """Build a ``sensor_msgs/JointState``."""
    types = types or ros_types()
    return types.JointState(
        header=_header(types, stamp, frame_id),
        name=list(name),
        position=types.floats(position),
        velocity=types.floats(velocity),
        effort=types.floats(effort),
    )


def to_pose(*, stamp: int, position: Any, orientation: Any, frame_id: str, types: MessageTypes | None = None) -> Any:
    """Build a ``geometry_msgs/PoseStamped`` from x, y, z [m] and a quaternion x, y, z, w."""
    types = types or ros_types()
    x, y, z = (float(v) for v in position)
    qx, qy, qz, qw = (float(v) for v in orientation)
    pose = types.Pose(position=types.Point(x=x, y=y, z=z), orientation=types.Quaternion(x=qx, y=qy, z=qz, w=qw))
    return types.PoseStamped(header=_header(types, stamp, frame_id), pose=pose)


def to_image(*, stamp: int, pixels: np.ndarray, frame_id: str, types: MessageTypes | None = None) -> Any:
    """Build a ``sensor_msgs/Image`` rgb8 from (H, W, 3) uint8."""
    types = types or ros_types()
    height, width = pixels.shape[:2]
    return types.Image(
        header=_header(types, stamp, frame_id),
        height=height,
        width=width,
        encoding='rgb8',
        is_bigendian=0,
        step=3 * width,
        data=types.octets(pixels.tobytes()),
    )


def to_compressed_image(
    *, stamp: int, pixels: np.ndarray, frame_id: str, encoding: str = 'png', types: MessageTypes | None = None
) -> Any:
    """Build a ``sensor_msgs/CompressedImage`` (``encoding`` is png or jpeg) from RGB pixels (H, W, 3) uint8."""
    import cv2

    types = types or ros_types()
    extension = {'png': '.png', 'jpeg': '.jpg'}[encoding]
    _, data = cv2.imencode(extension, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return types.CompressedImage(
        header=_header(types, stamp, frame_id), format=encoding, data=types.octets(data.tobytes())
    )


def to_float64(value: float, *, types: MessageTypes | None = None) -> Any:
    """Build a ``std_msgs/Float64``, which has no stamp."""
    return (types or ros_types()).Float64(data=float(value))


def to_string(value: str, *, types: MessageTypes | None = None) -> Any:
    """Build a ``std_msgs/String``."""
    return (types or ros_types()).String(data=value)


def reading_to_message(reading: Any, *, frame_id: str, types: MessageTypes | None = None) -> Any:
    """Build what a simulated sensor says, from a reading of `dp_ros.simulation.robot`. Poses are in ``frame_id``."""
    if hasattr(reading, 'pixels'):
        return to_image(stamp=reading.stamp, pixels=reading.pixels, frame_id=reading.camera, types=types)
    if hasattr(reading, 'reward'):
        return to_float64(reading.reward, types=types)
    if hasattr(reading, 'pose'):
        at = reading.pose
        return to_pose(
            stamp=reading.stamp, position=at.position, orientation=at.orientation, frame_id=frame_id, types=types
        )
    return to_joint_state(
        stamp=reading.stamp,
        name=reading.name,
        position=reading.position,
        velocity=reading.velocity,
        effort=reading.effort,
        types=types,
    )


def to_joint_trajectory(trajectory: Any, *, types: MessageTypes | None = None) -> Any:
    """Build a ``trajectory_msgs/JointTrajectory`` from a Trajectory, or anything with its attributes."""
    types = types or ros_types()

    def point(index: int) -> Any:
        sec, nanosec = divmod(int(trajectory.times[index]), NANOSECONDS)
        rows = {
            field: types.floats(() if values is None else values[index])
            for field in ('positions', 'velocities', 'accelerations')
            for values in (getattr(trajectory, field),)
        }
        return types.JointTrajectoryPoint(
            **rows, effort=types.floats(()), time_from_start=types.Duration(sec=sec, nanosec=nanosec)
        )

    return types.JointTrajectory(
        header=_header(types, trajectory.stamp, ''),
        joint_names=list(trajectory.joints),
        points=[point(index) for index in range(len(trajectory.times))],
    )


def chunk_to_message(chunk: Chunk, *, types: MessageTypes | None = None) -> Any:
    """Build a JointTrajectory: stamped when point 0 is due, point i at ``i * control_dt``.

    Alternatives are further columns, under the same names again.
    """
    choices = (chunk, *chunk.alternatives)
    velocities = [choice.velocities for choice in choices if choice.velocities is not None]
    plan = SimpleNamespace(
        stamp=chunk.stamp,
        joints=chunk.joints * len(choices),
        times=chunk.control_dt * np.arange(len(chunk.actions), dtype=np.int64),
        positions=np.hstack([choice.actions for choice in choices]),
        velocities=np.hstack(velocities) if velocities else None,
        accelerations=None,
    )
    return to_joint_trajectory(plan, types=types)
