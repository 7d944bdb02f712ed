"""An audit as text for people and as plain data for scripts."""

from __future__ import annotations

import dataclasses
import math
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from dp_ros.audit.audit import Audit, Finding, guess_lines
from dp_ros.audit.topics import TopicAudit


def report(audit: Audit, found: Sequence[Finding]) -> str:
    """Return the report."""
    width = min(120, max(80, shutil.get_terminal_size((110, 24)).columns))
    messages = sum(t.count for t in audit.topics.values())
    read = f', {messages} messages read' if audit.part == 'bag' else ''
    lines = [f'{audit.path}: {audit.bags} {audit.part}s, {_duration(audit.seconds)}{read}', '']
    lines += [*_table(audit), '', *_ticks(audit), '', *_guess(audit, width), 'findings']
    for finding in found:
        lines += _finding(finding, width)
    count = {level: sum(f.level == level for f in found) for level in ('error', 'warning')}
    lines += ['', ', '.join(f'{n} {level}{"" if n == 1 else "s"}' for level, n in count.items())]
    return '\n'.join(lines)


def _guess(audit: Audit, width: int) -> Iterator[str]:
    """Yield what was guessed where nobody gave a configuration, and how to get one."""
    if not audit.guessed:
        return
    yield 'guessed, without a configuration'
    said = guess_lines(audit.task) if audit.task else ['nothing: joint states that move, of a robot, are missing']
    for text in said:
        yield from textwrap.wrap(text, width, initial_indent='  ', subsequent_indent='    ')
    yield f'  dp_ros init {audit.path} writes this as a training file, to be checked and given with --config'
    yield ''


def _finding(finding: Finding, width: int) -> Iterator[str]:
    text = f'{finding.where}: {finding.what}: {finding.got}'
    if finding.allowed and finding.level != 'ok':
        text += f'; allowed {finding.allowed}'
    indent = ' ' * 11
    yield from textwrap.wrap(text, width, initial_indent=f'  {finding.level:<9}', subsequent_indent=indent)
    if finding.advice:
        yield from textwrap.wrap(f'-> {finding.advice}', width, initial_indent=indent, subsequent_indent=indent + '   ')


def _table(audit: Audit) -> list[str]:
    kind = ('topic', 'type', 'bags', 'messages') if audit.part == 'bag' else ('column', 'type', 'episodes', 'rows')
    head = (*kind, 'rate /s', 'jitter', 'longest gap', 'late p50/p99')
    rows: list[tuple[str, ...]] = [head]
    for topic in audit.topics.values():
        bags = str(audit.bags_with[topic.name]) if topic.count else '-'
        rows.append((topic.name, topic.type, bags, str(topic.count or topic.announced), *_times(topic)))
    wide = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return ['  '.join(_cell(i, c, w) for i, (c, w) in enumerate(zip(r, wide, strict=True))).rstrip() for r in rows]


def _cell(column: int, text: str, width: int) -> str:
    return text.ljust(width) if column < 2 else text.rjust(width)


def _times(topic: TopicAudit) -> tuple[str, ...]:
    if not topic.count:
        return ('not read', '', '', '')
    mean = topic.intervals.mean
    rate = f'{1 / mean:.3g}' if mean > 0 else '-'
    jitter = _seconds(topic.intervals.deviation) if topic.intervals.count else '-'
    gap = _seconds(topic.intervals.largest) if topic.intervals.count else '-'
    late = topic.clock.latency
    return rate, jitter, gap, f'{_seconds(late.quantile(0.5))}/{_seconds(late.quantile(0.99))}' if late.count else '-'


def _ticks(audit: Audit) -> Iterator[str]:
    ticks = audit.ticks
    if ticks is None or audit.task is None or not ticks.lengths:
        yield 'no control ticks'
        return
    source = 'a task guessed from the topics (give --config for the real one)' if audit.guessed else 'the configuration'
    yield f'at control ticks of {audit.task.control_dt:g} s, by {source}'
    lengths = sorted(ticks.lengths)
    middle = lengths[len(lengths) // 2]
    yield f'  {len(lengths)} episodes, {ticks.ticks} ticks; {lengths[0]} to {lengths[-1]} a piece, {middle} typical'


def _seconds(value: float) -> str:
    if math.isnan(value):
        return '-'
    for scale, unit in ((1.0, 's'), (1e-3, 'ms')):
        if value >= scale:
            return f'{value / scale:.3g} {unit}'
    return f'{value * 1e6:.0f} us'


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f'{hours} h {rest // 60:02d} min' if hours else f'{rest // 60} min {rest % 60:02d} s'


def as_data(audit: Audit, found: Sequence[Finding]) -> dict[str, Any]:
    """Return the audit as mappings and lists that JSON can hold."""
    ticks = audit.ticks
    after, before = ticks.padding() if ticks and ticks.lengths else (None, None)
    return {
        'path': str(audit.path),
        'bags': audit.bags,
        'seconds': audit.seconds,
        'task_guessed': audit.guessed,
        'broken': audit.broken,
        'topics': {name: _topic(topic) for name, topic in audit.topics.items()},
        'ticks': None if ticks is None else {
            'episodes': len(ticks.lengths), 'ticks': ticks.ticks, 'lag_steps': ticks.lag,
            'idle_share': ticks.idle / ticks.ticks if ticks.ticks else None,
            'skew_p99_s': _number(ticks.skew.quantile(0.99)),
            'padded_actions': after, 'padded_observations': before, 'refused_bags': ticks.failed,
        },
        'findings': [dataclasses.asdict(f) for f in found],
    }  # fmt: skip


def _topic(topic: TopicAudit) -> dict[str, Any]:
    gap = topic.intervals
    data: dict[str, Any] = {
        'type': topic.type, 'messages': topic.count or topic.announced, 'read': topic.count > 0,
        'rate': _number(1.0 / gap.mean) if gap.count and gap.mean else None, 'jitter_s': _number(gap.deviation),
        'longest_gap_s': gap.largest, 'latency_p99_s': _number(topic.clock.latency.quantile(0.99)),
        'stamps': {name: getattr(topic.clock, name) for name in
                   ('zero', 'other_epoch', 'future', 'backwards', 'repeated', 'jumps')},
        'refused': topic.refused,
    }  # fmt: skip
    if topic.channels is not None and topic.channels.count:
        data['channels'] = {
            name: {'low': float(topic.channels.low[i]), 'high': float(topic.channels.high[i])}
            for i, name in enumerate(topic.channels.names)
        }
    return data


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
