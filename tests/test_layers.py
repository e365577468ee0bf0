"""The import contracts hold, and each of them notices when it is broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

import dpod_search


ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SUPERNET = "dpod_search.supernet"
CONTRACTS = {entry["id"]: entry for entry in PYPROJECT["tool"]["importlinter"]["contracts"]}


@dataclass(frozen=True)
class Breach:
    """One import that a contract must refuse."""

    contract: str
    room: str
    line: str

    def __str__(self) -> str:
        return f"{self.contract}: {self.line} in {self.room}"


def list_rooms() -> list[list[str]]:
    """Return the lines of the layers contract from the top, each with its rooms."""
    lines = CONTRACTS["rooms"]["layers"]
    return [[room.strip(" ()") for room in line.split("|")] for line in lines]


def list_room_breaches() -> list[Breach]:
    """Return an upward import for each pair of lines, and a sideways one for each shared line."""
    lines = list_rooms()
    pairs = [(below[-1], above[0]) for above, below in pairwise(lines)]
    pairs += [(room, other) for line in lines for room in line for other in line if room != other]
    return [Breach("rooms", room, f"import dpod_search.{other}") for room, other in pairs]


BREACHES = [
    Breach("no-circles", "supernet/dimensions/sizes", f"import {SUPERNET}.dimensions.walk"),
    Breach("no-circles", "supernet/tracing/trace", f"if TYPE_CHECKING: import {SUPERNET}.layers"),
    Breach("supernet-wings", "supernet/tracing/tracked", f"import {SUPERNET}.layout"),
    Breach("supernet-wings", "supernet/dimensions/basic", f"import {SUPERNET}.layers.state"),
    Breach("supernet-wings", "supernet/layers/kind", f"import {SUPERNET}.table"),
    Breach("search-without-training", "search", "from dpod_search.training import anything"),
    *(
        Breach("optuna-at-home", room, "import optuna")
        for room in ("cli", "export", "finetune", "training", "evaluation", "pareto")
    ),
    Breach("terminal-at-home", "pipeline", "from rich.progress import Progress"),
    Breach("terminal-at-home", "progress", "import typer"),
    *(
        Breach("report-from-files", "report", f"import {library}")
        for library in ("optuna", "sklearn.ensemble", "torch", "torchvision")
    ),
    # Not in the report itself, but in a room that it reads with.
    Breach("report-from-files", "report", "from dpod_search.rng import torch_generator"),
    Breach("report-from-files", "records", "import torch"),
    Breach("report-from-files", "figures", "import optuna"),
    *(
        Breach("torch-free", room, "import torch")
        for room in (
            "errors",
            "escaping",
            "files",
            "markdown",
            "pareto",
            "progress",
            "quantities",
            "ranking",
            "widths",
        )
    ),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its contracts, to be broken."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        Path(dpod_search.__file__).parent,
        tmp_path / "dpod_search",
        ignore=shutil.ignore_patterns("__pycache__", "studies"),
    )
    return tmp_path


def find_file(package: Path, room: str) -> Path:
    """Return the file of a room, whether it is a module or a package."""
    module = package / f"{room}.py"
    return module if module.exists() else package / room / "__init__.py"


def lint(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package in a folder."""
    program = Path(sysconfig.get_path("scripts")) / "lint-imports"
    limits = [argument for contract in contracts for argument in ("--contract", contract)]
    return subprocess.run(
        [sys.executable, program, "--no-cache", "--no-logo", *limits],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_broken(result: subprocess.CompletedProcess[str], contract: str) -> None:
    """Assert that import-linter ran to its end and found the contract broken."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{CONTRACTS[contract]['name']} BROKEN" in result.stdout


def test_the_contracts_hold(copy: Path) -> None:
    result = lint(copy)

    assert result.returncode == 0, result.stdout + result.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in result.stdout


def test_every_contract_has_a_breach() -> None:
    assert {"rooms", *(breach.contract for breach in BREACHES)} == set(CONTRACTS)


@pytest.mark.parametrize("breach", BREACHES, ids=str)
def test_a_breach_breaks_its_contract(copy: Path, breach: Breach) -> None:
    file = find_file(copy / "dpod_search", breach.room)
    file.write_text(f"{file.read_text(encoding='utf-8')}\n{breach.line}\n", encoding="utf-8")

    assert_broken(lint(copy, breach.contract), breach.contract)


def test_imports_upward_and_sideways_break_the_rooms(copy: Path) -> None:
    breaches = list_room_breaches()
    for breach in breaches:
        file = find_file(copy / "dpod_search", breach.room)
        file.write_text(f"{file.read_text(encoding='utf-8')}\n{breach.line}\n", encoding="utf-8")

    result = lint(copy, "rooms")

    assert_broken(result, "rooms")
    words = " ".join(result.stdout.split())
    for breach in breaches:
        imported = breach.line.removeprefix("import ")
        assert f"dpod_search.{breach.room} -> {imported} (l." in words, breach


def test_a_room_that_no_line_names_breaks_the_rooms(copy: Path) -> None:
    (copy / "dpod_search" / "attic.py").touch()

    result = lint(copy, "rooms")

    assert result.returncode == 1, result.stdout + result.stderr
    assert "attic" in result.stdout
