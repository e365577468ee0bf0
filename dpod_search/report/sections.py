"""The sections of tables: the fronts, the fates, the exports, the settings."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from dpod_search.figures.text import find_purpose
from dpod_search.figures.text import percent
from dpod_search.figures.text import stage_missing
from dpod_search.figures.text import value_of
from dpod_search.quantities import count
from dpod_search.quantities import kib
from dpod_search.quantities import label
from dpod_search.quantities import quantity
from dpod_search.quantities import size_heading
from dpod_search.quantities import size_of
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.run import Run
from dpod_search.records.search import FATES
from dpod_search.records.trials import Trial
from dpod_search.report.markup import code_block
from dpod_search.report.markup import link
from dpod_search.report.markup import paragraph
from dpod_search.report.markup import table


def _name_columns(front: FinetunedFront) -> list[str]:
    sizes = [size_heading(name) for name in _list_sizes(front)]
    shares = [f"latency of the full net's, {kind}" for kind in _list_latency_shares(front)]
    shares += [quantity(name) for name in front.measured]
    measured = ["validation, before", "validation, after", "test", "against the full net, on test"]
    if _is_foretold(front):
        measured.insert(1, "validation, foretold")
    return ["trial", size_heading("macs"), "of the full net's MACs", *sizes, *shares, *measured]


def _is_foretold(front: FinetunedFront) -> bool:
    return any(member.foretold is not None for member in front.members)


def _spell_foretold(member: Member, name: str) -> str:
    if member.foretold is None:
        return "–"
    middle, low, high = member.foretold
    told = [value_of(name, value, 1) for value in (middle, low, high)]
    return f"{told[0]} ({told[1]} to {told[2]})"


def _list_latency_shares(front: FinetunedFront) -> dict[str, dict[int, float]]:
    """Return the known shares of the full net's latency, by kind and by place of the member."""
    kinds = {
        "modelled": [front.find_latency_share(member) for member in front.members],
        "measured": [member.measured_latency_share for member in front.members],
    }
    known = {
        kind: {i: share for i, share in enumerate(shares) if share is not None}
        for kind, shares in kinds.items()
    }
    return {kind: shares for kind, shares in known.items() if shares}


def _list_sizes(front: FinetunedFront) -> list[str]:
    # The macs stand first, with their share.
    return [name for name in front.footprints if name != "macs"]


def _describe_sizes(
    footprint: Mapping[str, float], macs_share: float, front: FinetunedFront
) -> list[str]:
    sizes = [size_of(name, footprint[name]) for name in _list_sizes(front)]
    return [size_of("macs", footprint["macs"]), percent(macs_share), *sizes]


def _describe_member(place: int, member: Member, front: FinetunedFront) -> list[str]:
    latencies = [shares.get(place) for shares in _list_latency_shares(front).values()]
    aim = front.task.first
    return [
        member.title,
        *_describe_sizes(member.footprint, member.macs_share, front),
        *("–" if share is None else percent(share) for share in latencies),
        *(value_of(name, member.measured.get(name)) for name in front.measured),
        value_of(aim.name, member.validation_before[aim.name]),
        *([_spell_foretold(member, aim.name)] if _is_foretold(front) else []),
        value_of(aim.name, member.validation[aim.name]),
        value_of(aim.name, member.test[aim.name]),
        _compare(member, front),
    ]


def _describe_full(front: FinetunedFront) -> list[str]:
    full = front.full
    sizes = _describe_sizes(full.footprint, 1.0, front)
    sizes += [percent(1.0)] * len(_list_latency_shares(front))
    sizes += [value_of(name, value) for name, value in front.measured.items()]
    name = front.task.first.name
    values = ["–"] * (2 if _is_foretold(front) else 1)
    values += [value_of(name, full.validation[name]), value_of(name, full.test[name])]
    return ["–", *sizes, *values, "–"]


def _compare(member: Member, front: FinetunedFront) -> str:
    return "–" if member.is_full else front.task.first.compare(front.full.test, member.test)


def _tell_place(member: Member) -> str:
    if member.on_front:
        return "yes"
    return "no, beyond a bound" if member.trial is None else "no, dominated"


def show_finetuned(run: Run) -> Markup:
    """Show every finetuned member and the full net."""
    if run.front is None:
        return paragraph(stage_missing("finetune", run), kind="missing")
    rows = [
        [*_describe_member(i, member, run.front), _tell_place(member)]
        for i, member in enumerate(run.front.members)
    ]
    if not any(member.is_full for member in run.front.members):
        rows.append(["full net", *_describe_full(run.front)[1:], ""])
    caption = "The finetuned members of the front and the full net, ascending in MACs."
    on_front = "still on the front"
    if run.oneshot is not None:
        caption = "The finetuned subnets and the full net, ascending in MACs."
        on_front = "on their front"
    if "measured" in _list_latency_shares(run.front):
        caption += " Latency was measured on the subnet cut out, in turn with the full net."
    if _is_foretold(run.front):
        caption += " What is foretold is what the other members let expect, in 80 % of cases."
    caption += f" Validation and test: {label(run.front.task.first.name)}."
    columns = (*_name_columns(run.front), on_front)
    return table(caption, columns, rows, texts=2)


def show_searched(run: Run) -> Markup:
    """Show the front as it was searched, before any finetuning."""
    names = [objective.name for objective in run.search.objectives]
    extra = [name for name in run.search.footprints if name not in names]
    chosen = set(run.search.front)
    # Of a run that did not search every subnet counts, the best or not.
    members = [t for t in run.trials if t.number in chosen or run.oneshot is not None]
    members.sort(key=lambda trial: trial.values.get("macs", 0.0))

    def describe(trial: Trial) -> list[str]:
        values = [value_of(name, trial.values.get(name)) for name in names]
        sizes = [value_of(name, trial.values.get(name)) for name in extra]
        macs = trial.values.get("macs")
        share = "–" if macs is None else percent(macs / run.search.of_full["macs"])
        return [str(trial.number), *values, *sizes, share, trial.source]

    heads = [quantity(name) for name in [*names, *extra]]
    columns = ("trial", *heads, "of the full net's MACs", "proposed by")
    caption = "The front on validation, before finetuning, ascending in MACs."
    if run.oneshot is not None:
        caption = "What was chosen, on validation, before finetuning, ascending in MACs."
    return table(caption, columns, [describe(trial) for trial in members], texts=1)


def show_fates(run: Run) -> Markup:
    """Show what became of the trials, and how often the surrogate was wrong to prune."""
    counts = run.search.counts
    total = max(sum(counts.values()), 1)
    # What only a search does is no news of a run that did not.
    fates = [fate for fate in FATES if run.oneshot is None or counts[fate]]
    rows = [[fate, count(counts[fate]), percent(counts[fate] / total)] for fate in fates]
    limits = [f"{label(name)} {limit}" for name, limit in run.search.constraints.items()]
    told = f"Constraints: {', '.join(limits)}." if limits else "There were no constraints."
    audit = Markup() if run.oneshot is not None else paragraph(_tell_audit(run))
    shown = table("What became of the trials.", ("fate", "trials", "share"), rows)
    return audit + paragraph(told) + shown


def _tell_audit(run: Run) -> str:
    audit = run.search.audit
    if audit.rate is None or audit.low is None or audit.high is None:
        return "No pruned trial was audited, so nothing is known of wrong prunings."
    told = (
        f"Of {audit.n_audited} trials that the surrogate would have pruned but that were "
        f"evaluated all the same, {audit.n_wrong} would have joined the front: a false-prune "
        f"rate of {percent(audit.rate)} (95\u00a0% interval {percent(audit.low)} to "
        f"{percent(audit.high)})."
    )
    if audit.saved is None or audit.saved_low is None or audit.saved_high is None:
        return told
    return (
        f"{told} They are {percent(audit.saved)} of the {audit.n_drawn} trials that were drawn not "
        "to be screened: about that share of evaluations the surrogate saves "
        f"(95\u00a0% interval {percent(audit.saved_low)} to {percent(audit.saved_high)})."
    )


def show_exported(run: Run) -> Markup:
    """Show the exported files and how closely the models agree after loading them again."""
    if run.exported is None:
        return paragraph(stage_missing("export", run), kind="missing")
    name = find_purpose(run).first.name
    rows = [
        [
            "full net" if model.trial is None else str(model.trial),
            kib(file.bytes),
            _show_difference(file.max_difference),
            value_of(name, file.test.get(name)),
            kind,
            link(file.path, file.path),
            f"{file.sha256[:16]}…",
        ]
        for model in run.exported
        for kind, file in model.files.items()
    ]
    columns = ("trial", "KiB", "difference", "test", "form", "file", "SHA-256")
    caption = (
        "Exported models. The difference is the largest between the outputs before and after "
        f"loading again; test is the {label(name)} of the loaded file, where it was measured."
    )
    return table(caption, columns, rows, texts=3)


def _show_difference(difference: float | None) -> str:
    if difference is None:
        return "–"
    return f"{difference:.1e}" if difference else "0"


def show_environment(run: Run) -> Markup:
    """Show versions and machine."""
    if run.environment is None:
        return paragraph("This folder has no environment.json; dpod-search run writes it.")
    return _show_pairs("Where the run was made.", run.environment)


def _show_pairs(caption: str, pairs: Mapping[str, str]) -> Markup:
    return table(caption, ("name", "value"), [[*pair] for pair in pairs.items()], texts=1)


def show_config(run: Run) -> Markup:
    """Show the resolved study file."""
    if run.config is None:
        return paragraph("This folder has no config.toml; dpod-search run writes it.")
    return code_block(run.config)
