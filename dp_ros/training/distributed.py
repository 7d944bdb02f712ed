"""Where training computes: CPU or GPUs, one process or several that `accelerate launch` started."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from dp_ros.errors import ConfigError
from dp_ros.training.settings import TrainSettings

LONGEST_WAIT = timedelta(hours=4)
"""How long processes wait for the first one, which alone validates and runs episodes."""


def start_processes(settings: TrainSettings) -> Accelerator:
    """Join the processes of this run, and return what they work through.

    Raises
    ------
    ConfigError
        If the device is not there, or the batch can't be shared evenly.

    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    check_device(settings)
    # Precision is the trainer's own: this is not to be changed by how the launcher was configured.
    accelerator = Accelerator(
        cpu=settings.device == 'cpu',
        mixed_precision='no',
        kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)],
    )
    parts = accelerator.num_processes * settings.accumulate
    if settings.batch % parts:
        raise ConfigError(
            f'batch: got {settings.batch}, allowed multiples of {parts} '
            f'({accelerator.num_processes} processes, accumulate {settings.accumulate})'
        )
    return accelerator


def check_device(settings: TrainSettings) -> None:
    """Raise ConfigError where a training's device is not there."""
    if settings.device == 'cuda' and not torch.cuda.is_available():
        raise ConfigError("device: got 'cuda', which this machine lacks; allowed cpu")


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a flag, so that a step is never cut in half. A second one interrupts at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def is_first_process() -> bool:
    """Whether this process is the one that writes and shows."""
    return os.environ.get('RANK', '0') == '0'
