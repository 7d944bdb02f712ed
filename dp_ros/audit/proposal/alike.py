"""Join several recordings into one; refuse those that differ, with what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from dp_ros.audit.proposal.survey import Survey, TopicSurvey, joined
from dp_ros.audit.topics import UNNAMED
from dp_ros.errors import DataError, listed

_SHOWN = 5


def merged(surveys: Sequence[Survey]) -> Survey:
    """Return what recordings that are alike hold together.

    Raises
    ------
    DataError
        If a topic is missing in one, or has another type, other joints or other pictures there.

    """
    first = surveys[0]
    for other in surveys[1:]:
        found = list(_differences(first, other))
        if found:
            more = f'; and {len(found) - _SHOWN} more' if len(found) > _SHOWN else ''
            raise DataError(
                f'{other.names[0]} differs from {first.names[0]}: {"; ".join(found[:_SHOWN])}{more}; '
                'allowed recordings of the same topics: leave one out, or record it anew'
            )
    return Survey(
        names=tuple(name for survey in surveys for name in survey.names),
        seconds=sum(survey.seconds for survey in surveys),
        topics={name: _together([s.topics[name] for s in surveys]) for name in first.topics},
        others={name: kind for survey in surveys for name, kind in survey.others.items()},
        description=next((survey.description for survey in surveys if survey.description), ''),
        columns=first.columns,
    )


def _differences(first: Survey, other: Survey) -> Iterator[str]:
    for name in dict.fromkeys((*first.topics, *other.topics)):
        one, two = first.topics.get(name), other.topics.get(name)
        if one is None or two is None:
            there, lacking = (first, other) if one else (other, first)
            kinds = f'type {lacking.others[name]}' if name in lacking.others else 'nothing'
            kind = there.topics[name].type
            yield f'topic {name}: got {kinds} in {lacking.names[0]}, {kind} in {there.names[0]}'
            continue
        for what, here, before in _facts(two, one):
            if here != before:
                yield f'topic {name}: got {what} {here}, {before} in the other'
                break


def _facts(two: TopicSurvey, one: TopicSurvey) -> Iterator[tuple[str, str, str]]:
    yield 'type', two.type, one.type
    yield 'joints', listed(sorted(two.joints)), listed(sorted(one.joints))
    yield 'encoding', listed(sorted(two.encodings)), listed(sorted(one.encodings))
    yield 'size', _size(two), _size(one)
    yield 'frame', listed(sorted(two.frames)), listed(sorted(one.frames))


def _size(topic: TopicSurvey) -> str:
    return 'none' if topic.size is None else f'{topic.size[0]} x {topic.size[1]}'


def _together(topics: Sequence[TopicSurvey]) -> TopicSurvey:
    """Return a topic of all recordings: the slowest, the latest and the farthest of each count."""
    found = topics[0]
    for other in topics[1:]:
        found = replace(
            found,
            count=found.count + other.count,
            rate=min(found.rate or other.rate, other.rate or found.rate),
            interval=max(found.interval, other.interval),
            delay=max(found.delay, other.delay),
            whole=found.whole and other.whole,
            motions=joined(found.motions, other.motions),
            fields=tuple(name for name in found.fields if name in other.fields),
            frozen=max(found.frozen, other.frozen),
            unusable=found.unusable or other.unusable,
        )
    if found.type in UNNAMED:
        both = [t.distances for t in topics if t.distances]
        shared = [joint for joint in both[0] if all(joint in d for d in both)] if both else []
        found = replace(found, distances={j: tuple(np.mean([d[j] for d in both], axis=0).tolist()) for j in shared})
    return found
