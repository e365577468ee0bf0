"""The third stage: finetune the chosen subnets, several at a time, then test them all, once."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from collections.abc import Mapping
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
from dpod_search.finetune import make_teacher
from dpod_search.finetune import prepare_finetuning
from dpod_search.finetune import run_jobs
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import searching
from dpod_search.pipeline.stages.choosing import ChosenSubnet
from dpod_search.pipeline.stages.choosing import choose_subnets
from dpod_search.pipeline.stages.delivering import check_searched
from dpod_search.pipeline.stages.delivering import score_subnets
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
    return {
        "search": session.folder.require_hash("search.json", "search"),
        "supernet": session.weights,
        "data": session.data.fingerprint,
        "finetune": {
            **dataclasses.asdict(session.config.finetune),
            "checkpoint_seconds": FinetuneSettings().checkpoint_seconds,  # changes no weight
        },
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
    keys = {item.name: _find_key(inputs, item, session.seed) for item in chosen}
    rest = [i for i in chosen if not _is_finetuned(session.path, i.name, keys[i.name])]
    session.progress.start("finetune", len(chosen))
    if len(rest) < len(chosen):
        session.progress.advance(len(chosen) - len(rest), "done before")
    jobs = _prepare_all(session, rest, keys)
    for number, tuned in run_jobs(jobs, n_jobs=session.n_jobs, n_threads=session.n_threads):
        _keep(session, rest[number], tuned, keys[rest[number].name])
        session.progress.advance(1, f"trial {rest[number].name}")
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


def _find_key(inputs: Mapping[str, Any], item: ChosenSubnet, seed: int) -> str:
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
            "seed": seed,
        }
    )


def _checkpoint_of(session: Session, item: ChosenSubnet, key: str) -> CheckpointFile:
    return CheckpointFile(
        session.path / "finetuned" / f".{item.name}.checkpoint.safetensors",
        key=key,
        every_seconds=session.config.finetune.checkpoint_seconds,
    )


def _prepare_all(
    session: Session, chosen: list[ChosenSubnet], keys: Mapping[str, str]
) -> Iterator[FinetuneJob]:
    """Prepare what is left to do, with one teacher for all."""
    settings = session.config.finetune
    if not chosen:
        return
    loader = session.training_loader(settings.batch_size)
    context = FinetuneContext(
        loader,
        session.validation_batches,
        session.calibration_images,
        session.config.evaluation.batch_size,
        settings,
        session.seed,
        make_teacher(session.supernet, loader, settings),
    )
    for item in chosen:
        subnet = Subnet(session.supernet, item.widths)
        checkpoint = _checkpoint_of(session, item, keys[item.name])
        job = prepare_finetuning(subnet, context, checkpoint)
        check_searched(session, item, job.start.accuracy_before)
        yield job


def _keep(session: Session, item: ChosenSubnet, tuned: FinetunedSubnet, key: str) -> None:
    assert tuned.accuracy_before is not None
    assert tuned.accuracy is not None
    with whole_folder(locate(session.path, f"finetuned/{item.name}")) as aside:
        save_weights(aside / _WEIGHTS, tuned.module)
        result = Finetuned(
            key=key,
            trial=item.trial,
            widths=dict(item.widths),
            accuracy_before=tuned.accuracy_before,
            accuracy=tuned.accuracy,
            seconds=tuned.seconds,
            history=list_steps(tuned.history),
            sha256="",
        )
        replace(result, sha256=result.hash_with(hash_file(aside / _WEIGHTS))).write(aside)
    _checkpoint_of(session, item, key).remove()


def _is_finetuned(run: Path, name: str, key: str) -> bool:
    weights = locate(run, f"finetuned/{name}/{_WEIGHTS}")
    kept = Finetuned.read_if_there(run, f"finetuned/{name}")
    if kept is None or kept.key != key or not weights.exists():
        return False
    # Until the stage has ended its marker has no hash of them.
    if kept.sha256 != kept.hash_with(hash_file(weights)):
        raise CheckpointError(
            f"{weights.parent} is damaged or was changed since its subnet was finetuned; put it "
            "back, or delete it to have it made again"
        )
    return True
