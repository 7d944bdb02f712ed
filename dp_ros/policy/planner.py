"""The committed plan, and how a chunk becomes a trajectory that a joint_trajectory_controller follows without a jerk.

A controller forgets the old trajectory whole when a new one arrives, and where the new one is stamped in the past with
its first point already due, the commands lie on its own curve from the first cycle. So each trajectory starts with
what was committed before, unchanged up to `splice_margin` after now: whenever it arrives within that time, nothing
jumps. The new steps are spliced in behind, cross-faded where asked for, and after the last one the plan decelerates to
rest: if nothing else ever comes, the robot stops by itself.

Times are integer nanoseconds of robot time, handed in. Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dp_ros.data import Chunk, to_nanoseconds
from dp_ros.errors import check_finite, check_shape
from dp_ros.policy.blend import CrossFade, chunk_curve, cross_faded
from dp_ros.policy.committed import braked, committed_head, resumed
from dp_ros.policy.easing import eased
from dp_ros.policy.halting import as_plan, held_point, homeward, resting
from dp_ros.policy.limits import Exceeded, JointLimits, check
from dp_ros.policy.outcome import Planned as Planned
from dp_ros.policy.outcome import Refused as Refused
from dp_ros.policy.plan_options import PlanOptions
from dp_ros.policy.seeding import Whereabouts, seeded_head
from dp_ros.policy.splice import Misfit, fit
from dp_ros.policy.spline import Ending, Knots
from dp_ros.policy.steps import Excess, beside, clamped, mismatch, stale, unwrapped
from dp_ros.policy.trajectory import Trajectory


class Planner:
    """Keep the committed plan and splice chunks into it.

    The start is a plan as well: see `dp_ros.policy.seeding`.

    Parameters
    ----------
    joints
        Names in order; chunks must have the same.
    control_dt
        Time between steps [ns]; chunks must have the same.
    limits
        What every trajectory is checked against; None checks nothing.
    options
        The fields of `PlanOptions`.

    """

    def __init__(self, joints: Sequence[str], control_dt: int, limits: JointLimits | None, **options: Any) -> None:
        self.joints = tuple(joints)
        self.control_dt = control_dt
        self.limits = limits
        # Knots closer than this would turn rounding of positions into acceleration.
        self._closest = max(1, control_dt // 20)
        self._set(PlanOptions(**options))
        self.reset()

    def _set(self, options: PlanOptions) -> None:
        options.check(self.joints, self.control_dt, self.limits, self._closest)
        self.options = options
        self._history = options.history_steps * self.control_dt
        self._margin = options.splice_margin
        self._lead_in = to_nanoseconds(options.lead_in)
        self._continuous = options.turning(self.joints)
        self._quintic = options.accelerations

    @property
    def blend_steps(self) -> int:
        """Control steps that the cross-fade into a new chunk may take at most; may be changed at any time."""
        return self.options.blend_steps

    @blend_steps.setter
    def blend_steps(self, steps: int) -> None:
        self._set(replace(self.options, blend_steps=steps))

    @property
    def plan(self) -> Trajectory | None:
        """The committed plan, with an absolute stamp; None before the first chunk and after `reset`."""
        return self._plan

    def reset(self) -> None:
        """Forget the plan and all measurements, as after a stop by other means or a jump of the clock."""
        self._plan: Trajectory | None = None
        self._whereabouts = Whereabouts(self._continuous, self.options.max_age)
        self._newest: int | None = None
        self._now: int | None = None
        self._joins = 0
        self._fade = CrossFade()

    def checkpoint(self) -> tuple[Trajectory | None, int | None, int | None, int]:
        """Return what a chunk or a stop changes, for `rollback`."""
        return self._plan, self._newest, self._now, self._joins

    def rollback(self, state: tuple[Trajectory | None, int | None, int | None, int]) -> None:
        """Take back what was planned since a `checkpoint`, because it was not sent."""
        self._plan, self._newest, self._now, self._joins = state

    def measured(self, stamp: int, positions: np.ndarray, velocities: np.ndarray | None = None) -> None:
        """Take a joint state (A,), unless it is older than the last; without velocities the robot counts as resting.

        Raises DataError for a wrong shape or a number that is not finite; the last good joint state remains.
        """
        self._whereabouts.take(stamp, positions, velocities)

    def on_plan(self) -> bool:
        """Whether there is a plan, and the last measured position is within `far` of it."""
        return self._whereabouts.distance(self._plan) <= self.options.far

    def accept(self, chunk: Chunk, now: int) -> Planned | Refused:
        """Splice a chunk into the plan at ``now`` [ns]; what is returned has been checked against the limits.

        Where a chunk would leave them with steps beyond `keep_steps`, which the next chunk replaces in time, these are
        left out: the plan rests before them. If that does not help, the chunk is refused.
        """
        outcome = self._accept(chunk, now)
        if isinstance(outcome, Planned) or not outcome.by_steps:
            return outcome
        count, least = len(chunk.actions), self.options.keep_steps or len(chunk.actions)
        # A few tries must do: each costs as much as the first.
        tries = {count - 1, (count - 1 + least) // 2, least} if least < count else ()
        for kept in sorted(tries, reverse=True):
            shorter = self._accept(chunk.first(kept), now)
            if isinstance(shorter, Planned):
                return replace(shorter, left_out_steps=count - kept)
        return outcome

    def _accept(self, chunk: Chunk, now: int) -> Planned | Refused:
        reason = self.unusable(chunk, now) or self._whereabouts.blind(now)
        if reason:
            return Refused(reason=reason)
        reseeded = not self.on_plan()
        head = self._seeded(now) if reseeded else self._committed(now)
        if isinstance(head, Excess):
            return Refused(reason=f'measured {head}', stop=True)
        actions = unwrapped(chunk.actions, head, chunk.due, self._continuous)
        splice = int(head.times[-1])
        if chunk.due[-1] < splice + (self.control_dt + 1) // 2:
            return Refused(reason=stale(chunk, splice))
        first = int(np.searchsorted(chunk.due, splice, side='right'))
        inside, due = clamped(actions[first:], self.limits, self.options.position_tolerance), chunk.due[first:]
        if isinstance(inside, Excess):
            return Refused(reason=f'chunk step {first + inside.step} {inside}', stop=True, by_steps=True)
        curve = chunk_curve(chunk.due, actions, self.joints) if self.blend_steps else None
        steps = inside if reseeded or curve is None else self._faded(inside, due, curve, splice)
        lead, ending = self._soonest(splice, reseeded) - splice, self._ending(self.options.tail)
        slower = due
        if self.options.stop_on_path:
            slower, ending = eased(due, steps, self.control_dt, ending)
        fitted = fit(head, slower, steps, joints=self.joints, ending=ending, lead=lead)
        if isinstance(fitted, Misfit):
            return Refused(reason=fitted.reason, stop=True, by_steps=True)
        left = self._left(fitted.trajectory)
        if left:
            return Refused(reason=str(left), stop=True, by_steps=True)
        self._plan, self._newest, self._now = fitted.trajectory, chunk.stamp, now
        if curve is not None:
            self._fade.learn(curve)
        if reseeded:
            self._joins = fitted.joins
        return Planned(
            trajectory=self._outgoing(fitted.trajectory, head),
            first_executed=int(due[fitted.first]),
            dropped_steps=first + fitted.first,
            reseeded=reseeded,
            clamped_steps=int((inside != actions[first:])[fitted.first :].any(axis=1).sum()),
            delay=fitted.joins - int(due[fitted.first]),
            stretch=fitted.stretch,
        )

    def _faded(self, steps: np.ndarray, due: np.ndarray, curve: Trajectory, splice: int) -> np.ndarray:
        assert self._plan is not None
        window = self._fade.window(self._plan, curve, splice, control_dt=self.control_dt, most=self.blend_steps)
        return cross_faded(self._plan, due, steps, begin=splice, window=window)

    def _soonest(self, splice: int, reseeded: bool) -> int:
        """Return when a chunk may be joined at the soonest [ns]."""
        if reseeded:
            return splice + self._lead_in
        # Without a cross-fade, a step right behind the splice would make a jerk of any disagreement.
        behind = self._closest if self.blend_steps else (self.control_dt + 1) // 2
        # A lead-in that is under way keeps its time, however many chunks arrive meanwhile.
        return max(splice + behind, self._joins)

    def stop(self, now: int) -> Trajectory | Refused:
        """Decelerate along the committed path to rest, which is then held; the plan's own end where that is sooner."""
        if self._plan is None:
            return Refused(reason='no plan to stop on; hold instead')
        head, plan = self._committed(now), self._plan
        stopped = self._taken(self._stopped(head, plan), head)
        # The plan itself has been found good; a way to stop sooner may graze the workspace.
        return self._taken(resumed(head, plan, self.control_dt), head) if isinstance(stopped, Refused) else stopped

    def hold(self, now: int) -> Trajectory | Refused:
        """Rest as soon as possible, in one point stamped 0, which any controller takes whatever its clock says.

        While the robot is on the plan (or nothing newer is known), the point is on the plan: holding the measured
        position would give way to gravity a little with every call. Away from the plan it is the measured position.
        A robot in motion gets the time and the way to decelerate: the controller bridges from its own state.
        """
        blind = self._whereabouts.blind(now)
        if self._plan is not None and (blind or self.on_plan()):
            at = np.array([now + self._margin - self._plan.stamp])
            positions, velocities = (values[0] for values in self._plan.sample(at))
        elif blind:
            return Refused(reason=f'no plan to hold, and {blind}', stop=True)
        else:
            known = self._whereabouts.beside(self._plan)
            positions, velocities = known.positions, known.velocities
        inside = clamped(positions[None], self.limits, self.options.position_tolerance)
        if isinstance(inside, Excess):
            return Refused(reason=f'measured {inside}', stop=True)
        # The point has no accelerations, so the controller's way to it is a cubic.
        ending = Ending(limits=self.limits, least=self.control_dt / 1e9)
        point = held_point(inside[0], velocities, self.joints, ending, self.options.workspace)
        if isinstance(point, Exceeded):
            return Refused(reason=f'measured {point}', stop=True)
        # Kept as a plan, so that the next chunk starts from what is held.
        self._plan = as_plan(point, positions, velocities, now, max(self._margin, self._closest), self._quintic)
        return point

    def home(self, now: int, positions: np.ndarray, *, duration: float = 3.0) -> Trajectory | Refused:
        """Come to rest, then move to ``positions`` (A,) straight in joint space, in ``duration`` [s] or more.

        The way becomes the plan. A home that cannot be reached within limits and workspace is refused.
        """
        check_shape('home positions', np.asarray(positions), (len(self.joints),))
        check_finite('home positions', np.asarray(positions))
        blind = self._whereabouts.blind(now)
        if blind:
            return Refused(reason=blind)
        on_plan = self.on_plan()
        head = self._committed(now) if on_plan else self._seeded(now)
        goal = clamped(np.asarray(positions, dtype=np.float64)[None], self.limits, self.options.position_tolerance)
        for what, place in (('measured', head), ('home', goal)):
            if isinstance(place, Excess):
                return Refused(reason=f'{what} {place}', stop=what == 'measured')
        assert isinstance(head, Knots) and isinstance(goal, np.ndarray)
        ending = self._ending(0.0)
        rest = self._stopped(head, self._plan) if on_plan and self._plan else resting(head, ending, self.joints)
        goal = beside(goal[0], rest.positions[-1], self._continuous)
        return self._taken(homeward(rest, goal, duration, ending), head)

    def _stopped(self, head: Knots, plan: Trajectory) -> Trajectory:
        ending = self._ending(self.options.tail if self.limits is None else 0.0)
        return braked(
            head, plan, control_dt=self.control_dt, ending=ending, closest=self._closest
        ) or resumed(head, plan, self.control_dt)

    def _taken(self, trajectory: Trajectory, head: Knots) -> Trajectory | Refused:
        """Make a trajectory the plan, if it is within the limits, and return what is to be sent of it."""
        found = None if self.limits is None else check(trajectory, self.limits)
        exceeded = found if isinstance(found, Exceeded) else self._left(trajectory)
        if exceeded:
            return Refused(reason=str(exceeded), stop=True)
        self._plan = trajectory
        return self._outgoing(trajectory, head)

    def _left(self, trajectory: Trajectory) -> Exceeded | None:
        """Return where a trajectory leaves the workspace."""
        return None if self.options.workspace is None else self.options.workspace.left(trajectory)

    def _outgoing(self, trajectory: Trajectory, head: Knots) -> Trajectory:
        """Return what the controller needs of a plan: one that keeps the old trajectory wants it from the splice on."""
        return trajectory if self.options.controller_mode == 'jazzy' else trajectory.after(len(head.times) - 1)

    def _ending(self, least: float) -> Ending:
        return Ending(limits=self.limits, least=max(least, self._closest / 1e9), quintic=self._quintic)

    def _committed(self, now: int) -> Knots:
        assert self._plan is not None
        oldest, splice = max(now - self._history, 1), now + self._margin
        return committed_head(self._plan, oldest=oldest, splice=splice, closest=self._closest)

    def _seeded(self, now: int) -> Knots | Excess:
        state = self._whereabouts.beside(self._plan)
        begin = max(min(state.stamp, now - self._closest), 1)
        splice = max(now + self._margin, begin + self._closest)
        tolerance = self.options.position_tolerance
        return seeded_head(state, begin, splice, limits=self.limits, tolerance=tolerance, quintic=self._quintic)

    def unusable(self, chunk: Chunk, now: int) -> str:
        """Return why the chunk cannot be used whatever the robot does; nothing if it can."""
        if self._now is not None and now < self._now:
            return f'clock: got {(self._now - now) / 1e9:.3f} s before the last chunk, allowed no step back'
        if self._newest is not None and chunk.stamp <= self._newest:
            behind = (self._newest - chunk.stamp) / 1e9
            return f'chunk: got one {behind:.3f} s older than the one that is executed, allowed newer ones'
        return mismatch(chunk, self.joints, self.control_dt, now + self._margin)
