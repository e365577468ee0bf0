"""The page of ``dpod-search inspect``: the picture, and beside it tables that point into it."""

from __future__ import annotations

from collections.abc import Mapping

from dpod_search.escaping import escape_html
from dpod_search.quantities import count
from dpod_search.quantities import in_percent
from dpod_search.quantities import label
from dpod_search.quantities import plural
from dpod_search.report.document import read_asset
from dpod_search.report.document import write_document
from dpod_search.report.graph.boxes import fold
from dpod_search.report.graph.inspection import InspectedGroup
from dpod_search.report.graph.inspection import Inspection
from dpod_search.report.graph.marks import hue
from dpod_search.report.graph.marks import mark_operations
from dpod_search.report.graph.svg import draw_graph
from dpod_search.report.markup import paragraph
from dpod_search.report.text import join_some


_N_MEMBERS = 12


def build_graph_page(inspection: Inspection) -> str:
    """Build the page: one HTML file that needs no network.

    Args:
        inspection: What discovery found in a model.

    Returns:
        The whole HTML file.
    """
    boxes = fold(inspection.operations)
    marks = mark_operations(inspection, boxes)
    body = [
        '<main><div id="picture">',
        draw_graph(inspection, boxes, marks),
        '</div><aside aria-label="Groups and frozen dimensions">',
        f"<h1>{escape_html(inspection.title)}</h1>",
        paragraph(_summarize(inspection), kind="summary"),
        _TOOLS,
        _LEGEND,
        '<div id="said" aria-live="polite">Point at a layer, or click it or a table.</div>',
        _show_groups(inspection),
        _show_frozen(inspection),
        _show_uncounted(inspection),
        "</aside></main>",
    ]
    return write_document(
        title=f"{inspection.title}: channel groups",
        style=read_asset("page.css") + read_asset("graph/graph.css"),
        body="\n".join(body),
        scripts=[read_asset("graph/graph.js")],
    )


_TOOLS = """<div class="tools">
<input id="search" type="search" placeholder="Search layers, functions, lines"
 aria-label="Search layers, functions and lines">
<span id="found" role="status"></span>
<span class="zoom"><button type="button" data-zoom="fit">fit</button>
<button type="button" data-zoom="out" aria-label="Smaller">−</button>
<button type="button" data-zoom="in" aria-label="Larger">+</button></span>
</div>"""

_LEGEND = """<ul class="legend">
<li><span class="key"></span> a box: operations that keep their channels; its colour and number
 are those of the channel group it makes</li>
<li><span class="key dashed"></span> dashed: a frozen dimension</li>
<li><span class="key warns"></span> this operation freezes a dimension</li>
</ul>"""


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


def _show_groups(inspection: Inspection) -> str:
    rows = []
    for number, group in enumerate(inspection.groups):
        members = ", ".join(group.members)
        others = join_some([name for name in group.members if name != group.name], _N_MEMBERS)
        numbers = [
            *(f"{group.rungs[0]}", f"{group.full}"),
            *(_write_share(group.in_layers, name) for name in ("macs", "params")),
            *(_write_share(group.saves, name) for name in ("macs", "params")),
        ]
        rows.append(
            f'<tr data-key="g{number}" tabindex="0" title="{escape_html(members)}">'
            f'<td class="number"><span class="chip coloured" style="--h:{hue(number)}">'
            f"{number + 1}</span></td>"
            f'<th scope="row" class="text">{_write_path(group.name)}'
            f'<span class="members">{escape_html(f"{group.kind}: {others}")}'
            f"</span>{_warn_of_order(group)}</th>"
            + "".join(f'<td class="number">{text}</td>' for text in numbers)
            + "</tr>"
        )
    return (
        '<h2>Channel groups</h2><div class="wide"><table id="groups">'
        "<caption>From the first rung to the full width. In its layers: share of the net’s MACs "
        "and parameters, in %, in layers that the group widens or narrows; a layer between two "
        "groups counts for both. Saves: what the first rung of this group alone saves.</caption>"
        '<thead><tr><th rowspan="2"></th><th rowspan="2" class="text">group</th>'
        '<th colspan="2">width</th><th colspan="2">in its layers</th><th colspan="2">saves</th>'
        "</tr><tr>"
        + "".join(
            f'<th scope="col" class="number">{name}</th>'
            for name in ("first", "full", "MACs", "params", "MACs", "params")
        )
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _warn_of_order(group: InspectedGroup) -> str:
    return "".join(
        f'<span class="members">weights not shared in order: {escape_html(reason)}</span>'
        for reason in group.out_of_order
    )


def _write_path(path: str) -> str:
    # It may be long, and breaks best behind a dot.
    return escape_html(path).replace(".", ".<wbr>")


def _write_share(shares: Mapping[str, float], name: str) -> str:
    return in_percent(shares[name])


def _show_frozen(inspection: Inspection) -> str:
    rows = [
        f'<tr data-key="f{number}" tabindex="0"><th scope="row" class="text">'
        f'{_write_path(item.name)}<span class="members">{escape_html(item.line)}</span></th>'
        f'<td class="number">{"" if item.full is None else item.full}</td>'
        f'<td class="text">{"<br>".join(escape_html(reason) for reason in item.reasons)}</td></tr>'
        for number, item in enumerate(inspection.frozen)
    ]
    if not rows:
        return ""
    return (
        '<h2>Frozen dimensions</h2><div class="wide"><table id="frozen">'
        '<thead><tr><th scope="col" class="text">dimension</th><th scope="col" class="number">'
        'full</th><th scope="col" class="text">why</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _show_uncounted(inspection: Inspection) -> str:
    if not inspection.uncounted:
        return ""
    items = "".join(
        f"<li>{escape_html(item)}</li>" for item in dict.fromkeys(inspection.uncounted)
    )
    return f"<h2>MACs not counted</h2><ul>{items}</ul>"
