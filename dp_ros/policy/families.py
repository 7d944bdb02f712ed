"""The families of policies: one line each in one table, and what a policy is opened with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_ros.paths import locate
from dp_ros.policy.backends.providers import ProviderName
from dp_ros.policy.backends.sessions import BackendName, open_backend
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.bundle.manifest import load_bundle
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.protocol import Policy
from dp_ros.policy.sequence.policy import SequencePolicy, open_sequence_policy

Opener = Callable[[Bundle, BackendName, int, ProviderName], Policy]


@dataclass(frozen=True, kw_only=True)
class PolicyFamily:
    """How a family's policy is loaded by a person, and opened on a bundle that is read already."""

    load: Callable[..., Policy]
    open: Opener


def _open_diffusion(bundle: Bundle, backend: BackendName, threads: int, provider: ProviderName) -> Policy:
    return DiffusionPolicy(bundle, open_backend(bundle, backend, threads, provider))


FAMILIES = {
    'diffusion': PolicyFamily(load=DiffusionPolicy.load, open=_open_diffusion),
    'sequence': PolicyFamily(load=SequencePolicy.load, open=open_sequence_policy),
}


def load_policy(bundle: Path | str, **options: Any) -> Policy:
    """Load a bundle of any family; ``options`` are those of its family's `load`."""
    return FAMILIES[load_bundle(locate(bundle)).family].load(bundle, **options)


def open_policy(
    bundle: Bundle, backend: BackendName = 'onnxruntime', threads: int = 1, provider: ProviderName = 'cpu'
) -> Policy:
    """Open a bundle's networks, with the settings that are its own."""
    return FAMILIES[bundle.family].open(bundle, backend, threads, provider)
