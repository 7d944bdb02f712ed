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
from dataclasses import dataclass, replace
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
    subject_for,
    training_of,
)
from dp_ros.evaluation.bench.memory import measure_memory
from dp_ros.evaluation.bench.report import plot_report, table
from dp_ros.evaluation.scores import percentiles
from dp_ros.options import check_options, option
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.goal_inputs import blank_goal
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.protocol import blank_window
from dp_ros.task.spec import ImageStream
from dp_ros.training.settings import TrainSettings

USUAL_STEPS = (1, 4, 10)
PICTURE = 96  # pixels, high and wide, of cameras that are added
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
        for name, values, low, high in (('cameras', self.cameras, 0, 16), ('horizons', self.horizons, 4, 256)):
            for value in values:
                check_range(name, value, low, high)
        for value in self.horizons:
            if value % 4:
                raise ConfigError(f'horizons: got {value}, allowed multiples of 4: the U-Net halves time twice')
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
        growth = measure_growth(like, Path(folder), settings, max(all_steps))
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


def with_cameras(settings: TrainSettings, count: int) -> TrainSettings:
    """Return a configuration that observes its vectors, and ``count`` cameras instead of its own."""
    vectors = tuple(s for s in settings.task.streams if not isinstance(s, ImageStream))
    cameras = tuple(
        ImageStream(name=f'bench_camera_{i}', topic=f'/bench_camera_{i}', height=PICTURE, width=PICTURE)
        for i in range(count)
    )
    return replace(settings, task=replace(settings.task, streams=vectors + cameras), mirror={})


def with_horizon(settings: TrainSettings, steps: int) -> TrainSettings:
    """Return a configuration that predicts so many steps, and executes half of them."""
    return replace(settings, task=replace(settings.task, pred_horizon=steps, exec_horizon=steps // 2), mirror={})


def measure_growth(like: Bundle, folder: Path, settings: BenchSettings, steps: int) -> list[dict[str, Any]]:
    """Return a row for each number of cameras and each horizon: the time of a chunk, and its ratio to the first."""
    trained, rows = training_of(like), []
    grown = ('cameras', settings.cameras, with_cameras), ('horizon', settings.horizons, with_horizon)
    for what, values, change in grown:
        subjects = {
            str(value): subject_for(change(trained, value), like, folder / f'{what}_{value}') for value in values
        }
        runs = {name: _chunk(subject, steps) for name, subject in subjects.items()}
        times = take_turns(runs, settings.rounds, settings.seconds) if runs else {}
        for name, taken in times.items():
            first = np.array(times[str(values[0])])
            rows.append(
                {
                    'what': what,
                    'value': int(name),
                    'parameters': subjects[name].parameters,
                    'steps': steps,
                    'ms': percentiles(taken),
                    'ratio': round(float(np.median(np.array(taken) / first)), 3),
                }
            )
    return rows


def _chunk(subject: Subject, steps: int) -> Callable[[], object]:
    bundle = subject.bundle
    policy = DiffusionPolicy(bundle, open_backend(bundle)).with_settings(sampling_steps=steps)
    window, goal = blank_window(bundle.task), blank_goal(bundle.task, bundle.normalizer)
    return lambda: policy.chunk(window, np.random.default_rng(0), goal=goal)
