"""What a recording's topics suggest that training would read, where nobody says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dp_ros.audit.proposal.propose import propose
from dp_ros.audit.proposal.survey import survey_bag
from dp_ros.errors import DataError, listed
from dp_ros.recordings.rosbag.reader import BagReader
from dp_ros.task.spec import ImageStream, JointStream, TaskSpec

_SECONDS = 10.0
"""Of a recording, from its beginning, the guess is made of [s]."""
_AGE = 1.0
"""What is guessed must not hide what is wrong with the rates [s]."""


def guess_task(reader: BagReader) -> TaskSpec | None:
    """Return the task that `dp_ros init` would propose for a bag's beginning, with patience; None if it has none."""
    try:
        task = propose(survey_bag(reader, seconds=_SECONDS)).task
    except DataError:
        return None
    return replace(task, streams=tuple(replace(s, max_age=max(_AGE, s.max_age)) for s in task.streams))


def guess_lines(task: TaskSpec) -> Iterator[str]:
    """Yield what was guessed, in lines for people."""
    for stream in task.streams:
        what = stream.kind
        if isinstance(stream, JointStream):
            what = f'{", ".join(stream.fields)} of {listed(stream.joints)}'
        elif isinstance(stream, ImageStream):
            what = f'{"compressed " if stream.compressed else ""}pictures'
        yield f'observes {stream.topic}: {what}'
    action = task.action
    where = '' if action.source == 'next_state' else f' on {action.source_topic or action.topic}'
    yield f'actions: {action.source}{where}, {listed(action.joints)}'
