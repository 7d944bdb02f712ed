"""A bundle: the folder that holds an exported policy and everything that a robot must know about it.

    bundle.json       schema version, task, normalizer, schedule, sampler defaults, SHA-256 of each file, provenance
    encoder.onnx      one float32 input per stream, by its name: (B, T, C) normalized, images (B, T, 3, H, W) in [-1, 1];
                      output ``cond`` (B, D)
    denoiser.onnx     ``x_k`` (B, P, A) float32, ``k`` (B,) int64, ``cond`` (B, D); output ``prediction`` (B, P, A)
    encoder.ts,       TorchScript twins where asked for: the same inputs by position, streams in the task's order
    denoiser.ts
    parity.npz        inputs and outputs recorded from the trained network at export; `open_backend` replays them

Nothing in it is a pickle.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dp_ros.config import ImageStream, JointStream, PoseStream, TaskSpec, parse, to_plain
from dp_ros.diffusion.samplers import SamplerSettings, coefficients_for
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import BundleError, DpRosError, check_finite, check_shape, listed
from dp_ros.policy.normalizer import ACTION, Normalizer

SCHEMA_VERSION = 1
MANIFEST = 'bundle.json'
PARITY = 'parity.npz'
ONNX_FILES = ('encoder.onnx', 'denoiser.onnx')
TORCHSCRIPT_FILES = ('encoder.ts', 'denoiser.ts')
_INPUT = 'input.'  # parity.npz holds the encoder's inputs as input.<stream>


@dataclass(frozen=True, kw_only=True, eq=False)
class Parity:
    """Arrays recorded from the trained network at export; any batch size B.

    Attributes
    ----------
    inputs
        The encoder's inputs by stream name, float32, normalized.
    cond
        The encoder's output for them, (B, D) float32.
    x_k, k, prediction
        The denoiser's inputs (B, P, A) float32 and (B,) int64, and its output for them and ``cond``.

    """

    inputs: Mapping[str, np.ndarray]
    cond: np.ndarray
    x_k: np.ndarray
    k: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle's description, checked. `load_bundle` and `write_bundle` make it."""

    folder: Path
    name: str
    task: TaskSpec
    normalizer: Normalizer
    schedule: ScheduleSpec
    defaults: SamplerSettings
    files: Mapping[str, str]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        coefficients_for(self.schedule, self.defaults)  # refuses more sampling_steps than diffusion_steps
        _check_normalizer(self.normalizer, self.task)
        _check_files(self.files)

    def path(self, file: str) -> Path:
        """Return the path of one of the bundle's files."""
        if file not in self.files:
            raise BundleError(f'bundle {self.folder}: got no {file}, allowed {listed(self.files)}')
        return self.folder / file

    def parity(self) -> Parity:
        """Read the recorded pair, its shapes checked against the task."""
        path = self.path(PARITY)
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError) as error:
            raise BundleError(f'{path}: cannot be read ({error}); allowed an npz file without pickles') from error
        return _with_path(path, lambda: _parity_from(arrays, self.task))


@dataclass(frozen=True, kw_only=True)
class _NormalizerJson:
    low: dict[str, tuple[float, ...]]
    high: dict[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """bundle.json as it is written; provenance, which is free-form, is read beside it."""

    schema_version: int
    name: str
    task: TaskSpec
    normalizer: _NormalizerJson
    schedule: ScheduleSpec
    defaults: SamplerSettings
    files: dict[str, str]


def input_shapes(task: TaskSpec) -> dict[str, tuple[int, ...]]:
    """Return the shape of each encoder input without its batch: (T, C), or (T, 3, H, W) for an image."""
    shapes: dict[str, tuple[int, ...]] = {}
    for stream in task.streams:
        image = isinstance(stream, ImageStream)
        one = (3, stream.height, stream.width) if image else stream.shape  # type: ignore[union-attr]
        shapes[stream.name] = (task.obs_horizon, *one)
    return shapes


def load_bundle(folder: Path | str) -> Bundle:
    """Read and check a bundle: every field, every file's SHA-256, the recorded pair. Anything wrong is a BundleError."""
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f'bundle {folder}: {MANIFEST} cannot be read ({error}); allowed a folder that has one') from error
    raw = _with_path(path, lambda: _strict_json(text))
    version = raw.get('schema_version')
    if version != SCHEMA_VERSION:  # before the fields: another version has other fields
        raise BundleError(f'{path}: schema_version: got {version!r}, allowed {SCHEMA_VERSION}')
    bundle = _with_path(path, lambda: _from_json(folder, raw))
    for name, expected in bundle.files.items():
        _check_hash(folder / name, expected)
    bundle.parity()
    return bundle


def write_bundle(
    folder: Path | str,
    *,
    task: TaskSpec,
    normalizer: Normalizer,
    schedule: ScheduleSpec,
    defaults: SamplerSettings,
    networks: Mapping[str, Path | bytes],
    parity: Parity,
    provenance: Mapping[str, Any] | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle, all of it or nothing, and read it back.

    Parameters
    ----------
    folder
        Where to; its parents are made.
    networks
        ``encoder.onnx`` and ``denoiser.onnx``, and both or none of ``encoder.ts`` and ``denoiser.ts``: by file name,
        a path to copy or the content.
    provenance
        Whatever JSON can hold: data hash, code version, config, scores.
    name
        The folder's name, if None.
    overwrite
        Replace a bundle that is there already, with everything else in its folder.

    """
    folder = Path(folder).absolute()
    _check_target(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{folder.name}.', dir=folder.parent) as scratch:
        new = Path(scratch) / 'new'
        new.mkdir()
        for file, content in networks.items():
            _check_file_name(file)
            (new / file).write_bytes(content if isinstance(content, bytes) else Path(content).read_bytes())
        _write_parity(new / PARITY, parity)
        manifest = _Manifest(
            schema_version=SCHEMA_VERSION,
            name=name or folder.name,
            task=task,
            normalizer=_NormalizerJson(low=dict(normalizer.low), high=dict(normalizer.high)),
            schedule=schedule,
            defaults=defaults,
            files={file: sha256(new / file) for file in (*networks, PARITY)},
        )
        plain = {**to_plain(manifest), 'provenance': to_plain(provenance or {})}
        (new / MANIFEST).write_text(json.dumps(plain, indent=2, allow_nan=False) + '\n', encoding='utf-8')
        load_bundle(new)
        if folder.exists():
            os.replace(folder, Path(scratch) / 'old')
        os.replace(new, folder)
    return load_bundle(folder)


def sha256(path: Path) -> str:
    """Return a file's SHA-256, in hexadecimal."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
