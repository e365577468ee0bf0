"""Objects by import path: found from the current directory, and every failure named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dpod_search.errors import ConfigError
from dpod_search.imports import call_with
from dpod_search.imports import import_object
from dpod_search.imports import is_import_path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_finds_a_function_and_a_nested_name() -> None:
    assert import_object("json:dumps") is json.dumps
    assert import_object("json.decoder:JSONDecoder.decode") is json.JSONDecoder.decode


def test_finds_a_module_in_the_current_directory_and_restores_the_path(folder: Path) -> None:
    (folder / "beside_the_study.py").write_text("value = 3\n")
    before = list(sys.path)

    assert import_object("beside_the_study:value") == 3
    assert sys.path == before


@pytest.mark.parametrize(
    "path", ["json", "json:", ":dumps", "json.dumps", "a b:c", "a/b.py:c", ""]
)
def test_refuses_another_form(path: str) -> None:
    assert not is_import_path(path)
    with pytest.raises(ConfigError, match=r"package\.module:name"):
        import_object(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module_here:f", "no module 'no_such_module_here'"),
        ("json.no_such_part:f", "no module 'json.no_such_part'"),
        ("json:no_such_name", "json has no 'no_such_name'"),
    ],
)
def test_names_what_is_missing(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        import_object(path)


def test_tells_a_missing_module_from_what_it_needs(folder: Path) -> None:
    (folder / "needs_more.py").write_text("import no_such_dependency\n")

    with pytest.raises(ConfigError, match="needs_more needs 'no_such_dependency'"):
        import_object("needs_more:f")


@pytest.mark.parametrize(("name", "text"), [("raises_a", "1 / 0"), ("raises_b", "def f(:")])
def test_a_module_that_fails_is_one_line(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)
    before = list(sys.path)

    with pytest.raises(ConfigError, match=f"importing {name} failed with") as caught:
        import_object(f"{name}:f")
    assert "\n" not in str(caught.value)
    assert sys.path == before


def test_call_with_passes_arguments() -> None:
    assert call_with(int, {}, name="int") == 0
    assert call_with(lambda *, a, b=2: a + b, {"a": 1}, name="f") == 3


@pytest.mark.parametrize("arguments", [{}, {"a": 1, "c": 2}])
def test_call_with_refuses_arguments_that_do_not_fit(arguments: dict[str, int]) -> None:
    def add(*, a: int, b: int = 2) -> int:
        return a + b

    with pytest.raises(ConfigError, match=r"add cannot be called with .*; it takes a, b"):
        call_with(add, arguments, name="add")


def test_call_with_lets_errors_of_the_function_through() -> None:
    def fail() -> None:
        raise TypeError("its own")

    with pytest.raises(TypeError, match="its own"):
        call_with(fail, {}, name="fail")


def test_call_with_refuses_what_is_not_callable() -> None:
    with pytest.raises(ConfigError, match="f must be callable, got a int"):
        call_with(3, {}, name="f")  # type: ignore[arg-type]


def test_a_module_that_imports_torchvision_plainly_is_imported_where_its_operators_are_missing(
    tmp_path: Path,
) -> None:
    (tmp_path / "plain_user.py").write_text(
        "import torchvision\nf = torchvision.models.resnet18\n"
    )
    code = "from dpod_search.imports import import_object; import_object('plain_user:f')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
