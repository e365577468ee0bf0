"""How many trials a search may have whose finetuning is what counts.

A trial saved is finetuning gained. What a subnet gains from widths that suit it better is small
beside what it gains from being trained on, so the search gets a share of the multiply-adds of all
finetunings; and if those are less than a generation, which finds nothing, none: what fills the
budgets in one ratio is known without a search.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np

from dpod_search.bounds import split_bounds
from dpod_search.inputs import count_samples
from dpod_search.pipeline.session import Session
from dpod_search.search import SearchSettings
from dpod_search.search.constraints import parse_constraints


# Subnets that those of a search and those that are finetuned are taken for.
_N_LADDER = 8
# An evaluation takes so many times as long with its repair.
REPAIRED = 2.5


def limit_search(session: Session, *, is_filled: bool) -> SearchSettings:
    """Return the settings of a run's search, as long as its finetuning is worth.

    Args:
        session: The run.
        is_filled: Whether every budget of the finetuning is filled without any trial of the search.
    """
    settings = session.config.search
    if settings.finetune_share is None:
        return settings
    all_of_it = _count_finetuning(session)
    if all_of_it == 0:
        return settings
    n_trials = int(settings.finetune_share * all_of_it / _count_trial(session))
    if n_trials < settings.population_size:
        n_trials = 1 if is_filled else settings.population_size
    return replace(settings, n_trials=min(settings.n_trials, n_trials))


def _count_finetuning(session: Session) -> float:
    """Count the multiply-adds of all finetunings, a backward pass as two forward passes."""
    *_, full = members = list_members(session)
    epochs = [session.config.finetune.epochs_of(m / full if full else 1.0) for m in members]
    passes = sum(3 * m * n for m, n in zip(members, epochs, strict=True))
    return float(passes * len(session.data.train))


def _count_trial(session: Session) -> float:
    """Count the multiply-adds of a trial: its subnet on all pictures that calibrate and judge."""
    n_images = count_samples(session.calibration_images) + len(session.data.validation)
    n_passes = REPAIRED if session.config.evaluation.repair else 1
    return n_passes * n_images * statistics.fmean(list_ladder(session))


def list_members(session: Session) -> list[float]:
    """Return the macs of what is finetuned, as far as they can be told before; last the full net's.

    Members of a front are taken to be spread evenly. Where budgets bound macs, they are met; what
    is chosen at once is as small as its budgets say.
    """
    if session.config.oneshot.method:
        return _list_pruned(session)
    settings = session.config.finetune
    full = session.sizes.measure(session.blank_supernet.space.full)["macs"]
    n_wanted = len(settings.budgets) or settings.n_subnets
    ladder = list_ladder(session, _N_LADDER if n_wanted == "all" else n_wanted)
    for place, budget in enumerate(settings.budgets):
        spec = split_bounds(budget).get("macs")
        if spec is not None:
            (bound,) = parse_constraints({"macs": spec}, {"macs": full}, ())
            ladder[place] = min(full, bound.limit or full)
    return [*ladder, full]


def _list_pruned(session: Session) -> list[float]:
    """Return the macs of what is chosen at once: they are taken to shrink as what is bounded does."""
    space, sizes = session.blank_supernet.space, session.sizes
    full, smallest = sizes.measure(space.full), sizes.measure(space.smallest)
    found = []
    for budget in session.config.oneshot.budgets:
        shares = [1.0]
        for name, spec in split_bounds(budget).items():
            (bound,) = parse_constraints({name: spec}, {**full, name: full.get(name, 1.0)})
            if bound.share is not None or name in full:
                shares.append((bound.limit or 0.0) / (full.get(name, 1.0) or 1.0))
        found.append(max(smallest["macs"], min(shares) * full["macs"]))
    return [*found, full["macs"]]


def count_fillable(session: Session) -> int:
    """Count the budgets on sizes alone, which can be filled, before anything is measured."""
    sizes = session.sizes.measure(session.blank_supernet.space.full).keys()
    return sum(split_bounds(b).keys() <= sizes for b in session.config.finetune.budgets)


def list_ladder(session: Session, n: int = _N_LADDER) -> list[float]:
    """Return macs from the smallest subnet's to the full net's, in even ratios."""
    space, sizes = session.blank_supernet.space, session.sizes
    smallest, full = (sizes.measure(widths)["macs"] for widths in (space.smallest, space.full))
    return [float(m) for m in np.geomspace(max(smallest, 1), max(full, 1), n)]
