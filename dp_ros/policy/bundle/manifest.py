"""Read a bundle by its manifest, bundle.json, and write one: all of it or nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dp_ros.bounded_files import shown
from dp_ros.diffusion.samplers import SamplerSettings
from dp_ros.diffusion.schedule import ScheduleSpec
from dp_ros.errors import BundleError, listed
from dp_ros.policy.bundle.bundle import (
    CRITIC,
    MANIFEST,
    PARITY,
    SCHEMA_VERSION,
    TOLERANCE,
    Bundle,
    DiffusionSpec,
    check_names,
)
from dp_ros.policy.bundle.files import check_sha256, naming, put_in_place, read_json, sha256, write_json
from dp_ros.policy.bundle.monitor_spec import MonitorSpec
from dp_ros.policy.bundle.parity import Recorded
from dp_ros.policy.normalizer import Normalizer
from dp_ros.policy.sequence.spec import SequenceSpec
from dp_ros.task.spec import TaskSpec
from dp_ros.task.starts import DemonstratedStarts
from dp_ros.task.yaml_reader import parse, to_plain


@dataclass(frozen=True, kw_only=True)
class _NormalizerJson:
    low: dict[str, tuple[float, ...]]
    high: dict[str, tuple[float, ...]]
    clip: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """bundle.json, as it is written."""

    schema_version: int
    name: str
    task: TaskSpec
    normalizer: _NormalizerJson
    family: Literal['diffusion', 'sequence'] = 'diffusion'
    schedule: ScheduleSpec | None = None
    defaults: SamplerSettings | None = None
    sequence: SequenceSpec | None = None
    files: dict[str, str]
    provenance: dict  # free-form: whatever JSON can hold
    tolerance: float = TOLERANCE
    critic_from: float = 0.0
    camera_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    monitor: MonitorSpec | None = None
    starts: DemonstratedStarts | None = None

    @property
    def model(self) -> DiffusionSpec | SequenceSpec:
        """What the family has; raise BundleError where it is missing, or another's is there."""
        own = ('sequence',) if self.family == 'sequence' else ('schedule', 'defaults')
        for key in ('schedule', 'defaults', 'sequence'):
            if (getattr(self, key) is None) == (key in own):
                got = 'missing' if key in own else 'got'
                raise BundleError(f'bundle: {got} key {key!r}, allowed with family {self.family}: {listed(own)}')
        if self.sequence is not None:
            return self.sequence
        assert self.schedule is not None and self.defaults is not None
        return DiffusionSpec(schedule=self.schedule, defaults=self.defaults)


def load_bundle(folder: Path | str) -> Bundle:
    """Read and check a bundle: every field, every file's SHA-256, the recorded pair's shapes; or raise BundleError."""
    folder = Path(folder)
    path = folder / MANIFEST
    with naming(path):
        manifest = _read_manifest(path)
        bundle = Bundle(
            folder=folder,
            name=manifest.name,
            task=manifest.task,
            normalizer=Normalizer(**vars(manifest.normalizer)),
            model=manifest.model,
            files=manifest.files,
            provenance=manifest.provenance,
            tolerance=manifest.tolerance,
            critic_from=manifest.critic_from,
            camera_shapes={name: _shape(name, shape) for name, shape in manifest.camera_shapes.items()},
            monitor=manifest.monitor,
            starts=manifest.starts,
        )
    for file, expected in bundle.files.items():
        with naming(folder / file):
            check_sha256(sha256(bundle.path(file)), expected)
    if bundle.family == 'sequence':
        bundle.sequence_parity()
    else:
        bundle.parity()
    return bundle


def write_bundle(
    folder: Path | str,
    *,
    task: TaskSpec,
    normalizer: Normalizer,
    schedule: ScheduleSpec | None = None,
    defaults: SamplerSettings | None = None,
    sequence: SequenceSpec | None = None,
    networks: Mapping[str, Path | bytes],
    parity: Recorded,
    provenance: Mapping[str, Any] | None = None,
    tolerance: float = TOLERANCE,
    critic_from: float = 0.0,
    camera_shapes: Mapping[str, tuple[int, int]] | None = None,
    monitor: MonitorSpec | None = None,
    starts: DemonstratedStarts | None = None,
    name: str | None = None,
    overwrite: bool = False,
    check: Callable[[Bundle], object] | None = None,
) -> Bundle:
    """Write a bundle, all of it or nothing, and read it back.

    Parameters
    ----------
    folder
        Where to; its parents are made.
    schedule, defaults, sequence
        The first two of a diffusion policy, or the last of a sequence model.
    networks
        By file name, a path to copy or the content: ``encoder.onnx`` and ``denoiser.onnx`` (of a sequence model
        ``decoder.onnx``), and both or none of ``encoder.ts`` and ``denoiser.ts``; ``critic.onnx``, ``monitor.onnx``,
        ``noise.onnx`` and ``weights.safetensors`` or not. An ONNX file must hold its own weights.
    provenance
        Whatever JSON can hold: data hash, code version, config, scores.
    tolerance
        Largest difference from the recorded outputs that a backend may have.
    critic_from, camera_shapes, monitor, starts
        See `Bundle`.
    name
        The folder's name, if None.
    overwrite
        Replace a bundle that is there already, with everything else in its folder.
    check
        Is shown the whole bundle before it is put in place; if it raises, nothing is.

    """
    folder = Path(folder).absolute()
    check_target(folder, overwrite)
    check_names(networks, 'diffusion' if sequence is None else 'sequence')
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{folder.name}.', dir=folder.parent) as scratch:
        new = Path(scratch) / folder.name
        new.mkdir()
        for file, content in networks.items():
            (new / file).write_bytes(content if isinstance(content, bytes) else Path(content).read_bytes())
        parity.write(new / PARITY)
        manifest = _Manifest(
            schema_version=SCHEMA_VERSION,
            name=name or folder.name,
            task=task,
            normalizer=_NormalizerJson(low=dict(normalizer.low), high=dict(normalizer.high), clip=normalizer.clip),
            family='diffusion' if sequence is None else 'sequence',
            schedule=schedule,
            defaults=defaults,
            sequence=sequence,
            files={file: sha256(new / file) for file in (*networks, PARITY)},
            provenance=dict(provenance or {}),
            tolerance=tolerance,
            critic_from=critic_from,
            camera_shapes=dict(camera_shapes or {}),
            monitor=monitor,
            starts=starts,
        )
        plain = to_plain(manifest)
        if not normalizer.clip:
            del plain['normalizer']['clip']
        if CRITIC not in networks:
            del plain['critic_from']  # which dp_ros before there were critics does not know
        # Nor does one before there were these.
        for owner, key in (
            (plain['task'], 'continuous'), (plain['task'], 'reward'), (plain['task']['action'], 'sources'),
            (plain, 'schedule'), (plain, 'defaults'), (plain, 'sequence'),
        ):  # fmt: skip
            if not owner[key]:
                del owner[key]
        for key, given in (('camera_shapes', camera_shapes), ('monitor', monitor), ('starts', starts)):
            if not given:
                del plain[key]
        if sequence is None:
            del plain['family']
        write_json(new / MANIFEST, plain)
        written = load_bundle(new)
        if check is not None:
            check(written)
        put_in_place(new, folder, Path(scratch) / 'old')
    return load_bundle(folder)


def check_target(folder: Path, overwrite: bool) -> None:
    """Raise BundleError if a bundle can't be written to ``folder``: it is there, or is something else."""
    if not folder.exists():
        return
    if not overwrite:
        raise BundleError(f'bundle {folder}: got a path that exists, allowed a new one (or --overwrite)')
    if not (folder / MANIFEST).is_file():
        raise BundleError(f'bundle {folder}: got a path without {MANIFEST}, allowed only a bundle to be overwritten')


def _read_manifest(path: Path) -> _Manifest:
    raw = read_json(path)
    # Before the fields, for another version has other fields.
    version = raw.get('schema_version') if isinstance(raw, dict) else None
    if version is True or version != SCHEMA_VERSION:
        raise BundleError(f'schema_version: got {shown(version)}, allowed {SCHEMA_VERSION}')
    return parse(_Manifest, raw, 'bundle')


def _shape(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) != 2 or not all(1 <= length <= 2**16 for length in shape):
        raise BundleError(f'camera_shapes {name}: got {listed(shape)}, allowed height and width in pixels')
    return shape[0], shape[1]
