"""Judgement of numbers: values that are not finite, dead and saturated channels, outliers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dp_ros.audit.audit import Audit, Finding, some
from dp_ros.audit.topics import COLUMN, POSE_COLUMN, UNNAMED, TopicAudit
from dp_ros.data import NANOSECONDS
from dp_ros.messages.encoding import JOINT_STATE, JOINT_TRAJECTORY, POSE
from dp_ros.recordings.episodes.actions import action_sources
from dp_ros.task.spec import ImageStream, JointStream, PoseStream, Stream
from dp_ros.task.units import MOST, Channel, joint_channels

_STUCK = 0.1
"""Share of the time for which a joint that is told to move may stay at one end."""


def channel_findings(topic: TopicAudit, audit: Audit) -> Iterator[Finding]:
    """Yield what is wrong with the numbers of a topic."""
    channels = topic.channels
    if channels is None:
        return
    used = _used(topic, audit)
    for index, name in enumerate(channels.names):
        if used is not None and name not in used:
            continue
        where = f'{topic.name} {name}'
        if channels.not_finite[index]:
            yield Finding(
                level='error', where=where, what='not finite', got=f'{channels.not_finite[index]} values',
                allowed='numbers', advice='training refuses them; leave these bags out',
            )  # fmt: skip
        if channels.count < 10 or (topic.type not in (JOINT_STATE, JOINT_TRAJECTORY, COLUMN) and used is None):
            continue
        yield from _channel(topic, index, where, audit)


def _channel(topic: TopicAudit, index: int, where: str, audit: Audit) -> Iterator[Finding]:
    channels = topic.channels
    assert channels
    low, high, constant = channels.low[index], channels.high[index], channels.constant[index]
    if low == high:
        yield Finding(
            level='warning', where=where, what='never changes', got=f'{low:.6g}', allowed='motion',
            advice='a dead sensor, or a joint that the task does not move: leave it out of the task',
        )  # fmt: skip
        return
    known, scale = _read(topic, audit).get(channels.names[index], (Channel('', ''), 1.0))
    farthest = abs(scale) * max(abs(low), abs(high))
    if known.unit in MOST and farthest > MOST[known.unit]:
        yield Finding(
            level='error', where=where, what='too far for its unit', got=f'{farthest:.4g}{known.suffix}',
            allowed=f'{MOST[known.unit]:g}{known.suffix}', advice='degrees, millimetres or percent: give units deg or '
            'mm, or a scale; training refuses it',
        )  # fmt: skip
    if known.name and abs(scale) * (high - low) < known.floor:
        yield Finding(
            level='warning', where=where, what='only trembles',
            got=f'{scale * low:.6g} to {scale * high:.6g}{known.suffix}',
            allowed=f'motion of {known.floor:g}{known.suffix} or more', advice='a joint that the task does not move: '
            'leave it out, or record it elsewhere too; the policy knows it in this place only',
        )  # fmt: skip
        return
    if constant and len(constant) < 0.5 * audit.bags:
        yield Finding(
            level='warning', where=where, what=f'frozen in {len(constant)} of {audit.bags} {audit.part}s',
            got=some(constant), allowed='none', advice='look at these bags; leave them out if dead',
        )  # fmt: skip
    values = channels.sample.rows[:, index]
    for side, share, at in _stuck(topic, index, audit):
        yield Finding(
            level='warning', where=where, what=f'saturated: often at its {side} value',
            got=f'{share:.0%} of the time at {at:.4g}', allowed=f'{_STUCK:.0%}',
            advice='a joint limit or a clipped sensor, which hides what happened',
        )  # fmt: skip
    size, bag, time = next(iter(channels.spikes[index].entries), (0.0, '', 0))
    inner = float(np.subtract(*np.quantile(values, [0.99, 0.01])))
    usual = channels.roughness[index].quantile(0.5) if channels.roughness[index].count else 0.0
    if size > 0.3 * inner and size > 100.0 * usual:
        yield Finding(
            level='warning', where=where, what='outlier that neither neighbour shares',
            got=f'off by {size:.4g} in {bag} at {time / NANOSECONDS:.3f} s',
            allowed=f'{0.3 * inner:.3g}, a third of the usual range',
            advice='the normalizer stretches to it; leave the bag out, or filter the source',
        )  # fmt: skip
    elif inner < 0.2 * (high - low):
        yield Finding(
            level='warning', where=where, what='few values far from the rest',
            got=f'{low:.4g} to {high:.4g}, but 98 % within {inner:.4g}', allowed='a fifth of the range or more',
            advice='normalized to its range, the rest is squeezed: look for wrong units or a wild episode',
        )  # fmt: skip


def _read(topic: TopicAudit, audit: Audit) -> dict[str, tuple[Channel, float]]:
    """Return what the task reads of a topic, by what the topic calls it, each with its scale."""
    if audit.task is None or audit.guessed:
        return {}
    action, found = audit.task.action, dict[str, tuple[Channel, float]]()
    read: list[Stream] = [s for s in audit.task.streams if s.topic == topic.name]
    if topic.name == (action.source_topic or action.topic):
        joints = action.source_joints or action.joints
        read.append(JointStream(name='action', topic='', joints=joints, units=action.units, scale=action.scale))
    for stream in read:
        if isinstance(stream, PoseStream):
            found |= {channel.name: (channel, 1.0) for channel in stream.channels}
        elif isinstance(stream, JointStream) and 'position' in stream.fields:
            channels = joint_channels(stream.joints, stream.units, ('position',))
            scale = stream.scale or (1.0,) * len(channels)
            found |= {c.name: (c, factor) for c, factor in zip(channels, scale, strict=True)}
    return found


def _stuck(topic: TopicAudit, index: int, audit: Audit) -> Iterator[tuple[str, float, float]]:
    """Yield at which end a channel is often, for which share of the time, and where that is.

    A joint that rests there is not stuck: where its command is known, only ticks count at which that moves. A command
    rests where it likes, an object where it was put, and all where the robot was mostly idle.
    """
    channels, ticks = topic.channels, audit.ticks
    assert channels
    if ticks and ticks.ticks:
        driven = ticks.driven.get((topic.topic, channels.names[index]))
        if driven is not None:
            channels, index = driven, 0
        elif ticks.idle > 0.5 * ticks.ticks or topic.topic in {source.topic for source in action_sources(ticks.task)}:
            return
    if topic.type in (POSE, POSE_COLUMN) or channels.count < 10 or len(np.unique(channels.sample.rows[:, index])) <= 5:
        return
    ends = (('lowest', channels.at_low, channels.low), ('highest', channels.at_high, channels.high))
    for side, count, at in ends:
        if count[index] > _STUCK * channels.count:
            yield side, float(count[index] / channels.count), float(at[index])


def _used(topic: TopicAudit, audit: Audit) -> set[str] | None:
    """Return the channels that the task reads; None if it does not say by name."""
    if audit.task is None or audit.guessed:
        return None
    names: set[str] = set()
    for stream in audit.task.streams:
        if stream.topic == topic.topic and not isinstance(stream, ImageStream):
            names |= set(stream.joints if isinstance(stream, JointStream) else stream.features)
    for joints in audit.commanded_on(topic.topic):
        unnamed = topic.type in UNNAMED and topic.channels
        names |= set(topic.channels.names if unnamed and topic.channels else joints)
    return names or None
