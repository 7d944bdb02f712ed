"""Judgement of what training would see: skew, lag, idleness, edges."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from dp_ros.audit.audit import Audit, Finding, some
from dp_ros.audit.ticks import FROZEN, HELD, TickAudit
from dp_ros.data import NANOSECONDS
from dp_ros.task.spec import JointStream

_RECEIVED = re.compile(r', received at \d+ ns')
_COPIES = 0.4
"""Largest share of action steps that repeat the last one: episodes of 1.25 times pred_horizon have as much."""


def tick_findings(audit: Audit) -> Iterator[Finding]:
    """Yield what is wrong or worth knowing at control ticks."""
    ticks = audit.ticks
    if ticks is None or audit.task is None:
        yield Finding(
            level='ok', where='task', what='ticks, lag and idleness not measured',
            got='no configuration, and no joint states of a robot that moves',
            advice='give --config' + ('; dp_ros init says what is missing' if audit.part == 'bag' else ''),
        )  # fmt: skip
        return
    yield from _failed(ticks, audit.part)
    if not ticks.ticks:
        yield Finding(
            level='error', where='task', what='nothing to learn from', got='0 control ticks', allowed='1 or more'
        )
        return
    yield from _coverage(audit, ticks)
    yield from _skew(ticks)
    yield from _lag(ticks)
    yield from _commands(ticks)
    yield from _idle(ticks)
    yield from _edges(ticks)
    yield from _turned(ticks)


def _turned(ticks: TickAudit) -> Iterator[Finding]:
    for name, count in ticks.turned.items():
        if count:
            yield Finding(
                level='warning', where=name, what='quaternion changes its sign', got=f'{count} times from tick to tick',
                allowed='none', advice='set near, of the stream, to the orientation that these poses mostly have',
            )  # fmt: skip


def _failed(ticks: TickAudit, part: str) -> Iterator[Finding]:
    reasons: dict[str, list[str]] = {}
    for bag, reason in ticks.failed.items():
        reasons.setdefault(_RECEIVED.sub('', reason), []).append(bag)
    for reason, bags in list(reasons.items())[:10]:
        alone = len(bags) == 1
        refused = f'the {part}' if alone else f'{len(bags)} {part}s'
        yield Finding(
            level='error', where=some(bags), what=f'training refuses {refused}',
            got=ticks.failed[bags[0]] if alone else reason,
            advice=f'correct the configuration, or leave these {part}s out',
        )  # fmt: skip


def _coverage(audit: Audit, ticks: TickAudit) -> Iterator[Finding]:
    covered = ticks.ticks * ticks.task.control_dt / max(audit.seconds, ticks.task.control_dt)
    many = [bag for bag, count in ticks.starts.items() if count > 1]
    yield Finding(
        level='ok' if covered > 0.5 or audit.cut.by != 'file' else 'warning',
        where='ticks', what='with every stream and a command', got=f'{min(1.0, covered):.0%} of the recorded time',
        allowed='most', advice='' if covered > 0.5 else 'look at rates, gaps and clocks above; raise max_age',
    )  # fmt: skip
    if many and audit.cut.by == 'file':
        yield Finding(
            level='warning', where='ticks', what=f'gaps split {len(many)} of {len(ticks.starts)} bags into episodes',
            got=some(many), allowed='one episode a bag',
            advice='see gaps above; raise max_age if short ones are harmless',
        )  # fmt: skip


def _skew(ticks: TickAudit) -> Iterator[Finding]:
    if len(ticks.ages) < 2 or not ticks.skew.count:
        return
    p99 = ticks.skew.quantile(0.99)
    wide = p99 > ticks.task.control_dt
    yield Finding(
        level='warning' if wide else 'ok', where='streams', what='skew between stamps that count at one tick',
        got=f'{ticks.skew.quantile(0.5) * 1e3:.0f} ms typical, {p99 * 1e3:.0f} ms at 99 %',
        allowed=f'one control step, {ticks.task.control_dt * 1e3:.0f} ms',
        advice='observations mix two moments: raise the slow rate, or lower max_age' if wide else '',
    )  # fmt: skip


def _lag(ticks: TickAudit) -> Iterator[Finding]:
    lag = ticks.lag
    if lag is None:
        yield Finding(
            level='warning', where='action', what='has no motion in common with the joints observed',
            got='no correlation', allowed='the state follows the action',
            advice='look for other units, another order of joints, or a dead topic',
        )  # fmt: skip
        return
    ahead, late = lag < -0.25, lag > 5.0
    advice = 'actions look like states recorded afterwards: check the source and the clocks' if ahead else ''
    if late:
        advice = 'the robot follows slowly, or the clocks differ: check stamps, gains and the action source'
    yield Finding(
        level='warning' if ahead or late else 'ok', where='action', what='lag of the state behind the action',
        got=f'{lag:.1f} control steps ({lag * ticks.task.control_dt * 1e3:.0f} ms)', allowed='0 to 5', advice=advice,
    )  # fmt: skip
    best = np.nan_to_num(ticks.correlation, nan=1.0).max(axis=0)
    odd = [f'{j} {c:.2f}' for j, c in zip(ticks.task.action.joints, best, strict=True) if c < 0.2]
    if odd:
        yield Finding(
            level='warning', where='action', what='joints that do not follow their command', got=', '.join(odd),
            allowed='a correlation of 0.2 or more',
            advice='look for swapped joints, other units or a joint switched off',
        )  # fmt: skip


def _commands(ticks: TickAudit) -> Iterator[Finding]:
    for (what, text), bags in list(ticks.odd.items())[:10]:
        yield Finding(
            level='warning', where=what, what=f'odd in {some(bags)}', got=text, allowed='none',
            advice='see what the recorder heard there; training goes by it',
        )  # fmt: skip
    worst = sorted(ticks.held.items(), key=lambda item: -item[1][0])
    for bag, (seconds, since) in worst[:10]:
        yield Finding(
            level='error', where='action', what='stays as it is while the robot moves',
            got=f'{seconds:.1f} s in {bag}, from {since / NANOSECONDS:.3f} s on', allowed=f'{HELD:g} s',
            advice='commands are missing there, something else moves the robot, or it follows very slowly',
        )  # fmt: skip
    if len(worst) > 10:
        yield Finding(
            level='error', where='action', what='stays as it is while the robot moves, in more bags',
            got=some(bag for bag, _ in worst[10:]), allowed=f'{HELD:g} s',
        )  # fmt: skip


def _idle(ticks: TickAudit) -> Iterator[Finding]:
    share = ticks.idle / ticks.ticks
    edges = ticks.idle_edges / max(1, len(ticks.lengths)) * ticks.task.control_dt
    much = share > 0.3
    yield Finding(
        level='warning' if much else 'ok', where='ticks', what='idle: neither commanded nor observed joints move',
        got=f'{share:.0%}, of it {edges:.1f} s at the ends of an episode', allowed='30 %',
        advice='a policy learns to stay where it is: cut by idleness (cut: {by: idle})' if much else '',
    )  # fmt: skip
    moving = {s.name for s in ticks.task.streams if isinstance(s, JointStream)}
    for name, (seconds, bag) in ticks.frozen.items():
        if seconds > FROZEN and name in moving:
            yield Finding(
                level='warning', where=name, what='repeats one value while commands move',
                got=f'{seconds:.1f} s in {bag}', allowed=f'{FROZEN:g} s',
                advice='a frozen sensor or a robot that was stopped: leave that part out',
            )  # fmt: skip


def _edges(ticks: TickAudit) -> Iterator[Finding]:
    after, before = ticks.padding()
    short = sum(length < ticks.task.pred_horizon for length in ticks.lengths)
    high = after > _COPIES
    yield Finding(
        level='warning' if high else 'ok', where='windows', what="copies of an episode's edge",
        got=f'{after:.1%} of action steps, {before:.1%} of observations', allowed=f'{_COPIES:.0%}',
        advice='episodes are short for this pred_horizon: a shorter one, or longer episodes' if high else '',
    )  # fmt: skip
    if short:
        yield Finding(
            level='warning', where='windows', what='episodes shorter than pred_horizon',
            got=f'{short} of {len(ticks.lengths)}', allowed=f'{ticks.task.pred_horizon} ticks or more',
            advice='leave them out (cut.shortest), or see why they are cut',
        )  # fmt: skip
