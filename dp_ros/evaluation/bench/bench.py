"""`dp_ros bench`: what a chunk costs, for network size x sampling steps x threads x who makes it, side by side.

The contenders take turns, chunk by chunk, so that whatever else the machine does falls on all of them; ratios are taken
within a turn. Weights are random, which changes no time.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dp_ros.errors import ConfigError, check_range, listed
from dp_ros.evaluation.bench.bags import measure_bags
from dp_ros.evaluation.bench.contenders import (
    CONTENDERS,
    OWN,
    OWN_SIZE,
    Subject,
    check_size,
    make_chunk,
    make_subject,
)
from dp_ros.evaluation.bench.growth import check_growth, measure_growth
from dp_ros.evaluation.bench.memory import measure_memory
from dp_ros.evaluation.bench.report import plot_report, table
from dp_ros.evaluation.scores import percentiles
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle

USUAL_STEPS = (1, 4, 10)
WARM_UP = 2  # turns; the first allocate
FEWEST = 5  # turns, however long they take


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """What to measure.

    Attributes
    ----------
    bundle
        Whose task, and, for the size ``bundle``, whose network.
    sizes
        Networks: ``bundle``, or presets of the U-Net.
    steps, threads
        Network calls per chunk; threads of one call. Each combination is measured. Without steps, those of
        `USUAL_STEPS` that the bundle can, or else its fewest.
    contenders
        Who makes the chunks, beside ``onnxruntime``.
    rounds, seconds
        Turns for each combination, fewer if they take longer than so many seconds.
    cameras, horizons
        Numbers of cameras, and prediction horizons, for how a chunk's cost grows with them.
    messages
        Joint states in the bags that are read, one bag for each number; 0: none.

    """

    bundle: Path
    sizes: Sequence[str] = (OWN_SIZE,)
    steps: Sequence[int] | None = None
    threads: Sequence[int] = (1, 2)
    contenders: Sequence[str] = CONTENDERS
    rounds: int = 50
    seconds: float = 60.0
    memory: bool = True
    cameras: Sequence[int] = ()
    horizons: Sequence[int] = ()
    messages: Sequence[int] = (200_000,)
    json: Path | None = None
    plot: Path | None = None

    def __post_init__(self) -> None:
        for name, low, high, values in (
            ('threads', 1, 64, self.threads),
            ('steps', 1, 1000, self.steps or ()),
            ('rounds', FEWEST, 1_000_000, (self.rounds,)),
            ('seconds', 0.1, 86400, (self.seconds,)),
            ('messages', 1000, 100_000_000, [count for count in self.messages if count]),
        ):
            for value in values:
                check_range(name, value, low, high)
        check_growth(self.cameras, self.horizons)
        for size in self.sizes:
            check_size(size)
        for contender in self.contenders:
            if contender not in CONTENDERS:
                raise ConfigError(f'contenders: got {contender!r}, allowed {listed(CONTENDERS)}')


def run_bench(settings: BenchSettings, say: Callable[[str], None]) -> int:
    """Measure, say tables, and write numbers and a plot if asked."""
    like = load_bundle(settings.bundle)
    all_steps = steps_for(like, settings.steps)
    # Before networks are opened, while the process is small: peak memory never goes down.
    bags = [row for count in settings.messages if count for row in measure_bags(count)]
    chunks, memory = [], []
    with tempfile.TemporaryDirectory(prefix='dp_ros_bench_') as folder:
        for size in settings.sizes:
            subject = make_subject(size, like, Path(folder))
            for count in settings.threads:
                for steps in all_steps:
                    chunks.append(measure(subject, steps, count, settings))
                    say(table({'chunks': chunks[-1:]}))
            if settings.memory:
                memory += measure_memory(subject.bundle, min(all_steps))
        growth = measure_growth(
            like, Path(folder), settings.cameras, settings.horizons, steps=max(all_steps),
            take_turns=lambda runs: take_turns(runs, settings.rounds, settings.seconds),
        )  # fmt: skip
    report = {
        'bundle': like.name,
        'machine': machine(),
        'rounds': settings.rounds,
        'chunks': chunks,
        'growth': growth,
        'memory': memory,
        'bags': bags,
    }
    say(table({**report, 'chunks': []}))
    if settings.json:
        settings.json.parent.mkdir(parents=True, exist_ok=True)
        settings.json.write_text(json.dumps(report, indent=1) + '\n')
    if settings.plot:
        plot_report(report, settings.plot)
    return 0


def steps_for(bundle: Bundle, asked: Sequence[int] | None) -> tuple[int, ...]:
    """Return the sampling steps to measure; raise ConfigError for any that the bundle's schedule can't."""
    fewest, most = bundle.schedule.steps_range
    possible = tuple(steps for steps in asked or USUAL_STEPS if fewest <= steps <= most)
    if asked and len(possible) < len(asked):
        raise ConfigError(f'steps: got {listed(asked)}, allowed {fewest} to {most} for bundle {bundle.name}')
    return possible or (fewest,)


def measure(subject: Subject, steps: int, threads: int, settings: BenchSettings) -> dict[str, Any]:
    """Return one combination's times by contender [ms], the ratios to dp_ros's own, and who was left out, and why."""
    torch.set_num_threads(threads)
    made = {name: make_chunk(name, subject, steps, threads) for name in dict.fromkeys((OWN, *settings.contenders))}
    runs = {name: chunk for name, chunk in made.items() if not isinstance(chunk, str)}
    times = take_turns(runs, settings.rounds, settings.seconds)
    return {
        'size': subject.size,
        'parameters': subject.parameters,
        'steps': steps,
        'threads': threads,
        'turns': len(times[OWN]),
        'ms': {name: percentiles(taken) for name, taken in times.items()},
        'ratio': {name: ratio(taken, times[OWN]) for name, taken in times.items() if name != OWN},
        'left_out': {name: reason for name, reason in made.items() if isinstance(reason, str)},
    }


def take_turns(runs: Mapping[str, Callable[[], object]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Call each in turn, and return what each call took [s], by name."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(WARM_UP):
        for run in runs.values():
            run()
    until = time.perf_counter() + seconds
    for turn in range(rounds):
        if turn >= FEWEST and time.perf_counter() > until:
            break
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return times


def ratio(taken: Sequence[float], own: Sequence[float]) -> dict[str, float]:
    """Return how many times longer ``taken`` is than ``own``, turn by turn: the median, and where 90 % of turns lie."""
    p5, p50, p95 = np.percentile(np.array(taken) / np.array(own), (5, 50, 95))
    return {'p50': round(float(p50), 3), 'p5': round(float(p5), 3), 'p95': round(float(p95), 3)}


def machine() -> str:
    """Return a description of this machine's processor."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                name = line.split(':', 1)[1].strip()
                break
    except OSError:
        pass  # not Linux: the short name has to do
    return f'{name}, {os.cpu_count()} processors, {platform.system()}'
