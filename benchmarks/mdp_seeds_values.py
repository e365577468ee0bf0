"""What the width program may maximise, made of the importance of units: ``mdp_seeds.py``.

- ``kept``: the importance kept, as the paper has it. It is a first-order estimate at the full net,
  so the last unit of a layer is worth no more than any other: at small budgets a layer that is dear
  is cut to its narrowest rung however much hangs on it.
- ``log``: the logarithm of the share of its importance that each layer keeps, all layers alike: the
  product of the shares is largest. What passes through a chain of layers is lost by factors and
  not by amounts; so halving a layer costs the same whatever its width, and the last units of a layer
  are dear. A removed layer counts as half a unit of its width.
- ``log of width``: the same with every unit of a layer equally important, hence without any
  measurement: what the budget and the shape of the net alone say.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from dpod_search.importance import UnitImportance
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm
from dpod_search.widths import WidthSpace


def value_kept(importance: UnitImportance, space: WidthSpace) -> TableSum:
    """Return the importance kept."""
    return importance.tabulate(space)


def value_log(importance: UnitImportance, space: WidthSpace) -> TableSum:
    """Return the sum over layers of the logarithm of the share kept, above that of half a unit."""
    terms = []
    for layer in importance.layers:
        total = float(layer.scores.sum())
        if total > 0:
            least = 0.5 / len(layer.scores)
            kept = np.cumsum(layer.scores)[np.array(space.rungs[layer.group]) - 1] / total
            table = np.log(np.maximum(kept, least) / least)
            terms.append(TableTerm((layer.group,), table, tuple(sorted(layer.blocks))))
    return TableSum.of(terms)


def value_log_width(importance: UnitImportance, space: WidthSpace) -> TableSum:
    """Return the same as if all units of a layer were equally important."""
    alike = (replace(layer, scores=np.ones_like(layer.scores)) for layer in importance.layers)
    return value_log(replace(importance, layers=tuple(alike)), space)


VALUES: Mapping[str, Callable[[UnitImportance, WidthSpace], TableSum]] = MappingProxyType(
    {"kept": value_kept, "log": value_log, "log of width": value_log_width}
)
