"""Statistics of long streams in little memory: each holds a few thousand numbers, however many it was given."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

_LOW, _HIGH, _PER_DECADE = 1e-9, 1e9, 50
_DECADES = 18


class LogHistogram:
    """Counts of sizes in bins of equal ratio: quantiles within 5 %. What is 0 or less counts as the smallest."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.squares = 0.0
        self.largest = 0.0
        self._bins = np.zeros(_DECADES * _PER_DECADE + 1, dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        """Add numbers (N,)."""
        if len(values) == 0:
            return
        self.count += len(values)
        self.total += float(values.sum())
        self.squares += float(values @ values)
        self.largest = max(self.largest, float(values.max()))
        places = np.log10(np.clip(values, _LOW, _HIGH) / _LOW) * _PER_DECADE
        self._bins += np.bincount(places.astype(np.int64), minlength=len(self._bins))

    @property
    def mean(self) -> float:
        """Mean, NaN of nothing."""
        return self.total / self.count if self.count else float('nan')

    @property
    def deviation(self) -> float:
        """Standard deviation, NaN of nothing."""
        return max(0.0, self.squares / self.count - self.mean**2) ** 0.5 if self.count else float('nan')

    def quantile(self, share: float) -> float:
        """Return what ``share`` of the numbers do not exceed, NaN of nothing."""
        if not self.count:
            return float('nan')
        bin_ = int(np.searchsorted(np.cumsum(self._bins), max(1.0, share * self.count)))
        return float(min(self.largest, _LOW * 10 ** ((bin_ + 0.5) / _PER_DECADE)))

    def above(self, limit: float) -> int:
        """Return how many numbers exceed ``limit``, by the bins."""
        first = int(np.log10(np.clip(limit, _LOW, _HIGH) / _LOW) * _PER_DECADE) + 1
        return int(self._bins[first:].sum())


class Longest:
    """The few largest numbers, each with where it was."""

    def __init__(self, keep: int = 5) -> None:
        self._keep = keep
        self._heap: list[tuple[float, str, int]] = []

    def add(self, sizes: np.ndarray, times: np.ndarray, bag: str) -> None:
        """Add sizes (N,) and when they were [ns] (N,)."""
        if len(sizes) > self._keep:
            chosen = np.argpartition(sizes, -self._keep)[-self._keep :]
            sizes, times = sizes[chosen], times[chosen]
        for size, time in zip(sizes.tolist(), times.tolist(), strict=True):
            if len(self._heap) < self._keep:
                heapq.heappush(self._heap, (size, bag, time))
            elif size > self._heap[0][0]:
                heapq.heapreplace(self._heap, (size, bag, time))

    @property
    def entries(self) -> list[tuple[float, str, int]]:
        """Size, bag and time [ns], the largest first."""
        return sorted(self._heap, reverse=True)


class Decimated:
    """Every so-many-th row of a stream, spread over all of it: between ``keep`` / 2 and ``keep`` rows."""

    def __init__(self, keep: int = 8192) -> None:
        self._keep = keep
        self._stride = 1
        self._seen = 0
        self._rows: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Add rows (N, C)."""
        self._rows.extend(rows[-self._seen % self._stride :: self._stride])
        self._seen += len(rows)
        while len(self._rows) > self._keep:
            self._rows = self._rows[::2]
            self._stride *= 2

    @property
    def rows(self) -> np.ndarray:
        """The rows kept (K, C)."""
        return np.stack(self._rows) if self._rows else np.empty((0, 0))


class Channels:
    """What the numbers of a stream do, channel by channel.

    Attributes
    ----------
    not_finite
        How many values are NaN or infinite, by channel (C,). Rows with one are left out of the rest.
    low, high
        Extremes (C,).
    at_low, at_high
        How many rows lie at each extreme, within a thousandth of the range (C,).
    constant
        By channel, the bags in which it never changed.
    spikes
        By channel, the values farthest from both neighbours, where these agree.
    roughness
        By channel, how far values are from both neighbours, where these agree.

    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        width = len(self.names)
        self.count = 0
        self.not_finite = np.zeros(width, dtype=np.int64)
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)
        self.at_low, self.at_high = np.zeros(width, dtype=np.int64), np.zeros(width, dtype=np.int64)
        self.constant: list[list[str]] = [[] for _ in self.names]
        self.spikes = [Longest() for _ in self.names]
        self.roughness = [LogHistogram() for _ in self.names]
        self.sample = Decimated()
        self._bag = ''
        self._bag_count = 0
        self._bag_low, self._bag_high = self.low.copy(), self.high.copy()
        self._tail: np.ndarray = np.empty((0, width))
        self._tail_times: np.ndarray = np.empty(0, dtype=np.int64)

    def start(self, bag: str) -> None:
        """Begin with a bag; its first row has no neighbour in the bag before."""
        self.finish()
        self._bag, self._bag_count = bag, 0
        self._bag_low[:], self._bag_high[:] = np.inf, -np.inf
        self._tail, self._tail_times = self._tail[:0], self._tail_times[:0]

    def finish(self) -> None:
        """Note which channels never changed in the bag so far."""
        if self._bag_count >= 10:
            for index in np.flatnonzero(self._bag_low == self._bag_high):
                self.constant[index].append(self._bag)
        self._bag_count = 0

    def add(self, rows: np.ndarray, times: np.ndarray) -> None:
        """Add rows (N, C) at ``times`` [ns] (N,)."""
        finite = np.isfinite(rows)
        self.not_finite += (~finite).sum(axis=0)
        whole = finite.all(axis=1)
        rows, times = rows[whole], times[whole]
        if len(rows) == 0:
            return
        self.count += len(rows)
        self._bag_count += len(rows)
        self._extremes(rows)
        self.sample.add(rows)
        rows, times = np.concatenate([self._tail, rows]), np.concatenate([self._tail_times, times])
        self._tail, self._tail_times = rows[-2:], times[-2:]
        self._roughness(rows, times)

    def _extremes(self, rows: np.ndarray) -> None:
        low, high = rows.min(axis=0), rows.max(axis=0)
        self._bag_low, self._bag_high = np.minimum(self._bag_low, low), np.maximum(self._bag_high, high)
        new_low, new_high = np.minimum(self.low, low), np.maximum(self.high, high)
        near = 1e-3 * (new_high - new_low)
        # Rows that were near the old extreme are near no longer if it moved away.
        self.at_low[self.low - new_low > near] = 0
        self.at_high[new_high - self.high > near] = 0
        self.low, self.high = new_low, new_high
        self.at_low += (rows <= new_low + near).sum(axis=0)
        self.at_high += (rows >= new_high - near).sum(axis=0)

    def _roughness(self, rows: np.ndarray, times: np.ndarray) -> None:
        if len(rows) < 3:
            return
        # A step is half as far from the middle of its neighbours as they are from each other, and so is no spike.
        off = np.abs(rows[1:-1] - 0.5 * (rows[:-2] + rows[2:])) - np.abs(rows[2:] - rows[:-2])
        for index, (spikes, roughness) in enumerate(zip(self.spikes, self.roughness, strict=True)):
            sizes = off[:, index]
            roughness.add(sizes[sizes > 0.0])
            spikes.add(sizes, times[1:-1], self._bag)
