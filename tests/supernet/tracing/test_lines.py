"""The line of the user's that runs inside a forward."""

from __future__ import annotations

import sys

from dpod_search.supernet.tracing.lines import find_line
from dpod_search.supernet.tracing.lines import is_internal


def forward() -> str:
    return outside()


def outside() -> str:
    return find_line(sys._getframe())


def test_the_innermost_line_inside_a_forward_is_found() -> None:
    line = outside.__code__.co_firstlineno + 1

    assert forward() == f"{__file__}:{line}"


def test_a_line_outside_of_any_forward_is_none_of_the_model() -> None:
    assert not outside()


def test_files_of_pytorch_are_internal() -> None:
    assert is_internal(sys.modules["torch"].__file__ or "")
    assert not is_internal(__file__)
