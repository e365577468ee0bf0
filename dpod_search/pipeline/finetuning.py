"""The third stage: finetune the chosen subnets, several at a time, then test them all, once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpod_search.errors import ConfigError
from dpod_search.evaluation import measure_accuracy
from dpod_search.files import hash_file
from dpod_search.files import hash_value
from dpod_search.files import read_json
from dpod_search.files import whole_folder
from dpod_search.files import write_json
from dpod_search.finetune import FinetunedSubnet
from dpod_search.finetune import FinetuneJob
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import make_teacher
from dpod_search.finetune import prepare_finetuning
from dpod_search.finetune import run_jobs
from dpod_search.pareto import find_front
from dpod_search.pareto import to_minimized
from dpod_search.pipeline import searching
from dpod_search.pipeline.session import Session
from dpod_search.search import Candidate
from dpod_search.search import SearchResult
from dpod_search.search import call_objective
from dpod_search.search import record_finetuned
from dpod_search.search import to_number
from dpod_search.supernet import Subnet
from dpod_search.training import CheckpointFile
from dpod_search.weights import load_weights
from dpod_search.weights import save_weights
from dpod_search.widths import Widths


FULL = "full"


@dataclass(frozen=True)
class Chosen:
    """A subnet to finetune.

    Args:
        name: Its folder: the number of its trial, or ``full`` for a full net without one.
        trial: The number of its trial, or None.
        widths: Its widths.
        values: What the search measured, by objective.
    """

    name: str
    trial: int | None
    widths: Widths
    values: Mapping[str, float]


def describe_inputs(session: Session) -> dict[str, Any]:
    """Return all that the finetuned subnets depend on."""
    return {
        "search": hash_file(session.folder.require("search.json", "search")),
        "supernet": hash_file(session.folder.require("supernet.safetensors", "train")),
        "data": session.data.fingerprint,
        "finetune": {
            **dataclasses.asdict(session.config.finetune),
            "checkpoint_seconds": FinetuneSettings().checkpoint_seconds,  # changes no weight
        },
    }


def run(session: Session) -> list[str]:
    """Finetune what is not finetuned yet, test everything, write the front."""
    # Else the search would go on here, past what search.json and trials.csv say.
    session.folder.require_stage("search", searching.describe_inputs(session))
    searching.require_trials(session)
    result = searching.search_study(session)  # has all its trials, so this only reads it
    chosen = choose_subnets(session, result)
    keys = {item.name: _find_key(session, item) for item in chosen}
    rest = [i for i in chosen if not _is_finetuned(_folder_of(session, i), keys[i.name])]
    session.progress.start("finetune", len(chosen))
    if len(rest) < len(chosen):
        session.progress.advance(len(chosen) - len(rest), "done before")
    jobs = _prepare_all(session, rest, keys)
    for number, tuned in run_jobs(jobs, n_jobs=session.n_jobs, n_threads=session.n_threads):
        _keep(session, rest[number], tuned, keys[rest[number].name])
        session.progress.advance(1, f"trial {rest[number].name}")
    session.progress.finish()
    outputs = [
        f"finetuned/{item.name}/{file}"
        for item in chosen
        for file in ("model.safetensors", "result.json")
    ]
    front = _test_all(session, chosen)
    record_finetuned(
        session.config.name,
        searching.find_storage(session),
        {m["trial"]: m["values_after"] for m in front["members"] if m["trial"] is not None},
    )
    write_json(session.path / "front.json", front)
    return [*outputs, "front.json"]


def choose_subnets(session: Session, result: SearchResult) -> list[Chosen]:
    """Choose the members of the front that keep most hypervolume, and the full net.

    The full net is finetuned like the others, for it is what they are compared with.
    """
    members: list[Candidate] = list(result.front.select(session.config.finetune.n_subnets))
    chosen = [Chosen(str(m.trial), m.trial, m.widths, m.values) for m in members]
    full = session.supernet.space.full
    if all(item.widths != full for item in chosen):
        of_full = [t for t in result.trials if t.widths == full and t.values]
        name = str(of_full[0].number) if of_full else FULL
        trial = of_full[0].number if of_full else None
        chosen.append(Chosen(name, trial, full, dict(of_full[0].values) if of_full else {}))
    return chosen


def read_finetuned(session: Session, name: str, widths: Widths) -> FinetunedSubnet:
    """Load a finetuned subnet from the run folder.

    Args:
        session: The run.
        name: Its folder's name.
        widths: Its widths.

    Raises:
        CheckpointError: If its files are missing or damaged.
    """
    module = Subnet(session.blank_supernet, widths).extract().to("cpu").eval()
    folder = session.path / "finetuned" / name
    load_weights(module, folder / "model.safetensors")
    kept = read_json(folder / "result.json")
    return FinetunedSubnet(
        module=module.to(session.device),
        widths=widths,
        footprint=session.footprint.measure(widths),
        input_shape=session.blank_supernet.example_shape,
        accuracy_before=kept["accuracy_before"],
        accuracy=kept["accuracy"],
    )


def _find_key(session: Session, item: Chosen) -> str:
    """Return the hash of all that a finetuned subnet depends on."""
    inputs = describe_inputs(session)
    return hash_value(
        {
            **inputs,
            "search": None,  # which others were found does not matter to this one
            "finetune": {**inputs["finetune"], "n_subnets": None},
            "widths": dict(item.widths),
            "seed": session.seed,
        }
    )


def _folder_of(session: Session, item: Chosen) -> Path:
    return session.path / "finetuned" / item.name


def _checkpoint_of(session: Session, item: Chosen, key: str) -> CheckpointFile:
    return CheckpointFile(
        session.path / "finetuned" / f".{item.name}.checkpoint.safetensors",
        key=key,
        every_seconds=session.config.finetune.checkpoint_seconds,
    )


def _prepare_all(
    session: Session, chosen: list[Chosen], keys: Mapping[str, str]
) -> Iterator[FinetuneJob]:
    """Prepare what is left to do, with one teacher for all."""
    settings = session.config.finetune
    if not chosen:
        return
    loader = session.training_loader(settings.batch_size)
    teacher = make_teacher(session.supernet, loader, settings)
    for item in chosen:
        yield prepare_finetuning(
            Subnet(session.supernet, item.widths),
            loader,
            validation_loader=session.validation_batches,
            calibration_images=session.calibration_images,
            calibration_batch_size=session.config.evaluation.batch_size,
            settings=settings,
            seed=session.seed,
            teacher=teacher,
            checkpoint=_checkpoint_of(session, item, keys[item.name]),
        )


def _keep(session: Session, item: Chosen, tuned: FinetunedSubnet, key: str) -> None:
    with whole_folder(_folder_of(session, item)) as aside:
        save_weights(aside / "model.safetensors", tuned.module)
        write_json(
            aside / "result.json",
            {
                "key": key,
                "trial": item.trial,
                "widths": dict(item.widths),
                "accuracy_before": tuned.accuracy_before,
                "accuracy": tuned.accuracy,
                "seconds": tuned.seconds,
                "history": list(tuned.history),
            },
        )
    _checkpoint_of(session, item, key).remove()


def _is_finetuned(folder: Path, key: str) -> bool:
    result = folder / "result.json"
    whole = result.exists() and (folder / "model.safetensors").exists()
    return whole and read_json(result).get("key") == key


def _test_all(session: Session, chosen: list[Chosen]) -> dict[str, Any]:
    """Describe the front before and after finetuning; the only place that opens the test split."""
    tests = session.batches(session.data.test)
    full = session.blank_supernet.space.full
    members: list[dict[str, Any]] = []
    for item in chosen:
        tuned = read_finetuned(session, item.name, item.widths)
        members.append(
            {
                "trial": item.trial,
                "folder": item.name,
                "widths": dict(item.widths),
                "values": dict(item.values),
                "values_after": _values_after(session, item, tuned),
                **tuned.footprint,
                "validation_accuracy_before": tuned.accuracy_before,
                "validation_accuracy": tuned.accuracy,
                "test_accuracy": measure_accuracy(tuned, tests),
            }
        )
    members.sort(key=lambda member: (member["macs"], member["folder"]))
    of_full = next(member for member in members if member["widths"] == dict(full))
    for member, is_on_front in zip(members, _mark_front(session, members), strict=True):
        member["macs_share"] = member["macs"] / of_full["macs"]
        member["on_front"] = is_on_front
    footprints = list(session.footprint.measure(full))
    kept = (*footprints, "validation_accuracy", "test_accuracy")
    return {
        "study": session.config.name,
        "seed": session.seed,
        "footprints": footprints,
        "full": {name: of_full[name] for name in kept},
        "members": members,
    }


def _values_after(session: Session, item: Chosen, tuned: FinetunedSubnet) -> dict[str, float]:
    values: dict[str, float] = {}
    for objective in session.objectives:
        if objective.function is None:  # a footprint that is known by name
            values[objective.name] = float(tuned.footprint[objective.name])
        else:
            looked_at = tuned if objective.is_measured else item.widths
            with torch.no_grad():  # as in the search
                value = to_number(
                    call_objective(objective, looked_at, item.widths), objective.name
                )
            if not math.isfinite(value):
                raise ConfigError(
                    f"objective {objective.name} is {value} for subnet {item.name} after "
                    "finetuning; mend it and run the same command again"
                )
            values[objective.name] = value
    return values


def _mark_front(session: Session, members: list[dict[str, Any]]) -> list[bool]:
    # A full net without a trial is there to compare with: the constraints rule it out.
    names = [objective.name for objective in session.objectives]
    feasible = [member for member in members if member["trial"] is not None]
    values = np.array([[member["values_after"][name] for name in names] for member in feasible])
    directions = [objective.direction for objective in session.objectives]
    marks = find_front(to_minimized(values.reshape(len(feasible), len(names)), directions))
    marked = {id(m): bool(mark) for m, mark in zip(feasible, marks, strict=True)}
    return [marked.get(id(member), False) for member in members]
