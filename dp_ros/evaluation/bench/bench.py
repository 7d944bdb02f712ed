"""`dp_ros bench`: what a chunk costs, for network size x sampling steps x threads x who makes it, side by side.

The contenders take turns, chunk by chunk, so that whatever else the machine does falls on all of them; ratios are taken
within a turn. Weights are random, which changes no time.
"""

from __future__ import annotations

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

from dp_ros.bounded_files import write_json
from dp_ros.errors import ConfigError, check_range, listed
from dp_ros.evaluation.bench.bags import measure_bags
from dp_ros.evaluation.bench.contenders import (
    CONTENDERS,
    OWN,
    OWN_SIZE,
    USUAL_CONTENDERS,
    Subject,
    check_size,
    make_chunk,
    make_subject,
)
from dp_ros.evaluation.bench.growth import check_growth, measure_growth
from dp_ros.evaluation.bench.memory import measure_memory
from dp_ros.evaluation.bench.report import plot_report, table
from dp_ros.evaluation.scores import percentiles
from dp_ros.options import check_options, option
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle

USUAL_STEPS = (1, 4, 10)
WARM_UP = 2  # turns; the first allocate
FEWEST = 5  # turns, however long they take


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """Choose what to measure: each combination of sizes, steps and threads, by each contender."""

    # fmt: off
    bundle: Path
    sizes: Sequence[str] = option((OWN_SIZE,), 'networks: bundle (its own), tiny, small, base, paper, paper_image')
    steps: Sequence[int] | None = option(
        None, 'network calls per chunk; without it, as many of 1, 4 and 10 as fit', low=1, high=1000
    )
    threads: Sequence[int] = option((1, 2), 'CPU threads of one network call or step', low=1, high=64)
    contenders: Sequence[str] = option(
        USUAL_CONTENDERS, 'who makes the chunk, also "onnxruntime, int8" and "onnxruntime, float16"; lerobot only '
        'where that package is installed', choices=CONTENDERS,
    )
    rounds: int = option(
        50, 'turns of each contender (default: 50), or of each way to train (20)', low=FEWEST, high=1_000_000
    )
    seconds: float = option(60.0, 'longest time for one combination', unit='s', low=0.1, high=86_400.0)
    memory: bool = option(True, 'leave memory out')
    cameras: Sequence[int] = option((), 'numbers of cameras of 96 x 96 pixels: how the cost of a chunk grows')
    horizons: Sequence[int] = option((), 'prediction horizons: how the cost of a chunk grows')
    messages: Sequence[int] = option((200_000,), 'joint states in each bag that is read; 0: none')
    json: Path | None = option(None, 'write the numbers here')
    plot: Path | None = option(None, 'draw the chunks here (PNG)')
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        for count in filter(None, self.messages):
            check_range('messages', count, 1000, 100_000_000)
        check_growth(self.cameras, self.horizons)
        for size in self.sizes:
            check_size(size)


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
    write_json(settings.json, report)
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
