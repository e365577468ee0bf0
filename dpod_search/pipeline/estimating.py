"""About how long the stages of a run take, from what was timed and what there is to do.

The result is good to about a factor of two. It leaves out what cannot be known before: a latency
table, objectives of the user's own, and trials that a surrogate prunes.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass


# How far off an estimate may be, either way.
ROUGHNESS = 2

# What does not grow with the net, in seconds, as measured on one machine.
_SEARCH_SECONDS = 0.005  # of a trial: the sampler, the surrogate, the journal
_REPORT_SECONDS = 0.5

# Of a model in a format, and of each of its operations.
_EXPORT_SECONDS = {
    "safetensors": (0.03, 0.0005),
    "torch_export": (0.35, 0.004),
    "onnx": (1.0, 0.01),
    "onnx_int8": (1.0, 0.01),
}


@dataclass(frozen=True)
class Pace:
    """Seconds that a subnet takes for a picture.

    Args:
        full: Seconds of the full net.
        smallest: Seconds of the smallest subnet.
        full_macs: Macs of the full net.
        smallest_macs: Macs of the smallest subnet.
    """

    full: float
    smallest: float
    full_macs: float
    smallest_macs: float

    def at(self, macs: float) -> float:
        """Return the seconds of a subnet: a part is any subnet's, the rest goes with its macs."""
        span = self.full_macs - self.smallest_macs
        share = (macs - self.smallest_macs) / span if span else 1.0
        return self.smallest + share * (self.full - self.smallest)


@dataclass(frozen=True)
class Paces:
    """What was measured on this machine, in seconds for a picture.

    Args:
        step: Forward and backward, with its part of the optimizer's step.
        evaluation: Calibrating a subnet and measuring it.
        loading: Fetching and augmenting.
    """

    step: Pace
    evaluation: Pace
    loading: float = 0.0


@dataclass(frozen=True)
class Work:
    """What the stages of a run do, counted in nets run on pictures.

    Args:
        n_trained: Pictures of all steps of the training.
        steps: Macs of the nets that a step runs, of some steps, evenly spread.
        scores: Macs and pictures of each score of the path.
        n_profiles: Profiles of the path.
        n_evaluated: Pictures of one evaluation, those that calibrate included.
        n_trials: Trials of the search, as if all were evaluated.
        searched: Macs of some subnets, spread as those that are evaluated.
        finetuned: Macs and pictures of each finetuning.
        n_taught: Pictures that the full net answers for all finetunings.
        n_exported: Models that are exported.
        n_operations: Operations of the net.
        formats: Files that are written of each model.
        n_jobs: Processes that search and finetune side by side.
    """

    n_trained: int
    steps: tuple[tuple[float, ...], ...]
    scores: tuple[tuple[float, int], ...]
    n_profiles: int
    n_evaluated: int
    n_trials: int
    searched: tuple[float, ...]
    finetuned: tuple[tuple[float, float], ...]
    n_taught: float
    n_exported: int
    n_operations: int
    formats: tuple[str, ...]
    n_jobs: int = 1


def estimate_seconds(paces: Paces, work: Work) -> dict[str, float]:
    """Estimate the seconds of each stage from what was measured and what there is to do.

    Returns:
        By stage, and ``scoring``, which is a part of ``train``.
    """
    evaluate = paces.evaluation.at
    mean_evaluation = work.n_evaluated * statistics.fmean(map(evaluate, work.searched))
    step = statistics.fmean(sum(map(paces.step.at, nets)) for nets in work.steps)
    scoring = sum(n * evaluate(macs) for macs, n in work.scores)
    training = work.n_trained * (step + paces.loading) + scoring
    finetuning = [n * (paces.step.at(macs) + paces.loading) for macs, n in work.finetuned]
    taught = work.n_taught * evaluate(paces.evaluation.full_macs)
    exported = [_EXPORT_SECONDS.get(name, (0.0, 0.0)) for name in work.formats]
    return {
        "train": training + (work.n_profiles + 1) * mean_evaluation,
        "scoring": scoring,
        "search": work.n_trials * (mean_evaluation + _SEARCH_SECONDS) / work.n_jobs,
        "finetune": taught
        + (sum(finetuning) + 3 * len(finetuning) * mean_evaluation) / work.n_jobs,
        "export": work.n_exported * sum(a + work.n_operations * b for a, b in exported),
        "report": _REPORT_SECONDS,
    }


def describe_seconds(seconds: Mapping[str, float]) -> str:
    """Say in a line about how long stages take.

    Args:
        seconds: By stage, and ``scoring`` as a part of ``train``.
    """
    told = []
    for stage, value in seconds.items():
        if stage == "scoring":
            continue
        part = seconds.get("scoring", 0.0) if stage == "train" else 0.0
        of_it = f" ({_round(part)} of it scoring the path)" if part >= 0.5 else ""
        told.append(f"{stage} {_round(value)}{of_it}")
    whole = _round(sum(value for stage, value in seconds.items() if stage != "scoring"))
    begin = f"{'' if whole.startswith('under') else 'about '}{whole} if this machine does nothing else, within a factor of {ROUGHNESS}: "
    return begin + ", ".join(told)


def _round(seconds: float) -> str:
    """Return a time in words, no finer than it is known."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.2g} h"
