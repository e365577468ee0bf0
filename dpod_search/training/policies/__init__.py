"""Training policies by name. A new one is one file and one line in ``POLICIES``."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from functools import partial
from numbers import Real
from typing import Any
from typing import get_type_hints

from dpod_search.errors import ConfigError
from dpod_search.errors import shorten
from dpod_search.errors import show
from dpod_search.imports import call_with
from dpod_search.imports import import_object
from dpod_search.imports import is_import_path
from dpod_search.own_code import own_code
from dpod_search.training.policies.base import Plan
from dpod_search.training.policies.base import Policy
from dpod_search.training.policies.base import PolicyContext
from dpod_search.training.policies.base import Scorer
from dpod_search.training.policies.delayed import DelayedOptions
from dpod_search.training.policies.delayed import DelayedPolicy
from dpod_search.training.policies.dense import DenseOptions
from dpod_search.training.policies.dense import DensePolicy
from dpod_search.training.policies.dpod import DpodOptions
from dpod_search.training.policies.dpod import DpodPolicy
from dpod_search.training.policies.independent import IndependentOptions
from dpod_search.training.policies.independent import IndependentPolicy
from dpod_search.training.policies.progressive import ProgressiveOptions
from dpod_search.training.policies.progressive import ProgressivePolicy
from dpod_search.training.policies.sandwich import SandwichOptions
from dpod_search.training.policies.sandwich import SandwichPolicy
from dpod_search.training.policies.uniform import UniformOptions
from dpod_search.training.policies.uniform import UniformPolicy


# Makes a policy of the user's own from what it may know, and its options as keywords.
MakePolicy = Callable[..., Policy]

_METHODS = ("begin_step", "path", "plan", "restore", "state")

_NUMBERS = (float, int, int | None)

# Name -> (the policy, its options).
POLICIES: dict[str, tuple[Callable[[PolicyContext, Any], Policy], type[Any]]] = {
    "dpod": (DpodPolicy, DpodOptions),
    "uniform": (UniformPolicy, UniformOptions),
    "independent": (IndependentPolicy, IndependentOptions),
    "sandwich": (SandwichPolicy, SandwichOptions),
    "progressive": (ProgressivePolicy, ProgressiveOptions),
    "delayed": (DelayedPolicy, DelayedOptions),
    "dense": (DensePolicy, DenseOptions),
}


def make_options(name: str, options: Mapping[str, Any]) -> Any:
    """Make the checked options of a policy.

    Args:
        name: A key of ``POLICIES``, or the import path of a policy of the user's own.
        options: Fields of the policy's options; keyword arguments of an imported policy.

    Returns:
        The options; those of an imported policy are checked when it is made.

    Raises:
        ConfigError: If the name or an option is unknown, of another type or out of range.
    """
    if is_import_path(name):
        return dict(options)
    if name not in POLICIES:
        raise ConfigError(
            f"training.policy must be one of {sorted(POLICIES)} or package.module:name, "
            f"got {show(name)}"
        )
    kind = POLICIES[name][1]
    _check_numbers(name, get_type_hints(kind), options)
    try:
        return kind(**options)
    except TypeError as error:
        raise ConfigError(
            f"training.policy_options of {name}: {shorten(str(error), 200)}"
        ) from error


def _check_numbers(name: str, hints: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Check what a comparison with the limits would let pass, or not name."""
    for option, value in options.items():
        wanted = hints.get(option)
        is_bool = isinstance(value, bool)  # to Python, true and false are the numbers 1 and 0
        is_share = wanted is float
        if (is_share and not isinstance(value, Real)) or (is_bool and wanted in _NUMBERS):
            what = "a number" if is_share else "a whole number"
            raise ConfigError(
                f"training.policy_options of {name}: {option} must be {what}, got {show(value)}"
            )


def make_policy(
    policy: str | MakePolicy, options: Mapping[str, Any], context: PolicyContext
) -> Policy:
    """Make a policy.

    Args:
        policy: A key of ``POLICIES``; the import path of a policy's class, as
            ``package.module:name``; or the class itself.
        options: Fields of the policy's options; a class gets them as keyword arguments. (Those of
            ``TrainingSettings`` belong to its ``policy``, and are never given to a class that
            takes its place.)
        context: What it may know.

    Raises:
        ConfigError: If the name or an option is unknown or out of range, or what is made is no
            policy.
    """
    if isinstance(policy, str) and not is_import_path(policy):
        checked = make_options(policy, options)
        return POLICIES[policy][0](context, checked)
    make = import_object(policy) if isinstance(policy, str) else policy
    name = policy if isinstance(policy, str) else getattr(policy, "__name__", repr(policy))
    if not callable(make):
        raise ConfigError(f"policy {name} must be callable, got a {type(make).__name__}")
    with own_code(f"policy {name}", ConfigError):
        made: Policy = call_with(partial(make, context), options, name=f"policy {name}")
    missing = [method for method in _METHODS if not callable(getattr(made, method, None))]
    if missing:
        raise ConfigError(
            f"policy {name} makes a {type(made).__name__} that lacks {', '.join(missing)}; "
            "see docs/training-policies.md"
        )
    return made


__all__ = [
    "POLICIES",
    "DelayedOptions",
    "DelayedPolicy",
    "DenseOptions",
    "DensePolicy",
    "DpodOptions",
    "DpodPolicy",
    "IndependentOptions",
    "IndependentPolicy",
    "MakePolicy",
    "Plan",
    "Policy",
    "PolicyContext",
    "ProgressiveOptions",
    "ProgressivePolicy",
    "SandwichOptions",
    "SandwichPolicy",
    "Scorer",
    "UniformOptions",
    "UniformPolicy",
    "make_options",
    "make_policy",
]
