"""What a run folder says, as frozen values: the only thing the figures and the page see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from dpod_search.pareto import Direction
from dpod_search.quantities import is_accuracy
from dpod_search.records.latency import LatencyFit
from dpod_search.records.oneshot import OneShot


FATES = ("evaluated", "audited", "cached", "pruned-constraint", "pruned-surrogate", "failed")


@dataclass(frozen=True)
class Objective:
    """One objective of the search.

    Args:
        name: Its name, as in ``search.json``.
        direction: ``"minimize"`` or ``"maximize"``.
        is_footprint: Whether this is a footprint, which is drawn in log scale.
    """

    name: str
    direction: Direction
    is_footprint: bool = False

    @property
    def is_accuracy(self) -> bool:
        """Say whether this is an accuracy in [0, 1], which is written in percent."""
        return is_accuracy(self.name)


@dataclass(frozen=True)
class Group:
    """One channel group: its name, its full width and the widths it may take.

    ``shares`` are the parts of the full net's macs and parameters that lie in the layers it
    widens, each in [0, 1]; None in the folders of older versions.
    """

    name: str
    full: int
    rungs: tuple[int, ...]
    shares: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Audit:
    """Trials evaluated although the surrogate would have pruned them.

    Args:
        n_audited: How many there were.
        n_wrong: How many of them were not dominated by the front of their time.
        rate: ``n_wrong / n_audited`` in [0, 1], or None if there were none.
        low: Lower end of its 95 % interval, or None.
        high: Upper end of its 95 % interval, or None.
        n_drawn: How many trials were drawn to be evaluated whatever the surrogate says.
        saved: Share of them that it would have pruned, in [0, 1], or None if there were none.
        saved_low: Lower end of its 95 % interval, or None.
        saved_high: Upper end of its 95 % interval, or None.
    """

    n_audited: int
    n_wrong: int
    rate: float | None
    low: float | None
    high: float | None
    n_drawn: int = 0
    saved: float | None = None
    saved_low: float | None = None
    saved_high: float | None = None


@dataclass(frozen=True)
class Search:
    """What was searched: ``search.json``.

    ``footprints`` are those known of every trial. ``importance`` tells, for each measured
    objective, the share of each group in [0, 1]; it is None in the folders of older versions.
    ``importance_r2`` says how well the model behind it predicts trials it has not seen.
    ``uncounted`` are operations whose macs are not in any number of macs.
    """

    study: str
    groups: tuple[Group, ...]
    objectives: tuple[Objective, ...]
    footprints: tuple[str, ...]
    constraints: Mapping[str, str]
    full: Mapping[str, float]
    counts: Mapping[str, int]
    audit: Audit
    front: tuple[int, ...]
    importance: Mapping[str, Mapping[str, float]] | None = None
    importance_r2: Mapping[str, float] = field(default_factory=dict)
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """What the surrogate said of one objective before the trial was evaluated.

    Args:
        value: Predicted value.
        low: Lower end of its interval; ``-inf`` if it has none.
        high: Upper end of its interval; ``inf`` if it has none.
    """

    value: float
    low: float
    high: float

    def covers(self, measured: float) -> bool:
        """Say whether a measured value lies in the interval."""
        return self.low <= measured <= self.high


@dataclass(frozen=True)
class Trial:
    """One line of ``trials.csv``.

    Args:
        number: The trial's number in the study.
        fate: One of :data:`FATES`.
        source: Who proposed it: ``path``, ``ladder``, ..., ``sampler``.
        generation: Generation of the sampler, or None.
        on_front: Whether it is on the searched front.
        values: Objectives and closed-form footprints that are known, by name.
        predicted: The surrogate's predictions, by objective.
        reason: Why it was pruned or failed; empty otherwise.
        seconds: What it took, or None.
        widths: Active width by channel group.
    """

    number: int
    fate: str
    source: str
    generation: int | None
    on_front: bool
    values: Mapping[str, float]
    predicted: Mapping[str, Prediction]
    reason: str
    seconds: float | None
    widths: Mapping[str, int]


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


@dataclass(frozen=True)
class FullNet:
    """The full net, finetuned like the members of the front; accuracies in [0, 1]."""

    footprint: Mapping[str, float]
    validation_accuracy: float
    test_accuracy: float

    @property
    def macs(self) -> int:
        """Its multiply-adds for each sample."""
        return int(self.footprint["macs"])


@dataclass(frozen=True)
class Member:
    """One finetuned member of the front; accuracies and ``macs_share`` in [0, 1].

    The full net is among the members. If no trial had its widths, its ``trial`` is None.
    ``budgets`` are those of the user's that it was chosen for. Folders of older versions do not
    know the accuracy on test before finetuning. ``measured_latency_share`` is what a clock says, as
    a share of the full net, where it was asked. ``measured`` are the objectives after finetuning
    that are neither a footprint nor the accuracy, such as ``latency_ms``.
    """

    trial: int | None
    widths: Mapping[str, int]
    footprint: Mapping[str, float]
    macs_share: float
    accuracy_before: float
    validation_accuracy: float
    test_accuracy: float
    on_front: bool
    is_full: bool
    is_knee: bool = False
    budgets: tuple[str, ...] = ()
    test_accuracy_before: float | None = None
    measured_latency_share: float | None = None
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Its multiply-adds for each sample."""
        return int(self.footprint["macs"])

    @property
    def title(self) -> str:
        """What it is called: the number of its trial, and whether it is the full net."""
        if not self.is_full:
            return str(self.trial)
        return "full net" if self.trial is None else f"{self.trial} (full net)"


@dataclass(frozen=True)
class FinetunedFront:
    """The front after finetuning: ``front.json``; members ascend in macs.

    Args:
        seed: Seed of the study.
        footprints: The footprints of every member, ``macs`` among them.
        full: The full net.
        members: The members.
        budgets: The user's budgets, as they were spelled.
        unmet: Why no member was chosen, for those of them that none meets.
        n_stale: How many of the file's subnets are left out, as they are of an earlier search.
        warning: What speaks against its accuracies, or None.
    """

    seed: int
    footprints: tuple[str, ...]
    full: FullNet
    members: tuple[Member, ...]
    budgets: tuple[str, ...] = ()
    unmet: Mapping[str, str] = field(default_factory=dict)
    n_stale: int = 0
    warning: str | None = None

    @property
    def measured(self) -> dict[str, float | None]:
        """What the search measured besides accuracy, and the full net's value if it is known."""
        names = dict.fromkeys(name for member in self.members for name in member.measured)
        of_full = next((m.measured for m in self.members if m.is_full), {})
        return {name: of_full.get(name) for name in names}

    def find_latency_share(self, member: Member) -> float | None:
        """Return a member's modelled latency over the full net's, if latency was modelled."""
        of_full = self.full.footprint.get("latency")
        return member.footprint["latency"] / of_full if of_full else None


@dataclass(frozen=True)
class ExportedFile:
    """One file of an exported model.

    Args:
        kind: Its format.
        path: From the run folder.
        sha256: Its hash.
        n_bytes: Its size.
        max_difference: The largest difference of outputs seen after loading it again, or None.
        test_accuracy: Accuracy on test after loading it again, in [0, 1], or None.
    """

    kind: str
    path: str
    sha256: str
    n_bytes: int
    max_difference: float | None = None
    test_accuracy: float | None = None


@dataclass(frozen=True)
class ExportedModel:
    """One exported model; ``trial`` is None for a full net that was no trial."""

    trial: int | None
    files: tuple[ExportedFile, ...]


@dataclass(frozen=True)
class Run:
    """A run folder, read and checked. What a stage that has not run would write is None.

    Args:
        folder: The run folder.
        search: ``search.json``.
        trials: ``trials.csv``, ascending in number.
        training: ``training.json``, or None.
        path: The profiles of ``path.json``, or None.
        front: ``front.json``, or None.
        exported: The models of ``exported/manifest.json``, or None.
        config: The text of ``config.toml``, or None.
        environment: ``environment.json`` with dotted names, or None.
        latency: ``latency.json``, or None where no latency was modelled.
        oneshot: ``oneshot.json``, or None where widths were searched.
    """

    folder: Path
    search: Search
    trials: tuple[Trial, ...]
    training: Training | None
    path: tuple[Profile, ...] | None
    front: FinetunedFront | None
    exported: tuple[ExportedModel, ...] | None
    config: str | None
    environment: Mapping[str, str] | None
    latency: LatencyFit | None = None
    oneshot: OneShot | None = None
