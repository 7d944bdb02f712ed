"""How often a policy succeeds, with an interval, and whether that has fallen below what was measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_ros.errors import DataError, check_range
from dp_ros.evaluation.scores import wilson95
from dp_ros.tools.outcomes.store import EpisodeOutcome

FEWEST = 10
"""Episodes that are known before anything is said to have fallen: Wilson's interval is for more than one or two."""
SHOWN = 5
"""Failed episodes that are named."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How often the policy succeeded where it was measured."""

    successes: int
    episodes: int

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.episodes:
            raise DataError(f'measured: got {self.successes} successes of {self.episodes}, allowed no more than these')

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the rate."""
        return wilson95(self.successes, self.episodes)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often episodes succeed; those whose outcome is unknown do not count."""

    successes: int
    failures: int
    unknown: int
    failed: Sequence[EpisodeOutcome]

    @property
    def known(self) -> int:
        """Episodes that count."""
        return self.successes + self.failures

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval (Wilson); 0 to 1 without episodes."""
        return wilson95(self.successes, self.known) if self.known else (0.0, 1.0)

    def fallen(self, measured: Measured | None) -> bool:
        """Whether the rate has fallen: the whole interval lies below that of what was measured."""
        if measured is None or not measured.episodes or self.known < FEWEST:
            return False
        return self.interval[1] < measured.interval[0]

    def text(self) -> str:
        """Return the rate for people."""
        if not self.known:
            return f'no outcome known, {self.unknown} unknown'
        low, high = self.interval
        unknown = f', {self.unknown} unknown' if self.unknown else ''
        return f'{self.successes} of {self.known} succeed ({low:.0%} to {high:.0%}){unknown}'


def rate_of(episodes: Sequence[EpisodeOutcome]) -> Rate:
    """Return how often episodes succeed."""
    counts = {name: sum(e.outcome == name for e in episodes) for name in ('success', 'failure', 'unknown')}
    failed = [e for e in episodes if e.outcome == 'failure']
    return Rate(successes=counts['success'], failures=counts['failure'], unknown=counts['unknown'], failed=failed)


def advice(rate: Rate, measured: Measured | None) -> str:
    """Return what to do where the rate has fallen, with when the newest episodes failed; '' where it has not."""
    if measured is None or not rate.fallen(measured):
        return ''
    low, high = measured.interval
    where = '; '.join(f'{clock(e.began)} to {clock(e.ended)}' for e in rate.failed[-SHOWN:])
    return (
        f'fallen: {rate.text()}, measured were {low:.0%} to {high:.0%}; record demonstrations of what these met, and '
        f'train again: {where}'
    )


def clock(seconds: float) -> str:
    """Return a time of the computer's clock, as people write it."""
    return time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))


def measured_of(provenance: Mapping[str, Any]) -> Measured | None:
    """Return what a bundle says of how often it succeeds: what its monitor was calibrated on; None if nothing."""
    found = provenance.get('monitor')
    if not isinstance(found, dict) or not found.get('world'):
        return None  # recordings that a person chose for being successful are no measurement
    successes, episodes = found.get('successes'), found.get('episodes')
    if type(successes) is not int or type(episodes) is not int:
        return None
    return Measured(successes=successes, episodes=episodes)


def table(episodes: Sequence[EpisodeOutcome], measured: Measured | None, *, rows: int = 10) -> str:
    """Return the newest episodes and the rate of each day and of all, for people."""
    check_range('rows', rows, 0, 1000)
    lines = []
    if rows and episodes:
        lines.append(f'{"ended":20}{"seconds":>9}  {"outcome":9}{"by":8}{"foretold":10}{"policy":22}note')
        for e in episodes[-rows:]:
            lines.append(
                f'{clock(e.ended):20}{e.ended - e.began:9.1f}  {e.outcome:9}{e.source:8}'
                f'{"yes" if e.foretold else "no":10}{e.bundle:22}{e.note}'.rstrip()
            )
        lines.append('')
    for day, those in by_day(episodes).items():
        lines.append(f'{day}  {rate_of(those).text()}')
    rate = rate_of(episodes)
    lines.append(f'all         {rate.text()}')
    if measured is not None:
        low, high = measured.interval
        lines.append(f'measured    {measured.successes} of {measured.episodes} ({low:.0%} to {high:.0%})')
    foretold = sum(e.foretold for e in rate.failed)
    if rate.failed:
        lines.append(f'foretold    {foretold} of {len(rate.failed)} failures')
    if advised := advice(rate, measured):
        lines.append(advised)
    return '\n'.join(lines)


def by_day(episodes: Sequence[EpisodeOutcome]) -> dict[str, list[EpisodeOutcome]]:
    """Return episodes by the day that they ended on."""
    found: dict[str, list[EpisodeOutcome]] = {}
    for episode in episodes:
        found.setdefault(clock(episode.ended)[:10], []).append(episode)
    return found


def plot(episodes: Sequence[EpisodeOutcome], measured: Measured | None, path: Path) -> None:
    """Draw the rate of each day with its interval, beside what was measured."""
    from matplotlib.figure import Figure

    days = {day: rate for day, those in by_day(episodes).items() if (rate := rate_of(those)).known}
    if not days:
        raise DataError('plot: got no episode whose outcome is known, allowed one or more')
    figure = Figure(figsize=(7, 3), dpi=110)
    axis = figure.subplots()
    middles = [rate.successes / rate.known for rate in days.values()]
    low = [max(0.0, m - rate.interval[0]) for m, rate in zip(middles, days.values(), strict=True)]
    high = [max(0.0, rate.interval[1] - m) for m, rate in zip(middles, days.values(), strict=True)]
    places = range(len(days))
    if measured is not None and measured.episodes:
        axis.axhspan(*measured.interval, color='#d5e8d4', label='measured')
        axis.legend(loc='lower left', fontsize=8)
    axis.errorbar(places, middles, yerr=(low, high), fmt='o', color='#2471a3', capsize=3)
    axis.set_xticks(list(places), list(days), rotation=30, ha='right', fontsize=8)
    axis.set_ylim(-0.02, 1.02)
    axis.set_ylabel('success rate, 95 %', fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
