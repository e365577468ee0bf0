"""What every test shares: repeatable random numbers, and where optional data lie."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings


# A slow or shared machine must not fail a property, and a red run must be red again tomorrow.
# HYPOTHESIS_PROFILE=explore looks at new examples instead.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# Nets in tests are tiny: on shared cores a second thread made some of them ten times slower.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a device that is not there."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def _fixed_global_seeds() -> None:
    # The package takes generators and never touches the global ones; PyTorch's own initialisers,
    # which tests build nets with, know no others.
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (as above, for libraries)


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder of pyproject.toml."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_root(project_root: Path) -> Path:
    """The folder of optional data sets: DPOD_DATA, or ../shared/data where that exists."""
    root = Path(os.environ.get("DPOD_DATA", project_root.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip("no optional data; name their folder in DPOD_DATA")
    return root
