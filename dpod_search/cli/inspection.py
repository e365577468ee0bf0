"""From a supernet to what ``inspect`` shows of it: plain values without tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from dpod_search.footprint import build_footprint
from dpod_search.footprint import list_parts
from dpod_search.footprint import measure_shares
from dpod_search.report.graph import InspectedDimension
from dpod_search.report.graph import InspectedGroup
from dpod_search.report.graph import InspectedOperation
from dpod_search.report.graph import Inspection
from dpod_search.supernet import Grouping
from dpod_search.supernet import Supernet
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import full_size


_MAKERS = ("conv", "linear", "attention")
_OWN = ("module", "parameter")  # operations that a path of the model names


def inspect_supernet(supernet: Supernet, title: str) -> Inspection:
    """Read off a supernet what discovery found in the model.

    Args:
        supernet: The net.
        title: The name of the study or model.

    Returns:
        Groups with what they weigh, frozen dimensions with their reasons, and operations.
    """
    footprint = build_footprint(supernet)
    space, grouping = supernet.space, supernet.grouping
    lines: dict[str, str] = {}
    for operation in grouping.operations:
        if operation.kind in _OWN:
            lines.setdefault(operation.what, operation.line)
    weighed = measure_shares(supernet, footprint)
    return Inspection(
        title=title,
        groups=tuple(
            InspectedGroup(
                name=group.name,
                kind=group.kind,
                full=group.full_width,
                rungs=tuple(rungs),
                members=group.members,
                line=_find_line(lines, (group.name, *group.members)),
                in_layers=asdict(shares.in_layers),
                saves=asdict(shares.saves),
                out_of_order=group.out_of_order,
            )
            for group, rungs, shares in zip(grouping.groups, space.rungs, weighed, strict=True)
        ),
        frozen=tuple(
            InspectedDimension(
                name=item.name,
                full=item.full_width,
                reasons=item.reasons,
                members=item.members,  # the only layer of it that discovery tells
                line=_find_line(lines, item.members),
            )
            for item in grouping.frozen
        ),
        operations=_list_operations(grouping),
        uncounted=grouping.uncounted,
        full=footprint.measure(space.full),
        smallest=footprint.measure(space.smallest),
        n_subnets=space.n_subnets,
    )


def _find_line(lines: dict[str, str], names: Iterable[str]) -> str:
    return next((lines[name] for name in names if lines.get(name)), "")


def _list_operations(grouping: Grouping) -> tuple[InspectedOperation, ...]:
    makers = {plan.name for plan in grouping.layers if plan.kind in _MAKERS}
    costs = _sum_costs(grouping)
    listed: list[InspectedOperation] = []
    for operation in grouping.operations:
        is_own = operation.kind in _OWN
        # A layer that is called twice has one cost, which covers all its calls.
        keys = (operation.name, operation.what) if is_own else (operation.name,)
        found = [costs.pop(key, (0, 0)) for key in keys]
        listed.append(
            InspectedOperation(
                name=operation.name,
                what=operation.what,
                kind=operation.kind,
                inputs=operation.inputs,
                shape=tuple(map(full_size, operation.axes[1:])) if operation.axes else None,
                groups=_find_groups(operation.axes),
                blocks=operation.blocks,
                line=operation.line,
                is_maker=is_own and operation.what in makers,
                macs=sum(macs for macs, _ in found),
                params=sum(params for _, params in found),
            )
        )
    return tuple(listed)


def _sum_costs(grouping: Grouping) -> dict[str, tuple[int, int]]:
    """Return macs and params by the name of an operation, or by the path that it calls."""
    products = {plan.node for plan in grouping.products}
    called = {item.what for item in grouping.operations if item.kind in _OWN}
    costs: dict[str, tuple[int, int]] = {}
    for part in list_parts(grouping):
        name = part.name
        while name not in products and name not in called and "." in name:
            name = name.rpartition(".")[0]  # a layer inside one that is called as a whole
        macs, params = costs.get(name, (0, 0))
        costs[name] = (macs + part.macs, params + part.params)
    return costs


def _find_groups(axes: Iterable[Layout]) -> tuple[int, ...]:
    """Return the groups of the first axis that has any, in the order of its channels."""
    for layout in axes:
        groups = [segment.group for segment in layout if segment.group is not None]
        if groups:
            return tuple(dict.fromkeys(groups))
    return ()
