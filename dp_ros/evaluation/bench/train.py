"""`dp_ros bench --training`: a training step of ours beside a plain loop's, on the same network, batch and machine.

Both take turns in one process, so that whatever else the machine does falls on both; the ratio is of each round.
A step that several processes share is measured in processes of their own, which torchrun starts:

    torchrun --nproc-per-node 2 -m dp_ros.evaluation.bench.train CONFIG STEPS OUT
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from torch.profiler import ProfilerActivity, profile

from dp_ros.bounded_files import write_json
from dp_ros.errors import ConfigError
from dp_ros.evaluation.bench.bench import machine
from dp_ros.evaluation.bench.loop import PlainLoop
from dp_ros.networks.settings import PRESETS, NetworkSettings
from dp_ros.options import check_options, option
from dp_ros.recordings.episodes.episode import Episode
from dp_ros.task.spec import TaskSpec
from dp_ros.task.yaml_reader import read_yaml, to_plain
from dp_ros.training.distributed import is_first_process
from dp_ros.training.random_streams import batches
from dp_ros.training.settings import RolloutSettings, TrainSettings
from dp_ros.training.trainer import Trainer

SHARED = 'bf16, processes'
"""The way whose step several processes share."""
WARM_UP = 5
LIMIT = 600.0
"""Steps before a turn in processes of their own counts; how long one may take [s], importing torch among it."""
EPISODES, TICKS = 50, 125
"""Of the data made up to train on; PushT's demonstrations are about as long."""
PARTS = {
    'convolution': ('convolution', 'slow_conv'),
    'normalization': ('group_norm',),
    'activation': ('mish',),
    'linear': ('aten::mm', 'aten::addmm', 'aten::linear'),
    'compiled': ('CompiledFx', 'Compiled'),
    'optimizer': ('_fused_adam', 'AdamW'),
    'average, clipping': ('_foreach', 'linalg'),
}
"""What a step's operations are called, by what they are for; the rest is 'other'."""


@dataclass(frozen=True, kw_only=True)
class BenchTrainSettings:
    """Choose what to measure: training steps of a configuration without pictures, or of it changed as given."""

    # fmt: off
    config: TrainSettings
    batch: int | None = option(None, "windows in a batch, instead of the configuration's", low=1, high=1_000_000)
    preset: str | None = option(
        None, "size of the network by name, instead of the configuration's", choices=tuple(PRESETS)
    )
    device: Literal['cpu', 'cuda'] | None = option(None, "instead of the configuration's")
    compiled: bool = option(False, 'also the compiled network; compiling takes minutes')
    bf16: bool = option(False, 'also bfloat16')
    processes: int = option(
        0, 'also bfloat16 in so many processes of one thread, which share the batch', low=0, high=1024
    )
    threads: Sequence[int] = option((1,), 'CPU threads of a step', low=1, high=100_000)
    rounds: int = option(20, 'turns of each way', low=1, high=100_000)
    turn: int = option(3, 'steps in a turn', low=1, high=100_000)
    json: Path | None = None
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        if self.processes and (self.processes < 2 or self.training.batch % self.processes):
            raise ConfigError(
                f'processes: got {self.processes}, allowed 0, or 2 or more that share a batch of {self.training.batch}'
            )
        if any(s.kind == 'image' for s in self.config.task.streams) or self.config.task.goals:
            raise ConfigError('config: got a task with pictures or goals, allowed one with numbers alone')

    @property
    def training(self) -> TrainSettings:
        """The configuration that is measured."""
        chosen: dict[str, Any] = {'rollouts': RolloutSettings(), 'steps': 1_000_000, 'accumulate': 1}
        if self.batch is not None:
            chosen['batch'] = self.batch
        if self.device is not None:
            chosen['device'] = self.device
        if self.preset is not None:
            chosen['network'] = NetworkSettings(preset=self.preset)  # type: ignore[arg-type]
        return replace(self.config, compile=False, precision='fp32', validation_share=0.0, **chosen)


def run_bench_train(settings: BenchTrainSettings, say: Callable[[str], None]) -> int:
    """Measure, say a table, and write the numbers if asked."""
    rows = [measure(settings, threads, say) for threads in settings.threads]
    training = settings.training
    report = {'machine': machine(), 'torch': torch.__version__, 'batch': training.batch, 'device': training.device}
    report |= {'network': list(training.network.channels), 'rounds': settings.rounds, 'turn': settings.turn}
    write_json(settings.json, {**report, 'rows': rows}, indent=2)
    return 0


def measure(settings: BenchTrainSettings, threads: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the times [ms] of every way to take a step, and how much longer the plain loop's is."""
    training = replace(settings.training, threads=threads)  # a trainer sets what its configuration says
    torch.set_num_threads(threads)
    episodes = made_up(training.task)
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as scratch:
        trainers = {'ours': Trainer(training, episodes, Path(scratch) / 'ours')}
        for name, asked, change in (
            ('bf16', settings.bf16, {'precision': 'bf16'}),
            ('compiled', settings.compiled, {'compile': True}),
            ('compiled bf16', settings.compiled and settings.bf16, {'compile': True, 'precision': 'bf16'}),
        ):
            if asked:
                trainers[name] = Trainer(replace(training, **change), episodes, Path(scratch) / name)
        plain = PlainLoop(training, episodes, trainers['ours'].normalizer)
        steps: dict[str, Callable[[], object]] = {'plain': plain.take_step}
        steps |= {name: _stepper(trainer) for name, trainer in trainers.items()}
        ways = {name: timed(step, training.device) for name, step in steps.items()}
        if settings.processes:
            shared = replace(training, precision='bf16', device='cpu')
            ways[SHARED] = partial(measure_processes, shared, settings.processes)
        taken = take_turns(ways, settings.rounds, settings.turn)
        row: dict[str, Any] = {'threads': threads, 'ways': {n: summary(t, taken['plain']) for n, t in taken.items()}}
        row['data_share'] = round(data_time(trainers['ours']) / float(np.median(taken['ours'])), 6)
        row['parts'] = {name: parts(step) for name, step in steps.items()}
        if settings.processes:
            row['processes'] = settings.processes
    for name, found in row['ways'].items():
        say(
            f'{threads} threads  {name:<14} {found["ms"]:>9.2f} ms a step, x{found["ratio"]:.2f} '
            f'({found["ratio_low"]:.2f} to {found["ratio_high"]:.2f})  '
            + ', '.join(f'{part} {share:.0%}' for part, share in row['parts'].get(name, {}).items())
        )
    say(f'{threads} threads  the data side of ours: {row["data_share"]:.2%} of a step')
    return row


def made_up(task: TaskSpec, episodes: int = EPISODES, ticks: int = TICKS) -> list[Episode]:
    """Return episodes of random walks, of the task's shapes."""
    rng = np.random.default_rng(0)

    def walk(width: int) -> np.ndarray:
        return rng.normal(size=(ticks, width)).cumsum(axis=0)

    stamps = np.arange(1, ticks + 1, dtype=np.int64) * round(task.control_dt * 1e9)
    return [
        Episode(
            name=f'{number:03}',
            stamps=stamps,
            streams={s.name: walk(s.shape[0]) for s in task.streams},
            actions=walk(len(task.action.joints)),
        )
        for number in range(episodes)
    ]


def _stepper(trainer: Trainer) -> Callable[[], object]:
    chosen = trainer.settings
    order = batches(len(trainer.train_set), chosen.batch, seed=chosen.seed, first=0, last=chosen.steps)
    return lambda: trainer.train_step(next(order))


Way = Callable[[int], float]
"""Takes so many training steps, and returns what one of them took [s]."""


def timed(step: Callable[[], object], device: str) -> Way:
    """Return a way of taking this ``step``, which is warm by then: the first compile, and allocate."""
    for _ in range(3):
        step()

    def take(turn: int) -> float:
        began = time.perf_counter()
        for _ in range(turn):
            step()
        if device == 'cuda':
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / turn

    return take


def take_turns(ways: dict[str, Way], rounds: int, turn: int) -> dict[str, list[float]]:
    """Return each way's times for a step [s], one for each round, in which each took ``turn`` steps."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for first, _ in zip(cycle(range(len(names))), range(rounds), strict=False):
        for name in names[first:] + names[:first]:
            taken[name].append(ways[name](turn))
    return taken


def summary(taken: Sequence[float], plain: Sequence[float]) -> dict[str, float]:
    """Return the median time [ms], and the plain loop's time over it: median and middle 80 % of the rounds."""
    low, middle, high = np.percentile(np.divide(plain, taken), [10, 50, 90])
    ratios = {'ratio': middle, 'ratio_low': low, 'ratio_high': high}
    return {'ms': round(float(np.median(taken)) * 1e3, 3), **{n: round(float(v), 3) for n, v in ratios.items()}}


def data_time(trainer: Trainer) -> float:
    """Return how long our batches take to be put together [s]."""
    chosen = trainer.settings
    taken = []
    order = batches(len(trainer.train_set), chosen.batch, seed=chosen.seed, first=0, last=20)
    for indices in order:
        began = time.perf_counter()
        trainer.train_set.batch(indices)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def parts(step: Callable[[], object]) -> dict[str, float]:
    """Return which share of one step's time goes where, as torch's profiler sees it on the CPU."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step()
    shares = dict.fromkeys((*PARTS, 'other'), 0.0)
    for event in profiled.key_averages():
        part = next((p for p, names in PARTS.items() if any(n in event.key for n in names)), 'other')
        shares[part] += event.self_cpu_time_total
    total = sum(shares.values())
    return {name: round(time_ / total, 3) for name, time_ in shares.items() if time_ / total >= 0.005}


def measure_processes(training: TrainSettings, processes: int, steps: int) -> float:
    """Return what one of ``steps`` takes [s] with a batch shared by ``processes`` of one thread each."""
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as scratch:
        config, out = Path(scratch) / 'config.yaml', Path(scratch) / 'step.json'
        config.write_text(yaml.safe_dump(to_plain(replace(training, threads=1))))
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(processes)]
        command += ['-m', 'dp_ros.evaluation.bench.train', str(config), str(steps), str(out)]
        env = {**os.environ, 'OMP_NUM_THREADS': '1'}
        ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
        if ran.returncode != 0:
            raise ConfigError(f'processes: got {processes}, which failed: {ran.stderr.strip()[-2000:]}')
        return float(json.loads(out.read_text()))


def main(config: Path, steps: int, out: Path) -> None:
    """Measure in one of the processes, each with its share of the batch; the first writes what a step takes [s]."""
    training = read_yaml(config, TrainSettings)
    trainer = Trainer(training, made_up(training.task), out.parent / 'run')
    order = batches(len(trainer.train_set), training.batch, seed=training.seed, first=0, last=WARM_UP + steps)
    began = 0.0
    for number, indices in enumerate(order):
        if number == WARM_UP:
            began = time.perf_counter()
        trainer.train_step(indices)
    took = (time.perf_counter() - began) / steps
    if is_first_process():
        out.write_text(json.dumps(took))


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
