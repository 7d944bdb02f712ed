"""`dp_ros tune`: measures what a bundle's chunks take on this machine, and writes the executor's parameters."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dp_ros.data import Goal, Window
from dp_ros.errors import ConfigError
from dp_ros.evaluation.recorded.open_loop import observations
from dp_ros.evaluation.settings import EvaluationSettings
from dp_ros.nodes.policy_executor.anytime_steps import warm_up
from dp_ros.options import check_options, like, option
from dp_ros.policy.backends.providers import ProviderName
from dp_ros.policy.backends.sessions import MOST_THREADS, BackendName, fewest_threads, open_backend, thread_counts
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.policy import DiffusionPolicy, SamplingOptions
from dp_ros.policy.policy_speed import at_speed
from dp_ros.policy.step_budget import Cost, cost_from, step_choices

MANY = 8  # sampling steps of the longer measurement
TAIL = 95  # percentile of a chunk's time that counts
MARGIN = 1.3  # a chunk in a running graph beside one that runs alone


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """What to tune: the policy as it will run."""

    # fmt: off
    bundle: Path
    output: Path | None = option(None, 'parameter file to write; without it, it is shown')
    deadline: float = option(
        0.0, 'longest time from an observation to its chunk; 0: control_dt', unit='s', low=0.0, high=60.0
    )
    share: float = option(0.8, 'of the deadline, what inference may take', low=0.05, high=1.0)
    threads: Sequence[int] = option(
        (), 'threads to try; without it, 1, 2, 4 ... up to the processors', low=1, high=MOST_THREADS
    )
    rounds: int = option(30, 'chunks to measure of each kind', low=5, high=100_000)
    backend: BackendName = option('onnxruntime', 'runtime')
    provider: ProviderName = option('cpu', 'execution provider of ONNX Runtime')
    guidance_scale: float = like(SamplingOptions, 'guidance_scale', 1.0, 'of a bundle trained with guidance')
    policy_speed: float = like(EvaluationSettings, 'policy_speed', 1.0)
    recordings: Path | None = option(
        None, 'measure on observations of this recording or dataset, in place of zeros'
    )
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)


def run_tune(settings: TuneSettings, say: Callable[[str], None]) -> int:
    """Measure, say a table and what was chosen, and write the parameters if asked."""
    bundle = at_speed(load_bundle(settings.bundle), settings.policy_speed)
    deadline = settings.deadline or bundle.task.control_dt
    costs = _measure_all(bundle, settings, say)
    chosen = choose(bundle, costs, deadline, settings.share)
    parameters = {**chosen, 'backend': settings.backend, 'execution_provider': settings.provider}
    if settings.guidance_scale != 1.0:
        parameters['guidance_scale'] = settings.guidance_scale
    say(_verdict(bundle, chosen, deadline))
    text = yaml.safe_dump({'/**/policy_executor': {'ros__parameters': parameters}}, sort_keys=False)
    if settings.output is None:
        say(text.rstrip('\n'))
    else:
        settings.output.parent.mkdir(parents=True, exist_ok=True)
        speed = '' if settings.policy_speed == 1.0 else f' at policy_speed {settings.policy_speed}'
        head = f'# {bundle.name}{speed}, by dp_ros tune on a machine with {os.cpu_count()} processors.'
        settings.output.write_text(f'{head}\n{text}')
        say(f'{settings.output}: written; copy its values into your parameter file, under policy_executor')
    return 0


def _measure_all(bundle: Bundle, settings: TuneSettings, say: Callable[[str], None]) -> dict[int, Cost]:
    """Return the cost for each number of threads, and say a table of it."""
    fewest, own = bundle.schedule.steps_range[0], bundle.defaults.sampling_steps
    first = '1 step' if fewest == 1 else f'{fewest} steps'
    costs: dict[int, Cost] = {}
    # Recordings are of the robot's own speed.
    source, trained = settings.recordings, load_bundle(settings.bundle)
    asked = [] if source is None else observations(source, trained, settings.rounds)
    for count in settings.threads or thread_counts():
        cost = _measure(bundle, count, settings, asked)
        if not costs:  # Not before: what can't be run is refused by then.
            say(f'{bundle.name}, {settings.backend} on {settings.provider}: 95 of 100 chunks take up to [ms]')
            say(f'{"threads":>7}  {first:>8}  {"each more":>9}  {own:>4} steps')
        say(f'{count:>7}  {cost.of(fewest) * 1e3:>8.2f}  {cost.step * 1e3:>9.2f}  {cost.of(own) * 1e3:>10.2f}')
        costs[count] = cost
    return costs


def choose(bundle: Bundle, costs: dict[int, Cost], deadline: float, share: float) -> dict[str, Any]:
    """Return threads and sampling steps for a deadline [s].

    The fewest threads, unless more are worth it; of the bundle's own sampling steps, as many as fit.

    Raises
    ------
    ConfigError
        If not even one step fits.

    """
    own, left = bundle.defaults.sampling_steps, share * deadline
    threads = fewest_threads({count: cost.of(own) for count, cost in costs.items()})
    cost = costs[threads]
    fewest, _ = bundle.schedule.steps_range
    fitting = [steps for steps in step_choices(fewest, own) if MARGIN * cost.of(steps) <= left]
    if not fitting:
        raise ConfigError(
            f'deadline: got {deadline:g}, allowed {MARGIN * cost.of(fewest) / share:.4f} or more: '
            f'{"one sampling step takes" if fewest == 1 else f"{fewest} sampling steps take"} '
            f'{cost.of(fewest):.4f} with {threads} thread(s) on this machine [s]; or take a smaller network'
        )
    # Where all fit there is nothing to drop, and chunks stay a function of the seed.
    return {
        'threads': threads, 'sampling_steps': fitting[-1], 'deadline': float(deadline), 'anytime': fitting[-1] < own,
    }  # fmt: skip


def _verdict(bundle: Bundle, chosen: dict[str, Any], deadline: float) -> str:
    steps, own = chosen['sampling_steps'], bundle.defaults.sampling_steps
    fits = f'{steps} of {own} sampling steps fit' if steps < own else f'all {own} sampling steps fit'
    return f'{fits} into {deadline * 1e3:.0f} ms, threads: {chosen["threads"]}'


def _measure(bundle: Bundle, threads: int, settings: TuneSettings, asked: Sequence[tuple[Window, Goal]]) -> Cost:
    backend = open_backend(bundle, backend=settings.backend, threads=threads, provider=settings.provider)
    policy = DiffusionPolicy(bundle, backend, guidance_scale=settings.guidance_scale)
    fewest, most = bundle.schedule.steps_range
    few, many = (
        (steps, _tail(policy.with_settings(sampling_steps=steps), settings.rounds, asked))
        for steps in (fewest, max(fewest, min(MANY, most)))
    )
    return cost_from(few, many)


def _tail(policy: DiffusionPolicy, rounds: int, asked: Sequence[tuple[Window, Goal]]) -> float:
    """Return the time within which most chunks are made [s]; from what is ``asked`` in turn, or from zeros."""
    took = []
    for number in range(rounds):
        began = time.perf_counter()
        if asked:
            window, goal = asked[number % len(asked)]
            policy.chunk(window, np.random.default_rng(0), goal=goal)
        else:
            warm_up(policy, 1)
        took.append(time.perf_counter() - began)
    return float(np.percentile(took[2:], TAIL))
