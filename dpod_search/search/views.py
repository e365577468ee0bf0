"""A front as a figure and as a data frame; both libraries are imported when they are used."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpod_search.errors import ConfigError
from dpod_search.records import search as records
from dpod_search.records.trials import Trial
from dpod_search.search.candidate import Candidate
from dpod_search.search.objectives import MetricValue
from dpod_search.search.objectives import Objective


if TYPE_CHECKING:
    import plotly.graph_objects as go
    from pandas import DataFrame


def plot_front(
    members: Sequence[Candidate],
    objectives: Sequence[Objective],
    full: Mapping[str, float],
    trials: Sequence[Trial] = (),
    *,
    height: int = 560,
) -> go.Figure:
    """Draw the report's figure of a front.

    Args:
        members: Those of the front.
        objectives: What they were chosen by.
        full: What is known of the full net, by name.
        trials: All trials of the search; without them the members are drawn.
        height: In pixels.
    """
    from dpod_search.figures.front import draw_searched
    from dpod_search.figures.searched import Searched

    footprints = tuple(members[0].footprint) if members else ()
    told = [records.Objective(name=o.name, direction=o.direction) for o in objectives]
    found = Searched(
        records.know_footprints(told, footprints),
        footprints,
        full,
        tuple(trials) or tuple(map(_to_trial, members)),
        tuple(member.trial for member in members),
        [o.name for o in objectives if isinstance(o.function, MetricValue)],
    )
    return draw_searched(found, height=height)


def tabulate_members(members: Sequence[Candidate]) -> DataFrame:
    """Return the members of a front as a table.

    Raises:
        ConfigError: If pandas is not installed.
    """
    if importlib.util.find_spec("pandas") is None:
        raise ConfigError(
            'a data frame needs pandas, which is not installed; pip install "dpod-search[pandas]"'
        )
    from pandas import DataFrame

    return DataFrame([_to_row(member) for member in members])


def display_front(html: str, text: str, figure: go.Figure | None) -> None:
    """Show a table and a figure in the output of a notebook's cell.

    A cell's output of its own for each, as a notebook shows the richest form of an output alone,
    and with Plotly's script in it each table would weigh 5 MB.

    Args:
        html: The table.
        text: The same for whoever shows no HTML.
        figure: The figure, which notebooks that know Plotly draw.
    """
    display = importlib.import_module("IPython.display").display
    display({"text/html": html, "text/plain": text}, raw=True)
    if figure is not None:
        drawn = json.loads(figure.to_json())
        bundle = {"application/vnd.plotly.v1+json": drawn, "text/plain": "front.plot()"}
        display(bundle, raw=True)


def _to_row(member: Candidate) -> dict[str, float]:
    widths = {f"width:{name}": width for name, width in member.widths.items()}
    # Footprints last, because Optuna keeps values as floats and footprints are exact.
    return {"trial": member.trial, **member.values, **member.footprint, **widths}


def _to_trial(member: Candidate) -> Trial:
    return Trial(
        number=member.trial,
        fate=records.EVALUATED,
        source="",
        generation=None,
        on_front=True,
        values={**member.footprint, **member.values},
        predicted={},
        reason="",
        seconds=None,
        widths=member.widths,
    )
