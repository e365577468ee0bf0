from __future__ import annotations

import json
import traceback

import numpy as np
import pytest
import torch

from dpod_search.data.datasets import InMemoryImages
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.own_code import describe_error
from dpod_search.own_code import find_place
from dpod_search.own_code import is_own
from dpod_search.own_code import own_code


def catch(function, *arguments):
    with pytest.raises(Exception) as caught:  # noqa: PT011  (whatever it is)
        function(*arguments)
    return caught.value


def place_of(error, name):
    (line,) = [c.lineno for c in traceback.extract_tb(error.__traceback__) if c.name == name]
    return f"line {line} of {__file__}"


def read_json():
    json.loads("{")


def multiply():
    torch.nn.Linear(2, 3)(torch.ones(4))


def halve():
    np.split(np.ones(3), 2)


@pytest.mark.parametrize("function", [read_json, multiply, halve])
def test_the_place_is_the_last_line_of_the_users_own(function):
    error = catch(function)
    assert find_place(error) == place_of(error, function.__name__)
    assert is_own(error)


def test_without_one_it_is_that_of_an_installed_package_but_not_of_pytorch():
    def call(function, *arguments):
        error = catch(function, *arguments)
        trace = error.__traceback__
        while trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        return error.with_traceback(trace)

    error = call(np.split, np.ones(3), 2)
    assert "numpy" in find_place(error)
    assert not is_own(error)
    error = call(torch.nn.Linear(2, 3), torch.ones(4))
    assert find_place(error) is None
    assert describe_error(error).startswith("RuntimeError: ")


def test_an_error_is_one_line_of_no_great_length():
    assert describe_error(ValueError("two\n lines")) == "ValueError: two lines"
    assert describe_error(ZeroDivisionError()) == "ZeroDivisionError"
    assert len(describe_error(ValueError("word " * 1000))) < 350


def test_what_is_raised_becomes_one_of_our_errors():
    with pytest.raises(DataError) as caught, own_code("mine:load", DataError):
        read_json()
    place = place_of(caught.value.__cause__, "read_json")
    assert str(caught.value).startswith(f"mine:load raised JSONDecodeError in {place}: ")


@pytest.mark.parametrize("error", [ConfigError("in words of its own"), KeyboardInterrupt()])
def test_our_own_errors_and_interrupts_pass(error):
    with pytest.raises(type(error)) as caught, own_code("mine:load", DataError):
        raise error
    assert caught.value is error


def test_our_own_mistakes_are_not_dressed_up():
    images = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    ours = InMemoryImages(images, torch.zeros(1), peak=1, mean=(0,), std=(1,))
    with pytest.raises(IndexError), own_code("the dataset", DataError, called=ours):
        ours.fetch([3])
