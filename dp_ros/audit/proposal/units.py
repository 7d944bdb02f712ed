"""Guess a joint's unit from its name, range and URDF; with the reason, and whether it is certain."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dp_ros.audit.proposal.survey import TURN, Motion
from dp_ros.robot.model import RobotModel
from dp_ros.task.spec import Unit

_SLACK = 1.05
_FAR = 1.3
"""Farther than this no arm slides, so that it turns [m]."""
_SLIDES = re.compile(r'prismatic|slid|linear|rail|lift|column|gantry|_[xyz]$', re.IGNORECASE)
_TURNS = re.compile(r'shoulder|elbow|wrist|waist|forearm|revolute|rotat|pan|tilt|roll|pitch|yaw', re.IGNORECASE)
_GRIPS = re.compile(r'grip|finger|jaw|knuckle|hand', re.IGNORECASE)
_OPENING = 0.15
"""The widest that a finger slides [m]."""


@dataclass(frozen=True, kw_only=True)
class UnitGuess:
    """Give a joint's unit and why; ``sure`` if nobody needs to check it.

    Attributes
    ----------
    recorded
        What the numbers look like, where that is no unit that a task may have: ``degrees`` or ``percent``, else ''.

    """

    unit: Unit
    why: str
    sure: bool
    recorded: str = ''


def guess_units(
    joints: Sequence[str], motions: Mapping[str, Motion], robot: RobotModel | None = None
) -> dict[str, UnitGuess]:
    """Guess the units of joints of one source: where one counts in degrees, those that turn less do so too."""
    found = {joint: guess_unit(joint, motions.get(joint), robot) for joint in joints}
    if any(guess.recorded == 'degrees' for guess in found.values()):
        for joint, guess in found.items():
            if guess.unit == 'rad' and not _GRIPS.search(joint):
                why = f'{guess.why.partition(":")[0]}: degrees, as other joints here look like'
                found[joint] = UnitGuess(unit='deg', why=why, sure=False, recorded='degrees')
    return found


def guess_unit(joint: str, motion: Motion | None, robot: RobotModel | None = None) -> UnitGuess:
    """Guess the unit of a joint that moves so; without a motion by its name alone."""
    known = robot.joints.get(joint) if robot else None
    if motion is None:
        return UnitGuess(unit='rad', why='no position was recorded', sure=False)
    low, high = motion.low, motion.high
    span, far = f'{low:.4g} to {high:.4g}', max(abs(low), abs(high))
    grips = bool(_GRIPS.search(joint))
    if known is not None and known.kind == 'prismatic' and far <= 10.0:
        return UnitGuess(unit='m', why=f'{span}: prismatic in the URDF', sure=True)
    if far > TURN * _SLACK and not (known is not None and known.kind == 'continuous'):
        return _foreign(span, low, high, grips)
    if known is not None and known.kind in ('revolute', 'continuous'):
        return UnitGuess(unit='rad', why=f'{span}: {known.kind} in the URDF', sure=True)
    if grips and far <= _OPENING and (low >= -0.01 or high <= 0.01):
        return UnitGuess(unit='m', why=f'{span}: a finger that opens so far', sure=False)
    if grips:
        return UnitGuess(unit='rad', why=f'{span}: a gripper, more than a finger slides', sure=False)
    if _SLIDES.search(joint) and far <= _FAR and not _TURNS.search(joint):
        return UnitGuess(unit='m', why=f'{span}: named as a joint that slides', sure=False)
    if far > _FAR:
        return UnitGuess(unit='rad', why=f'{span}: farther than an arm slides, within a turn', sure=True)
    if _TURNS.search(joint):
        return UnitGuess(unit='rad', why=f'{span}: named as a joint that turns', sure=True)
    return UnitGuess(unit='rad', why=f'{span}: would do for m too', sure=False)


def _foreign(span: str, low: float, high: float, grips: bool) -> UnitGuess:
    if grips and low >= -1.0 and high <= 101.0:
        why = f'{span}: looks like percent; give `scale`, what they are multiplied by to be m or rad'
        return UnitGuess(unit='m', why=why, sure=False, recorded='percent')
    if max(abs(low), abs(high)) <= 360.0 * _SLACK:
        why = f'{span}: looks like degrees; they are converted, the robot gets rad'
        return UnitGuess(unit='deg', why=why, sure=False, recorded='degrees')
    return UnitGuess(unit='rad', why=f'{span}: more than a turn, in whatever unit', sure=False)
