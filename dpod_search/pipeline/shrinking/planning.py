"""A request to shrink a model, understood: the goal, the study that is drafted, and the way."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpod_search.config import StudyConfig
from dpod_search.config.load import make_study
from dpod_search.errors import ConfigError
from dpod_search.files import hash_value
from dpod_search.footprint.metrics import METRICS
from dpod_search.goals import LATENCY
from dpod_search.goals import Goal
from dpod_search.goals import parse_goal
from dpod_search.pipeline.drafting import DraftedSetting
from dpod_search.pipeline.drafting import draft_settings
from dpod_search.pipeline.folder import NOT_TRAINED_FOR
from dpod_search.records.shrink import Way
from dpod_search.training import launched_ranks


# What the goal says, and nothing else may.
_OF_GOAL = frozenset({"oneshot.method", "oneshot.budgets", "finetune.budgets", "export.budgets"})
_CHANNELS = 8  # onnxruntime's convolutions take as many, or twice as many, at a time


@dataclass(frozen=True, kw_only=True)
class ShrinkRequest:
    """What a user gives.

    Args:
        model: A model as studies name it; ``file.py:function`` too.
        data: Data as studies name them; a folder that is there is one of pictures.
        goal: The goal, as it was spelled.
        weights: A file of trained weights, or None.
        formats: Files to export; None leaves that to the study's default.
        sets: Settings that win over what is drafted, as ``--set`` spells them.
        seed: Of everything random, or None.
        latency_table: A table of another device, or None.
        n_jobs: Processes that search and finetune.
    """

    model: str
    data: str
    goal: str
    weights: str | None = None
    formats: tuple[str, ...] | None = None
    sets: tuple[str, ...] = ()
    seed: int | None = None
    latency_table: Path | None = None
    n_jobs: int = 1


@dataclass(frozen=True)
class ShrinkPlan:
    """A request, understood.

    Args:
        goal: The goal, its metrics by name.
        way: How it is reached.
        why: Why so, in words.
        config: The study, without budgets.
        overrides: The settings that it was made of.
        n_jobs: Processes that search and finetune.
        drafted: What was drafted besides model, data and weights, and not set by the user.
    """

    goal: Goal
    way: Way
    why: str
    config: StudyConfig
    overrides: tuple[str, ...]
    n_jobs: int = 1
    drafted: tuple[DraftedSetting, ...] = ()

    def configure(
        self, budgets: Sequence[str], n_doublings: int, exported: Sequence[str] = ()
    ) -> StudyConfig:
        """Return the study at budgets, its finetuning so often doubled."""
        settings = self.config.finetune
        factor = 2**n_doublings
        section = "oneshot" if self.way == "mdp" else "finetune"
        return make_study(
            self.config.name,
            [
                *self.overrides,
                *([f"{section}.budgets={json.dumps(list(budgets))}"] if budgets else []),
                f"finetune.epochs={factor * settings.epochs}",
                f"finetune.max_epochs={factor * settings.max_epochs}",
                *([f"export.budgets={json.dumps(list(exported))}"] if exported else []),
            ],
        )

    @property
    def key(self) -> str:
        """A hash of all that what was tried depends on, besides budgets and doublings.

        What a run folder lets change is left out: a draft says it of the machine as it is, and of
        data that have to be downloaded only until they are there.
        """
        left_out = {"export": None, "logging": None, "threads": None}
        settings = dataclasses.asdict(self.config) | left_out
        for key in NOT_TRAINED_FOR:
            section, _, name = key.removesuffix(":").partition(".")
            del settings[section][name]
        return hash_value({"goal": str(self.goal), "way": self.way, "settings": settings})


def plan_shrinking(request: ShrinkRequest) -> ShrinkPlan:
    """Understand a request: read the goal, draft a study, and choose the way.

    Raises:
        ConfigError: If the goal cannot be read or contradicts itself, or a setting is wrong.
    """
    if not launched_ranks().is_alone:
        raise ConfigError("shrink runs in one process; start it without torchrun")
    goal = parse_goal(request.goal, (*METRICS, LATENCY))
    _check_sets(request.sets)
    drafted = draft_settings(request.model, request.data, request.weights)
    given = [item.override for item in drafted]
    if request.formats is not None:
        given.append(f"export.formats={json.dumps(list(request.formats))}")
    given += request.sets
    if request.seed is not None:
        given.append(f"seed={request.seed}")
    if request.latency_table is not None:
        given.append(f"latency.table={json.dumps(str(request.latency_table))}")
    name = _name_study(next(str(s.value) for s in drafted if s.key == "model.name"))
    config = make_study(name, given)
    goal = goal if goal.is_front else goal.fit(config.task.make().metrics)
    clock = _choose_clock(goal, config, request.sets)
    drafted += clock
    given += [item.override for item in clock]
    way, why = _choose_way(goal, is_trained=config.model.is_trained)
    overrides = (*_aim_search(goal, way, config, request.sets), *given)
    if way == "mdp":
        overrides = (
            'training.policy="dense"',
            "training.policy_options={}",
            *overrides,
            'oneshot.method="mdp"',
            'oneshot.budgets=["macs<=50%"]',  # which the goal's take the place of
        )
    told = {"model.name", "data.name", "model.weights", *map(_name_key, request.sets)}
    return ShrinkPlan(
        goal,
        way,
        why,
        make_study(name, overrides),
        overrides,
        request.n_jobs,
        tuple(item for item in drafted if item.key not in told),
    )


def _name_study(model: str) -> str:
    own = model.rpartition(":")[2].replace("/", "-")
    module = model.partition(":")[0].rpartition(".")[2]
    usual = own in ("make", "build", "create", "model", "get_model", "make_model", "build_model")
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", module if usual else own).strip(".-") or "model"
    return f"{name[:80]}-shrink"


def _check_sets(sets: Sequence[str]) -> None:
    for key in map(_name_key, sets):
        if key in _OF_GOAL:
            raise ConfigError(
                f"--set {key} is what --goal says; put it there, such as latency<=50%"
            )


def _name_key(text: str) -> str:
    return text.partition("=")[0].strip()


def _choose_way(goal: Goal, *, is_trained: bool) -> tuple[Way, str]:
    if goal.is_front:
        return "front", "train and search, for a front is asked for and no budget"
    if is_trained:
        return "mdp", "prune at once, for the weights are trained and one net is asked for"
    return "search", "train and search, for there are no trained weights"


def _choose_clock(
    goal: Goal, config: StudyConfig, sets: Sequence[str]
) -> tuple[DraftedSetting, ...]:
    """Return what is timed where the goal speaks of latency, and the widths that suit it."""
    is_said = "latency.backend" in map(_name_key, sets) or config.latency.table is not None
    if LATENCY not in goal.sizes or is_said:
        return ()
    key = "latency.backend"
    if any(name.startswith("onnx") for name in config.export.formats):
        reason = (
            "It runs the files that are asked for, so its time counts; eager is PyTorch's own."
        )
        clock = DraftedSetting(key, "onnxruntime", reason)
        if "supernet.multiple" in map(_name_key, sets):
            return (clock,)
        reason = (
            "onnxruntime takes longer for other numbers of channels than for the next multiple."
        )
        return (clock, DraftedSetting("supernet.multiple", _CHANNELS, reason))
    reason = "PyTorch's own time counts; with --formats onnx it is that of onnxruntime."
    return (DraftedSetting(key, config.latency.backend, reason),)


def _aim_search(goal: Goal, way: Way, config: StudyConfig, sets: Sequence[str]) -> tuple[str, ...]:
    """Return what is searched for, where neither the user nor a task of their own says it."""
    if way == "mdp" or "search.objectives" in map(_name_key, sets):
        return ()
    size = next(iter(goal.sizes), "macs")
    return (f"search.objectives={json.dumps([config.search.objectives[0], size])}",)
