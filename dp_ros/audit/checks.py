"""Judgement of what was measured: findings, each with what was got, what is usual or allowed, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dp_ros.audit.audit import ANOTHER_TYPE, Audit, Finding, some
from dp_ros.audit.channel_checks import channel_findings
from dp_ros.audit.tick_checks import tick_findings
from dp_ros.audit.ticks import FROZEN
from dp_ros.audit.topics import PICTURE_COLUMN, PICTURES, TopicAudit
from dp_ros.data import NANOSECONDS
from dp_ros.messages.encoding import JOINT_STATE, JOINT_TRAJECTORY
from dp_ros.task.spec import ImageStream, JointStream, Stream
from dp_ros.task.streams import picture_advice


def findings(audit: Audit) -> list[Finding]:
    """Return what is wrong, doubtful or worth knowing, errors first."""
    found = [*_bags(audit)]
    for topic in audit.topics.values():
        found += _left_alone(topic, audit)
        if topic.count and not audit.leaves(topic):
            observing = [s for s in audit.task.streams if _observes(s, topic)] if audit.task else []
            found += [*_message(topic, audit), *_clock(topic, audit)]
            if audit.part == 'bag':  # a dataset's rows are its ticks, whatever their rate
                found += _rate(topic, observing, audit)
            found += channel_findings(topic, audit)
        elif not topic.known:
            found.append(_unknown(topic, audit))
    found += tick_findings(audit)
    order = {'error': 0, 'warning': 1, 'ok': 2}
    return sorted(found, key=lambda f: order[f.level])


def _bags(audit: Audit) -> Iterator[Finding]:
    for bag, reason in list(audit.broken.items())[:10]:
        yield Finding(
            level='error',
            where=bag,
            what='cannot be read whole',
            got=reason,
            advice='leave it out' + (', or recover it (ros2 bag reindex, mcap recover)' if audit.part == 'bag' else ''),
        )
    if len(audit.broken) > 10:
        yield Finding(level='error', where='bags', what='more that cannot be read', got=some(list(audit.broken)[10:]))
    for bag, more in list(audit.unannounced.items())[:10]:
        yield Finding(
            level='warning', where=bag, what='holds more than its metadata.yaml tells of', got=more,
            allowed='the same in both', advice='make the list anew (ros2 bag reindex)',
        )  # fmt: skip
    for topic, reasons in audit.lacking.items():
        for reason, bags in reasons.items():
            allowed = ', '.join(sorted(audit.wanted.get(topic, ()))) or 'one type in all bags'
            yield Finding(
                level='error',
                where=topic,
                what=f'not usable in {len(bags)} of {audit.bags} bags ({some(bags)})',
                got=reason,
                allowed=allowed,
                advice=picture_advice(reason.removeprefix(ANOTHER_TYPE), audit.wanted.get(topic, ()))
                or 'record it, correct the topic in the configuration, or leave these bags out',
            )


def _left_alone(topic: TopicAudit, audit: Audit) -> Iterator[Finding]:
    others = topic.count if audit.leaves(topic) else 0
    for what, count in (('that name no joint', topic.nameless), ('of joints that the task does not read', others)):
        if count:
            yield Finding(level='ok', where=topic.name, what=f'messages {what}: left alone', got=f'{count}')


def _observes(stream: Stream, topic: TopicAudit) -> bool:
    if stream.topic != topic.topic:
        return False
    return not (topic.joints and isinstance(stream, JointStream)) or not topic.joints.isdisjoint(stream.joints)


def _unknown(topic: TopicAudit, audit: Audit) -> Finding:
    needed = topic.topic in audit.wanted
    return Finding(
        level='error' if needed else 'ok',
        where=topic.name,
        what='type without a definition here: skipped',
        got=f'{topic.type}, {topic.announced} messages',
        allowed='the message types of ROS 2 Jazzy',
    )


def _message(topic: TopicAudit, audit: Audit) -> Iterator[Finding]:
    for reason, count in topic.refused.items():
        yield Finding(
            level='error',
            where=topic.name,
            what=f'{count} messages cannot be used',
            got=reason,
            advice='training refuses them; correct the source, or leave these bags out',
        )
    if topic.type in (*PICTURES, PICTURE_COLUMN) and len(topic.forms) > 1:
        streams = [] if audit.guessed or not audit.task else audit.task.streams
        stretched = any(s.topic == topic.name and isinstance(s, ImageStream) and s.fit == 'stretch' for s in streams)
        refused = stretched and len(topic.sizes) > 1
        yield Finding(
            level='error' if refused else 'warning',
            where=topic.name,
            what='pictures of several kinds',
            got='; '.join(topic.forms),
            allowed='one size and encoding',
            advice='training refuses them: leave the odd ones out, or set fit: letterbox' if refused
            else 'all come to the size of the stream, but they may show different crops',
        )  # fmt: skip
    seconds, bag = topic.longest_picture
    if seconds > FROZEN:
        yield Finding(
            level='warning', where=topic.name, what='frozen: one picture while its stamps go on',
            got=f'{seconds:.1f} s in {bag}', allowed=f'{FROZEN:g} s',
            advice='a camera that hangs: leave that part out; a rendered one may repeat itself while nothing moves',
        )  # fmt: skip
    if not topic.known:
        yield Finding(
            level='ok', where=topic.name, what='type without a definition here: only its times were measured',
            got=f'{topic.type}, {topic.count} messages',
        )  # fmt: skip


def _clock(topic: TopicAudit, audit: Audit) -> Iterator[Finding]:
    clock, count = topic.clock, topic.count
    if not topic.headed or (topic.type == JOINT_TRAJECTORY and audit.commanded_on(topic.topic)):
        return  # a command's stamp says when it starts, and zero means at once
    if clock.zero:
        all_ = clock.zero == count
        yield Finding(
            level='ok' if all_ else 'warning',
            where=topic.name,
            what='header stamps are zero',
            got=f'{clock.zero} of {count} messages',
            allowed='all or none',
            advice='' if all_ else 'for these the receive time counts, for the others the stamp',
        )
        if all_:
            return
    if clock.other_epoch:
        yield Finding(
            level='error',
            where=topic.name,
            what='header stamps of another epoch than the receive times',
            got=f'{clock.other_epoch} of {count} messages are more than an hour off',
            allowed='one clock for all nodes and the recorder',
            advice='record with --use-sim-time where time is simulated; set the clock of the device otherwise',
        )
    if clock.future:
        share = clock.future / count
        yield Finding(
            level='error' if share > 0.05 else 'warning',
            where=topic.name,
            what='header stamps later than the receive time',
            got=f'{clock.future} of {count} messages by more than 10 ms',
            allowed='none',
            advice='synchronise the clocks (chrony, PTP): such a message counts at ticks too late for it',
        )
    for what, number, usual in (
        ('header stamps run backwards', clock.backwards, 'none'),
        ('header stamps repeat', clock.repeated, 'each message its own'),
        ('clock jumps by more than 1 s against the receive times', clock.jumps, 'none'),
    ):
        if number:
            yield Finding(
                level='error' if number > 0.01 * count and 'jumps' not in what else 'warning',
                where=topic.name,
                what=what,
                got=f'{number} times in {count} messages',
                allowed=usual,
                advice='such messages are dropped; look for two publishers or a clock that is set while recording',
            )
    wait = audit.task.arrival_wait if audit.task and not audit.guessed else None
    late = clock.latency.above(wait) if wait is not None else 0
    if wait is not None and late > 0.05 * count and topic.topic in audit.wanted:
        yield Finding(
            level='warning',
            where=topic.name,
            what='arrives later than arrival_wait',
            got=f'{late / count:.0%} of messages, 99 % within {clock.latency.quantile(0.99) * 1e3:.0f} ms',
            allowed=f'{wait * 1e3:.0f} ms',
            advice='a larger arrival_wait has them count a tick earlier, at the price of latency on the robot',
        )


def _rate(topic: TopicAudit, observing: list[Stream], audit: Audit) -> Iterator[Finding]:
    median = topic.intervals.quantile(0.5)
    commands = topic.type != JOINT_STATE and bool(audit.commanded_on(topic.topic))
    if topic.intervals.count < 10 or commands or not (observing or audit.guessed):
        return
    oldest = min((s.max_age for s in observing), default=0.0) if not audit.guessed else 0.0
    if oldest and median > oldest:
        yield Finding(
            level='error', where=topic.name, what='slower than its max_age', got=f'{1 / median:.3g} messages/s',
            allowed=f'{1 / oldest:.3g} or more', advice='raise max_age, or the rate of the source',
        )  # fmt: skip
    limit = oldest or max(0.5, 5.0 * median)
    gaps = [gap for gap in topic.gaps.entries if gap[0] > limit and gap[0] > 3.0 * median]
    if gaps:
        size, bag, time = gaps[0]
        yield Finding(
            level='warning',
            where=topic.name,
            what='gaps',
            got=f'{topic.intervals.above(limit)}, the longest {size:.3g} s in {bag} at {time / NANOSECONDS:.3f} s',
            allowed=f'{limit:.3g} s',
            advice='a gap splits an episode; short episodes are mostly edges',
        )
    late = topic.intervals.quantile(0.99)
    if late > 3.0 * median and not gaps:
        yield Finding(
            level='warning', where=topic.name, what='uneven', got=f'1 % of intervals exceed {late * 1e3:.1f} ms',
            allowed=f'3 times the median, {3e3 * median:.1f} ms',
            advice='look for a loaded machine, a recorder that cannot keep up, or best-effort loss',
        )  # fmt: skip
    rates = np.array(list(topic.rates.values()))
    if len(rates) > 1:
        usual = float(np.median(rates))
        odd = [bag for bag, rate in topic.rates.items() if abs(rate - usual) > 0.25 * usual]
        if odd:
            yield Finding(
                level='warning', where=topic.name, what=f'another rate in {len(odd)} of {len(rates)} bags',
                got=some(f'{bag} {topic.rates[bag]:.3g}/s' for bag in odd), allowed=f'{usual:.3g}/s, 25 % off at most',
                advice='mixed rates mix ages of observations',
            )  # fmt: skip
