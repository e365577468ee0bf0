"""Small fits and predictions without what large ones need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import sklearn
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@contextmanager
def small_numerics() -> Iterator[None]:
    """Compute on one thread, and do not check the arguments of scikit-learn, inside the block.

    Matrices this small gain nothing from more threads, and the last bit of a sum must not depend
    on how many cores a machine has. The checks would take longer than the work.
    """
    with (
        _find_libraries().limit(limits=1),
        sklearn.config_context(assume_finite=True, skip_parameter_validation=True),
    ):
        yield


@cache
def _find_libraries() -> ThreadpoolController:
    # Finding the libraries takes milliseconds each time, and they do not change any more.
    return ThreadpoolController()
