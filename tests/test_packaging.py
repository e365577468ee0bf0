"""The distribution carries what it must, and its files agree about versions."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version


ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def normalize(name: str) -> str:
    """Return the one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """Return the name of the distribution that a requirement asks for."""
    return normalize(re.split(r"[\s\[<>=!~;(]", requirement, maxsplit=1)[0])


def read_constraints(name: str = "constraints.txt") -> dict[str, str]:
    """Return the tested version of every distribution."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normalize(name): version for name, version in pairs}


def list_group(name: str) -> list[str]:
    """Return the requirements of a dependency group, with those it includes."""
    found = []
    for entry in PYPROJECT["dependency-groups"][name]:
        found += [entry] if isinstance(entry, str) else list_group(entry["include-group"])
    return found


def list_requirements() -> list[str]:
    """Return everything that pyproject.toml asks for anywhere."""
    project = PYPROJECT["project"]
    extras = project.get("optional-dependencies", {}).values()
    return [
        *PYPROJECT["build-system"]["requires"],
        *project["dependencies"],
        *(requirement for extra in extras for requirement in extra),
        *(
            requirement
            for group in PYPROJECT["dependency-groups"]
            for requirement in list_group(group)
        ),
    ]


@pytest.mark.parametrize("requirement", sorted(set(list_requirements())))
def test_every_requirement_has_a_tested_version(requirement: str) -> None:
    assert name_of(requirement) in read_constraints()


def list_imported_libraries() -> set[str]:
    """Return the top-level names of other libraries that the package imports anywhere."""
    found: set[str] = set()
    for file in (ROOT / "dpod_search").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"dpod_search"}


def test_every_import_is_a_declared_dependency() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    required = [
        *PYPROJECT["project"]["dependencies"],
        *(line for extra in extras for line in extra),
    ]
    declared = {name_of(requirement) for requirement in required}
    providers = metadata.packages_distributions()

    undeclared = {
        library
        for library in list_imported_libraries()
        if not declared & {normalize(name) for name in providers.get(library, [library])}
    }
    assert undeclared == set()


@pytest.fixture(autouse=True)
def without_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look past setuptools' copies of others, on the path since PyTorch's compiler imported it."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p).name != "_vendor"])


def find_differing(constraints: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return what is installed in another version than constrained."""
    installed = {
        normalize(entry.name): entry.version.split("+")[0] for entry in metadata.distributions()
    }
    return {
        name: (version, constraints[name])
        for name, version in installed.items()
        if name in constraints and version != constraints[name]
    }


def test_what_is_installed_is_what_is_constrained() -> None:
    files = ("constraints.txt", "constraints-lowest.txt")
    assert min((find_differing(read_constraints(name)) for name in files), key=len) == {}


def test_the_page_on_installing_has_every_extra() -> None:
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([a-z]+)`", row)}
    assert told == {*PYPROJECT["project"]["optional-dependencies"]}


# What no index has an old release of for processors alone.
NOT_LOWEST = {"torch", "torchvision"}


def list_floors() -> dict[str, str]:
    """Return the oldest version of each dependency that pyproject.toml allows."""
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    required = [
        *PYPROJECT["project"]["dependencies"],
        *(line for extra in extras for line in extra),
    ]
    return {
        name_of(line): line.split(">=")[1].split(",")[0]
        for line in required
        if name_of(line) not in NOT_LOWEST
    }


@pytest.mark.parametrize(("name", "floor"), list_floors().items())
def test_the_lowest_versions_are_the_floors(name: str, floor: str) -> None:
    assert Version(read_constraints("constraints-lowest.txt")[name]) == Version(floor)


@pytest.mark.parametrize("name", sorted(NOT_LOWEST))
def test_where_no_old_release_can_be_had_the_tested_one_stands_in(name: str) -> None:
    assert read_constraints("constraints-lowest.txt")[name] == read_constraints()[name]


# What builds of PyTorch for CUDA bring besides; those for processors alone are tested.
OF_CUDA = ("nvidia-", "cuda-", "triton")


def test_installed_dependencies_are_all_constrained() -> None:
    constraints = read_constraints() | read_constraints("constraints-lowest.txt")
    missing, seen, queue = set(), set(), ["dpod-search"]
    while queue:
        name = queue.pop()
        seen.add(name)
        needed = {
            name_of(line) for line in metadata.requires(name) or [] if "extra ==" not in line
        }
        for dependency in sorted(needed - seen):
            try:
                metadata.version(dependency)
            except metadata.PackageNotFoundError:
                continue  # for another platform or Python
            if dependency.startswith(OF_CUDA):
                continue
            missing |= {dependency} - set(constraints)
            queue.append(dependency)

    assert missing == set()


def test_pre_commit_runs_the_constrained_tools() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    constraints = read_constraints()

    pins = re.findall(r"additional_dependencies: \[([\w-]+)==([\w.]+)\]", text)
    assert len(pins) == text.count("additional_dependencies")
    assert all(constraints[name] == version for name, version in pins)


def test_version_is_the_same_everywhere() -> None:
    version = PYPROJECT["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert metadata.version("dpod-search") == version
    assert f"## [{version}]" in changelog


def test_command_is_installed() -> None:
    (command,) = (
        entry
        for entry in metadata.entry_points(group="console_scripts")
        if entry.name == "dpod-search"
    )

    assert callable(command.load())


def test_wheel_carries_types_studies_and_licence_but_no_tests() -> None:
    files = {str(file) for file in metadata.files("dpod-search") or []}
    if "dpod_search/__init__.py" not in files:
        pytest.skip("installed in place; tox tests the wheel")

    assert "dpod_search/py.typed" in files
    studies = {f"dpod_search/studies/{study.name}" for study in ROOT.glob("studies/*.toml")}
    assert studies
    assert studies <= files
    assert any(file.endswith("licenses/LICENSE") for file in files)
    assert not any(file.startswith(("tests/", "docs/", "studies/")) for file in files)


def test_classifiers_name_this_python() -> None:
    version = (
        f"Programming Language :: Python :: {sys.version_info.major}.{sys.version_info.minor}"
    )

    assert version in PYPROJECT["project"]["classifiers"]


def test_readme_and_ci_give_the_same_command() -> None:
    command = "python -m pip install tox && tox"

    assert command in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
