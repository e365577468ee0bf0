"""How the supernet was trained: ``training.json`` and ``path.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from dpod_search.records.fields import Fields
from dpod_search.records.search import Search
from dpod_search.records.search import read_widths


@dataclass(frozen=True)
class TrainingStep:
    """One entry of the training history; losses that the policy has not are None."""

    step: int
    loss: float | None
    partial_loss: float | None
    learning_rate: float | None


@dataclass(frozen=True)
class Training:
    """How the supernet was trained: ``training.json``.

    ``n_pictures`` counts those of each split; ``fingerprint`` tells data apart, if it is known.
    """

    seconds: float
    n_steps: int
    policy: str
    history: tuple[TrainingStep, ...]
    full_accuracy: float | None
    n_pictures: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str | None = None


@dataclass(frozen=True)
class Profile:
    """One profile of the path; ``accuracy`` in [0, 1], or None if it was not measured."""

    widths: Mapping[str, int]
    macs: int
    accuracy: float | None


def read_training(path: Path) -> Training:
    """Read how the supernet was trained."""
    fields = Fields.from_file(path)
    data = fields.inner("data") if fields.get("data") else Fields(path, "data.", {})
    sizes = data.inner("sizes") if "sizes" in data.values else data
    return Training(
        seconds=fields.number("seconds"),
        n_steps=fields.integer("n_steps"),
        policy=fields.text("policy"),
        history=tuple(_read_step(inner) for inner in fields.inners("history")),
        full_accuracy=fields.inner("full").optional_number("accuracy"),
        n_pictures={
            name: sizes.integer(name)
            for name in ("train", "calibration", "validation", "test")
            if name in sizes.values
        },
        fingerprint=data.text("fingerprint") if "fingerprint" in data.values else None,
    )


def _read_step(fields: Fields) -> TrainingStep:
    return TrainingStep(
        step=fields.integer("step"),
        loss=fields.optional_number("loss"),
        partial_loss=fields.optional_number("partial_loss"),
        learning_rate=fields.optional_number("lr"),
    )


def read_path(path: Path, search: Search) -> tuple[Profile, ...]:
    """Read the profiles of the path."""
    return tuple(
        Profile(
            widths=read_widths(inner, search),
            macs=inner.integer("macs", low=1),
            accuracy=inner.optional_number("accuracy"),
        )
        for inner in Fields.from_file(path).inners("profiles")
    )
