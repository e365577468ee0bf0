"""Optuna without its remarks on the terminal, for the length of a block."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's notes and its warnings that a feature is experimental.

    Used around the few calls that need it (metric names, for instance), so that what a user
    has chosen to see of Optuna stays as it is everywhere else.
    """
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
