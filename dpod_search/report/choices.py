"""The section that says what to pick: a row a budget, the knees, and the full net beside them."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from itertools import groupby
from pathlib import PurePosixPath

from markupsafe import Markup

from dpod_search.figures.text import name_samples
from dpod_search.figures.text import percent
from dpod_search.figures.text import spell_budget
from dpod_search.figures.text import stage_missing
from dpod_search.figures.text import tell_stale
from dpod_search.figures.text import tell_unmet
from dpod_search.figures.text import value_of
from dpod_search.intervals import compute_wilson_interval
from dpod_search.quantities import label
from dpod_search.quantities import loss
from dpod_search.quantities import loss_unit
from dpod_search.quantities import plural
from dpod_search.quantities import quantity
from dpod_search.quantities import short_size_heading
from dpod_search.quantities import size_of
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import FullNet
from dpod_search.records.front import Member
from dpod_search.records.run import Run
from dpod_search.report.latency_section import show_latency_wishes
from dpod_search.report.markup import join
from dpod_search.report.markup import paragraph
from dpod_search.report.markup import table
from dpod_search.report.picks import list_chosen
from dpod_search.report.picks import pick_example
from dpod_search.report.picks import pick_members


def show_picks(run: Run) -> Markup:
    """Show what to pick for each budget, and the full net to compare with."""
    if run.front is None:
        return paragraph(stage_missing("finetune", run), kind="missing")
    front = run.front
    sizes = [name for name in front.footprints if name != "macs"]
    folders = list_folders(run)
    columns = (
        "budget",
        "trial",
        short_size_heading("macs"),
        "of full",
        *map(short_size_heading, sizes),
        *map(quantity, front.measured),
        "validation",
        "test",
        "lost",
        "model",
    )  # fmt: skip  (a table)
    rows = []
    for reason, budget, member in _list_reasons(front):
        if member is None:
            nothing = ["–"] * (len(columns) - 2)
            why = "none is that small" if budget is None else "none was chosen"
            rows.append([reason, *nothing, why])
            continue
        footprint, share = member.footprint, member.macs_share
        cells = _describe(footprint, share, member.measured, member, front)
        rows.append([reason, member.title, *cells, folders.get(member.trial, "not exported")])
    full = _describe(front.full.footprint, 1.0, front.measured, front.full, front)
    rows.append(["full net", "–", *full, ""])
    parts = [table(_caption(run, front), columns, rows, texts=1), _tell_noise(run)]
    if run.oneshot is None:  # else they stand with what was chosen
        parts += [
            paragraph(tell_unmet(budget, why)) for budget, why in front.unmet_budgets.items()
        ]
    parts += [show_latency_wishes(run), _show_stale(run)]
    if run.exported is None:
        parts.append(paragraph(stage_missing("export", run), kind="missing"))
    return join(parts)


def _caption(run: Run, front: FinetunedFront) -> str:
    told, name = "", front.task.first.name
    if front.budgets:
        who = "the search" if run.oneshot is None else run.oneshot.method
        told = f"First your budgets, with the subnet that {who} chose for each. "
    return (
        f"{told}Beside a share of the full net's MACs, the finetuned subnet within it that has the "
        f"best {label(name)} on validation. Lost: {loss_unit(name)} on test against the full net, "
        "finetuned like the others."
    )


def list_folders(run: Run) -> dict[int | None, str]:
    """Return the folder of each exported model, from the run folder, by trial."""
    folders: dict[int | None, str] = {}
    for model in run.exported or ():
        for file in model.files.values():
            folders[model.trial] = f"{PurePosixPath(file.path).parent.as_posix()}/"
    return folders


def _list_reasons(
    front: FinetunedFront,
) -> Iterator[tuple[str, str | None, Member | None]]:
    """List what each row tells, the user's budget if it is one of those, and the member."""
    for chosen in list_chosen(front):
        yield spell_budget(chosen.reason), chosen.reason, chosen.member
    for member in front.members:
        if member.knee:
            yield "no budget: a knee", None, member
    # Budgets with the same answer share a row.
    for member, picks in groupby(pick_members(front), key=lambda pick: pick.member):
        yield f"≤ {', '.join(percent(pick.budget, 0) for pick in picks)}", None, member


def _describe(
    footprint: Mapping[str, float],
    share: float,
    measured: Mapping[str, float | None],
    net: Member | FullNet,
    front: FinetunedFront,
) -> list[str]:
    aim = front.task.first
    return [
        size_of("macs", footprint["macs"]),
        percent(share),
        *(size_of(name, footprint[name]) for name in front.footprints if name != "macs"),
        *(value_of(name, measured.get(name)) for name in front.measured),
        value_of(aim.name, net.validation[aim.name]),
        value_of(aim.name, net.test[aim.name]),
        loss(aim.name, aim.lose(front.full.test, net.test)),
    ]


def _show_stale(run: Run) -> Markup:
    told = tell_stale(run)
    return paragraph(told, kind="missing") if told else Markup()


def _tell_noise(run: Run) -> Markup:
    n_test = run.training.data.sizes.get("test", 0) if run.training else 0
    example = None if run.front is None else pick_example(run.front)
    if run.front is None or example is None or not n_test or not run.front.task.counts_samples:
        return Markup()
    accuracy = example.test[run.front.task.first.name]
    low, high = compute_wilson_interval(accuracy, n_test)
    return paragraph(
        f"On {plural(n_test, f'test {name_samples(run)}')}, a test accuracy of {percent(accuracy)} "
        f"may stand for anything from {percent(low)} to {percent(high)} (95\u00a0% interval): "
        "smaller differences between rows may be chance."
    )
