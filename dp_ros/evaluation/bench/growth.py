"""How a chunk's cost grows with cameras and with the prediction horizon: the same network, task by task, in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.errors import ConfigError, check_range
from dp_ros.evaluation.bench.contenders import Subject, subject_for, training_of
from dp_ros.evaluation.scores import percentiles
from dp_ros.policy.backends.sessions import open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.goal_inputs import blank_goal
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.protocol import blank_window
from dp_ros.task.spec import ImageStream, TaskSpec
from dp_ros.training.settings import TrainSettings

PICTURE = 96  # pixels, high and wide
TakeTurns = Callable[[Mapping[str, Callable[[], object]]], dict[str, list[float]]]


def check_growth(cameras: Sequence[int], horizons: Sequence[int]) -> None:
    """Raise ConfigError for what no task can have."""
    for name, values, low, high in (('cameras', cameras, 0, 16), ('horizons', horizons, 4, 256)):
        for value in values:
            check_range(name, value, low, high)
    for value in horizons:
        if value % 4:
            raise ConfigError(f'horizons: got {value}, allowed multiples of 4: the U-Net halves time twice')


def with_cameras(settings: TrainSettings, count: int) -> TrainSettings:
    """Return a configuration that observes its vectors, and ``count`` cameras instead of its own."""
    vectors = tuple(s for s in settings.task.streams if not isinstance(s, ImageStream))
    cameras = tuple(
        ImageStream(name=f'bench_camera_{i}', topic=f'/bench_camera_{i}', height=PICTURE, width=PICTURE)
        for i in range(count)
    )
    return _with_task(settings, replace(settings.task, streams=vectors + cameras))


def with_horizon(settings: TrainSettings, steps: int) -> TrainSettings:
    """Return a configuration that predicts so many steps, and executes half of them."""
    return _with_task(settings, replace(settings.task, pred_horizon=steps, exec_horizon=steps // 2))


def _with_task(settings: TrainSettings, task: TaskSpec) -> TrainSettings:
    return replace(settings, task=task, mirror={})


def measure_growth(
    like: Bundle, folder: Path, cameras: Sequence[int], horizons: Sequence[int], *, steps: int, take_turns: TakeTurns
) -> list[dict[str, Any]]:
    """Return a row for each number of cameras and each horizon: the time of a chunk, and its ratio to the first."""
    settings, rows = training_of(like), []
    for what, values, change in (('cameras', cameras, with_cameras), ('horizon', horizons, with_horizon)):
        subjects = {
            str(value): subject_for(change(settings, value), like, folder / f'{what}_{value}') for value in values
        }
        runs = {name: _chunk(subject, steps) for name, subject in subjects.items()}
        times = take_turns(runs) if runs else {}
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
