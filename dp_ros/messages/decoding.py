"""Values out of ROS messages, by attribute names alone: messages from rclpy and from rosbags both serve.

Stamps are in [ns].
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from dp_ros.data import NANOSECONDS, Chunk, check_alternatives
from dp_ros.errors import DataError, check_finite, listed
from dp_ros.messages.images import decode_compressed, resize_rgb
from dp_ros.messages.raw_images import decode_image
from dp_ros.task.goals import GoalSpec
from dp_ros.task.spec import GoalPose, ImageStream, Instruction, JointStream, PoseStream, Stream
from dp_ros.task.units import check_reach

_QUATERNION_NORM_MIN = 1e-3

JOINT_STATE = 'sensor_msgs/msg/JointState'
POSE = 'geometry_msgs/msg/PoseStamped'
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
STRING = 'std_msgs/msg/String'
FLOAT64 = 'std_msgs/msg/Float64'
JOINT_TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'


def header_stamp(data: bytes | memoryview) -> int:
    """Return the stamp [ns] at the head of a serialized message that begins with a header."""
    order = '<' if data[1] & 1 else '>'
    sec, nanosec = struct.unpack_from(f'{order}iI', data, 4)
    return int(sec * NANOSECONDS + nanosec)


def type_of(stream: Stream | GoalSpec) -> str:
    """Return the ROS type of the stream's topic, or of the goal's."""
    if isinstance(stream, Instruction):
        return STRING
    if isinstance(stream, JointStream):
        return JOINT_STATE
    if isinstance(stream, PoseStream | GoalPose):
        return POSE
    return COMPRESSED_IMAGE if stream.compressed else IMAGE


def stamp_of(msg: Any) -> int:
    """Return a message's header stamp [ns]; 0 means that the source has no clock."""
    stamp = msg.header.stamp
    return int(stamp.sec * NANOSECONDS + stamp.nanosec)


def belongs(stream: JointStream, msg: Any) -> bool:
    """Return whether a joint state is the stream's: one that names none of its joints is another device's."""
    return any(joint in msg.name for joint in stream.joints)


def names_any(data: bytes, joints: tuple[str, ...]) -> bool:
    """Return whether a serialized ``sensor_msgs/JointState`` names any of the joints; one cut short names none."""
    if len(data) < 16:
        return False
    little = bool(data[1] & 1)
    (frame,) = struct.unpack_from('<I' if little else '>I', data, 12)
    return any(data.find(name, 16 + frame) >= 0 for name in _serialized(joints, little))


@lru_cache(maxsize=64)
def _serialized(names: tuple[str, ...], little: bool) -> tuple[bytes, ...]:
    """Return names as CDR has them: length, text, NUL. Part of a longer name is not among them."""
    texts = [name.encode() + b'\0' for name in names]
    return tuple(struct.pack('<I' if little else '>I', len(text)) + text for text in texts)


def decode(stream: Stream, msg: Any, frame: tuple[int, int] | None = None, *, crop: bool = False) -> np.ndarray:
    """Return what the stream takes from a message: (C,) float64, or (H, W, 3) uint8 for images.

    ``frame`` and ``crop`` are those of `resize_rgb`.
    """
    if isinstance(stream, JointStream):
        return joint_vector(stream, msg.name, msg.position, msg.velocity, msg.effort)
    if isinstance(stream, PoseStream):
        if stream.frame and msg.header.frame_id != stream.frame:
            raise DataError(
                f'stream {stream.name!r} frame: got {msg.header.frame_id!r}, allowed {stream.frame!r} only; '
                'poses are not transformed'
            )
        p, q = msg.pose.position, msg.pose.orientation
        return pose_features(stream, (p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
    what = f'stream {stream.name!r}'
    if stream.compressed:
        return resize_rgb(stream, decode_compressed(what, msg), msg.format, frame, crop=crop)
    return resize_rgb(stream, decode_image(what, msg), msg.encoding, frame, crop=crop)


def decode_aligned(stream: Stream, msg: Any) -> np.ndarray:
    """Return what an aligned observation holds, as `decode`; pictures come decoded, as colours of the stream's size."""
    if not isinstance(stream, ImageStream):
        return decode(stream, msg)
    rgb = decode_image(f'stream {stream.name!r}', msg)
    if rgb.shape != stream.shape or rgb.dtype != np.uint8:
        raise DataError(
            f'stream {stream.name!r}: got an aligned picture {rgb.dtype} {rgb.shape}, allowed {stream.shape}'
        )
    return rgb


@lru_cache(maxsize=64)
def _columns(stream: JointStream, names: tuple[str, ...]) -> np.ndarray:
    what = f'stream {stream.name!r} joints'
    if not names:
        raise DataError(f'{what}: got a message with no names, allowed one that names {listed(stream.joints)}')
    absent = [joint for joint in stream.joints if joint not in names]
    if absent:
        raise DataError(f'{what}: wanted {listed(absent)}, which the message lacks; it has {listed(names)}')
    twice = [joint for joint in stream.joints if names.count(joint) > 1]
    if twice:
        raise DataError(f'{what}: got {listed(twice)} more than once in {listed(names)}, allowed once')
    return np.array([names.index(joint) for joint in stream.joints], dtype=np.intp)


def joint_vector(
    stream: JointStream,
    name: Sequence[str],
    position: Sequence[float] | np.ndarray,
    velocity: Sequence[float] | np.ndarray,
    effort: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """Return the stream's joints, (C,): for each field in order, each joint in order."""
    columns = _columns(stream, tuple(name))
    parts = []
    for field in stream.fields:
        values = np.asarray(
            position if field == 'position' else velocity if field == 'velocity' else effort, dtype=np.float64
        )
        if len(values) != len(name):
            raise DataError(f'stream {stream.name!r} {field}: got {len(values)} values for {len(name)} names')
        part = values[columns]
        if not all(map(math.isfinite, part.tolist())):  # a third of what np.isfinite costs for a few joints
            _refuse_not_finite(stream, field, part)
        parts.append(part * stream.factors(field) if stream.scale else part)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def check_positions(what: str, stream: JointStream, values: np.ndarray) -> None:
    """Raise DataError for positions in a stream's vectors (N, C) that no arm has in their units: see `check_reach`."""
    if 'position' not in stream.fields or len(values) == 0:
        return
    first = stream.fields.index('position') * len(stream.joints)
    farthest = np.abs(values[:, first : first + len(stream.joints)]).max(axis=0)
    for joint, unit, got in zip(stream.joints, stream.units, farthest.tolist(), strict=True):
        check_reach(what, joint, unit, got)


def _refuse_not_finite(stream: JointStream, field: str, values: np.ndarray) -> None:
    for joint, value in zip(stream.joints, values, strict=True):
        if not np.isfinite(value):
            raise DataError(f'stream {stream.name!r} {field} of {joint}: got {value}, allowed finite numbers only')


def nearer_sign(quaternion: np.ndarray, near: Sequence[float]) -> np.ndarray:
    """Return, of the two quaternions of an orientation, (4,), the one nearer to ``near``."""
    side = float(quaternion @ np.array(near)) or next((part for part in quaternion.tolist() if part), 1.0)
    return (-quaternion if side < 0.0 else quaternion) + 0.0  # no zero has a sign


def pose_features(
    stream: PoseStream, position: Sequence[float] | np.ndarray, orientation: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Return the stream's features, (C,), from x, y, z [m] and a quaternion x, y, z, w, which is normalised first."""
    x, y, z = (float(v) for v in position)
    quaternion = np.array(orientation, dtype=np.float64)
    norm = float(np.sqrt(quaternion @ quaternion))
    if not norm > _QUATERNION_NORM_MIN or not np.isfinite(norm):
        raise DataError(
            f'stream {stream.name!r} orientation: got quaternion {quaternion.tolist()} of norm {norm:.3g}, '
            f'allowed more than {_QUATERNION_NORM_MIN}, finite'
        )
    qx, qy, qz, qw = (nearer_sign(quaternion, stream.near) / norm).tolist()
    known = {
        'x': x,
        'y': y,
        'z': z,
        'qx': qx,
        'qy': qy,
        'qz': qz,
        'qw': qw,
        'sin_yaw': 2.0 * (qw * qz + qx * qy),
        'cos_yaw': 1.0 - 2.0 * (qy * qy + qz * qz),
    }
    features = np.array([known[feature] for feature in stream.features])
    check_finite(f'stream {stream.name!r}', features)
    return features


@dataclass(frozen=True, kw_only=True, eq=False)
class TrajectoryFields:
    """A ``trajectory_msgs/JointTrajectory`` as arrays, not yet judged: what is None is on no point.

    Attributes
    ----------
    stamp
        When the trajectory starts [ns]; 0 means when it is received.
    joints
        Names of the columns.
    times
        Time from start [ns], (N,) int64.
    positions, velocities, accelerations, effort
        (N, A) float64, in [rad or m] and per [s], [s^2]; effort in [N m or N].

    """

    stamp: int
    joints: tuple[str, ...]
    times: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray | None
    accelerations: np.ndarray | None
    effort: np.ndarray | None


def trajectory_value(msg: Any) -> TrajectoryFields:
    """Return a JointTrajectory message as arrays. Points with a field of a wrong length are a DataError."""
    joints, points = tuple(msg.joint_names), msg.points

    def column(field: str) -> np.ndarray | None:
        rows = [getattr(point, field) for point in points]
        lengths = {len(row) for row in rows}
        if not rows or lengths == {0}:
            return None
        if lengths != {len(joints)}:
            raise DataError(
                f'trajectory {field}: got {listed(sorted(lengths))} values on its points, '
                f'allowed {len(joints)} on each ({listed(joints)})'
            )
        return np.array(rows, dtype=np.float64)

    positions = column('positions')
    times = [p.time_from_start.sec * NANOSECONDS + p.time_from_start.nanosec for p in points]
    return TrajectoryFields(
        stamp=stamp_of(msg),
        joints=joints,
        times=np.array(times, dtype=np.int64),
        positions=np.empty((0, len(joints))) if positions is None else positions,
        velocities=column('velocities'),
        accelerations=column('accelerations'),
        effort=column('effort'),
    )


def chunk_from_message(msg: Any, control_dt: int | None = None) -> Chunk:
    """Return the chunk in a message; ``control_dt`` [ns] is read from its points unless it is given to be held to.

    Where the joints' names come several times in the same order, the columns after the first time are alternatives.
    """
    fields = trajectory_value(msg)
    joints, count = _one_choice(fields.joints)
    if control_dt is None:
        if len(fields.times) < 2:
            raise DataError(f'chunk: got {len(fields.times)} points, allowed 2 or more, so that control_dt can be read')
        control_dt = int(fields.times[1] - fields.times[0])
    due = control_dt * np.arange(len(fields.times), dtype=np.int64)
    if not np.array_equal(fields.times, due):
        index = int(np.argmax(fields.times != due))
        raise DataError(
            f'chunk time_from_start of point {index}: got {fields.times[index] / 1e9:.6f} s, '
            f'allowed {due[index] / 1e9:.6f} s ({index} times control_dt; is policy_speed the same on all nodes?)'
        )
    velocities = [None] * count if fields.velocities is None else np.hsplit(fields.velocities, count)
    chosen, *others = [
        Chunk(stamp=fields.stamp, control_dt=control_dt, joints=joints, actions=actions, velocities=moving)
        for actions, moving in zip(np.hsplit(fields.positions, count), velocities, strict=True)
    ]
    return replace(chosen, alternatives=tuple(others)) if others else chosen


def _one_choice(names: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Return the joints of a chunk, and how many choices the columns of these ``names`` are."""
    joints = names[: names.index(names[0], 1)] if names[:1] and names[0] in names[1:] else names
    count = len(names) // len(joints) if joints else 1
    if names != joints * count:
        raise DataError(
            f'chunk joints: got {listed(names)}, allowed each once, or all again in the same order for each alternative'
        )
    check_alternatives(count - 1)  # before they are made, which takes long
    return joints, count
