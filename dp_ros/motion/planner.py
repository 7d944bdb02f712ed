"""The committed plan, and how a chunk becomes a trajectory that a joint_trajectory_controller follows without a jerk.

A controller forgets the old trajectory whole when a new one arrives, and where the new one is stamped in the past with
its first point already due, the commands lie on its own curve from the first cycle. So each trajectory starts with
what was committed before, unchanged up to `splice_margin` after now: whenever it arrives within that time, nothing
jumps. The new steps are spliced in behind, cross-faded where asked for, and after the last one the plan decelerates to
rest: if nothing else ever comes, the robot stops by itself.

That is right only while the robot follows the plan. The planner compares the two (`dp_ros.motion.safety.following`) and
plans nothing for a robot that doesn't. `dp_ros.motion.safety.hold_points` has how a plan begins anew.

Times are integer nanoseconds of robot time, handed in. Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dp_ros.data import Chunk, Refusal, to_nanoseconds
from dp_ros.errors import check_finite, check_shape
from dp_ros.motion.blend import CrossFade, chunk_curve, cross_faded
from dp_ros.motion.checks.limits import check
from dp_ros.motion.committed_plan import committed_head, resumed, standing
from dp_ros.motion.obstacles import ClearPlans, Contact, ObstacleCheck
from dp_ros.motion.options import PlanOptions
from dp_ros.motion.outcome import Checkpoint, Planned
from dp_ros.motion.safety.following import LEAP, CommandedPath, Following, farthest
from dp_ros.motion.safety.hold_points import HoldPoints
from dp_ros.motion.safety.measured_states import MeasuredStates, slip_allowed
from dp_ros.motion.splice import fit
from dp_ros.motion.spline import Ending, Knots
from dp_ros.motion.steps import beside, clamped, mismatch, out_of_order, stale, unwrapped
from dp_ros.motion.stops import braking_trajectory, eased, homing_trajectory
from dp_ros.motion.trajectory import Trajectory
from dp_ros.robot.joint_limits import JointLimits

LEAD = 100_000_000
"""A plan may be made for a time so much after now [ns]: history is counted from before that."""


class Planner:
    """Keep the committed plan and splice chunks into it.

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

    Attributes
    ----------
    clear
        Keeps plans clear of obstacles; as it is made, there are none.

    """

    def __init__(self, joints: Sequence[str], control_dt: int, limits: JointLimits | None, **options: Any) -> None:
        self.joints = tuple(joints)
        self.control_dt = control_dt
        self.limits = limits
        # Knots closer than this would turn rounding of positions into acceleration.
        self._closest = max(1, control_dt // 20)
        self._set(PlanOptions(**options))
        self.clear = ClearPlans(None, self._braked_at)
        self._plan: Trajectory | None = None
        self._held_before: np.ndarray | None = None  # where a controller may hold that is on no plan
        self.forgotten_until = 0  # when the last one of those ends that were forgotten, maybe not stopped [ns]
        self._distance: np.ndarray | None = None  # from the plan, once it is asked for
        self.reset()

    def _set(self, options: PlanOptions) -> None:
        options.check(self.joints, self.control_dt, self.limits, self._closest)
        self.options = options
        tolerance = options.follow_tolerances(self.joints, self.limits)
        self._points = HoldPoints(self.joints, self.control_dt, self.limits, options)
        self._following = Following(tolerance, options.expected_lag, options.max_lag, options.turning(self.joints))
        self.continuous = options.turning(self.joints)
        self._slip = slip_allowed(self.limits, len(self.joints))

    @property
    def blend_steps(self) -> int:
        """Control steps that the cross-fade into a new chunk may take at most; may be changed at any time."""
        return self.options.blend_steps

    @blend_steps.setter
    def blend_steps(self, steps: int) -> None:
        following = self._following
        self._set(replace(self.options, blend_steps=steps))
        self._following = following

    @property
    def plan(self) -> Trajectory | None:
        """The committed plan, with an absolute stamp; None before it has begun and after `reset`."""
        return self._plan

    def reset(self) -> None:
        """Forget the plan and all measurements, as after a stop by other means; its controller may hold the end."""
        self.forget_plan()
        self.states = MeasuredStates(self.continuous, self.options.max_joint_age)
        self._fade = CrossFade()

    def forget_states(self) -> None:
        """Forget what was measured, because none of it counts any more; its controller may hold where that was."""
        if self._plan is None and self._held_before is None and self.states.newest is not None:
            self._held_before = self._points.possible(self.states.newest.positions)
        self.states = MeasuredStates(self.continuous, self.options.max_joint_age)
        self._distance = None

    def forget_plan(self, now: int | None = None, *, restarted: bool = False) -> None:
        """Forget the plan, and keep what was measured; its controller may hold the end, or where it is ``now``.

        One that was ``restarted`` holds the robot where it is measured, whatever was before.
        """
        if self._plan is not None:
            self.forgotten_until = self._plan.end
            if self._held_before is None:
                at = self._plan.end if now is None else now
                self._held_before = self._plan.positions_at(np.array([at - self._plan.stamp]))[0]
        if restarted and self.states.newest is not None:
            self._held_before = self._points.possible(self.states.newest.positions)
        self._distance = None
        self._plan = None
        self._path = CommandedPath()
        self._newest: int | None = None
        self._now: int | None = None
        self._joins = 0
        self._led_in = False
        self.lost = ''

    def moved_by_others(self, positions: np.ndarray) -> None:
        """Forget plan and measurements of a robot that is at ``positions`` (A,) now; it may be held where it was.

        Where it is back where it was held before, it never left: its joint states lied meanwhile.
        """
        last, before = self.states.newest, self._held_before
        self.forget_states()
        self.forget_plan()
        if before is not None and (np.abs(self.beside_turns(positions, before)) <= self._slip).all():
            self._held_before = before
        elif last is not None:
            self._held_before = self._points.possible(last.positions)

    def lose(self, reason: str = '', held: np.ndarray | None = None) -> None:
        """Give the plan up, because the robot does not follow it, until one begins anew.

        Its controller may be on the plan still; where it was sent another point, it holds ``held`` (A,).
        """
        self.lost = reason or self.astray() or 'the robot was stopped away from the plan'
        if held is not None:
            self._held_before = held

    def checkpoint(self) -> Checkpoint:
        """Return what a chunk or a stop changes, for `rollback`."""
        return Checkpoint(
            plan=self._plan, newest=self._newest, now=self._now, joins=self._joins, led_in=self._led_in,
            path=self._path.pieces, usual=self._fade.usual, judged=self.clear.judged,
        )  # fmt: skip

    def rollback(self, state: Checkpoint) -> None:
        """Take back what was planned since a `checkpoint`, because it was not sent."""
        self._plan, self._newest, self._now = state.plan, state.newest, state.now
        self._joins, self._led_in = state.joins, state.led_in
        self._path.pieces, self._fade.usual, self.clear.judged = state.path, state.usual, state.judged
        self._distance = None

    # What is measured.

    def measured(self, stamp: int, positions: np.ndarray, velocities: np.ndarray | None = None) -> None:
        """Take a joint state (A,), unless it is older than the last.

        Raises DataError for a wrong shape or a number that is not finite; the last good joint state remains.
        """
        self.states.take(stamp, positions, velocities)
        self._distance = None

    @property
    def follow_tolerance(self) -> np.ndarray:
        """The largest distance of each joint (A,) from the plan that it follows [rad or m]."""
        return self._following.tolerance

    def beside_turns(self, positions: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Return how far positions (A,) are from a reference (A,), whole turns of continuous joints taken off."""
        return beside(positions, reference, self.continuous) - reference

    @property
    def standing(self) -> bool:
        """Whether the robot stands, as the last joint states tell."""
        return self.states.standing(self._slip)

    def astray(self) -> str:
        """Return why the plan cannot be gone on with: there is none, or the robot does not follow it; '' if it can."""
        if self._plan is None:
            return 'there is no plan that it follows'
        if self.states.newest is None:
            return self.lost or 'joint state: got none, allowed one before a chunk'
        if self._distance is None:  # of a plan that was given up too: it tells the lag
            self._distance = self._following.distance(self.states, self._path)
        if self.lost:
            return self.lost
        what = 'the robot does not follow the plan: {joint} is {off} from it, allowed {allowed} (follow_tolerance)'
        return farthest(what, self.joints, self._distance, self._following.tolerance)

    def leap(self, now: int) -> str:
        """Return why a message sent ``now`` [ns] may make the robot leap; '' if it can't, or if nothing is seen."""
        if self._plan is None or self.states.blind(now):
            return ''
        leap = self._following.leap(self.states, self._path, now + self.options.splice_margin)
        what = 'the robot is not seen to follow the plan: {joint} may soon be {off} from it, allowed {allowed}'
        return farthest(what, self.joints, leap, LEAP * self._following.tolerance)

    def off_plan(self, stamp: int, positions: np.ndarray) -> str:
        """Return why a controller that commands ``positions`` (A,) at ``stamp`` [ns] is off the plan, or nothing.

        Those of joints that it does not have are NaN.
        """
        if self._plan is None:
            return ''
        away = self._path.away(stamp, positions, self.continuous)
        what = 'the controller does not follow the plan: it commands {joint} {off} from it, allowed {allowed}'
        return farthest(what, self.joints, away, self._following.tolerance)

    # How a plan begins.

    def begin(self, now: int) -> Trajectory | Refusal:
        """Return a point to hold where the robot stands, stamped 0, from which a plan can begin (`rest_at`).

        See `HoldPoints`: the controller may be where it held the robot before, or where the plan is.
        """
        moving = 'the robot moves, or has been seen for too short a time: allowed to begin at rest'
        reason = self.states.blind(now) or ('' if self.standing else moving)
        if reason:
            return Refusal(reason=reason)
        return self._points.beginning(self.states, self._plan, self._held_before, now)

    def rest_at(self, positions: np.ndarray, now: int) -> None:
        """Take it that the controller holds ``positions`` (A,) from ``now`` [ns] on: the next chunk is led in there."""
        self.forget_plan()
        self._held_before = None
        self._plan = standing(positions, max(now, 1), self.joints, quintic=self.options.accelerations)
        self._path.add(self._plan, max(now, 1))
        self._led_in = True

    # What is sent.

    def accept(self, chunk: Chunk, now: int, *, whole: bool = False) -> Planned | Refusal:
        """Splice a chunk into the plan at ``now`` [ns]; what is returned has been checked against the limits.

        ``now`` may be up to `LEAD` after the real now, which leaves that time for planning.

        Where a chunk would leave them with steps beyond `keep_steps`, which the next chunk replaces in time, these are
        left out: the plan rests before them. If that does not help, the chunk is refused. With ``whole`` nothing is
        left out, and one that an obstacle is in the way of is refused, instead of followed in part.
        """
        outcome = self._accept(chunk, now, whole)
        if whole or isinstance(outcome, Planned) or not outcome.stop:
            return outcome
        count, least = len(chunk.actions), self.options.keep_steps or len(chunk.actions)
        # A few tries must do: each costs as much as the first.
        tries = {count - 1, (count - 1 + least) // 2, least} if least < count else ()
        for kept in sorted(tries, reverse=True):
            shorter = self._accept(chunk.first(kept), now, whole=False)
            if isinstance(shorter, Planned):
                return replace(shorter, left_out_steps=count - kept)
            if not shorter.stop:
                return shorter  # what would be kept is too late: nothing is wrong with it
        return outcome

    def _accept(self, chunk: Chunk, now: int, whole: bool) -> Planned | Refusal:
        if (unusable := self.unusable(chunk, now)) is not None:
            return unusable
        if reason := self.states.blind(now) or self.astray():
            return Refusal(reason=reason)
        led_in, head = self._led_in, self._committed(now)
        actions = unwrapped(chunk.actions, head, chunk.due, self.continuous)
        splice = int(head.times[-1])
        if chunk.due[-1] < splice + (self.control_dt + 1) // 2:
            return stale(chunk, splice)
        first = int(np.searchsorted(chunk.due, splice, side='right'))
        tolerance, due = self.options.position_tolerance, chunk.due[first:]
        inside = clamped(actions[first:], self.limits, tolerance, 'chunk step', first)
        if isinstance(inside, Refusal):
            return inside
        curve = chunk_curve(chunk.due, actions, self.joints) if self.blend_steps else None
        steps = inside if led_in or curve is None else self._faded(inside, due, curve, splice)
        lead, ending = self._soonest(splice, led_in) - splice, self._ending(self.options.tail)
        slower = due
        if self.options.stop_on_path:
            slower, ending = eased(due, steps, self.control_dt, ending)
        fitted = fit(head, slower, steps, joints=self.joints, ending=ending, lead=lead)
        if isinstance(fitted, Refusal):
            return fitted
        left = self._left(fitted.trajectory) or (self.clear.start(self._plan, splice) if led_in else None)
        if left is not None:
            return left
        trajectory, blocked = self.clear.part(fitted.trajectory, now=now, splice=splice, whole=whole)
        if whole and blocked is not None:
            return Refusal(reason=f'blocked: {blocked}')
        assert self._plan is not None
        trajectory = self._stopped(head, self._plan, now) if trajectory is None else trajectory
        self._commit(trajectory, splice)
        self._newest, self._now, self._led_in = chunk.stamp, now, False
        if curve is not None:
            self._fade.learn(curve)
        if led_in:
            self._joins = fitted.joins
        return Planned(
            trajectory=trajectory,
            first_executed=int(due[fitted.first]),
            dropped_steps=first + fitted.first,
            restarted=led_in,
            clamped_steps=int((inside != actions[first:])[fitted.first :].any(axis=1).sum()),
            delay=fitted.joins - int(due[fitted.first]),
            stretch=fitted.stretch,
            blocked=blocked,
        )

    def _commit(self, trajectory: Trajectory, splice: int) -> None:
        self._plan = trajectory
        self._path.add(trajectory, splice)
        self._distance = None

    def _faded(self, steps: np.ndarray, due: np.ndarray, curve: Trajectory, splice: int) -> np.ndarray:
        assert self._plan is not None
        window = self._fade.window(self._plan, curve, splice, control_dt=self.control_dt, most=self.blend_steps)
        return cross_faded(self._plan, due, steps, begin=splice, window=window)

    def _soonest(self, splice: int, led_in: bool) -> int:
        """Return when a chunk may be joined at the soonest [ns]."""
        if led_in:
            return splice + to_nanoseconds(self.options.lead_in)
        # Without a cross-fade, a step right behind the splice would make a jerk of any disagreement.
        behind = self._closest if self.blend_steps else (self.control_dt + 1) // 2
        # A lead-in that is under way keeps its time, however many chunks arrive meanwhile.
        return max(splice + behind, self._joins)

    def stop(self, now: int) -> Trajectory | Refusal:
        """Decelerate along the committed path to rest, which is then held; the plan's own end where that is sooner.

        The caller sees to it that the robot follows: see `astray`.
        """
        if self._plan is None:
            return Refusal(reason='no plan to stop on; hold instead')
        head, plan = self._committed(now), self._plan
        stopped = self._braked(head, plan)
        if stopped is not None and self._left(stopped) is None:
            stopped = self.clear.safest(stopped, plan, now=now, splice=int(head.times[-1]))
            self._commit(stopped, int(head.times[-1]))
            return stopped
        # The plan itself has been found good; a way to stop sooner may graze the workspace.
        return self._taken(resumed(head, plan, self.control_dt), head)

    def _stopped(self, head: Knots, plan: Trajectory, now: int) -> Trajectory:
        """Return the stop on the committed plan, or what is left of that."""
        stopped = self._braked(head, plan) or resumed(head, plan, self.control_dt)
        return self.clear.safest(stopped, plan, now=now, splice=int(head.times[-1]))

    def hold(self, now: int) -> Trajectory | Refusal:
        """Return a point at which the robot comes to rest as soon as possible, stamped 0, wherever it is.

        For a robot that moves and has no plan that it follows: whatever its controller's clock says, it takes it. The
        point becomes no plan. The robot's state is what its last positions tell, carried on to when the controller
        will have the point; whatever that may be wrong by, the way there is within the limits.
        """
        blind = self.states.blind(now)
        if blind:
            return Refusal(reason=f'no plan to hold, and {blind}', stop=True)
        return self._points.hold(self.states, self._plan, self._held_before, now)

    def hold_planned(self, now: int) -> Trajectory | Refusal:
        """Return a point as `hold` does, for a robot that was on the plan at ``now`` [ns], when no clock counts."""
        if self._plan is None or self.lost:
            return Refusal(reason=self.lost or 'no plan to hold')
        return self._points.hold_planned(self._plan, now)

    def home(self, now: int, positions: np.ndarray, *, duration: float = 3.0) -> Trajectory | Refusal:
        """Come to rest, then move to ``positions`` (A,) straight in joint space, in ``duration`` [s] or more.

        The way becomes the plan. A home that cannot be reached within limits and workspace is refused.
        """
        check_shape('home positions', np.asarray(positions), (len(self.joints),))
        check_finite('home positions', np.asarray(positions))
        if reason := self.states.blind(now) or self.astray():
            return Refusal(reason=reason)
        assert self._plan is not None
        wanted = np.asarray(positions, dtype=np.float64)[None]
        goal = clamped(wanted, self.limits, self.options.position_tolerance, 'home')
        if isinstance(goal, Refusal):
            return goal
        head, plan = self._committed(now), self._plan
        rest = self._braked(head, plan) or resumed(head, plan, self.control_dt)
        goal = beside(goal[0], rest.positions[-1], self.continuous)
        self._led_in = False
        way = homing_trajectory(rest, goal, duration, self._ending(0.0))
        return self.clear.refusal(way, int(head.times[-1])) or self._taken(way, head)

    def _braked(self, head: Knots, plan: Trajectory) -> Trajectory | None:
        ending = self._ending(self.options.tail if self.limits is None else 0.0)
        return braking_trajectory(head, plan, control_dt=self.control_dt, ending=ending, closest=self._closest)

    def _taken(self, trajectory: Trajectory, head: Knots) -> Trajectory | Refusal:
        """Make a trajectory the plan, if it is within the limits, and return it."""
        excess = (None if self.limits is None else check(trajectory, self.limits)) or self._left(trajectory)
        if excess is not None:
            return excess
        self._commit(trajectory, int(head.times[-1]))
        return trajectory

    def keep_clear(self, check: ObstacleCheck | None) -> None:
        """Keep plans clear of obstacles from now on."""
        self.clear = ClearPlans(check, self._braked_at)

    def endangered(self, now: int) -> Contact | None:
        """Return what is in the way of the plan from ``now`` [ns] on, or may come into it before a stop; else None.

        Where it is not None, `stop` is to be sent.
        """
        return None if self._plan is None or self._plan.end <= now else self.clear.endangered(self._plan, now)

    def _braked_at(self, plan: Trajectory, at: int) -> Trajectory:
        if at >= plan.end:
            return plan
        head = committed_head(plan, oldest=plan.stamp + int(plan.times[0]), splice=at, closest=self._closest)
        return self._braked(head, plan) or plan

    def _left(self, trajectory: Trajectory) -> Refusal | None:
        """Return where a trajectory leaves the workspace."""
        return None if self.options.workspace is None else self.options.workspace.first_violation(trajectory)

    def _ending(self, least: float) -> Ending:
        return Ending(limits=self.limits, least=max(least, self._closest / 1e9), quintic=self.options.accelerations)

    def _committed(self, now: int) -> Knots:
        assert self._plan is not None
        oldest = max(now - LEAD - self.options.history_steps * self.control_dt, 1)
        splice = now + self.options.splice_margin
        return committed_head(self._plan, oldest=oldest, splice=splice, closest=self._closest)

    def unusable(self, chunk: Chunk, now: int) -> Refusal | None:
        """Return why the chunk cannot be used whatever the robot does; None if it can."""
        backwards = out_of_order(chunk, now, last=self._now, lead=LEAD, newest=self._newest)
        return backwards or mismatch(chunk, self.joints, self.control_dt, now + self.options.splice_margin)
