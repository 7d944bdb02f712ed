"""Open a bundle of any family of policies: one line each in one table."""

from __future__ import annotations

from dp_ros.policy.backends.providers import ProviderName
from dp_ros.policy.backends.sessions import BackendName
from dp_ros.policy.bundle.bundle import Bundle
from dp_ros.policy.policy import DiffusionPolicy
from dp_ros.policy.protocol import Policy
from dp_ros.policy.sequence.policy import SequencePolicy

FAMILIES: dict[str, type[Policy]] = {'diffusion': DiffusionPolicy, 'sequence': SequencePolicy}


def open_policy(
    bundle: Bundle, backend: BackendName = 'onnxruntime', threads: int = 1, provider: ProviderName = 'cpu'
) -> Policy:
    """Open a bundle's networks, with the settings that are its own."""
    return FAMILIES[bundle.family].open(bundle, backend, threads, provider)
