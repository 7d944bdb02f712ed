"""Whether a joint_trajectory_controller's settings suit what will be sent to it, in plain words.

The settings are the controller's own parameters by name, as read from it. One that is missing, or of another kind than
a joint_trajectory_controller's, is not judged: the controller is something else, and only that is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dp_ros.errors import ConfigError, listed

FINEST = {'rad': 0.001, 'm': 0.0001}
"""No robot in motion stays closer than this to what it is commanded."""
LONGEST = 300  # characters of a value that are shown
Kind = Literal['names', 'text', 'switch', 'number']
KINDS: dict[str, Kind] = {
    'joints': 'names',
    'command_joints': 'names',
    'command_interfaces': 'names',
    'state_interfaces': 'names',
    'interpolation_method': 'text',
    'interpolate_from_desired_state': 'switch',
    'open_loop_control': 'switch',
    'allow_nonzero_velocity_at_trajectory_end': 'switch',
    'allow_partial_joints_goal': 'switch',
    'allow_trajectory_replacement': 'switch',
    'cmd_timeout': 'number',
    'constraints.goal_time': 'number',
    'speed_scaling.initial_scaling_factor': 'number',
    'speed_scaling.state_interface': 'text',
    'update_rate': 'number',
    'use_sim_time': 'switch',
}
"""The parameters that are read, and of which kind each is; tolerances of joints, which are numbers, come besides."""
WORDS: dict[Kind, str] = {
    'names': 'a list of names',
    'text': 'a text',
    'switch': 'True or False',
    'number': 'a number',
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A difference between what a controller has and what is needed.

    Attributes
    ----------
    what
        The parameter.
    got, allowed
        Its value, and what would suit.
    because
        What happens otherwise.
    fatal
        Whether the robot must not be moved so.

    """

    what: str
    got: object
    allowed: str
    because: str
    fatal: bool

    def __str__(self) -> str:
        got = listed(map(str, self.got)) if isinstance(self.got, tuple) else repr(self.got)
        if len(got) > LONGEST:
            got = f'{got[:LONGEST]} ...'
        return f'{self.what}: got {got}, allowed {self.allowed} ({self.because})'


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What will be sent to a controller.

    Attributes
    ----------
    joints, units
        Joints that the messages have, and the unit of each, ``rad`` or ``m``.
    control_dt
        Between two points [s].
    splice_margin, tail
        From sending to the first command [s]; from the last step to rest [s].
    ends_at_rest
        Whether the velocity of the last point is 0.
    use_sim_time
        Whether stamps are in simulated time.
    follow_tolerance
        A joint farther than this from the plan [rad or m] does not follow it, and it starts anew; 0 is not known.

    """

    joints: tuple[str, ...]
    units: tuple[str, ...] = ()
    control_dt: float
    splice_margin: float
    tail: float
    ends_at_rest: bool = True
    use_sim_time: bool = False
    follow_tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.units and len(self.units) != len(self.joints):
            raise ConfigError(f'units: got {len(self.units)}, allowed one for each of {len(self.joints)} joints')

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters worth reading from the controller."""
        return tuple(self.kinds)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The same, and of which kind each is."""
        ends = ('trajectory', 'goal')
        tolerances: dict[str, Kind] = {f'constraints.{j}.{end}': 'number' for j in self.joints for end in ends}
        return KINDS | tolerances


Settings = Mapping[str, Any]


def compare(settings: Settings, expected: Expected) -> list[Finding]:
    """Return what in a controller's ``settings`` does not suit what is ``expected`` to be sent; fatal ones first."""
    kinds = expected.kinds
    odd = [name for name in settings if name in kinds and not _is(settings[name], kinds[name])]
    why = 'it is not what a joint_trajectory_controller has, so it was not judged'
    findings = [Finding(what=n, got=settings[n], allowed=WORDS[kinds[n]], because=why, fatal=False) for n in odd]
    if 'joints' not in settings:
        why = 'it is no joint_trajectory_controller, so what it does with a trajectory was not checked'
        findings.append(Finding(what='joints', got=None, allowed=listed(expected.joints), because=why, fatal=False))
    rules = (_joints, _interfaces, _ends, _bridges, _timing, _tolerances)
    usual = {name: value for name, value in settings.items() if name not in odd}
    findings += [finding for rule in rules for finding in rule(usual, expected)]
    return sorted(findings, key=lambda finding: not finding.fatal)


def refusal(controller: str, findings: Iterable[Finding]) -> str:
    """Return a text that names every fatal finding, or '' without one."""
    fatal = [str(finding) for finding in findings if finding.fatal]
    return f'controller {controller}: ' + '; '.join(fatal) if fatal else ''


def _is(value: object, kind: Kind) -> bool:
    """Whether a value is of a kind."""
    if kind == 'names':
        return isinstance(value, tuple) and all(isinstance(name, str) for name in value)
    if kind == 'number':
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str if kind == 'text' else bool)


def _joints(settings: Settings, expected: Expected) -> Iterator[Finding]:
    if 'joints' not in settings:
        return
    joints = tuple(settings['joints'])
    if not set(expected.joints) <= set(joints):
        why = 'it rejects every message with a joint that it does not know'
        yield Finding(what='joints', got=joints, allowed=listed(expected.joints), because=why, fatal=True)
    elif len(joints) > len(expected.joints) and not settings.get('allow_partial_joints_goal', False):
        why = 'with allow_partial_joints_goal false it rejects every message that leaves some of its joints out'
        yield Finding(what='joints', got=joints, allowed=listed(expected.joints), because=why, fatal=True)
    elif len(joints) > len(expected.joints):
        why = 'the others stay where they were commanded last'
        yield Finding(what='joints', got=joints, allowed=listed(expected.joints), because=why, fatal=False)
    commanded = tuple(settings.get('command_joints', ()))
    passive = [joint for joint in expected.joints if commanded and joint not in commanded]
    if passive:
        why = f'whether {listed(passive)} will move can not be told from here'
        yield Finding(what='command_joints', got=commanded, allowed='all joints', because=why, fatal=False)


def _interfaces(settings: Settings, expected: Expected) -> Iterator[Finding]:
    commands = tuple(settings.get('command_interfaces', ('position',)))
    if 'position' not in commands:
        why = 'the limits are those of commanded positions; other commands come out of a feedback loop'
        yield Finding(what='command_interfaces', got=commands, allowed='position among them', because=why, fatal=True)
    states = tuple(settings.get('state_interfaces', ('velocity',)))
    if 'velocity' not in states:
        why = 'the way from the measured state begins at speed 0, even in motion'
        yield Finding(what='state_interfaces', got=states, allowed='velocity among them', because=why, fatal=False)
    method = settings.get('interpolation_method', 'splines')
    if method != 'splines':
        why = 'it jumps from point to point'
        yield Finding(what='interpolation_method', got=method, allowed="'splines'", because=why, fatal=True)


def _ends(settings: Settings, expected: Expected) -> Iterator[Finding]:
    name = 'allow_nonzero_velocity_at_trajectory_end'
    moving = settings.get(name)
    if moving is False and not expected.ends_at_rest:
        why = 'it rejects every message whose last point is not at rest'
        yield Finding(what=name, got=moving, allowed='True', because=why, fatal=True)
    if moving is True and expected.ends_at_rest:
        why = 'ours end at rest, but nothing keeps another node from a trajectory that ends in full motion'
        yield Finding(what=name, got=moving, allowed='False', because=why, fatal=False)


def _bridges(settings: Settings, expected: Expected) -> Iterator[Finding]:
    name = 'allow_trajectory_replacement'
    if settings.get(name, False):
        why = 'it puts a plan with a stamp in the past off until now, each time'
        yield Finding(what=name, got=True, allowed='False', because=why, fatal=True)
    desired = any(settings.get(name) is True for name in ('interpolate_from_desired_state', 'open_loop_control'))
    if desired:
        why = 'a way in starts at the last command, twice as fast in its first cycle; a plan that is followed does not'
        yield Finding(
            what='interpolate_from_desired_state', got=True, allowed='False or True', because=why, fatal=False
        )


def _timing(settings: Settings, expected: Expected) -> Iterator[Finding]:
    simulated = settings.get('use_sim_time')
    if simulated is not None and simulated != expected.use_sim_time:
        why = 'stamps of one clock mean nothing on another'
        yield Finding(what='use_sim_time', got=simulated, allowed=str(expected.use_sim_time), because=why, fatal=True)
    rate = settings.get('update_rate', 0)
    least = 1.0 / min(expected.control_dt, expected.splice_margin or expected.control_dt)
    if 0 < rate < least:
        why = 'a period must fit into control_dt and into splice_margin'
        yield Finding(what='update_rate', got=rate, allowed=f'{least:.6g} Hz or more', because=why, fatal=True)
    yield from _timeout(settings, expected)
    factor = settings.get('speed_scaling.initial_scaling_factor', 1.0)
    if factor != 1.0:
        why = 'every message starts on the true time again, with a jump'
        yield Finding(what='speed_scaling.initial_scaling_factor', got=factor, allowed='1.0', because=why, fatal=True)
    interface = settings.get('speed_scaling.state_interface', '')
    if interface:
        why = 'keep the speed at 100 %: below, every message starts on the true time again, with a jump'
        yield Finding(what='speed_scaling.state_interface', got=interface, allowed="''", because=why, fatal=False)


def _timeout(settings: Settings, expected: Expected) -> Iterator[Finding]:
    timeout, goal_time = settings.get('cmd_timeout', 0.0), settings.get('constraints.goal_time', 0.0)
    if timeout <= 0.0:
        return
    if timeout <= goal_time:
        why = 'it ignores a cmd_timeout that is not longer than constraints.goal_time'
        yield Finding(what='cmd_timeout', got=timeout, allowed=f'over {goal_time} s', because=why, fatal=False)
        return
    # It counts from the last point, which is the tail's; the next message is due before the last step.
    needed = max(expected.control_dt, expected.splice_margin - expected.tail)
    if timeout < needed:
        why = 'it holds the measured position before a message that is a step late can come, and then jumps'
        yield Finding(what='cmd_timeout', got=timeout, allowed=f'0 or {needed:.6g} s or more', because=why, fatal=True)


def _tolerances(settings: Settings, expected: Expected) -> Iterator[Finding]:
    units = expected.units or ('rad',) * len(expected.joints)
    for joint, unit in zip(expected.joints, units, strict=True):
        what = f'constraints.{joint}.trajectory'
        tolerance = settings.get(what, 0.0)
        finest = FINEST.get(unit, 0.0)
        if 0.0 < tolerance < finest:
            why = 'every drive is farther behind than that, so it would stop at once, and start again with each message'
            allowed = f'0 or {finest} {unit} or more'
            yield Finding(what=what, got=tolerance, allowed=allowed, because=why, fatal=True)
        elif 0.0 < tolerance < expected.follow_tolerance:
            why = 'it holds at a smaller distance from the plan than counts as not following it'
            allowed = f'0 or {expected.follow_tolerance} {unit} or more'
            yield Finding(what=what, got=tolerance, allowed=allowed, because=why, fatal=False)
