"""What a run was made with: versions, machine, threads."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import torch

from dpod_search.records.run import Environment


PACKAGES = ("dpod-search", "torch", "torchvision", "optuna", "scikit-learn", "numpy", "plotly")
EXTRAS = ("onnx", "onnxruntime", "onnxscript")


def describe_environment() -> Environment:
    """Describe this process's environment, without naming user or host."""
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        processor=platform.machine(),
        n_cores=os.cpu_count(),
        n_threads=torch.get_num_threads(),
        cuda=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        versions=package_versions(),
    )


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on, of the extras those that are there."""
    found = {name: metadata.version(name) for name in PACKAGES}
    for name in EXTRAS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
