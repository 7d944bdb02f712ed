"""Curves through trajectory points, as a joint_trajectory_controller draws them. Shares nothing with `dp_ros`.

Two points are joined by the polynomial that has what both carry: positions alone a line, velocities too a cubic,
accelerations too a quintic. Every segment is kept as six coefficients of s = (t - t_0) / h, lowest power first.
Times are whole nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SECOND = 1_000_000_000
POWERS = 6
_ORDER = np.arange(POWERS)
SAMPLES = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True, kw_only=True, eq=False)
class Message:
    """A trajectory as it is on the wire: times (N,) [ns] after ``stamp`` [ns], positions (N, A), the others or None."""

    stamp: int
    joints: tuple[str, ...]
    times: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray | None = None
    accelerations: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Positions, velocities and accelerations (A,) at one time."""

    positions: np.ndarray
    velocities: np.ndarray
    accelerations: np.ndarray


def joined(h: np.ndarray, ends: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return coefficients (S, 6, A) of segments of durations h (S,) [s] with what their ``ends`` have, by order."""
    count, joints = ends[0][0].shape
    c = np.zeros((count, POWERS, joints))
    p0, p1 = ends[0]
    c[:, 0] = p0
    way = p1 - p0
    span = h[:, None]
    if len(ends) == 1:
        c[:, 1] = way
        return c
    v0, v1 = ends[1][0] * span, ends[1][1] * span
    c[:, 1] = v0
    # What is left of way, speed and bend at s = 1 after the terms of s = 0, solved for the remaining powers.
    if len(ends) == 2:
        rest, fast = way - v0, v1 - v0
        c[:, 2] = 3 * rest - fast
        c[:, 3] = fast - 2 * rest
        return c
    b0, b1 = ends[2][0] * span**2, ends[2][1] * span**2
    rest, fast, bend = way - v0 - b0 / 2, v1 - v0 - b0, b1 - b0
    c[:, 2] = b0 / 2
    c[:, 3] = 10 * rest - 4 * fast + bend / 2
    c[:, 4] = -15 * rest + 7 * fast - bend
    c[:, 5] = 6 * rest - 3 * fast + bend / 2
    return c


def derived(c: np.ndarray) -> np.ndarray:
    """Return the coefficients of the derivatives by s."""
    return c[:, 1:] * np.arange(1, c.shape[1])[None, :, None]


def evaluated(c: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return the values (N, A) of polynomials (N, P, A) at s (N,)."""
    value = c[:, -1].copy()
    for power in range(c.shape[1] - 2, -1, -1):
        value = value * s[:, None] + c[:, power]
    return value


class Curve:
    """What is commanded over time: ``before`` up to the first knot, held behind the last.

    Parameters
    ----------
    knots
        When segments meet (S + 1,) [ns, robot time].
    coefficients
        (S, 6, A).
    before
        Commanded before the first knot (A,).
    after
        Held behind the last (A,).

    """

    def __init__(self, knots: np.ndarray, coefficients: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
        self.knots, self.coefficients, self.before, self.after = knots, coefficients, before, after
        self.spans = np.diff(knots) / SECOND

    @classmethod
    def held(cls, positions: np.ndarray) -> Curve:
        """Return one that rests."""
        place = np.array(positions, dtype=float)
        return cls(np.zeros(1, dtype=np.int64), np.zeros((0, POWERS, len(place))), place, place)

    @classmethod
    def through(cls, message: Message, start: int) -> Curve:
        """Return the curve of a message that counts from ``start`` [ns]."""
        given = (message.positions, message.velocities, message.accelerations)
        ends = []
        for values in given:
            if values is None:
                break
            ends.append((values[:-1], values[1:]))
        coefficients = joined(np.diff(message.times) / SECOND, ends)
        return cls(start + message.times, coefficients, message.positions[0], message.positions[-1])

    def led_by(self, since: int, state: State, message: Message) -> Curve:
        """Return the curve with a bridge in front, from a state at ``since`` [ns] to the first knot."""
        ends = [(state.positions[None], message.positions[:1])]
        if message.velocities is not None:
            ends.append((state.velocities[None], message.velocities[:1]))
            if message.accelerations is not None:
                ends.append((state.accelerations[None], message.accelerations[:1]))
        bridge = joined(np.array([(self.knots[0] - since) / SECOND]), ends)
        knots = np.concatenate([np.array([since], dtype=np.int64), self.knots])
        return Curve(knots, np.concatenate([bridge, self.coefficients]), state.positions, self.after)

    def sample(self, at: np.ndarray, orders: int = 3) -> list[np.ndarray]:
        """Return the first ``orders`` of positions, velocities and accelerations, each (N, A), at times (N,)."""
        joints = len(self.before)
        if not len(self.coefficients):
            rest = np.zeros((len(at), joints))
            # A single knot: what is before it is what was held until it.
            early = (at < self.knots[0])[:, None]
            return [np.where(early, self.before, self.after), rest, rest][:orders]
        segment = np.clip(np.searchsorted(self.knots, at, side='right') - 1, 0, len(self.spans) - 1)
        span = self.spans[segment]
        s = (at - self.knots[segment]) / SECOND / span
        early, late = (at < self.knots[0])[:, None], (at >= self.knots[-1])[:, None]
        found, c = [], self.coefficients
        for order in range(orders):
            if order:
                c = derived(c)
            value = evaluated(c[segment], s) / span[:, None] ** order
            outside = (self.before, self.after) if order == 0 else (0.0, 0.0)
            found.append(np.where(early, outside[0], np.where(late, outside[1], value)))
        return found

    def state(self, at: int) -> State:
        """Return the state at one time: `sample`, for a tenth of its cost."""
        if not len(self.coefficients) or not self.knots[0] <= at < self.knots[-1]:
            rest = np.zeros(len(self.before))
            return State(
                positions=self.before if at < self.knots[0] else self.after, velocities=rest, accelerations=rest
            )
        segment = int(self.knots.searchsorted(at, side='right')) - 1
        span = float(self.spans[segment])
        s = (at - int(self.knots[segment])) / SECOND / span
        powers = s ** np.arange(POWERS)
        slopes, bends = _ORDER[1:] * powers[:-1] / span, _ORDER[2:] * _ORDER[1:-1] * powers[:-2] / span**2
        c = self.coefficients[segment]
        return State(positions=powers @ c, velocities=slopes @ c[1:], accelerations=bends @ c[2:])


def extrema(curve: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return least and greatest position, and greatest speed and acceleration, of each segment: each (S, A).

    At the ends and where the derivative has its roots: of a cubic in closed form, of a quintic searched for.
    """
    c = curve.coefficients
    c1 = derived(c)
    c2 = derived(c1)
    h = curve.spans[:, None]
    if not c[:, 4:].any():
        return _cubic(c, h)
    grid = np.broadcast_to(SAMPLES[:, None, None], (len(SAMPLES), len(c), c.shape[2]))
    places = _at(c, np.concatenate([grid, _refined(c1, grid)]))
    speeds = np.abs(_at(c1, np.concatenate([grid, _refined(c2, grid)]))) / h
    bends = np.abs(_at(c2, np.concatenate([grid, _refined(derived(c2), grid)]))) / h**2
    return places.min(axis=0), places.max(axis=0), speeds.max(axis=0), bends.max(axis=0)


def _cubic(c: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    slope, bend, turn = c[:, 1], 2 * c[:, 2], 6 * c[:, 3]
    with np.errstate(divide='ignore', invalid='ignore'):
        fastest = -bend / turn
        root = np.sqrt(bend**2 - 2 * turn * slope)
        # The form that does not cancel, for the two instants at which it turns round.
        sum_ = -(bend + np.copysign(root, bend))
        turns = [sum_ / turn, 2 * slope / sum_]
    zero = np.zeros_like(slope)
    inner = [np.where((s > 0) & (s < 1), s, zero) for s in (fastest, *turns)]
    speeds = np.abs(_at(derived(c), np.stack([zero, zero + 1, inner[0]]))) / h
    places = _at(c, np.stack([zero, zero + 1, *inner[1:]]))
    bends = np.maximum(np.abs(bend), np.abs(bend + turn)) / h**2
    return places.min(axis=0), places.max(axis=0), speeds.max(axis=0), bends


def _at(c: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return values (K, S, A) of polynomials (S, P, A) at s (K, S, A)."""
    value = np.broadcast_to(c[:, -1], s.shape)
    for power in range(c.shape[1] - 2, -1, -1):
        value = value * s + c[:, power]
    return value


def _refined(c: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the roots of polynomials between neighbouring samples, by bisection; the grid's start where none is."""
    values = _at(c, grid)
    change = values[:-1] * values[1:] < 0
    if not change.any():
        return grid[:1]
    low, high = grid[:-1].copy(), grid[1:].copy()
    for _ in range(26):
        middle = (low + high) / 2
        same = _at(c, middle) * values[:-1] > 0
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return np.where(change, (low + high) / 2, grid[:-1])
