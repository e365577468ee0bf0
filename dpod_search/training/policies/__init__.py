"""Training policies by name. A new one is one file and one line in ``POLICIES``."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from dpod_search.errors import ConfigError
from dpod_search.training.policies.base import Plan
from dpod_search.training.policies.base import Policy
from dpod_search.training.policies.base import PolicyContext
from dpod_search.training.policies.base import Scorer
from dpod_search.training.policies.dpod import DpodOptions
from dpod_search.training.policies.dpod import DpodPolicy


# Name -> (the policy, its options).
POLICIES: dict[str, tuple[Callable[[PolicyContext, Any], Policy], type[Any]]] = {
    "dpod": (DpodPolicy, DpodOptions),
}


def make_options(name: str, options: Mapping[str, Any]) -> Any:
    """Make the checked options of a policy.

    Args:
        name: A key of ``POLICIES``.
        options: Fields of the policy's options.

    Raises:
        ConfigError: If the name or an option is unknown or out of range.
    """
    if name not in POLICIES:
        raise ConfigError(f"training.policy must be one of {sorted(POLICIES)}, got {name!r}")
    try:
        return POLICIES[name][1](**options)
    except TypeError as error:
        raise ConfigError(f"training.policy_options of {name}: {error}") from error


def make_policy(name: str, options: Mapping[str, Any], context: PolicyContext) -> Policy:
    """Make a policy by name.

    Args:
        name: A key of ``POLICIES``.
        options: Fields of the policy's options.
        context: What it may know.

    Raises:
        ConfigError: If the name or an option is unknown or out of range.
    """
    checked = make_options(name, options)
    return POLICIES[name][0](context, checked)


__all__ = [
    "POLICIES",
    "DpodOptions",
    "DpodPolicy",
    "Plan",
    "Policy",
    "PolicyContext",
    "Scorer",
    "make_options",
    "make_policy",
]
