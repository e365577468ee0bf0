"""The notes: what a study is, and what each member of its front came to, in Markdown."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from dpod_search.figures.text import find_purpose
from dpod_search.figures.text import percent
from dpod_search.figures.text import spell_budget
from dpod_search.figures.text import tell_unmet
from dpod_search.figures.text import value_of
from dpod_search.markdown import code
from dpod_search.markdown import escape
from dpod_search.markdown import table
from dpod_search.quantities import count
from dpod_search.quantities import label
from dpod_search.quantities import plural
from dpod_search.quantities import quantity
from dpod_search.quantities import size_heading
from dpod_search.quantities import size_of
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.metrics import CLASSIFICATION
from dpod_search.records.trials import Trial
from dpod_search.report import Run


PICTURE = "widths.png"
_GAP = "\u00a0" * 3  # the dashboard's style leaves no room between columns
_PRUNED = (
    "*Pruned* trials were never evaluated: a bound on a footprint or the surrogate ruled them out "
    "(`reason`)."
)
_AIMS = {"maximize": "maximised", "minimize": "minimised"}


@dataclass(frozen=True)
class Places:
    """Where things stand on the dashboard.

    Args:
        study_id: The study's id.
        child_id: The id of the study of the finetuned subnets, or None.
        child_name: Its name.
    """

    study_id: int
    child_id: int | None
    child_name: str

    def trial(self, number: int, shown: str | None = None) -> str:
        """Return a link to a trial of the study."""
        address = f"/dashboard/studies/{self.study_id}/trials?numbers={number}"
        return f"[{escape(shown or str(number))}]({address})"

    def link(self, shown: str) -> str:
        """Return a link to the study."""
        return f"[{escape(shown)}](/dashboard/studies/{self.study_id})"

    @property
    def child(self) -> str:
        """A link to the study of the finetuned subnets."""
        return f"[{escape(self.child_name)}](/dashboard/studies/{self.child_id})"


def write_study_note(run: Run, places: Places, files: Mapping[str, str]) -> str:
    """Write what a study is, how it was made and where its files are.

    Args:
        run: The run.
        places: Where things stand on the dashboard.
        files: The address of each attached file, by its name.
    """
    search = run.search
    aims = [f"{label(o.name)} ({_AIMS[o.direction]})" for o in search.objectives]
    fates = [f"{count(n)} {fate}" for fate, n in search.counts.items() if n]
    is_search = run.oneshot is None
    lines = [
        f"# {escape(search.study)}",
        "",
        _introduce(run, escape(" against ".join(aims))),
        "",
        *table(
            ("", ""),
            [
                *_describe_setting(run),
                ("groups", f"{len(search.groups)}"),
                ("constraints", ", ".join(f"{n} {b}" for n, b in search.constraints.items())),
                ("trials", f"{plural(len(run.trials), 'trial')}: {', '.join(fates)}"),
                (
                    "front as searched" if is_search else "front",
                    plural(len(search.front), "trial"),
                ),
                *_describe_audit(run),
                *_describe_latency(run),
            ],
            gap=_GAP,
        ),
        "",
        "## The front" if is_search else "## The subnets",
        "",
        *_list_members(run, places),
        "",
        "## Where the files are",
        "",
        *_list_files(run, places, files),
        "",
        "## Reading this page",
        "",
        (
            "- A parameter is the number of a rung, 1 the narrowest; the channels are in the user "
            "attribute `widths`."
        ),
        "- What became of a trial is its user attribute `fate`."
        + (" " + _PRUNED if is_search else ""),
    ]
    if search.constraints:
        lines.append(
            "- Trials beyond a constraint are grey, *Infeasible* in the timeline. The list *Best "
            "Trials* of the dashboard takes no heed of constraints; the table above does."
        )
    lines.append("- A trial above has a note and files of its own: follow its number.")
    return "\n".join(lines) + "\n"


def write_trial_note(
    run: Run, trial: Trial, member: Member | None, places: Places, files: Mapping[str, str]
) -> str:
    """Write what a member of the front is and what finetuning made of it.

    Args:
        run: The run.
        trial: The trial.
        member: The trial after finetuning, or None if it was not finetuned.
        places: Where things stand on the dashboard.
        files: The address of each attached file, by its name.
    """
    title = f"# Trial {trial.number}: a member of the front"
    if run.oneshot is not None:
        title = f"# Trial {trial.number}: chosen by {escape(run.oneshot.method)}"
    elif trial.number not in run.search.front:
        title = f"# Trial {trial.number}: " + (
            "the full net" if member is not None and member.is_full else "finetuned"
        )
    lines = [title, "", *_compare(run, trial, member), ""]
    if member is None:
        lines += ["Not among those that were finetuned.", ""]
    elif not member.on_front:
        lines += ["After finetuning another member is as good and smaller, or better.", ""]
    if member is not None and (member.knee or member.budgets):
        reasons = [
            *(["a knee of the front"] if member.knee else []),
            *map(spell_budget, member.budgets),
        ]
        lines += [f"Chosen for: {escape(', '.join(reasons))}.", ""]
    lines += ["## Widths", ""]
    if PICTURE in files:
        lines += [f"![widths]({files[PICTURE]})", ""]
    widths = [
        (code(group.name), count(trial.widths[group.name]), count(group.full))
        for group in run.search.groups
    ]
    lines += table(("group", "width", "of"), widths, gap=_GAP)
    if files:
        lines += ["", "## Files", "", *(f"- [{escape(n)}]({at})" for n, at in files.items())]
    if places.child_id is not None and member is not None:
        lines += ["", f"Its values after finetuning are a trial of {places.child}."]
    return "\n".join(lines) + "\n"


def _introduce(run: Run, aims: str) -> str:
    if run.oneshot is None:
        return (
            f"Channel widths searched for the Pareto front of {aims} by dpod-search, inside one "
            "supernet that was trained once."
        )
    budgets = escape(", ".join(map(spell_budget, run.oneshot.budgets)))
    told = (
        f"Channel widths chosen by {escape(run.oneshot.describe_method())} at "
        f"{plural(len(run.oneshot.budgets), 'budget')} ({budgets}) by dpod-search, without a "
        f"supernet training and without a search. Measured: {aims}."
    )
    unmet = [f"Unmet: {escape(tell_unmet(b, why))}." for b, why in run.oneshot.unmet.items()]
    return " ".join([told, *unmet])


def _describe_setting(run: Run) -> list[tuple[str, str]]:
    if run.config is None:
        return []
    config = tomllib.loads(run.config)
    parts = [(part, str(config.get(part, {}).get("name", "–"))) for part in ("model", "data")]
    purpose = find_purpose(run)
    task = [] if purpose == CLASSIFICATION else [("task", purpose.name)]
    return [*task, *parts, ("seed", str(config.get("seed", "–")))]


def _describe_audit(run: Run) -> list[tuple[str, str]]:
    audit = run.search.audit
    if audit.rate is None or audit.low is None or audit.high is None:
        return []
    told = (
        f"{audit.n_wrong} of {audit.n_audited} audited "
        f"(95 % interval {percent(audit.low, 0)} to {percent(audit.high, 0)})"
    )
    return [("false prunes", told)]


def _describe_latency(run: Run) -> list[tuple[str, str]]:
    if run.latency is None:
        return []
    return [
        ("latency model", run.latency.describe_error()),
        ("latency device", run.latency.describe_device()),
    ]


def _list_members(run: Run, places: Places) -> list[str]:
    objectives = run.search.objectives
    by_number = {trial.number: trial for trial in run.trials}
    tuned = members_by_trial(run)
    numbers = run.search.front if run.oneshot is None else by_number
    chosen = sorted(
        (by_number[number] for number in numbers if "macs" in by_number[number].values),
        key=lambda t: t.values["macs"],
    )
    if not chosen:
        return ["The front is empty."]
    columns = ["trial", *(quantity(o.name) for o in objectives)]
    has_reasons = any(member.knee or member.budgets for member in tuned.values())
    has_clock = any(m.measured_latency_share is not None for m in tuned.values())
    if has_clock:
        columns.append("latency, measured, of full")
    if tuned:
        columns += [
            f"{label(find_purpose(run).first.name)} after finetuning",
            f"test {label(find_purpose(run).first.name)}",
            *(["chosen for"] if has_reasons else []),
        ]
    rows = []
    for trial in chosen:
        row = [places.trial(trial.number)]
        row += [escape(value_of(o.name, trial.values.get(o.name))) for o in objectives]
        member = tuned.get(trial.number)
        if has_clock:
            row.append(_tell_latency(member))
        if tuned:
            cells = (
                ["–", "–", ""]
                if member is None
                else _describe_member(member, find_purpose(run).first.name)
            )
            row += cells if has_reasons else cells[:2]
        rows.append(row)
    return table(columns, rows, is_escaped=True, gap=_GAP)


def _tell_latency(member: Member | None) -> str:
    share = None if member is None else member.measured_latency_share
    return "–" if share is None else percent(share)


def _describe_member(member: Member, name: str) -> list[str]:
    reasons = [
        *(["knee"] if member.knee else []),
        *(escape(spell_budget(budget)) for budget in member.budgets),
    ]
    return [
        value_of(name, member.validation[name]),
        value_of(name, member.test[name]),
        ", ".join(reasons),
    ]


def _list_files(run: Run, places: Places, files: Mapping[str, str]) -> list[str]:
    lines = [f"- run folder: {code(str(run.folder.resolve()))}"]
    lines += [f"- [{escape(name)}]({address})" for name, address in files.items()]
    if "report.html" not in files:
        lines.append("- no report yet: `dpod-search report` writes it")
    if run.exported is not None:
        n_models = plural(len(run.exported), "model")
        lines.append(f"- {n_models} in {code(str(run.folder.resolve() / 'exported'))}")
    if places.child_id is not None:
        lines.append(f"- the finetuned subnets are the trials of the study {places.child}")
    return lines


def _compare(run: Run, trial: Trial, member: Member | None) -> list[str]:
    """Tabulate a subnet beside the full net."""
    full = run.search.of_full
    as_what = "as searched" if run.oneshot is None else "before finetuning"
    rows = []
    for objective in run.search.objectives:
        if objective.name in run.search.footprints:
            continue
        rows.append(
            (
                f"{quantity(objective.name)}, {as_what}",
                value_of(objective.name, trial.values.get(objective.name)),
                value_of(objective.name, full.get(objective.name)),
            )
        )
    if member is not None and run.front is not None:
        rows += _compare_metrics(run, run.front, member)
    for name in run.search.footprints:
        if name in trial.values and full.get(name):
            share = percent(trial.values[name] / full[name])
            size = f"{size_of(name, trial.values[name])} ({share} of the full net's)"
            rows.append((size_heading(name), size, size_of(name, full[name])))
    if member is not None and member.measured_latency_share is not None:
        rows.append(("latency, measured, of full", _tell_latency(member), percent(1.0)))
    return table(("", "this subnet", "full net"), rows, gap=_GAP)


def _compare_metrics(
    run: Run, front: FinetunedFront, member: Member
) -> list[tuple[str, str, str]]:
    rows, full = [], front.full
    searched = {objective.name for objective in run.search.objectives}
    for name in (metric.name for metric in front.task.metrics):
        called = label(name)
        if name not in searched:
            before = value_of(name, member.validation_before[name])
            rows.append((f"{called} before finetuning", before, "–"))
        for heading, of_member, of_full in (
            (f"{called} after finetuning", member.validation, full.validation),
            (f"test {called}", member.test, full.test),
        ):
            rows.append((heading, value_of(name, of_member[name]), value_of(name, of_full[name])))
    return rows


def members_by_trial(run: Run) -> dict[int, Member]:
    """Return the finetuned members that are trials, by their numbers."""
    members = run.front.members if run.front is not None else ()
    return {member.trial: member for member in members if member.trial is not None}
