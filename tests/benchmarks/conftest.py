"""Fixtures of the benchmarks' tests: the benchmarks themselves, which are scripts and no package."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def import_benchmark(project_root: Path) -> Callable[[str], ModuleType]:
    """Import a module of the folder of benchmarks by its name."""

    def load(name: str) -> ModuleType:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(project_root / "benchmarks"))
            return importlib.import_module(name)

    return load
