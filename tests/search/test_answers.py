from __future__ import annotations

import pytest
import torch
from search.fakes import make_space

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import ObjectiveError
from dpod_search.search import Objective
from dpod_search.search import call_objective
from dpod_search.search import to_number


SMALLEST = make_space().smallest


def call(error):
    def fail(_subnet):
        raise error

    return call_objective(Objective("mine", "minimize", fail), None, SMALLEST)


def test_an_answer_is_passed_on():
    objective = Objective("mine", "minimize", lambda subnet: (subnet, 3))
    assert call_objective(objective, "subnet", SMALLEST) == ("subnet", 3)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("two\n lines"), "ValueError in line .*: two lines"),
        (
            FileNotFoundError(2, "No such file", "x.bin"),
            "FileNotFoundError in line .* No such file: 'x",
        ),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_an_error_names_the_objective_and_the_widths(error, words):
    message = rf"^objective mine raised {words}.* \(widths {SMALLEST}\); mend it"
    with pytest.raises(ObjectiveError, match=message) as caught:
        call(error)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [DataError("in words of its own"), KeyboardInterrupt()])
def test_our_own_errors_and_interrupts_pass(error):
    with pytest.raises(type(error)) as caught:
        call(error)
    assert caught.value is error


def test_a_number_is_made_of_what_has_one():
    assert to_number(torch.tensor([2.5]), "mine") == 2.5
    for value in (torch.ones(2), "3", True, None):
        with pytest.raises(ConfigError, match="objective mine must return a number, got"):
            to_number(value, "mine")
