"""What a latency depends on besides the net: the machine, and what runs nets on it."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from dpod_search.errors import DataError
from dpod_search.latency.backends import get_backend


@dataclass(frozen=True)
class Fingerprint:
    """A device as latency sees it.

    Args:
        processor: Model of the CPU or the accelerator.
        machine: Architecture of the CPU.
        system: Operating system.
        n_cores: Cores of the CPU.
        device: As PyTorch spells it: ``cpu``, ``cuda``.
        backend: What runs the nets.
        version: Its version.
        n_threads: CPU threads.
        batch_size: Pictures in a forward pass.
    """

    processor: str
    machine: str
    system: str
    n_cores: int
    device: str
    backend: str
    version: str
    n_threads: int
    batch_size: int

    def describe_difference(self, other: Fingerprint) -> str:
        """Say in what another device differs, as ``name: own -> other``; empty if in nothing."""
        own, others = asdict(self), asdict(other)
        return ", ".join(f"{n}: {own[n]} -> {others[n]}" for n in own if own[n] != others[n])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Fingerprint:
        """Read what :meth:`to_json` gave.

        Raises:
            DataError: If it describes no device.
        """
        kinds = {field.name: str(field.type) for field in fields(cls)}
        if not isinstance(value, dict) or set(value) != set(kinds):
            raise DataError(f"{value!r} describes no device")
        for name, kind in kinds.items():
            if type(value[name]).__name__ != kind:
                raise DataError(f"{name} of a device cannot be {value[name]!r}")
        return cls(**value)


def take_fingerprint(
    backend: str, device: torch.device, *, n_threads: int, batch_size: int
) -> Fingerprint:
    """Describe this machine.

    Args:
        backend: Name of the backend.
        device: Where nets run.
        n_threads: CPU threads.
        batch_size: Pictures in a forward pass.

    Raises:
        ConfigError: If the backend is not known, or not installed.
    """
    version = get_backend(backend).find_version()
    name = _name_processor()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return Fingerprint(
        processor=name,
        machine=platform.machine(),
        system=platform.system(),
        n_cores=os.cpu_count() or 1,
        device=device.type,
        backend=backend,
        version=version,
        n_threads=n_threads,
        batch_size=batch_size,
    )


def _name_processor() -> str:
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
