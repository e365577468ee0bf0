"""Choosers: widths at a budget without any search, to compare with or to finetune at once.

A new chooser is a function in a file here and one line in the registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dpod_search.errors import check_choice
from dpod_search.oneshot.chains import choose_by_magnitude
from dpod_search.oneshot.chains import choose_by_taylor
from dpod_search.oneshot.chains import choose_uniform
from dpod_search.oneshot.filling import fill
from dpod_search.oneshot.randomly import choose_randomly
from dpod_search.oneshot.request import Chooser
from dpod_search.oneshot.request import OneShotRequest
from dpod_search.oneshot.settings import METHODS
from dpod_search.oneshot.settings import OneShotSettings
from dpod_search.widths import Widths


__all__ = [
    "CHOOSERS",
    "METHODS",
    "Chooser",
    "OneShotRequest",
    "OneShotSettings",
    "choose_widths",
    "fill",
]

CHOOSERS: Mapping[str, Chooser] = MappingProxyType(
    {
        "uniform": choose_uniform,
        "magnitude": choose_by_magnitude,
        "taylor": choose_by_taylor,
        "random": choose_randomly,
    }
)


def choose_widths(method: str, request: OneShotRequest) -> Widths:
    """Choose widths within a budget.

    Args:
        method: A key of ``CHOOSERS``.
        request: The space, the budget, and what is known of the units.

    Raises:
        ConfigError: If the method is unknown, or needs scores that are missing or of other groups.
        InfeasibleError: If nothing that the method can reach is within the budget.
    """
    check_choice("method", method, CHOOSERS)
    return CHOOSERS[method](request)
