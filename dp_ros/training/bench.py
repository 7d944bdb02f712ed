"""`dp_ros bench`: one forward of the denoiser, and one chunk, in ONNX Runtime and in eager torch, side by side.

The rounds alternate between the two, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler

from dp_ros.config import parse
from dp_ros.errors import BundleError, ConfigError
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.policy.backends import open_backend
from dp_ros.policy.bundle import Bundle, load_bundle
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.simulation.scores import percentiles
from dp_ros.training.bench_bags import measure_bags
from dp_ros.training.objective import make_noise_scheduler
from dp_ros.training.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """What to measure: a bundle's network with so many threads and rounds, and bags of so many messages."""

    bundle: Path
    threads: Sequence[int] = (1, 2)
    rounds: int = 200
    messages: int = 200_000
    json: Path | None = None

    def __post_init__(self) -> None:
        for name, low, high, values in (
            ('threads', 1, 64, self.threads),
            ('rounds', 1, 1_000_000, (self.rounds,)),
            ('messages', 1000, 100_000_000, (self.messages,)),
        ):
            for value in values:
                if not low <= value <= high:
                    raise ConfigError(f'{name}: got {value}, allowed {low} to {high}')


def run_bench(settings: BenchSettings, say: Callable[[str], None]) -> int:
    """Measure, say tables, and write the numbers if asked."""
    bags = measure_bags(settings.messages)  # first, while the process is small: peak memory never goes down
    bundle = load_bundle(settings.bundle)
    rows = [row for count in settings.threads for row in measure(bundle, count, settings.rounds)]
    report = {'bundle': bundle.name, 'rounds': settings.rounds, 'machine': machine(), 'network': rows, 'bags': bags}
    say(f'{bundle.name}, {settings.rounds} rounds, {report["machine"]}')
    say(f'{"what":<10} {"threads":>7}  {"ONNX Runtime p50 / p99":>24}  {"eager torch p50 / p99":>24}  {"ratio":>6}')
    for row in rows:
        ours, eager = row['onnxruntime_ms'], row['torch_ms']
        say(
            f'{row["what"]:<10} {row["threads"]:>7}  {ours["p50"]:>12.2f} / {ours["p99"]:>6.2f} ms'
            f'  {eager["p50"]:>12.2f} / {eager["p99"]:>6.2f} ms  {row["ratio"]:>6.2f}'
        )
    for row in bags:
        say(
            f'{row["storage"]:<10} {row["messages"]} JointStates in {row["size_mb"]} MB: '
            f'{row["messages_per_second"]} messages/s, peak memory {row["peak_memory_mb_before"]} -> '
            f'{row["peak_memory_mb"]} MB'
        )
    if settings.json:
        settings.json.parent.mkdir(parents=True, exist_ok=True)
        settings.json.write_text(json.dumps(report, indent=2) + '\n')
    return 0


def measure(bundle: Bundle, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row for one forward and one for one chunk, both with ``threads`` threads."""
    network, settings = _network(bundle)
    torch.set_num_threads(threads)
    backend = open_backend(bundle, threads=threads)
    parity = bundle.parity()
    x_k, k, cond = parity.x_k[:1], parity.k[:1], parity.cond[:1]
    tensors = tuple(torch.from_numpy(np.array(a)) for a in (x_k, k, cond))
    forward = _alternate(lambda: backend.predict(x_k, k, cond), lambda: network.denoiser(*tensors), rounds)
    steps = bundle.defaults.sampling_steps
    coefficients = DiffusionPolicy(bundle, backend)
    window_inputs = {name: value[:1] for name, value in parity.inputs.items()}
    loop = _torch_loop(network, settings, [torch.from_numpy(v) for v in window_inputs.values()], steps)
    chunk = _alternate(lambda: coefficients.sample(window_inputs, np.random.default_rng(0)), loop, max(10, rounds // 4))
    return [_row('forward', threads, forward), _row(f'{steps} steps', threads, chunk)]


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


def _network(bundle: Bundle) -> tuple[DiffusionNetwork, TrainSettings]:
    """Rebuild the bundle's network; its weights are drawn anew, which changes no time."""
    if 'config' not in bundle.provenance:
        raise BundleError(f'bundle {bundle.name}: provenance lacks config, which bench rebuilds the network from')
    settings = parse(TrainSettings, bundle.provenance['config'], 'provenance.config')
    return DiffusionNetwork(settings.task, settings.network).eval(), settings


def _torch_loop(
    network: DiffusionNetwork, settings: TrainSettings, streams: list[torch.Tensor], steps: int
) -> Callable[[], object]:
    """Return the same chunk made by eager torch and diffusers' loop."""
    trained = make_noise_scheduler(settings.objective)
    shape = (1, settings.task.pred_horizon, len(settings.task.action.joints))
    if trained is None:
        levels = np.linspace(settings.objective.diffusion_steps - 1, 0, steps)
        return partial(_euler_loop, network, streams, shape, levels)
    scheduler = DDIMScheduler.from_config(dict(trained.config), timestep_spacing='trailing')

    def run() -> object:
        cond = network.encoder(*streams)
        x_k = torch.randn(shape)
        scheduler.set_timesteps(steps)
        for k in scheduler.timesteps:
            x_k = scheduler.step(network.denoiser(x_k, k.expand(1), cond), k, x_k).prev_sample
        return x_k

    return run


def _euler_loop(
    network: DiffusionNetwork, streams: list[torch.Tensor], shape: tuple[int, ...], levels: np.ndarray
) -> object:
    """Run flow matching's loop, or regression's one step."""
    cond, x_k = network.encoder(*streams), torch.randn(shape)
    for k in levels.astype(np.int64):
        x_k = x_k - network.denoiser(x_k, torch.tensor([k]), cond) / len(levels)
    return x_k


@torch.no_grad()
def _alternate(
    ours: Callable[[], object], eager: Callable[[], object], rounds: int
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for index in range(rounds + 5):
        for function, taken in zip((ours, eager), times, strict=True):
            began = time.perf_counter()
            function()
            if index >= 5:  # the first few allocate
                taken.append(time.perf_counter() - began)
    return times


def _row(what: str, threads: int, times: tuple[list[float], list[float]]) -> dict[str, Any]:
    ours, eager = (percentiles(t) for t in times)
    ratio = float(np.median(times[1]) / np.median(times[0]))
    return {'what': what, 'threads': threads, 'onnxruntime_ms': ours, 'torch_ms': eager, 'ratio': round(ratio, 3)}
