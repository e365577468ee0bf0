"""The section that says what to pick: a row a budget, the knees, and the full net beside them."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath

from markupsafe import Markup
from markupsafe import escape

from dpod_search.figures.text import name_samples
from dpod_search.figures.text import percent
from dpod_search.figures.text import spell_budget
from dpod_search.figures.text import stage_missing
from dpod_search.figures.text import tell_stale
from dpod_search.figures.text import tell_unmet
from dpod_search.figures.text import value_of
from dpod_search.intervals import compute_wilson_interval
from dpod_search.quantities import count
from dpod_search.quantities import label
from dpod_search.quantities import plural
from dpod_search.quantities import quantity
from dpod_search.quantities import short_size_heading
from dpod_search.quantities import size_of
from dpod_search.records.exported import ExportedModel
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import FullNet
from dpod_search.records.front import Member
from dpod_search.records.loading import write_loading
from dpod_search.records.run import Run
from dpod_search.report.latency_section import show_latency_wishes
from dpod_search.report.markup import code_block
from dpod_search.report.markup import join
from dpod_search.report.markup import link
from dpod_search.report.markup import paragraph
from dpod_search.report.markup import table
from dpod_search.report.picks import count_validation
from dpod_search.report.picks import find_cheaper
from dpod_search.report.picks import find_cheaper_within
from dpod_search.report.picks import list_chosen
from dpod_search.report.picks import list_costs
from dpod_search.report.picks import pick_example
from dpod_search.report.picks import pick_members


def show_picks(run: Run) -> Markup:
    """Show what to pick for each budget, and the full net to compare with."""
    if run.front is None:
        return paragraph(stage_missing("finetune", run), kind="missing")
    front, n_samples = run.front, count_validation(run.front, run.training)
    exported = {model.trial: model for model in run.exported or ()}
    costs = list_costs(front, [*run.search.constraints, *(o.name for o in run.search.objectives)])
    columns = _name_columns(front, costs)
    rows = []
    for row in _list_rows(front, n_samples):
        member = row.member
        if member is None:
            nothing = ["–"] * (len(columns) - 2)
            rows.append([row.reason, *nothing, row.missing])
            continue
        cells = _describe(
            member.footprint, member.macs_share, member.measured, member, front, costs=costs
        )
        model = exported.get(member.trial)
        rows.append([row.reason, member.title, *cells, _link_folder(model)])
    full = _describe(front.full.footprint, 1.0, front.measured, front.full, front, costs=costs)
    rows.append(["full net", "–", *full, _link_folder(_find_full(run))])
    parts = [
        table(_caption(run, front, n_samples), columns, rows, texts=2),
        _tell_noise(run, n_samples),
    ]
    if run.oneshot is None:  # else they stand with what was chosen
        parts += [
            paragraph(tell_unmet(budget, why)) for budget, why in front.unmet_budgets.items()
        ]
    parts += [show_latency_wishes(run), _show_stale(run)]
    if run.exported is None:
        parts.append(paragraph(stage_missing("export", run), kind="missing"))
    else:
        parts.append(_show_loading(run, front, n_samples))
    return join(parts)


def _name_columns(front: FinetunedFront, costs: Sequence[str]) -> list[str]:
    name = label(front.task.first.name)
    return [
        "budget",
        "trial",
        short_size_heading("macs"),
        "of the full net's MACs",
        *(short_size_heading(size) for size in costs),
        *(["latency, measured, of the full net's"] if _has_clock(front) else []),
        *map(quantity, front.measured),
        f"{name}, validation",
        f"{name}, test",
        "against the full net, on test",
        "model",
    ]


def _has_clock(front: FinetunedFront) -> bool:
    return any(member.measured_latency_share is not None for member in front.members)


def _caption(run: Run, front: FinetunedFront, n_samples: int) -> str:
    told, name = "", label(front.task.first.name)
    if front.budgets:
        who = "the search" if run.oneshot is None else run.oneshot.method
        told = f"First your budgets, with the subnet that {who} chose for each. "
    return (
        f"{told}Beside a share of the full net's MACs, the cheapest finetuned subnet within it that "
        f"is as good as the best one within it: {_tell_rule(name, n_samples)} The full net is "
        "finetuned like the others."
    )


def _tell_rule(name: str, n_samples: int) -> str:
    if not n_samples:
        return f"its {name} on validation is no worse, as no standard error of it is known."
    return (
        f"its {name} on validation is within one standard error of it, which is all that "
        f"{count(n_samples)} samples can tell."
    )


def _link_folder(model: ExportedModel | None) -> str:
    """Link the folder of an exported model, from the report's place in the run folder."""
    if model is None or not model.files:
        return "not exported"
    file = next(iter(model.files.values()))
    folder = f"{PurePosixPath(file.path).parent.as_posix()}/"
    return link(folder, folder)


def _find_full(run: Run) -> ExportedModel | None:
    widest = {group.name: group.full for group in run.search.groups}
    return next((m for m in run.exported or () if dict(m.widths) == widest), None)


@dataclass(frozen=True)
class _Row:
    """A row of what to pick: what for, which member, and what stands in its place if none is."""

    reason: str
    member: Member | None
    missing: str = "none is that small"


def _list_rows(front: FinetunedFront, n_samples: int) -> Iterator[_Row]:
    """List what each row tells; below what was chosen stands what is cheaper and as good."""
    for chosen in list_chosen(front):
        yield _Row(spell_budget(chosen.reason), chosen.member, "none was chosen")
        if chosen.member is not None:
            better = find_cheaper_within(chosen.reason, chosen.member, front, n_samples)
            if better is not None:
                yield _Row("better: as good, and cheaper", better)
    for member in front.members:
        if member.knee:
            better = find_cheaper(member, front, n_samples)
            yield _Row(
                f"no budget: {'a' if better is None else 'as good as the'} knee", better or member
            )
    # Budgets with the same answer share a row.
    for member, picks in groupby(pick_members(front, n_samples), key=lambda pick: pick.member):
        shares = ", ".join(percent(pick.budget, 0) for pick in picks)
        yield _Row(f"≤ {shares} of the full net's MACs", member)


def _describe(
    footprint: Mapping[str, float],
    share: float,
    measured: Mapping[str, float | None],
    net: Member | FullNet,
    front: FinetunedFront,
    *,
    costs: Sequence[str],
) -> list[str]:
    aim = front.task.first
    clock = net.measured_latency_share if isinstance(net, Member) else 1.0
    compared = "–"
    if isinstance(net, Member) and not net.is_full:
        compared = aim.compare(front.full.test, net.test)
    return [
        size_of("macs", footprint["macs"]),
        percent(share),
        *(size_of(name, footprint[name]) for name in costs),
        *(["–" if clock is None else percent(clock)] if _has_clock(front) else []),
        *(value_of(name, measured.get(name)) for name in front.measured),
        value_of(aim.name, net.validation[aim.name]),
        value_of(aim.name, net.test[aim.name]),
        compared,
    ]


def _show_loading(run: Run, front: FinetunedFront, n_samples: int) -> Markup:
    """Show the code that loads the summary's example, if it was exported."""
    example = pick_example(front, n_samples)
    models = {model.trial: model for model in run.exported or ()}
    model = models.get(example.trial) if example is not None else None
    loadings = () if model is None else write_loading(model, front.task.name, run=PurePosixPath())
    if model is None or not loadings:
        return Markup()
    told = f"This loads trial {model.trial}, run in the folder that this page lies in."
    if "card" not in model.files:
        return join([paragraph(told), code_block(loadings[0].code)])
    card = link(model.files["card"].path, "model card")
    more = Markup(" What goes into it, and how to load its other forms, its {} says.").format(card)
    return join([paragraph(escape(told) + more), code_block(loadings[0].code)])


def _show_stale(run: Run) -> Markup:
    told = tell_stale(run)
    return paragraph(told, kind="missing") if told else Markup()


def _tell_noise(run: Run, n_samples: int) -> Markup:
    n_test = run.training.data.sizes.get("test", 0) if run.training else 0
    example = None if run.front is None else pick_example(run.front, n_samples)
    if run.front is None or example is None or not n_test or not run.front.task.counts_samples:
        return Markup()
    name = run.front.task.first.name
    share = example.test[name]
    low, high = compute_wilson_interval(share, n_test)
    return paragraph(
        f"On {plural(n_test, f'test {name_samples(run)}')}, a test {label(name)} of {percent(share)} "
        f"may stand for anything from {percent(low)} to {percent(high)} (95\u00a0% interval): "
        "smaller differences between rows may be chance."
    )
