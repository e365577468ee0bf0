"""What runs the nets whose latency is measured. A new backend is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dpod_search.errors import ConfigError
from dpod_search.latency.backends.backend import Backend
from dpod_search.latency.backends.compiled import CompiledBackend
from dpod_search.latency.backends.eager import EagerBackend
from dpod_search.latency.backends.onnx import OnnxRuntimeBackend


__all__ = ["BACKENDS", "Backend", "get_backend"]

BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {
        backend.name: backend
        for backend in (EagerBackend(), CompiledBackend(), OnnxRuntimeBackend())
    }
)


def get_backend(name: str) -> Backend:
    """Return a backend by its name.

    Raises:
        ConfigError: If there is none of this name.
    """
    backend = BACKENDS.get(name)
    if backend is None:
        raise ConfigError(f"latency backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    return backend
