"""What became of a goal, in plain words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpod_search.bounds import split_bounds
from dpod_search.goals import LATENCY
from dpod_search.goals import Goal
from dpod_search.quantities import comparison
from dpod_search.quantities import percent
from dpod_search.quantities import points
from dpod_search.quantities import size_heading
from dpod_search.quantities import size_of
from dpod_search.quantities import spell
from dpod_search.records.exported import FOLDER
from dpod_search.records.exported import ExportedModel
from dpod_search.records.exported import Manifest
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.loading import write_loading
from dpod_search.records.shrink import Shrink
from dpod_search.records.shrink import TriedBudget
from dpod_search.records.training import Training
from dpod_search.report.picks import compute_standard_error
from dpod_search.report.picks import count_validation
from dpod_search.tasks import Metric


_LOADED = ("onnx", "torch_export", "python", "onnx_int8")


@dataclass(frozen=True)
class Shrunk:
    """What a run folder says of its goal.

    Args:
        folder: The run folder.
        record: ``shrink.json``.
        front: ``front.json``.
        model: What was exported for the goal; None of one that is not met.
        n_validation: On how many samples what may be lost was counted; 0 where it is no share of samples.
    """

    folder: Path
    record: Shrink
    front: FinetunedFront
    model: ExportedModel | None
    n_validation: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        files = {n: str(self.folder / f.path) for n, f in self._files.items()}
        return {"folder": str(self.folder), **self.record.to_json(), "files": files}

    def describe(self, goal: Goal) -> list[str]:
        """Say in lines what was reached, of what, and what to do with it.

        Args:
            goal: The goal, its metrics by name.
        """
        if goal.is_front:
            return [f"goal: {goal}: {len(self.front.members)} nets in {self.folder / FOLDER}"]
        record = self.record
        if record.state == "met":
            item = record.find(record.chosen)
            assert item is not None
            lines = [f"goal: {goal}: reached by {_name(item)}", *self._tell(item)]
        else:
            lines = [f"goal: {goal}: not reached", *self._tell_nearest(goal)]
        if self.front.warning is not None:
            lines.append(f"  but {self.front.warning}")
        return [*lines, *self._tell_chance(goal), *self._tell_files()]

    def _tell_chance(self, goal: Goal) -> list[str]:
        """Say where validation is too small for what a goal allows to be lost."""
        aim = self.front.task.metrics[0]
        bound = next((bound for bound in goal.losses if bound.metric == aim.name), None)
        if bound is None or not self.n_validation:
            return []
        of_full = self.front.full.validation[aim.name]
        error = compute_standard_error(of_full, self.n_validation)
        if bound.allow(of_full) >= error:
            return []
        told = (
            f"  validation has {self.n_validation:,} samples: {points(error)} points may be chance"
        )
        return [f"{told}, more than {bound.text} allows; more of them make the choice surer"]

    @property
    def _files(self) -> Mapping[str, Any]:
        return {} if self.model is None else self.model.files

    def _tell_nearest(self, goal: Goal) -> list[str]:
        lines = []
        at_goal = next((item for item in self.record.tried if item.kind == "goal"), None)
        if at_goal is not None:
            lines += [f"  nearest within {at_goal.budget}: {_name(at_goal)}", *self._tell(at_goal)]
        keeps = self.record.find(self.record.chosen)
        if keeps is not None:
            lines += [
                f"  smallest that keeps {_spell_losses(goal)}: {_name(keeps)}",
                *self._tell(keeps),
            ]
        elif goal.losses:
            lines.append(f"  of all that was tried the full net alone keeps {_spell_losses(goal)}")
        lines.append(
            "  nothing was exported; all that was tried is in the report, and "
            f"`dpod-search export --run {shlex.quote(str(self.folder))}` exports it"
        )
        return lines

    def _tell(self, item: TriedBudget) -> list[str]:
        member = self._find(item)
        if member is None:
            reason = self.front.unmet_budgets.get(item.budget, f"{item.budget}: no subnet")
            return [f"    {reason}"]
        return [*_tell_sizes(item, member, self.front), *_tell_losses(member, self.front)]

    def _find(self, item: TriedBudget) -> Member | None:
        return next((m for m in self.front.members if m.folder == item.folder), None)

    def _tell_files(self) -> list[str]:
        if self.model is None:
            return []
        lines = ["files:"]
        for name, file in self.model.files.items():
            if name != "card":
                lines.append(
                    f"  {self.folder / file.path} ({size_of('weight_bytes', file.bytes)} KiB)"
                )
        if self._is_file_larger():
            lines.append("  (a file holds more than the weights, which are what the goal bounds)")
        loadings = write_loading(self.model, self.front.task.name, run=self.folder)
        wanted = [each for form in _LOADED for each in loadings if each.form == form]
        if wanted:
            code = wanted[0].code.splitlines()
            lines += ["load it:", *(f"  {line}" for line in code if line)]
        return lines

    def _is_file_larger(self) -> bool:
        """Say whether a bound on weights could be taken for one that a file is beyond."""
        if self.model is None or "weight_bytes" not in split_bounds(self.record.chosen or ""):
            return False
        sizes = [file.bytes for name, file in self.model.files.items() if name != "card"]
        return max(sizes) > self.model.footprint["weight_bytes"]


def read_shrunk(folder: Path, record: Shrink) -> Shrunk:
    """Read what a run folder says of its goal.

    Args:
        folder: The run folder.
        record: Its ``shrink.json``.
    """
    front = FinetunedFront.read(folder)
    model = None
    item = record.find(record.chosen)
    if record.state == "met" and item is not None:
        models = Manifest.read(folder, FOLDER).models
        member = next(m for m in front.members if m.folder == item.folder)
        model = next(m for m in models if dict(m.widths) == dict(member.widths))
    n_validation = count_validation(front, Training.read_if_there(folder))
    return Shrunk(folder, record, front, model, n_validation)


def describe_tried(item: TriedBudget, goal: Goal, metrics: Sequence[Metric]) -> str:
    """Say in a line what came of a budget.

    Args:
        item: What came of it.
        goal: The goal, its metrics by name.
        metrics: Those of the task; the first is told where the goal speaks of none.
    """
    if item.folder is None:
        return f"{item.budget}: nothing is within it"
    wanted = [bound.metric for bound in goal.losses]
    spoken_of = [metric for metric in metrics if metric.name in wanted] or metrics[:1]
    told = [
        comparison(m.name, item.lost[m.name], is_maximized=m.direction == "maximize")
        for m in spoken_of
    ]
    verdict = "more than the goal allows"
    if item.keeps:
        verdict = "as the goal wants" if wanted else "within its budget"
    if not item.is_within:
        verdict = "but the clock finds it beyond the budget"
    return f"{item.budget}: against the full net {', '.join(told)} on validation, {verdict}"


def _name(item: TriedBudget) -> str:
    return "nothing" if item.folder is None else f"trial {item.folder}"


def _spell_losses(goal: Goal) -> str:
    return ", ".join(bound.text for bound in goal.losses)


def _tell_sizes(item: TriedBudget, member: Member, front: FinetunedFront) -> list[str]:
    bounds = split_bounds(item.budget)
    names = dict.fromkeys([*bounds, "weight_bytes"])
    lines = []
    for name in names:
        full = front.full.footprint[name]
        share = item.shares.get(name, member.footprint[name] / full if full else 1.0)
        heading, how = size_heading(name), ""
        size = f"{size_of(name, member.footprint[name])} of {size_of(name, full)}"
        if name == LATENCY and member.measured_latency_share is None:
            how = " as modelled"
        elif name == LATENCY:  # the share is not that of the two numbers, which no clock gave
            heading, how, size = name, " by the clock", f"the model has {size} ms"
        wanted = f" ({name}{bounds[name]})" if name in bounds else ""
        lines.append(f"    {heading}: {percent(share)} of the full net's{how}{wanted}; {size}")
    return lines


def _tell_losses(member: Member, front: FinetunedFront) -> list[str]:
    lines = []
    for aim in front.task.metrics:
        told = []
        for split, of_full, own in (
            ("validation, which decides", front.full.validation, member.validation),
            ("test", front.full.test, member.test),
        ):
            if aim.name in own and aim.name in of_full:
                values = [spell(aim.name, each[aim.name], 1) for each in (own, of_full)]
                told.append(
                    f"{aim.compare(of_full, own)} ({values[0]}, the full net {values[1]}) on {split}"
                )
        lines.append(f"    {'; '.join(told)}")
    return lines
