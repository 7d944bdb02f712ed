"""ROS 2 Jazzy's message types as rosbags has them: classes to build messages with, and the decoder of their bytes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dp_ros.messages.encoding import MessageTypes

GRIPPER_COMMAND = 'control_msgs/msg/GripperCommand'


@lru_cache(maxsize=1)
def typestore() -> Any:
    """Return rosbags' store of Jazzy's message types, and what it lacks of those that commands come in."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg('float64 position\nfloat64 max_effort', GRIPPER_COMMAND))
    return store


@lru_cache(maxsize=1)
def rosbags_types() -> MessageTypes:
    """Return rosbags' message classes, to build messages for a bag with."""
    types = typestore().types
    packages = {
        'builtin_interfaces': ('Time', 'Duration'),
        'std_msgs': ('Header', 'Float64', 'String'),
        'sensor_msgs': ('JointState', 'Image', 'CompressedImage'),
        'geometry_msgs': ('Point', 'Quaternion', 'Pose', 'PoseStamped'),
        'trajectory_msgs': ('JointTrajectory', 'JointTrajectoryPoint'),
    }
    classes = {name: types[f'{package}/msg/{name}'] for package, names in packages.items() for name in names}
    return MessageTypes(
        **classes,
        floats=lambda values: np.array(values, dtype=np.float64),
        octets=lambda data: np.frombuffer(data, dtype=np.uint8),
    )


_CDR = {b'\x00\x00': 'deserialize_cdr_be', b'\x00\x01': 'deserialize_cdr_le'}


def deserialize(data: bytes, kind: str) -> Any:
    """Return the message of the ROS type ``kind`` in ``data`` (CDR).

    Bytes left over are no error, as they are to rosbags' own function: what rclpy.serialization makes, and so what
    rosbag2_py writes, is longer than the message by up to 4 bytes for each empty list of numbers.
    """
    store = typestore()
    definition = store.get_msgdef(kind)
    decoder = _CDR.get(bytes(data[:2]))
    if decoder is None or len(data) < 4:
        raise ValueError(f'encapsulation {data[:4].hex(" ") or "missing"}')
    return getattr(definition, decoder)(data[4:], 0, definition.cls, store)[0]
