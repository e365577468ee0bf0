"""The page of ``dpod-search inspect``: the picture, and beside it tables that point into it."""

from __future__ import annotations

from dataclasses import dataclass

from dpod_search.figures.text import join_some
from dpod_search.quantities import count
from dpod_search.quantities import in_percent
from dpod_search.quantities import label
from dpod_search.quantities import plural
from dpod_search.report.graph.boxes import fold
from dpod_search.report.graph.inspection import InspectedGroup
from dpod_search.report.graph.inspection import Inspection
from dpod_search.report.graph.marks import hue
from dpod_search.report.graph.marks import mark_operations
from dpod_search.report.graph.svg import draw_graph
from dpod_search.report.markup import read_asset
from dpod_search.report.markup import write_document


_N_MEMBERS = 12


@dataclass(frozen=True)
class _GroupRow:
    """A row of the table of groups: all of its members, and those told beside its name."""

    name: str
    hue: str
    members: str
    others: str
    out_of_order: tuple[str, ...]
    numbers: tuple[str, ...]


def build_graph_page(inspection: Inspection) -> str:
    """Build the page: one HTML file that needs no network.

    Args:
        inspection: What discovery found in a model.

    Returns:
        The whole HTML file.
    """
    boxes = fold(inspection.operations)
    marks = mark_operations(inspection, boxes)
    return write_document(
        "graph.html",
        title=f"{inspection.title}: channel groups",
        styles=[read_asset("page.css"), read_asset("graph/graph.css")],
        scripts=[read_asset("graph/graph.js")],
        name=inspection.title,
        picture=draw_graph(inspection, boxes, marks),
        summary=_summarize(inspection),
        groups=[_describe(i, group) for i, group in enumerate(inspection.groups)],
        frozen=inspection.frozen,
        uncounted=list(dict.fromkeys(inspection.uncounted)),
    )


def _summarize(inspection: Inspection) -> str:
    less = {"macs": " (without those not counted)"} if inspection.uncounted else {}
    sizes = "; ".join(
        f"{which} net: "
        + ", ".join(
            f"{label(name)} {count(value)}{less.get(name, '')}" for name, value in costs.items()
        )
        for which, costs in (("full", inspection.full), ("smallest", inspection.smallest))
    )
    n_blocks = sum(group.kind == "block" for group in inspection.groups)
    found = f"{plural(len(inspection.groups) - n_blocks, 'channel group')}, "
    found += f"{plural(n_blocks, 'removable block')}, " if n_blocks else ""
    found += plural(len(inspection.frozen), "frozen dimension")
    return f"{found}; {sizes}."


def _describe(number: int, group: InspectedGroup) -> _GroupRow:
    others = join_some([name for name in group.members if name != group.name], _N_MEMBERS)
    shares = [kind[name] for kind in (group.in_layers, group.saves) for name in ("macs", "params")]
    return _GroupRow(
        name=group.name,
        hue=hue(number),
        members=", ".join(group.members),
        others=f"{group.kind}: {others}",
        out_of_order=tuple(group.out_of_order),
        numbers=(f"{group.rungs[0]}", f"{group.full}", *map(in_percent, shares)),
    )
