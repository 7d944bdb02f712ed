"""Sum up episodes that were asked for in words: was the right thing taken, and how hard was it gripped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dp_ros.evaluation.comparison import bootstrap95, wilson95
from dp_ros.simulation.instructions import Asked


@dataclass(frozen=True, kw_only=True)
class Instructed:
    """Hold what an episode was asked for, and what was done.

    Attributes
    ----------
    wrong_object
        Whether another object than the one asked for was lifted first or put where that belongs.
    right_object
        Whether the one asked for was lifted first.
    grip_force
        Mean force [N] of a gripper's pad while it was in the air; None if it never was.

    """

    meaning: str
    text: str
    right_object: bool
    wrong_object: bool
    grip_force: float | None = None

    @classmethod
    def of(cls, asked: Asked, details: Mapping[str, float | str]) -> Instructed:
        """Return what a world's findings say of it."""
        force = details.get('grip_force')
        return cls(
            meaning=asked.meaning,
            text=asked.text,
            right_object=str(details.get('right_object')) == 'True',
            wrong_object=str(details.get('wrong_object')) == 'True',
            grip_force=None if force is None else float(force),
        )


def instructions_summary(episodes: Sequence[tuple[Instructed, bool]]) -> dict[str, Any]:
    """Return what became of instructions and whether each succeeded: together, by meaning, and each, as plain values.

    Intervals are of 95 %: Wilson's of shares, bootstrapped ones of mean forces.
    """
    by_meaning: dict[str, list[tuple[Instructed, bool]]] = {}
    for one, success in episodes:
        by_meaning.setdefault(one.meaning, []).append((one, success))
    return {
        **_counts(episodes),
        'by_meaning': {meaning: _counts(found) for meaning, found in sorted(by_meaning.items())},
        'episodes': [
            {**asdict(one), 'grip_force': None if one.grip_force is None else round(one.grip_force, 3)}
            for one, _ in episodes
        ],
    }


def _counts(episodes: Sequence[tuple[Instructed, bool]]) -> dict[str, Any]:
    right = sum(one.right_object for one, _ in episodes)
    forces = np.array([one.grip_force for one, _ in episodes if one.grip_force is not None])
    return {
        'asked': len(episodes),
        'successes': sum(success for _, success in episodes),
        'right_object': right,
        'right_object_wilson95': list(wilson95(right, len(episodes))),
        'wrong_object': sum(one.wrong_object for one, _ in episodes),
        'grip_force': float(forces.mean()) if len(forces) else None,
        'grip_force_ci95': bootstrap95(forces),
        'grip_force_range': [float(forces.min()), float(forces.max())] if len(forces) else None,
    }


def instruction_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return for people what `instructions_summary` found."""
    low, high = summary['right_object_wilson95']
    lines = [
        f'right object      {summary["right_object"]} of {summary["asked"]} (95 % interval {low:.1%} to {high:.1%}), '
        f'another one taken in {summary["wrong_object"]}'
    ]
    for meaning, found in summary['by_meaning'].items():
        force = 'none held'
        if found['grip_force'] is not None:
            interval = found['grip_force_ci95']
            force = f'grip {found["grip_force"]:.1f} N'
            force += f' ({interval[0]:.1f} to {interval[1]:.1f} N)' if interval else ''
        lines.append(f'  {meaning:<16}{found["successes"]} of {found["asked"]} succeeded, {force}')
    return lines
