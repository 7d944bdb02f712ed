"""A training step shared by several processes, measured: what `dp_ros bench-train` starts by torchrun.

    torchrun --nproc-per-node 2 -m dp_ros.evaluation.bench.processes CONFIG STEPS OUT

Each process computes its share of the batch on one thread; the first writes what a step takes [s] to OUT.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import yaml

from dp_ros.errors import ConfigError
from dp_ros.task.yaml_reader import read_yaml, to_plain
from dp_ros.training.distributed import is_first_process
from dp_ros.training.random_streams import batches
from dp_ros.training.settings import TrainSettings

WARM_UP = 5
LIMIT = 600.0
"""How long a turn may take [s], importing torch among it."""


def measure_processes(training: TrainSettings, processes: int, steps: int) -> float:
    """Return what one of ``steps`` takes [s] with a batch shared by ``processes`` of one thread each."""
    with tempfile.TemporaryDirectory(prefix='dp_ros_') as scratch:
        config, out = Path(scratch) / 'config.yaml', Path(scratch) / 'step.json'
        config.write_text(yaml.safe_dump(to_plain(replace(training, threads=1))))
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(processes)]
        command += ['-m', 'dp_ros.evaluation.bench.processes', str(config), str(steps), str(out)]
        env = {**os.environ, 'OMP_NUM_THREADS': '1'}
        ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
        if ran.returncode != 0:
            raise ConfigError(f'processes: got {processes}, which failed: {ran.stderr.strip()[-2000:]}')
        return float(json.loads(out.read_text()))


def main(config: Path, steps: int, out: Path) -> None:
    """Measure in one of the processes."""
    from dp_ros.evaluation.bench.train import made_up
    from dp_ros.training.trainer import Trainer

    training = read_yaml(config, TrainSettings)
    trainer = Trainer(training, made_up(training.task), out.parent / 'run')
    order = batches(len(trainer.train_set), training.batch, seed=training.seed, first=0, last=WARM_UP + steps)
    began = 0.0
    for number, indices in enumerate(order):
        if number == WARM_UP:
            began = time.perf_counter()
        trainer._train_step(indices)
    took = (time.perf_counter() - began) / steps
    if is_first_process():
        out.write_text(json.dumps(took))


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
