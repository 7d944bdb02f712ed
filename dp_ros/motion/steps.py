"""A chunk's steps made ready for planning: in the turn that the joint is in, and within its position limits."""

from __future__ import annotations

import numpy as np

from dp_ros.data import Chunk, Refusal
from dp_ros.errors import listed, order_advice
from dp_ros.motion.spline import Knots
from dp_ros.robot.joint_limits import JointLimits

TURN = 2 * np.pi

FARTHEST = 1e6
"""Positions beyond this [rad or m] are nonsense on any robot, and squaring them would cost precision."""


def out_of_order(chunk: Chunk, now: int, *, last: int | None, lead: int, newest: int | None) -> Refusal | None:
    """Return why a chunk does not come after the one that is executed, which was made at ``newest`` [ns].

    ``last`` is when that was planned for, which may be up to ``lead`` after it was planned [ns].
    """
    if last is not None and now < last - lead:
        back = (last - now) / 1e9
        return Refusal(reason=f'clock: got {back:.3f} s before the last chunk, allowed no step back')
    if newest is not None and chunk.stamp <= newest:
        behind = (newest - chunk.stamp) / 1e9
        reason = f'chunk: got one {behind:.3f} s older than the one that is executed, allowed newer ones'
        return Refusal(reason=reason)
    return None


def mismatch(chunk: Chunk, joints: tuple[str, ...], control_dt: int, splice: int) -> Refusal | None:
    """Return why a chunk cannot be spliced in at ``splice`` [ns], whatever came before; None if it can."""
    if chunk.joints != joints:
        advice = order_advice(chunk.joints, joints)
        return Refusal(reason=f'chunk joints: got {listed(chunk.joints)}, allowed {listed(joints)}{advice}')
    if chunk.control_dt != control_dt:
        return Refusal(reason=f'chunk control_dt: got {chunk.control_dt} ns, allowed {control_dt} ns')
    if chunk.stamp > splice + control_dt:
        ahead, allowed = (chunk.stamp - splice) / 1e9, control_dt / 1e9
        reason = f'chunk is early: its first step is due {ahead:.3f} s after the splice, allowed {allowed:.3f} s'
        return Refusal(reason=reason)
    if chunk.stamp + (len(chunk.actions) - 1) * control_dt < splice:
        return stale(chunk, splice)
    # Asked as "not all within", so that a NaN written after the chunk was made is refused too.
    if not (np.abs(chunk.actions) <= FARTHEST).all():
        return Refusal(reason=f'chunk actions: got {np.abs(chunk.actions).max()}, allowed up to {FARTHEST:.0f}')
    return None


def stale(chunk: Chunk, splice: int) -> Refusal:
    """Return that no step of the chunk is due late enough for ``splice`` [ns]."""
    last = chunk.stamp + (len(chunk.actions) - 1) * chunk.control_dt  # not `due`: stamps from outside may be any number
    after, allowed = (last - splice) / 1e9, chunk.control_dt / 2e9
    reason = f'chunk is stale: its last step is due {after:.3f} s after the splice, allowed {allowed:.3f} s or more'
    return Refusal(reason=reason)


def beside(positions: np.ndarray, reference: np.ndarray, continuous: np.ndarray) -> np.ndarray:
    """Move the positions (..., A) of continuous joints by whole turns, next to ``reference`` (A,)."""
    if not continuous.any():
        return positions
    turns = np.where(continuous, np.round((reference - positions) / TURN), 0.0)
    return np.asarray(positions + TURN * turns)


def unwrapped(actions: np.ndarray, head: Knots, due: np.ndarray, continuous: np.ndarray) -> np.ndarray:
    """Unwrap the continuous joints of ``actions`` (T, A): no step turns farther than half a turn.

    They are put into the turn that the plan is in at its splice, the last knot of ``head``.
    """
    if not continuous.any():
        return actions
    smooth = np.where(continuous, np.unwrap(actions, axis=0), actions)
    nearest = min(int(np.searchsorted(due, head.times[-1])), len(due) - 1)
    shift = beside(smooth[nearest], head.positions[-1], continuous) - smooth[nearest]
    return np.asarray(smooth + shift)


def clamped(
    steps: np.ndarray, limits: JointLimits | None, tolerance: float, what: str, first: int | None = None
) -> np.ndarray | Refusal:
    """Put positions (n, A) up to ``tolerance`` outside onto their limits; farther ones are refused.

    ``what`` are they in the refusal, with their number if that of the ``first`` is given.
    """
    if limits is None:
        return steps
    inside = np.minimum(np.maximum(steps, limits.lowest), limits.highest)
    excess = np.abs(steps - inside)
    if excess.max() <= tolerance:
        return inside
    step, a = (int(i) for i in np.unravel_index(excess.argmax(), excess.shape))
    joint, number = limits.joints[a], '' if first is None else f' {first + step}'
    reason = (
        f'{what}{number} {joint} position: got {steps[step, a]:.6g}, '
        f'allowed {limits.lower[a]:.6g} to {limits.upper[a]:.6g}'
    )
    return Refusal(reason=reason, stop=True, quantity='position', joint=joint)
