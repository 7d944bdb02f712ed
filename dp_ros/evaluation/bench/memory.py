"""Memory of a process that does nothing but make chunks of a bundle, by runtime."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.policy.backends.sessions import BackendName, open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.policy import DiffusionPolicy

BACKENDS: tuple[BackendName, ...] = ('onnxruntime', 'torchscript')
CHUNKS = 20


def measure_memory(bundle: Bundle, steps: int) -> list[dict[str, Any]]:
    """Return each backend's peak resident memory [MB], measured in a process of its own."""
    rows = []
    for backend in BACKENDS:
        # Spawned: a forked process would start with all that this one has.
        with multiprocessing.get_context('spawn').Pool(1) as pool:
            peak = pool.apply(peak_memory, (bundle.folder, backend, steps))
        rows.append({'size': bundle.folder.name, 'backend': backend, 'peak_memory_mb': peak})
    return rows


def peak_memory(folder: Path, backend: BackendName, steps: int) -> float | None:
    """Make chunks, and return this process's peak resident memory [MB]; None where the system does not say."""
    bundle = load_bundle(folder)
    policy = DiffusionPolicy(bundle, open_backend(bundle, backend=backend)).with_settings(sampling_steps=steps)
    inputs = {name: value[:1] for name, value in bundle.parity().inputs.items()}
    for number in range(CHUNKS):
        policy.sample(inputs, np.random.default_rng(number))
    try:
        # Not getrusage: its peak goes on counting from the parent's.
        lines = Path('/proc/self/status').read_text().splitlines()
    except OSError:
        return None
    return next((round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith('VmHWM')), None)
