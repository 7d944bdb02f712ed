"""Judgement of numbers: values that are not finite, dead and saturated channels, outliers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dp_ros.audit.audit import Audit
from dp_ros.audit.finding import Finding, some
from dp_ros.audit.topics import UNNAMED, TopicAudit
from dp_ros.data import NANOSECONDS
from dp_ros.messages.encoding import JOINT_STATE, JOINT_TRAJECTORY, POSE
from dp_ros.task.spec import ImageStream, JointStream


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
        if channels.count < 10 or (topic.type not in (JOINT_STATE, JOINT_TRAJECTORY) and used is None):
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
    if constant and len(constant) < 0.5 * audit.bags:
        yield Finding(
            level='warning', where=where, what=f'frozen in {len(constant)} of {audit.bags} bags',
            got=some(constant), allowed='none', advice='look at these bags; leave them out if dead',
        )  # fmt: skip
    values = channels.sample.rows[:, index]
    resting = topic.type == POSE or topic.topic in _still(audit)  # an object rests where it was put
    for side, count, at in (('lowest', channels.at_low[index], low), ('highest', channels.at_high[index], high)):
        if count > 0.1 * channels.count and not resting and len(np.unique(values)) > 5:
            yield Finding(
                level='warning', where=where, what=f'saturated: often at its {side} value',
                got=f'{count / channels.count:.0%} of the time at {at:.4g}', allowed='10 %',
                advice='a joint limit, a clipped sensor or a resting place; a clipped one hides what happened',
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


def _still(audit: Audit) -> set[str]:
    """Topics whose resting place is no saturation, for the robot was mostly idle."""
    ticks = audit.ticks
    idle = bool(ticks and ticks.ticks and ticks.idle > 0.5 * ticks.ticks)
    return set(audit.topics) if idle else set()


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
