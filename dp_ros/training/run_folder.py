"""What a run leaves on disk: opened anew or taken up again, and read back for export.

A run folder holds ``config.yaml``, ``run.json`` (versions, data hash, episodes held out), ``checkpoint.pt``,
``curves.csv``, TensorBoard events, at the end ``curves.png``, and with rollouts ``best.pt`` and ``rollouts.csv``.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from diffusers.training_utils import EMAModel

import dp_ros
from dp_ros.bounded_files import MOST_JSON, from_json, read_bytes, shown
from dp_ros.errors import ConfigError, DataError
from dp_ros.networks.diffusion_network import DiffusionNetwork
from dp_ros.networks.sequence import SequenceNetwork
from dp_ros.paths import locate
from dp_ros.policy.bundle.bundle import MANIFEST
from dp_ros.policy.bundle.files import check_zip, naming
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.normalizer import Normalizer
from dp_ros.policy.sequence.spec import column_names
from dp_ros.task.yaml_reader import parse, read_yaml, to_plain
from dp_ros.training.bundle_network import take_weights, trained_settings
from dp_ros.training.settings import TrainSettings

CHECKPOINT, BEST, CONFIG, RUN = 'checkpoint.pt', 'best.pt', 'config.yaml', 'run.json'
ROLLOUTS = 'rollouts.csv'
PolicyNetwork = DiffusionNetwork | SequenceNetwork
FREE = ('threads', 'checkpoint_every')  # may differ when a run is resumed: they change no weight


def open_run(folder: Path, settings: TrainSettings, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Start a run folder, or return the checkpoint of the run that it holds; None where there is none yet.

    Raises
    ------
    ConfigError
        If the folder holds a run of another configuration or other data, or something else. More steps are allowed,
        and so are other `FREE` settings; the configuration is kept as it is now.

    """
    if (folder / CONFIG).exists():
        _check_same(folder, settings, record)
        _write_config(folder, settings)
        return load_checkpoint(folder / CHECKPOINT) if (folder / CHECKPOINT).exists() else None
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f'run folder {folder}: got one that holds something else, allowed a run or a new folder')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN).write_text(json.dumps({**record, 'versions': versions()}, indent=2) + '\n')
    _write_config(folder, settings)
    return None


@contextmanager
def locked_folder(folder: Path, what: str) -> Iterator[None]:
    """Lock a folder for ``what``, where its file system has locks; :class:`ConfigError` if it is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f'got {folder}, where another {what} is at work, allowed a folder of its own') from error
        except OSError:  # a file system without locks for folders, as some of networks
            pass
        yield
    finally:
        os.close(handle)


def _write_config(folder: Path, settings: TrainSettings) -> None:
    (folder / CONFIG).write_text(yaml.safe_dump(to_plain(settings), sort_keys=False))


def _check_same(folder: Path, settings: TrainSettings, record: Mapping[str, Any]) -> None:
    config, found = to_plain(settings), to_plain(read_yaml(folder / CONFIG, TrainSettings))
    differing = [key for key in config if config[key] != found.get(key) and key not in (*FREE, 'steps')]
    if settings.steps < found['steps']:
        raise ConfigError(
            f'run folder {folder}: holds a run of {found["steps"]} steps, got {settings.steps}; '
            'allowed as many or more (to resume), or a new folder'
        )
    if differing:
        raise ConfigError(
            f'run folder {folder}: holds a run whose {", ".join(differing)} differs; '
            'allowed the same configuration (to resume), or a new folder'
        )
    run = _record(folder)
    for key, what, same in (
        ('data_sha256', 'on data', 'recordings'),
        ('teacher_sha256', 'with a teacher', 'teacher'),
        ('start_sha256', 'begun from', 'start'),
    ):
        held, got = run.get(key), record.get(key, '')
        if held is not None and held != got:  # runs from before teachers were noted say nothing of theirs
            raise ConfigError(
                f'run folder {folder}: holds a run {what} {held[:12]}, got {got[:12]}; '
                f'allowed the same {same} (to resume), or a new folder'
            )


def _record(folder: Path) -> dict[str, Any]:
    """Return what a run says of itself."""
    with naming(folder / RUN):
        record = from_json(read_bytes(folder / RUN, MOST_JSON), finite=False)
        if not isinstance(record, dict):
            raise DataError(f'got {shown(record)}, allowed a mapping')
    return record


def checkpoint_file(folder: Path, checkpoint: Literal['best', 'last'] | None = None) -> Path:
    """Return a run's weights: without a choice, the best by rollouts, or the last where there were none.

    Of a bundle its description, which holds the SHA-256 of its files.
    """
    if is_bundle(folder):
        return folder / MANIFEST
    best = checkpoint == 'best' or (checkpoint is None and (folder / BEST).exists())
    return folder / (BEST if best else CHECKPOINT)


def make_network(settings: TrainSettings, *, pretrained: bool = True) -> PolicyNetwork:
    """Return the network that a configuration asks for, with random weights; ``pretrained``: its cameras' from a file.

    Without it the file is not read: the weights will be others.
    """
    spec = settings.objective.spec
    network = settings.network if pretrained else replace(settings.network, camera_weights='')
    if settings.family == 'sequence':
        columns = len(column_names(settings.task, settings.sequence.states))
        return SequenceNetwork(settings.task, network, columns=columns, bins=settings.sequence.bins)
    return DiffusionNetwork(settings.task, network, mask_channels=spec.mask_channels, outputs=spec.outputs)


def load_network(
    folder: Path, checkpoint: Literal['best', 'last'] | None = None
) -> tuple[TrainSettings, PolicyNetwork, Normalizer, dict[str, Any]]:
    """Return a run's settings, its EMA network in evaluation mode, its normalizer, and its record.

    Of the weights in `checkpoint_file`. ``folder`` may be a bundle too; see `dp_ros.training.bundle_network`.
    """
    if is_bundle(folder):
        return _load_bundle(folder, checkpoint)
    if not (folder / CONFIG).is_file():
        raise ConfigError(f'{folder}: got neither {CONFIG} nor {MANIFEST} in it, allowed a run folder or a bundle')
    settings = read_yaml(folder / CONFIG, TrainSettings)
    path = checkpoint_file(folder, checkpoint)
    best, state = path.name == BEST, load_checkpoint(path)
    network = make_network(settings, pretrained=False)
    network.load_state_dict(state['network'])
    if not best:
        ema = EMAModel(network.parameters())
        ema.load_state_dict(state['ema'])
        ema.copy_to(network.parameters())
    record = {**_record(folder), 'step': state['step']}
    if best:
        record['rollouts'] = dict(zip(('mean_score', 'success_rate'), state['reached'], strict=True))
    return settings, network.eval(), parse(Normalizer, state['normalizer'], f'{path}.normalizer'), record


def trained_folder(what: str, given: str) -> Path:
    """Return the run folder or the bundle that ``what`` names, which may be a shipped one, as models/pusht_mirror."""
    try:
        return locate(given)
    except ConfigError as error:
        raise ConfigError(f'{what}: got {given!r}, which is not there, allowed a run folder or a bundle') from error


def is_bundle(folder: Path) -> bool:
    """Whether ``folder`` is a bundle and not a run folder."""
    return (folder / MANIFEST).is_file()


def _load_bundle(
    folder: Path, checkpoint: str | None
) -> tuple[TrainSettings, PolicyNetwork, Normalizer, dict[str, Any]]:
    if checkpoint is not None:
        raise ConfigError(f'checkpoint: got {checkpoint!r} of bundle {folder}, allowed none: it holds one network')
    bundle = load_bundle(folder)
    settings = trained_settings(bundle)
    network = make_network(settings, pretrained=False)
    take_weights(bundle, network)
    record = {key: value for key, value in bundle.provenance.items() if key not in ('weights', 'config')}
    return settings, network, bundle.normalizer, record


def versions() -> dict[str, str]:
    """Return the versions that a run depends on."""
    found = {name: version(name) for name in ('torch', 'diffusers', 'numpy', 'accelerate')}
    return {'dp_ros': dp_ros.__version__, 'python': platform.python_version(), **found}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` beside ``path``, then rename: a run killed while writing keeps its previous checkpoint."""
    partial = path.with_suffix('.partial')
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint (tensors and plain values only)."""
    if not path.is_file():
        raise DataError(f'checkpoint {path}: not found; allowed a run folder that holds one')
    try:
        _check_packed(path)
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise DataError(f'checkpoint {path}: cannot be read ({error})') from error


def _check_packed(path: Path) -> None:
    """Raise :class:`DataError` for a file that unpacks to much more than it has: torch stores weights as they are."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_zip(archive, 2 * path.stat().st_size + 2**20)
