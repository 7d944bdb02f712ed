"""The committed plan, and how a chunk becomes a trajectory that a joint_trajectory_controller follows without a jerk.

A controller forgets the old trajectory whole when a new one arrives, and where the new one is stamped in the past with
its first point already due, the commands lie on its own curve from the first cycle. So each trajectory starts with
what was committed before, unchanged up to `splice_margin` after now: whenever it arrives within that time, nothing
jumps. The new steps are spliced in behind, and after the last one the plan decelerates to rest: if nothing else ever
comes, the robot stops by itself.

Times are integer nanoseconds of robot time, handed in. Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dp_ros.data import NANOSECONDS, Chunk, to_nanoseconds
from dp_ros.errors import ConfigError, check_finite, check_shape, listed
from dp_ros.policy.committed import braked, braked_in_one_point, committed_head, resumed
from dp_ros.policy.limits import Exceeded, JointLimits, check
from dp_ros.policy.outcome import Planned as Planned
from dp_ros.policy.outcome import Refused as Refused
from dp_ros.policy.seeding import MeasuredState, seeded_head
from dp_ros.policy.splice import Misfit, fit
from dp_ros.policy.spline import Knots
from dp_ros.policy.steps import Excess, beside, clamped, mismatch, stale, unwrapped
from dp_ros.policy.trajectory import Trajectory


class Planner:
    """Keep the committed plan and splice chunks into it.

    The start is a plan as well. On the first chunk, after `reset`, or when the robot is farther than `far` from the
    plan, the plan begins anew at the measured state and the measurement's stamp, which is past, so its first point is
    already due. Until `splice_margin` after now it goes on as the robot does (it rests, or keeps its measured
    velocity), then a timed lead-in joins the chunk at a later step. A trajectory stamped 0 would start whenever it
    arrives: then neither side knows the other's time, and the next, anchored trajectory makes the robot jump by latency
    times velocity. This way both know it, and no command depends on when within the margin the message arrives: at
    rest it is the measured position, in motion the position where the robot is expected.

    Parameters
    ----------
    joints
        Names in order; chunks must have the same.
    control_dt
        Time between steps [ns]; chunks must have the same.
    limits
        What every trajectory is checked against; None checks nothing.
    history_steps
        How many control steps back the sent trajectory starts.
    splice_margin
        Longest time from `accept` to the controller's first command from the result, its own period included [ns].
    lead_in
        Least duration of the lead-in from a measured state [s].
    far
        Largest distance of any joint from the plan before it begins anew [rad or m].
    tail
        Least duration of the deceleration after the last step [s].
    continuous
        For each joint, whether it turns without end: positions a whole turn apart are the same.
    position_tolerance
        Steps beyond a position limit by no more than this are put onto it [rad or m].
    max_age
        Oldest measurement that counts [ns].

    """

    def __init__(
        self,
        joints: Sequence[str],
        control_dt: int,
        limits: JointLimits | None,
        *,
        history_steps: int = 3,
        splice_margin: int = 50_000_000,
        lead_in: float = 0.5,
        far: float = 0.2,
        tail: float = 0.5,
        continuous: Sequence[bool] | None = None,
        position_tolerance: float = 0.005,
        max_age: int = 250_000_000,
    ) -> None:
        self.joints = tuple(joints)
        self.control_dt = control_dt
        self.limits = limits
        self._history = history_steps * control_dt
        self._margin = splice_margin
        self._lead_in = to_nanoseconds(lead_in)
        self._far = far
        self._tail = tail
        self._tolerance = position_tolerance
        self._max_age = max_age
        self._continuous = np.array([False] * len(self.joints) if continuous is None else continuous, dtype=bool)
        # Knots closer than this would turn rounding of positions into acceleration.
        self._closest = max(1, control_dt // 20)
        self._check_settings()
        self.reset()

    def _check_settings(self) -> None:
        least = (
            ('control_dt', self.control_dt, 1),
            ('history_steps', self._history, 0),
            ('splice_margin', self._margin, 0),
            ('max_age', self._max_age, 1),
            ('lead_in', self._lead_in, 1),
            ('tail', to_nanoseconds(self._tail), self._closest),
        )
        for name, time, allowed in least:
            if time < allowed:
                raise ConfigError(f'planner {name}: got {time} ns, allowed {allowed} ns or more')
        if not 0.0 < self._far < np.inf:
            raise ConfigError(f'planner far: got {self._far}, allowed more than 0')
        if not 0.0 <= self._tolerance < np.inf:
            raise ConfigError(f'planner position_tolerance: got {self._tolerance}, allowed 0 or more')
        if self._continuous.shape != (len(self.joints),):
            raise ConfigError(f'planner continuous: got {len(self._continuous)}, allowed one for each joint')
        if self.limits is None:
            return
        if self.limits.joints != self.joints:
            raise ConfigError(f'planner limits: got {listed(self.limits.joints)}, allowed {listed(self.joints)}')
        bounded = np.isfinite(self.limits.lowest) | np.isfinite(self.limits.highest)
        for joint, wrong in zip(self.joints, bounded & self._continuous, strict=True):
            if wrong:
                raise ConfigError(f'planner limits: got position limits for continuous joint {joint!r}, allowed none')

    @property
    def plan(self) -> Trajectory | None:
        """The committed plan, with an absolute stamp; None before the first chunk and after `reset`."""
        return self._plan

    def reset(self) -> None:
        """Forget the plan and all measurements, as after a stop by other means or a jump of the clock."""
        self._plan: Trajectory | None = None
        self._measured: MeasuredState | None = None
        self._newest: int | None = None
        self._now: int | None = None
        self._joins = 0

    def measured(self, stamp: int, positions: np.ndarray, velocities: np.ndarray | None = None) -> None:
        """Take a joint state (A,), unless it is older than the last; without velocities the robot counts as resting.

        Raises DataError for a wrong shape or a number that is not finite; the last good joint state remains.
        """
        speeds = np.zeros(len(self.joints)) if velocities is None else velocities
        for what, array in (('measured positions', positions), ('measured velocities', speeds)):
            check_shape(what, np.asarray(array), (len(self.joints),))
            check_finite(what, np.asarray(array))
        if self._measured is None or stamp > self._measured.stamp:
            self._measured = MeasuredState(
                stamp=stamp,
                positions=np.array(positions, dtype=np.float64),
                velocities=np.array(speeds, dtype=np.float64),
            )

    def on_plan(self) -> bool:
        """Whether there is a plan, and the last measured position is within `far` of it."""
        if self._plan is None or self._measured is None:
            return False
        planned = self._plan.sample(np.array([self._measured.stamp - self._plan.stamp]))[0][0]
        actual = beside(self._measured.positions, planned, self._continuous)
        return float(np.abs(actual - planned).max()) <= self._far

    def accept(self, chunk: Chunk, now: int) -> Planned | Refused:
        """Splice a chunk into the plan at ``now`` [ns]; what is returned has been checked against the limits."""
        reason = self._unusable(chunk, now) or self._blind(now)
        if reason:
            return Refused(reason=reason)
        reseeded = not self.on_plan()
        head = self._seeded(now) if reseeded else self._committed(now)
        if isinstance(head, Excess):
            return Refused(reason=f'measured {head}', stop=True)
        actions = unwrapped(chunk.actions, head, chunk.due, self._continuous)
        first, lead = self._next_step(chunk.due, int(head.times[-1]), reseeded)
        if first == len(actions):
            return Refused(reason=stale(chunk, int(head.times[-1])))
        steps, due = clamped(actions[first:], self.limits, self._tolerance), chunk.due[first:]
        if isinstance(steps, Excess):
            return Refused(reason=f'chunk step {first + steps.step} {steps}', stop=True)
        fitted = fit(head, due, steps, joints=self.joints, limits=self.limits, tail=self._tail, lead=lead)
        if isinstance(fitted, Misfit):
            return Refused(reason=fitted.reason, stop=True)
        first, steps, due = first + fitted.first, steps[fitted.first :], due[fitted.first :]
        self._plan, self._newest, self._now = fitted.trajectory, chunk.stamp, now
        if reseeded:
            self._joins = fitted.joins
        return Planned(
            trajectory=fitted.trajectory,
            first_executed=int(due[0]),
            dropped_steps=first,
            reseeded=reseeded,
            clamped_steps=int((steps != actions[first:]).any(axis=1).sum()),
            delay=fitted.joins - int(due[0]),
            stretch=fitted.stretch,
        )

    def _next_step(self, due: np.ndarray, splice: int, reseeded: bool) -> tuple[int, int]:
        """Return the first step due after ``splice`` [ns], if any is left to go to, and the least time to any [ns]."""
        # A step closer than half a control step behind the splice would make a jerk of any disagreement.
        soonest = splice + (self.control_dt + 1) // 2
        if due[-1] < soonest:
            return len(due), 0
        # A lead-in that is under way keeps its time, however many chunks arrive meanwhile.
        lead = self._lead_in if reseeded else max(soonest, self._joins) - splice
        return int(np.searchsorted(due, splice, side='right')), lead

    def stop(self, now: int) -> Trajectory | Refused:
        """Decelerate along the committed path to rest, which is then held; the plan's own end where that is sooner."""
        if self._plan is None:
            return Refused(reason='no plan to stop on; hold instead')
        head = self._committed(now)
        least = self._tail if self.limits is None else 0.0
        stopped = braked(head, self._plan, control_dt=self.control_dt, limits=self.limits, least=least)
        trajectory = stopped or resumed(head, self._plan, self.control_dt)
        exceeded = None if self.limits is None else check(trajectory, self.limits)
        if isinstance(exceeded, Exceeded):
            return Refused(reason=str(exceeded), stop=True)
        self._plan = trajectory
        return trajectory

    def hold(self, now: int) -> Trajectory | Refused:
        """Rest as soon as possible, in one point stamped 0, which any controller takes whatever its clock says.

        While the robot is on the plan (or nothing newer is known), the point is on the plan: holding the measured
        position would give way to gravity a little with every call. Away from the plan it is the measured position.
        A robot in motion gets the time and the way to decelerate: the controller bridges from its own state.
        """
        known = None if self._blind(now) else self._measured
        splice = now + self._margin
        if self._plan is not None and (known is None or self.on_plan()):
            positions, velocities = (values[0] for values in self._plan.sample(np.array([splice - self._plan.stamp])))
        elif known is not None:
            positions, velocities = self._same_turn(known), known.velocities
        else:
            return Refused(reason=f'no plan to hold, and {self._blind(now)}', stop=True)
        held = braked_in_one_point(
            positions, velocities, self.joints, limits=self.limits, tolerance=self._tolerance, least=self.control_dt
        )
        if isinstance(held, Excess):
            return Refused(reason=f'measured {held}', stop=True)
        # Kept as a plan, so that the next chunk starts from what is held.
        wait = max(self._margin, self._closest)
        self._plan = Trajectory(
            stamp=max(now, 1),
            joints=self.joints,
            times=np.array([0, wait, wait + held.times[0]]),
            positions=np.stack([positions - velocities * wait / NANOSECONDS, positions, held.positions[0]]),
            velocities=np.stack([velocities, velocities, np.zeros_like(velocities)]),
        )
        return held

    def _committed(self, now: int) -> Knots:
        assert self._plan is not None
        oldest, splice = max(now - self._history, 1), now + self._margin
        return committed_head(self._plan, oldest=oldest, splice=splice, closest=self._closest)

    def _seeded(self, now: int) -> Knots | Excess:
        assert self._measured is not None
        state = MeasuredState(
            stamp=self._measured.stamp,
            positions=self._same_turn(self._measured),
            velocities=self._measured.velocities,
        )
        begin = max(min(state.stamp, now - self._closest), 1)
        splice = max(now + self._margin, begin + self._closest)
        return seeded_head(state, begin, splice, self.limits, self._tolerance)

    def _same_turn(self, state: MeasuredState) -> np.ndarray:
        """Return measured positions in the turn of the commands so far: a new plan must not unwind a joint."""
        if self._plan is None:
            return state.positions
        planned = self._plan.sample(np.array([state.stamp - self._plan.stamp]))[0][0]
        return beside(state.positions, planned, self._continuous)

    def _unusable(self, chunk: Chunk, now: int) -> str:
        """Return why the chunk cannot be used whatever the robot does; nothing if it can."""
        if self._now is not None and now < self._now:
            return f'clock: got {(self._now - now) / 1e9:.3f} s before the last chunk, allowed no step back'
        if self._newest is not None and chunk.stamp <= self._newest:
            behind = (self._newest - chunk.stamp) / 1e9
            return f'chunk: got one {behind:.3f} s older than the one that is executed, allowed newer ones'
        return mismatch(chunk, self.joints, self.control_dt, now + self._margin)

    def _blind(self, now: int) -> str:
        """Return why it is not known where the robot is; nothing if it is."""
        if self._measured is None:
            return 'joint state: got none, allowed one before a chunk'
        age = abs(now - self._measured.stamp)
        if age > self._max_age:
            return f'joint state: got one {age / 1e9:.3f} s from now, allowed {self._max_age / 1e9:.3f} s'
        return ''
