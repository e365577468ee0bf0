"""What is said about each operation: its groups, its frozen dimension, and words for hovering."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass

from dpod_search.figures.text import join_some
from dpod_search.figures.text import percent
from dpod_search.quantities import count
from dpod_search.quantities import plural
from dpod_search.report.graph.boxes import Box
from dpod_search.report.graph.inspection import InspectedOperation
from dpod_search.report.graph.inspection import Inspection


_N_MEMBERS = 12
_N_GROUPS = 2  # that are told with their members
_GOLDEN_ANGLE = 137.508


@dataclass(frozen=True)
class Mark:
    """What belongs to one operation.

    Args:
        makes: Numbers of the groups of its result.
        reads: Numbers of the groups that it is a member of besides.
        blocks: Numbers of the removable blocks that it is in.
        is_frozen: Its result has channels that were to be narrowed and cannot be.
        frozen: Number of the frozen dimension of its result, or None if that is not known.
        freezes: Numbers of the frozen dimensions that are frozen because of it.
    """

    makes: tuple[int, ...]
    reads: tuple[int, ...]
    blocks: tuple[int, ...]
    is_frozen: bool
    frozen: int | None
    freezes: tuple[int, ...]


def mark_operations(inspection: Inspection, boxes: Sequence[Box]) -> dict[int, Mark]:
    """Find what belongs to every operation that is drawn, by its position."""
    groups_of = _index([group.members for group in inspection.groups])
    frozen_of = _index([item.members for item in inspection.frozen])
    found: dict[int, Mark] = {}
    for box in boxes:
        # What is computed from a frozen dimension alone is drawn as it is.
        frozen = _first(found[boxes[source].rows[-1]].frozen for source in box.sources)
        for position in box.rows:
            operation = inspection.operations[position]
            is_own = operation.kind in ("module", "parameter")
            if operation.is_maker or not (is_own or operation.kind in ("function", "method")):
                frozen = None
            if is_own:
                frozen = _first([*frozen_of.get(operation.what, ()), frozen])
            if operation.groups:
                frozen = None
            members = groups_of.get(operation.what, []) if is_own else []
            found[position] = Mark(
                makes=operation.groups,
                reads=tuple(n for n in members if n not in (*operation.groups, *operation.blocks)),
                blocks=operation.blocks,
                # A layer beyond the first of its dimension may not be known by name.
                is_frozen=frozen is not None
                or (operation.is_maker and operation.shape is not None and not operation.groups),
                frozen=frozen,
                freezes=_find_freezes(operation, inspection),
            )
    return found


def _index(members: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """Return by path the numbers of what a layer there, or one below it, is a member of."""
    found: dict[str, list[int]] = {}
    for number, names in enumerate(members):
        for name in names:
            path = name
            while path:
                numbers = found.setdefault(path, [])
                if not numbers or numbers[-1] != number:
                    numbers.append(number)
                path = path.rpartition(".")[0]
    return found


def _first(numbers: Iterable[int | None]) -> int | None:
    return next((number for number in numbers if number is not None), None)


def _find_freezes(operation: InspectedOperation, inspection: Inspection) -> tuple[int, ...]:
    # A reason begins with what froze the dimension: its name, and the line in brackets.
    start = f"{operation.what} ({operation.line})" if operation.line else operation.what
    return tuple(
        number
        for number, item in enumerate(inspection.frozen)
        if any(reason.startswith(start + " ") for reason in item.reasons)
    )


def hue(number: int) -> str:
    """Return the hue of a group in degrees: far from those of its neighbours."""
    return f"{number * _GOLDEN_ANGLE % 360:.0f}"


def describe_shape(operation: InspectedOperation) -> str:
    """Write the shape of a result for one sample, as ``64 × 56 × 56``."""
    return " × ".join(map(str, operation.shape or ()))


def describe_operation(operation: InspectedOperation, mark: Mark, inspection: Inspection) -> str:
    """Say all that is known about an operation, in lines of plain text."""
    lines = [f"{operation.what} ({operation.kind})"]
    if operation.shape:
        lines.append(describe_shape(operation))
    if operation.macs or operation.params:
        shares = [
            f"{name} {count(value)} ({percent(value / max(inspection.full[name], 1))} of the net)"
            for name, value in (("macs", operation.macs), ("params", operation.params))
        ]
        lines.append(", ".join(shares))
    lines += _describe_groups("makes", mark.makes, inspection)
    lines += _describe_groups("reads", mark.reads, inspection)
    lines += _describe_groups("in", mark.blocks, inspection)
    if mark.frozen is not None:
        item = inspection.frozen[mark.frozen]
        wide = "" if item.full is None else f", {item.full} wide"
        lines.append(f"frozen dimension {item.name}{wide}, because")
        lines += [f"  {reason}" for reason in item.reasons]
    elif mark.is_frozen:
        lines.append("keeps its full width")
    if mark.freezes:
        names = [inspection.frozen[n].name for n in mark.freezes]
        lines.append(f"freezes {join_some(names, _N_MEMBERS)}")
    if operation.line:
        lines.append(operation.line)
    return "\n".join(lines)


def _describe_groups(verb: str, numbers: Sequence[int], inspection: Inspection) -> list[str]:
    if len(numbers) <= _N_GROUPS:
        return [f"{verb} {describe_group(number, inspection)}" for number in numbers]
    names = [f"{number + 1} {inspection.groups[number].name}" for number in numbers]
    return [f"{verb} groups {join_some(names, _N_MEMBERS)}"]


def describe_group(number: int, inspection: Inspection) -> str:
    """Say a group's number, name, width, weight and members in one line."""
    group = inspection.groups[number]
    width = "block" if group.kind == "block" else plural(group.full, group.kind.removesuffix("s"))
    return (
        f"group {number + 1} {group.name}: {width}, "
        f"its layers hold {percent(group.in_layers['macs'])} of macs and "
        f"{percent(group.in_layers['params'])} of params; "
        f"members {join_some(group.members, _N_MEMBERS)}"
    )
