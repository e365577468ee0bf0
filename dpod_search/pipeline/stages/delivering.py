"""What finetuning delivers: read back, checked against what was scored, and tested, once."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _NormBase

from dpod_search.errors import CalibrationError
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import make_evaluator
from dpod_search.evaluation import measure_metrics
from dpod_search.finetune import FinetunedSubnet
from dpod_search.intervals import compute_excess_p
from dpod_search.pareto import find_front
from dpod_search.pareto import to_minimized
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import stopwatch
from dpod_search.pipeline.stages.choosing import Choice
from dpod_search.pipeline.stages.choosing import ChosenSubnet
from dpod_search.pipeline.stages.purpose import check_finite
from dpod_search.pipeline.stages.purpose import counts_samples
from dpod_search.pipeline.stages.purpose import describe_purpose
from dpod_search.pipeline.stages.scores import is_same
from dpod_search.quantities import count
from dpod_search.quantities import label
from dpod_search.quantities import percent
from dpod_search.quantities import spell
from dpod_search.records.finetuned import Finetuned
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import FullNet
from dpod_search.records.front import Member
from dpod_search.records.record import locate
from dpod_search.search import Candidate
from dpod_search.search import Front
from dpod_search.search import Objective
from dpod_search.search import call_objective
from dpod_search.search import call_objectives
from dpod_search.search import to_number
from dpod_search.search.forecast import MIN_OUTCOMES
from dpod_search.search.forecast import Subnets
from dpod_search.search.forecast import forecast_each
from dpod_search.supernet import Subnet
from dpod_search.weights import load_weights
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


# Of a standard deviation. On the digits study those estimated again, in double precision too, differ
# by 2e-5 of it at most, and those that the last batches of training left behind by 0.15 to 0.23.
_STALE = 0.01

# Of how many honest runs one is warned all the same.
_CHANCE = 0.001


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
    folder = locate(session.path, f"finetuned/{name}")
    load_weights(module, folder / "model.safetensors")
    kept = Finetuned.read(session.path, f"finetuned/{name}")
    return FinetunedSubnet(
        module=module.to(session.device),
        widths=widths,
        footprint=session.footprint.measure(widths),
        input_shape=session.blank_supernet.example_shape,
        metrics_before=kept.before,
        metrics=kept.after,
    )


def check_searched(
    session: Session, item: ChosenSubnet, metrics: Mapping[str, float] | None
) -> None:
    """Check that a subnet is still as good as it was when it was chosen.

    Args:
        session: The run.
        item: The subnet.
        metrics: Its metrics on validation, cut out and calibrated, before it is finetuned.

    Raises:
        CalibrationError: If the search measured others.
    """
    metric, n_samples = session.metric, len(session.data.validation)
    searched = item.values.get(metric.name)
    if metric.name not in session.config.search.objectives or searched is None or metrics is None:
        return  # an objective of the user's own may have this name
    got = metrics[metric.name]
    if not is_same(metric, got, searched, n_samples=n_samples, share=0.01):
        raise CalibrationError(
            f"trial {item.name} has {label(metric.name)} {spell(metric.name, got)} on validation, "
            f"and had {spell(metric.name, searched)} when it was searched; another machine or "
            "version measured it: delete search.json and the study, and search again"
        )


def check_delivered(session: Session, name: str, tuned: FinetunedSubnet) -> None:
    """Check that the weights in a run folder are those that were scored, statistics and all.

    Args:
        session: The run.
        name: The folder's name.
        tuned: The subnet as read from it.

    Raises:
        CheckpointError: If its metrics on validation are not those that were measured after
            finetuning.
        CalibrationError: If its BatchNorm statistics are not those of its weights.
    """
    fix = f"delete finetuned/{name} and run the same command again"
    metric, n_samples = session.metric, len(session.data.validation)
    assert tuned.metrics is not None
    got = measure_metrics(tuned, session.validation_batches, session.task)[metric.name]
    stated = tuned.metrics[metric.name]
    if not is_same(metric, got, stated, n_samples=n_samples, share=0.002):
        raise CheckpointError(
            f"the weights in finetuned/{name} have {label(metric.name)} {spell(metric.name, got)} on "
            f"validation, and had {spell(metric.name, stated)} when they were finetuned; {fix}"
        )
    module = copy.deepcopy(tuned.module)
    size = session.config.evaluation.batch_size
    calibrate(module, session.calibration_images, batch_size=size)
    fresh = dict(module.named_modules())
    for layer, norm in tuned.module.named_modules():
        if isinstance(norm, _NormBase) and _is_stale(norm, fresh[layer]):
            raise CalibrationError(
                f"the statistics of {layer} in finetuned/{name} are not those of its weights on "
                f"the calibration pictures; {fix}"
            )


def _is_stale(kept: Any, fresh: Any) -> bool:
    if kept.running_mean is None or kept.running_var is None:
        return False
    # In standard deviations, which are what an activation is divided by.
    std = torch.sqrt(fresh.running_var + fresh.eps)
    shift = (kept.running_mean - fresh.running_mean).abs() / std
    stretch = (torch.sqrt(kept.running_var + kept.eps) / std - 1).abs()
    return bool(torch.any(torch.maximum(shift, stretch) > _STALE))


def score_subnets(session: Session, choice: Choice) -> FinetunedFront:
    """Return the finetuned front; the only place that opens the test split.

    Args:
        session: The run.
        choice: What was finetuned.

    Raises:
        CheckpointError: If weights cannot be read, or are not those that were scored.
        CalibrationError: If BatchNorm statistics are not those of the weights.
        ConfigError: If an objective is not a finite number for a finetuned subnet.
    """
    space, config = session.blank_supernet.space, session.config
    members = _compare(session, choice, _test_each(session, choice))
    of_full = next(member for member in members if member.widths == dict(space.full))
    return FinetunedFront(
        study=config.name,
        seed=session.seed,
        footprints=tuple(of_full.footprint),
        budgets=tuple(config.oneshot.budgets or config.finetune.budgets),
        unmet_budgets=dict(choice.unmet),
        full=FullNet(
            footprint=of_full.footprint,
            validation=of_full.validation,
            test=of_full.test,
        ),
        members=tuple(members),
        task=describe_purpose(session.task),
        warning=_warn(session, of_full),
    )


def _warn(session: Session, of_full: Member) -> str | None:
    if not counts_samples(session.task):
        return None  # of other metrics it is not known what chance does
    return describe_excess(
        of_full.validation["accuracy"],
        of_full.test["accuracy"],
        n_validation=len(session.data.validation),
        n_test=len(session.data.test),
    )


def _test_each(session: Session, choice: Choice) -> Iterator[Member]:
    """Yield each finetuned subnet with what it is alone, not yet compared with the others."""
    tests = session.batches(session.data.test)
    settings = session.config.evaluation
    evaluator = make_evaluator(
        session.supernet,
        session.calibration_images,
        batch_size=settings.batch_size,
        repair=settings.repair,
    )
    for item in choice.subnets:
        with evaluator.calibrated(item.widths) as subnet:
            before = measure_metrics(subnet, tests, session.task)
        tuned = read_finetuned(session, item.name, item.widths)
        check_delivered(session, item.name, tuned)
        assert tuned.metrics_before is not None
        assert tuned.metrics is not None
        yield Member(
            trial=item.trial,
            folder=item.name,
            widths=dict(item.widths),
            values=dict(item.values),
            values_after=_values_after(session, item, tuned),
            footprint=dict(tuned.footprint),
            validation_before=tuned.metrics_before,
            validation=tuned.metrics,
            test_before=check_finite(before, f"trial {item.name}", "test"),
            test=check_finite(
                measure_metrics(tuned, tests, session.task), f"trial {item.name}", "test"
            ),
            budgets=item.budgets,
            macs_share=0.0,
            on_front=False,
            knee=False,
        )


def _compare(session: Session, choice: Choice, members: Iterable[Member]) -> list[Member]:
    """Say of subnets what each is beside the others; they ascend in macs then."""
    ascending = sorted(members, key=lambda member: (member.macs, member.folder))
    space = session.blank_supernet.space
    macs = next(member.macs for member in ascending if member.widths == dict(space.full))
    on_front = _find_front(session.objectives, ascending)
    knees = _find_knees(session.objectives, space, on_front)
    timed = _measure_latency(session, choice)
    foretold = _foretell(session, ascending)
    return [
        replace(
            member,
            macs_share=member.macs / macs,
            on_front=member in on_front,
            measured_latency_share=timed.get(member.folder),
            foretold=foretold.get(member.folder),
            knee=member in knees,
        )
        for member in ascending
    ]


def _foretell(
    session: Session, members: Sequence[Member]
) -> dict[str, tuple[float, float, float]]:
    """Return by folder what the others let expect of each member that was trained."""
    full = session.blank_supernet.space.full
    settings = session.config.finetune
    tuned = [m for m in members if m.widths != dict(full)] if settings.epochs > 0 else []
    metric = session.metric
    if len(tuned) <= MIN_OUTCOMES or not metric.is_share:  # shares are what a forecast knows of
        return {}
    subnets = Subnets(
        np.array([member.validation_before[metric.name] for member in tuned]),
        np.array([[member.footprint["macs"], member.footprint["params"]] for member in tuned]),
        np.array([list(member.widths.values()) for member in tuned], dtype=np.float64),
    )
    found = forecast_each(subnets, [member.validation[metric.name] for member in tuned])
    rows = np.round([found.mean, found.low, found.high], 4).T.tolist()
    return {
        member.folder: (middle, low, high)
        for member, (middle, low, high) in zip(tuned, rows, strict=True)
    }


def describe_excess(
    validation: float, test: float, *, n_validation: int, n_test: int
) -> str | None:
    """Say that the full net is better on validation than on test by more than chance, or None.

    Args:
        validation: Its accuracy on validation, in [0, 1].
        test: Its accuracy on test, in [0, 1].
        n_validation: Pictures of validation.
        n_test: Pictures of test.
    """
    n_right = round(validation * n_validation), round(test * n_test)
    if compute_excess_p(n_right[0], n_validation, n_right[1], n_test) >= _CHANCE:
        return None
    return (
        f"the full net is right on {percent(validation)} of {count(n_validation)} validation "
        f"pictures and on {percent(test)} of {count(n_test)} test pictures, which is no chance: "
        "either its weights have seen the validation pictures, and then what was chosen by them "
        "may be wrong (give others in data.validation), or the test pictures are of another kind"
    )


def _measure_latency(session: Session, choice: Choice) -> dict[str, float]:
    """Return what the clock says by folder, as a share of the full net, where it can be asked.

    Weights do not matter to a clock, so the subnets are timed as they were cut out.
    """
    if not stopwatch.can_measure(session):
        return {}
    shares = stopwatch.time_shares(session, [item.widths for item in choice.subnets])
    return {item.name: round(shares[item.widths], 4) for item in choice.subnets}


def _values_after(
    session: Session, item: ChosenSubnet, tuned: FinetunedSubnet
) -> dict[str, float]:
    values: dict[str, float] = {}
    measured = [objective for objective in session.objectives if objective.is_measured]
    with torch.no_grad():  # as in the search
        found = call_objectives(measured, tuned, item.widths)
    for objective in session.objectives:
        if objective.function is None:  # a footprint that is known by name
            values[objective.name] = float(tuned.footprint[objective.name])
        else:
            if not objective.is_measured:
                found[objective.name] = call_objective(objective, item.widths, item.widths)
            value = to_number(found[objective.name], objective.name)
            if not math.isfinite(value):
                raise ConfigError(
                    f"objective {objective.name} is {value} for subnet {item.name} after "
                    "finetuning; mend it and run the same command again"
                )
            values[objective.name] = value
    return values


def _find_front(objectives: Sequence[Objective], members: Sequence[Member]) -> list[Member]:
    # A full net without a trial is there to compare with: the constraints rule it out.
    names = [objective.name for objective in objectives]
    feasible = [member for member in members if member.trial is not None]
    values = np.array([[member.values_after[name] for name in names] for member in feasible])
    directions = [objective.direction for objective in objectives]
    marks = find_front(to_minimized(values.reshape(len(feasible), len(names)), directions))
    return [member for member, is_on_front in zip(feasible, marks, strict=True) if is_on_front]


def _find_knees(
    objectives: tuple[Objective, ...], space: WidthSpace, on_front: Sequence[Member]
) -> list[Member]:
    """Return the knees of the finetuned front."""
    candidates = [
        Candidate(place, space.make(m.widths), m.values_after, {"macs": m.macs})
        for place, m in enumerate(on_front)
    ]
    return [on_front[k.trial] for k in Front(tuple(candidates), objectives).knees()]
