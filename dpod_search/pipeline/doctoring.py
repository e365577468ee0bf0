"""What an installation has and lacks, and whether a small run goes through on this machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from dpod_search.config import load_study
from dpod_search.errors import shorten
from dpod_search.errors import tell_first_line
from dpod_search.pipeline.run import run_stages
from dpod_search.pipeline.stages.table import STAGE_NAMES
from dpod_search.quantities import disk_size
from dpod_search.quantities import seconds


_PACKAGE = "dpod-search"
_REQUIREMENT = re.compile(
    r"([\w.-]+)(?:\[[^]]*\])?\s*([^;]*)(?:;\s*extra\s*==\s*['\"](\w+)['\"])?"
)
_BOUND = re.compile(r"(>=|<)\s*([\w.]+)")
_LEAST_FREE = 2**28  # bytes; a small run leaves some 10 MB, and PyTorch wants its own

# A whole run of some seconds, that needs no download.
_SMOKE = (
    "model.arguments={width=4}",
    "supernet.ratios=[0.5, 1.0]",
    "training.epochs=1",
    "training.policy_options={n_profiles=2}",
    "search.n_trials=10",
    "search.population_size=5",
    "search.min_evaluated=10",
    "finetune.n_subnets=1",
    "finetune.epochs=1",
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: What.
        is_ok: Whether it is as it should be.
        told: What was found.
        fix: What to do, or what could be had; empty if nothing.
    """

    name: str
    is_ok: bool
    told: str
    fix: str = ""


def examine(*, has_smoke: bool = True) -> Iterator[Finding]:
    """Look at the installation, the machine and the current folder, one thing after the other.

    Args:
        has_smoke: Also run a tiny study through all stages, in a temporary folder.

    Yields:
        What was found, as soon as it is known.
    """
    yield from _look_at_packages()
    yield from _look_at_machine()
    yield from _look_at_folder(Path())
    if has_smoke:
        yield from _run_smoke()


def _look_at_packages() -> Iterator[Finding]:
    try:
        about = metadata.metadata(_PACKAGE)
        required = metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        fix = f"pip install -c constraints.txt {_PACKAGE}"
        yield Finding(_PACKAGE, is_ok=False, told="is not installed", fix=fix)
        return
    python, floor = platform.python_version(), about["Requires-Python"] or ""
    is_ok = meets(python, floor)
    yield Finding("python", is_ok, python, "" if is_ok else f"install Python {floor}")
    yield Finding(_PACKAGE, is_ok=True, told=about["Version"])
    extras: dict[str, list[tuple[str, str]]] = {}
    for text in required:
        found = _REQUIREMENT.match(text)
        if found is None:
            continue
        name, bounds, extra = found[1], found[2].strip(" ()"), found[3]
        if extra is None:
            yield _look_at_package(name, bounds)
        else:
            extras.setdefault(extra, []).append((name, bounds))
    for extra, needed in extras.items():
        yield _look_at_extra(extra, needed)


def _look_at_package(name: str, bounds: str) -> Finding:
    fix = f'pip install "{name}{bounds}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, is_ok=False, told="is not installed", fix=fix)
    if meets(version, bounds):
        return Finding(name, is_ok=True, told=version)
    return Finding(name, is_ok=False, told=f"{version}, and {bounds} is needed", fix=fix)


def _look_at_extra(extra: str, needed: list[tuple[str, str]]) -> Finding:
    """Look at what an extra needs; nobody has to have one, but half of one is a mistake."""
    found = [_look_at_package(name, bounds) for name, bounds in needed]
    fix = f'pip install "{_PACKAGE}[{extra}]"'
    name = f"extra [{extra}]"
    there = [each for each in found if each.told != "is not installed"]
    if not there:
        return Finding(name, is_ok=True, told="not installed", fix=fix)
    told = ", ".join(f"{each.name} {each.told}" for each in found)
    is_ok = all(each.is_ok for each in found)
    return Finding(name, is_ok, told, "" if is_ok else fix)


def meets(version: str, bounds: str) -> bool:
    """Say whether a version lies within bounds such as ``>=5.0,<6``; by its numbers alone."""
    number = _to_numbers(version)
    for sense, text in _BOUND.findall(bounds):
        bound = _to_numbers(text)
        n = max(len(number), len(bound))
        ours, theirs = (parts + (0,) * (n - len(parts)) for parts in (number, bound))
        if (ours < theirs) == (sense == ">="):
            return False
    return True


def _to_numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _look_at_machine() -> Iterator[Finding]:
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = ["cpu", *(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(n_cuda))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    yield Finding("devices", is_ok=True, told=", ".join(devices))
    told = f"{torch.get_num_threads()} of PyTorch, {os.cpu_count()} cores"
    yield Finding("threads", is_ok=True, told=told)


def _look_at_folder(folder: Path) -> Iterator[Finding]:
    place = folder.resolve()
    free = shutil.disk_usage(place).free
    fix = "" if free >= _LEAST_FREE else "make room, or work in a folder on another disk"
    yield Finding("disk", free >= _LEAST_FREE, f"{disk_size(free)} free in {place}", fix)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        told = f"cannot be written to ({error.strerror or error})"
        fix = "work in a folder of your own, or give --out with every command"
        yield Finding("folder", is_ok=False, told=f"{place} {told}", fix=fix)
    else:
        yield Finding("folder", is_ok=True, told=f"{place} can be written to")


def _run_smoke() -> Iterator[Finding]:
    """Run the stages of a tiny study one by one; after one that fails there is nothing to run."""
    with tempfile.TemporaryDirectory() as folder:
        for stage in STAGE_NAMES:
            name, start = f"smoke {stage}", time.perf_counter()
            try:
                config = load_study("digits", _SMOKE)
                run_stages(config, Path(folder) / "run", stages=(stage,))
            except Exception as error:  # noqa: BLE001  # whatever it is, it is what was asked for
                told = f"{type(error).__name__}: {shorten(tell_first_line(error), 200)}"
                fix = (
                    "a package may be damaged: pip install --force-reinstall -c constraints.txt ."
                )
                yield Finding(name, is_ok=False, told=told, fix=fix)
                return
            yield Finding(name, is_ok=True, told=seconds(time.perf_counter() - start))
