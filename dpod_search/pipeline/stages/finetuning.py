"""The third stage: finetune the chosen subnets, several at a time, then test them all, once."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpod_search.errors import CheckpointError
from dpod_search.files import hash_file
from dpod_search.files import hash_value
from dpod_search.files import whole_folder
from dpod_search.finetune import FinetuneContext
from dpod_search.finetune import FinetunedSubnet
from dpod_search.finetune import FinetuneJob
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import list_levels
from dpod_search.finetune import make_teacher
from dpod_search.finetune import plan_parents
from dpod_search.finetune import prepare_finetuning
from dpod_search.finetune import run_jobs
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import searching
from dpod_search.pipeline.stages.choosing import ChosenSubnet
from dpod_search.pipeline.stages.choosing import choose_subnets
from dpod_search.pipeline.stages.delivering import check_searched
from dpod_search.pipeline.stages.delivering import read_finetuned
from dpod_search.pipeline.stages.delivering import score_subnets
from dpod_search.pipeline.stages.purpose import check_finite
from dpod_search.records.finetuned import Finetuned
from dpod_search.records.front import FinetunedFront
from dpod_search.records.oneshot import OneShot
from dpod_search.records.record import locate
from dpod_search.records.training import list_steps
from dpod_search.search import name_finetune_study
from dpod_search.search import record_finetuned
from dpod_search.search.store.status import count_trials
from dpod_search.supernet import Subnet
from dpod_search.training import CheckpointFile
from dpod_search.weights import save_weights


_logger = logging.getLogger(__name__)

_WEIGHTS = "model.safetensors"


def describe_inputs(session: Session) -> dict[str, Any]:
    """Return all that the finetuned subnets depend on."""
    settings = {
        **dataclasses.asdict(session.config.finetune),
        "checkpoint_seconds": FinetuneSettings().checkpoint_seconds,  # changes no weight
    }
    if settings["tuner"] is None:  # folders of before there were tuners are done still
        del settings["tuner"]
    return {
        "search": session.folder.require_hash("search.json", "search"),
        "supernet": session.weights,
        "data": session.data.fingerprint,
        "finetune": settings,
        **session.describe_task(),
        **session.describe_latency(),
        **_describe_choices(session),
    }


def _describe_choices(session: Session) -> dict[str, str]:
    # The trials of other budgets stay in the study, so it does not tell which are chosen now.
    if not session.config.oneshot.method:
        return {}
    return {"choices": session.folder.require_hash(OneShot.FILE, "search")}


def run(session: Session, inputs: Mapping[str, Any]) -> list[str]:
    """Finetune what is not finetuned yet, test everything, write the front."""
    session.folder.require_stage("search", searching.describe_inputs(session))
    searching.require_trials(session)
    search = searching.read_search(session)
    choice = choose_subnets(session, search, searching.read_trials(session, search))
    for reason in choice.unmet.values():
        _logger.warning("finetune: %s", reason)
    chosen = choice.subnets
    levels = _link(session, chosen, inputs)
    rest = [[link for link in level if not _is_finetuned(session.path, link)] for level in levels]
    n_left = sum(map(len, rest))
    session.progress.start("finetune", len(chosen))
    if n_left < len(chosen):
        session.progress.advance(len(chosen) - n_left, "done before")
    if n_left > 0:
        context = _make_context(session)
        for links in rest:
            jobs = _prepare_all(session, context, links)
            done = run_jobs(
                jobs,
                n_jobs=session.n_jobs,
                n_threads=session.n_threads,
                names=[link.item.name for link in links],
                callbacks=session.callbacks,
            )
            for number, tuned in done:
                _keep(session, links[number], tuned)
                session.progress.advance(1, f"trial {links[number].item.name}")
    session.progress.finish()
    outputs = [
        f"finetuned/{item.name}/{file}" for item in chosen for file in (_WEIGHTS, Finetuned.FILE)
    ]
    front = score_subnets(session, choice)
    if front.warning is not None:
        _logger.warning("finetune: %s", front.warning)
    record_finetuned(
        session.config.name,
        session.study_storage,
        {m.trial: m.values_after for m in front.members if m.trial is not None},
    )
    front.write(session.path)
    return [*outputs, front.FILE]


def has_children(session: Session) -> bool:
    """Say whether the child study still has the trials that the ended finetuning left there."""
    session.folder.require(FinetunedFront.FILE, "finetune")
    front = FinetunedFront.read(session.path)
    name = name_finetune_study(session.config.name)
    counts = count_trials(name, session.study_storage)
    n_expected = sum(member.trial is not None for member in front.members)
    return counts.get("complete", 0) >= n_expected


@dataclass(frozen=True)
class _Link:
    """A subnet to finetune.

    Args:
        item: The subnet.
        key: The hash of all that its weights depend on.
        parent: What it is cut from, if not from the supernet.
    """

    item: ChosenSubnet
    key: str
    parent: _Link | None


def _link(
    session: Session, chosen: Sequence[ChosenSubnet], inputs: Mapping[str, Any]
) -> list[list[_Link]]:
    """Return subnets in levels: those of one need nothing but the levels before."""
    supernet = session.blank_supernet
    subnets = [Subnet(supernet, item.widths) for item in chosen]
    parents = plan_parents(subnets, session.config.finetune)
    found: dict[int | None, _Link] = {}
    levels = list_levels(parents)
    for place in itertools.chain.from_iterable(levels):
        parent = found.get(parents[place])
        key = _find_key(inputs, chosen[place], session.seed, parent)
        found[place] = _Link(chosen[place], key, parent)
    return [[found[place] for place in level] for level in levels]


def _find_key(
    inputs: Mapping[str, Any], item: ChosenSubnet, seed: int, parent: _Link | None
) -> str:
    """Return the hash of all that a finetuned subnet depends on."""
    # How the subnets were chosen does not matter to one of them.
    inputs = {name: value for name, value in inputs.items() if name not in ("latency", "choices")}
    settings = {name: v for name, v in inputs["finetune"].items() if name != "budgets"}
    return hash_value(
        {
            **inputs,
            "search": None,  # which others were found does not matter to this one
            "finetune": {**settings, "n_subnets": None},
            "widths": dict(item.widths),
            "parent": None if parent is None else parent.key,
            "seed": seed,
        }
    )


def _checkpoint_of(session: Session, link: _Link) -> CheckpointFile:
    return CheckpointFile(
        session.path / "finetuned" / f".{link.item.name}.checkpoint.safetensors",
        key=link.key,
        every_seconds=session.config.finetune.checkpoint_seconds,
    )


def _make_context(session: Session) -> FinetuneContext:
    """Gather what all have in common, one teacher too."""
    settings = session.config.finetune
    loader = session.training_loader(settings.batch_size)
    return FinetuneContext(
        loader,
        session.validation_batches,
        session.calibration_images,
        session.config.evaluation.batch_size,
        settings,
        session.seed,
        make_teacher(session.supernet, loader, settings, task=session.task),
        session.config.evaluation.repair,
        session.task,
    )


def _prepare_all(
    session: Session, context: FinetuneContext, links: Sequence[_Link]
) -> Iterator[FinetuneJob]:
    for link in links:
        job = prepare_finetuning(
            Subnet(session.supernet, link.item.widths),
            context,
            _checkpoint_of(session, link),
            parent=None if link.parent is None else _read(session, link.parent),
        )
        check_searched(session, link.item, job.start.metrics_before)
        yield job


def _read(session: Session, link: _Link) -> FinetunedSubnet:
    return read_finetuned(session, link.item.name, link.item.widths)


def _keep(session: Session, link: _Link, tuned: FinetunedSubnet) -> None:
    item = link.item
    assert tuned.metrics_before is not None
    assert tuned.metrics is not None
    with whole_folder(locate(session.path, f"finetuned/{item.name}")) as aside:
        save_weights(aside / _WEIGHTS, tuned.module)
        result = Finetuned(
            key=link.key,
            trial=item.trial,
            widths=dict(item.widths),
            before=check_finite(tuned.metrics_before, f"trial {item.name}", "validation"),
            after=check_finite(tuned.metrics, f"trial {item.name}", "validation"),
            seconds=tuned.seconds,
            history=list_steps(tuned.history),
            sha256="",
        )
        replace(result, sha256=result.hash_with(hash_file(aside / _WEIGHTS))).write(aside)
    _checkpoint_of(session, link).remove()


def _is_finetuned(run: Path, link: _Link) -> bool:
    name = link.item.name
    weights = locate(run, f"finetuned/{name}/{_WEIGHTS}")
    kept = Finetuned.read_if_there(run, f"finetuned/{name}")
    if kept is None or kept.key != link.key or not weights.exists():
        return False
    # Until the stage has ended its marker has no hash of them.
    if kept.sha256 != kept.hash_with(hash_file(weights)):
        raise CheckpointError(
            f"{weights.parent} is damaged or was changed since its subnet was finetuned; put it "
            "back, or delete it to have it made again"
        )
    return True
