"""Copies of modules, as ``copy.deepcopy`` makes them, in a fraction of its time.

A module of PyTorch holds a dozen dictionaries and sets, nearly all of them empty, and
``copy.deepcopy`` takes each of them apart. A model is copied for every trial run.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from typing import TypeVar
from typing import cast

from torch import nn


_Module = TypeVar("_Module", bound=nn.Module)
_Method = TypeVar("_Method", bound=Callable[..., Any])
_Memo = dict[int, Any]
# What is never changed in place.
_VALUES = frozenset({type(None), bool, int, float, complex, str, bytes})
_HOLDERS = frozenset({dict, OrderedDict, set, list, tuple})
_TABLES = frozenset({"_modules", "_parameters", "_buffers"})


# Methods by which a class says what copy.deepcopy does of itself.
_REDUCTIONS: set[Any] = {object.__reduce_ex__}


def reduces_to_state(method: _Method) -> _Method:
    """Mark a ``__reduce_ex__`` that makes an empty instance of the class and gives it its state.

    Its class may have a ``__getstate__`` of its own, which is then not asked.
    """
    _REDUCTIONS.add(method)
    return method


def copy_module(module: _Module, memo: _Memo | None = None) -> _Module:
    """Copy a module.

    Args:
        module: Those of its parts whose class says itself how it is copied are left to
            ``copy.deepcopy``.
        memo: As of ``copy.deepcopy``: what is taken for whom, by ids; it is filled.
    """
    memo = {} if memo is None else memo
    if id(module) in memo:
        return cast(_Module, memo[id(module)])
    kind = type(module)
    if not _is_copied_by_state(kind):
        return copy.deepcopy(module, memo)
    made = kind.__new__(kind)
    memo[id(module)] = made
    state: dict[str, Any] = nn.Module.__getstate__(module)  # type: ignore[no-untyped-call]
    copied = {
        name: value if type(value) in _VALUES else copy_attribute(name, value, memo)
        for name, value in state.items()
    }
    made.__setstate__(copied)  # type: ignore[no-untyped-call]
    return made


def copy_attribute(name: str, value: Any, memo: _Memo) -> Any:
    """Copy what a module holds under a name.

    Args:
        name: Of the attribute; tables of parts are known by it.
        value: What is held.
        memo: As of ``copy.deepcopy``.
    """
    if id(value) in memo:
        return memo[id(value)]
    kind = type(value)
    is_empty = kind in _HOLDERS and not value
    if not is_empty and (name not in _TABLES or kind is not dict):
        return copy.deepcopy(value, memo)
    made = memo[id(value)] = kind()
    for key, held in value.items() if name in _TABLES and not is_empty else ():
        if held is None or id(held) in memo:
            made[key] = memo.get(id(held))
        else:
            is_module = isinstance(held, nn.Module)
            made[key] = copy_module(held, memo) if is_module else copy.deepcopy(held, memo)
    return made


def _is_copied_by_state(kind: type[nn.Module]) -> bool:
    """Say whether a class has nothing of its own to say about copies: its attributes are all."""
    return (
        not hasattr(kind, "__deepcopy__")
        and kind.__reduce_ex__ in _REDUCTIONS
        and (kind.__reduce_ex__ is not object.__reduce_ex__ or _is_plain(kind))
        and kind.__new__ is object.__new__
    )


def _is_plain(kind: type[nn.Module]) -> bool:
    return kind.__reduce__ is object.__reduce__ and kind.__getstate__ is nn.Module.__getstate__
