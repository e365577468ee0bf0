"""The public names are the documented ones, and importing them changes nothing."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import dpod_search
from dpod_search import errors


ROOT = Path(__file__).resolve().parents[1]

# Runs in a process of its own, because this one has imported torchvision and seeded generators.
IMPORT_AND_TELL = """
import json, logging, os, random, signal, sys, threading
import numpy, rich.console, torch  # Rich numbers its styles with Python's generator at import

def state():
    return {
        "python generator": hash(random.getstate()),
        "numpy generator": numpy.random.get_state()[1].tobytes().hex(),
        "torch generator": torch.get_rng_state().numpy().tobytes().hex(),
        "log handlers": len(logging.getLogger().handlers),
        "log level": logging.getLogger().level,
        "excepthook": str(sys.excepthook),
        "interrupt handler": str(signal.getsignal(signal.SIGINT)),
        "torch threads": torch.get_num_threads(),
        "default dtype": str(torch.get_default_dtype()),
        "python threads": threading.active_count(),
        "environment": dict(os.environ),
        "folder": os.listdir("."),
    }

before = state()
logging_calls = []
logging.basicConfig = lambda **options: logging_calls.append(options)
from dpod_search import *
after = state()
print(json.dumps({
    "changed": sorted(key for key in before if before[key] != after[key]),
    "modules": sorted(sys.modules),
    "logging_calls": len(logging_calls),
}))
"""


HEAVY = {"torch", "torchvision", "optuna", "scipy", "sklearn", "pandas", "plotly", "sqlalchemy"}
LIST_MODULES = """
import contextlib, io, json, sys
import dpod_search
if sys.argv[1:]:
    from dpod_search.cli import main
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""

# Rooms have the names of verbs, and Python binds rooms to their names.
TAKE_VERBS = """
import inspect, sys
import dpod_search.search.study
import dpod_search
from dpod_search import finetune
import dpod_search.finetune.tuning, dpod_search.export.formats
from dpod_search import *
verbs = [dpod_search.search, dpod_search.finetune, dpod_search.export, search, finetune, export]
assert all(map(inspect.isfunction, verbs)), verbs
assert inspect.ismodule(dpod_search.supernet)
"""


def list_public_names(module: ModuleType) -> set[str]:
    """Return the names of a module that are neither private nor sub-modules."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }


def run(program: str, *words: str, cwd: Path | None = None) -> str:
    """Run a program in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a fresh process saw when it imported the package in an empty folder."""
    return dict(json.loads(run(IMPORT_AND_TELL, cwd=tmp_path_factory.mktemp("empty"))))


def test_all_is_exactly_the_public_names() -> None:
    assert all(hasattr(dpod_search, name) for name in dpod_search.__all__)  # used, they are there
    assert set(dpod_search.__all__) - {"__version__"} == list_public_names(dpod_search)


def test_what_completion_offers_is_public() -> None:
    assert dpod_search.search  # that a room is in use does not show
    offered = set(dir(dpod_search))
    assert {name for name in offered if not name.startswith("_")} | {"__version__"} == set(
        dpod_search.__all__
    ) | {"__version__"}
    assert all(
        name.startswith("__") and name.endswith("__") for name in offered - {*dpod_search.__all__}
    )
    assert {"__doc__", "__file__", "__name__", "__path__", "__spec__", "__version__"} <= offered


def test_all_names_nothing_twice() -> None:
    assert len(dpod_search.__all__) == len(set(dpod_search.__all__))


@pytest.mark.parametrize("name", dpod_search.__all__)
def test_public_name_says_what_it_is(name: str) -> None:
    value = getattr(dpod_search, name)

    if callable(value):
        assert inspect.getdoc(value), f"{name} has no docstring"
        assert not re.match(rf"{name}\(", inspect.getdoc(value) or ""), (
            f"{name} has only the docstring that dataclass makes"
        )


def test_every_error_is_public() -> None:
    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.DpodSearchError)
    }

    assert raised <= set(dpod_search.__all__)


@pytest.mark.parametrize("name", sorted(list_public_names(errors)))
def test_every_error_is_also_the_builtin_a_caller_expects(name: str) -> None:
    value = getattr(errors, name)
    is_error = isinstance(value, type) and issubclass(value, errors.DpodSearchError)
    if not is_error or value is errors.DpodSearchError:
        pytest.skip("not a particular error")

    builtin = [base for base in value.__mro__ if base.__module__ == "builtins"]
    assert builtin[0] not in (Exception, BaseException, object)


def test_every_public_name_is_in_the_reference() -> None:
    pages = "\n".join(
        page.read_text(encoding="utf-8") for page in ROOT.glob("docs/reference/*.md")
    )

    documented = set(re.findall(r"^::: dpod_search\.(\w+)$", pages, flags=re.MULTILINE))
    assert documented == set(dpod_search.__all__) - {"__version__"}


def test_importing_changes_no_state(told: dict[str, object]) -> None:
    assert told["changed"] == []
    assert told["logging_calls"] == 0


@pytest.mark.parametrize(
    "library", ["torchvision", "typer", "plotly", "optuna_dashboard", "onnx", "matplotlib"]
)
def test_importing_leaves_heavy_and_optional_libraries_alone(
    told: dict[str, object], library: str
) -> None:
    assert library not in set(
        map(str, told["modules"] if isinstance(told["modules"], list) else [])
    )


@pytest.mark.parametrize("words", [(), ("--help",), ("--version",), ("studies",)], ids=" ".join)
def test_heavy_libraries_are_imported_when_a_name_is_used_or_a_command_runs(
    words: tuple[str, ...],
) -> None:
    assert not HEAVY & set(json.loads(run(LIST_MODULES, *words)))


def test_verbs_are_verbs_whatever_room_is_imported_before_or_after() -> None:
    run(TAKE_VERBS)


def test_type_checkers_are_told_what_is_imported_when_it_is_used() -> None:
    tree = ast.parse(Path(dpod_search.__file__).read_text(encoding="utf-8"))
    told = {
        (node.module, name.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for name in node.names
    }
    assert told == {(f"dpod_search.{room}", name) for name, room in dpod_search._HOMES.items()}


def test_what_is_not_there_is_an_error_as_of_any_module() -> None:
    with pytest.raises(AttributeError, match=r"module 'dpod_search' has no attribute 'serach'"):
        _ = dpod_search.serach
    assert set(dpod_search.__all__) <= set(dir(dpod_search))
