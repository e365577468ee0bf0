"""What a run is going to do, and how fast this machine is at it: measured before it begins.

A few steps and evaluations of the full net and of the smallest subnet are timed, on a copy.
Nothing of the run is changed: neither its folder, nor weights, nor random draws.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dpod_search.data.datasets import fetch_batch
from dpod_search.evaluation import Judge
from dpod_search.inputs import Samples
from dpod_search.inputs import count_samples
from dpod_search.inputs import take_samples
from dpod_search.onednn import find_skipping
from dpod_search.onednn import skipping_before
from dpod_search.pipeline.estimating import Pace
from dpod_search.pipeline.estimating import Paces
from dpod_search.pipeline.estimating import Work
from dpod_search.pipeline.estimating import estimate_seconds
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages.affording import REPAIRED
from dpod_search.pipeline.stages.affording import count_fillable
from dpod_search.pipeline.stages.affording import limit_search
from dpod_search.pipeline.stages.affording import list_ladder
from dpod_search.pipeline.stages.affording import list_members
from dpod_search.placement import placement_of
from dpod_search.records.finetuned import Finetuned
from dpod_search.search.store.status import count_trials
from dpod_search.supernet import Supernet
from dpod_search.supernet import copy_supernet
from dpod_search.tasks.batches import read_batch
from dpod_search.training import Plan
from dpod_search.training.learner import SupernetLearner
from dpod_search.training.policies import make_policy
from dpod_search.training.policies.drawing import Memoryless
from dpod_search.training.schedule import CountedScorer
from dpod_search.training.schedule import SubnetSchedule
from dpod_search.training.scheduling import make_context
from dpod_search.weights import read_state
from dpod_search.widths import Widths


# Steps, and evaluations, are timed for about twice so many seconds, in so many rounds at most.
_SECONDS = 0.2
_N_ROUNDS = 8
_N_FIRST = 2  # BatchNorm needs two pictures
_FINE = 1e-4  # of a clock, in seconds

_N_STEPS_LOOKED_AT = 100


def estimate_stages(session: Session, stages: Collection[str]) -> dict[str, float] | None:
    """Measure this machine, and estimate the seconds of what is left of stages.

    Args:
        session: The run; its trained weights are not needed.
        stages: Names of stages that are not done.

    Returns:
        By stage, and ``scoring``, which is a part of ``train``. None where nothing is known
        before: of a net that cannot be narrowed, and of exporting and reporting alone.
    """
    if len(session.blank_supernet.groups) == 0 or not set(stages) & {
        "train",
        "search",
        "finetune",
    }:
        return None
    work = plan_pruning(session) if session.config.oneshot.method else plan_work(session)
    found = estimate_seconds(measure_paces(session), work)
    for stage, share in _find_done(session, work, stages).items():
        for name in (stage, *(["scoring"] if stage == "train" else [])):
            found[name] *= 1 - min(1.0, share)
    wanted = set(stages) | ({"scoring"} if "train" in stages else set())
    if session.config.finetune.tuner is not None:
        wanted -= {"finetune"}  # nobody knows how long the user's own code takes
    return {name: seconds for name, seconds in found.items() if name in wanted}


def _find_done(session: Session, work: Work, stages: Collection[str]) -> dict[str, float]:
    """Return which share of a stage an earlier process has done."""
    done = {}
    checkpoint = session.path / "training.checkpoint.safetensors"
    if "train" in stages and checkpoint.exists():
        state = read_state(checkpoint)
        done["train"] = state["step"] * session.config.training.batch_size / work.n_trained
    if "search" in stages and "train" not in stages:
        trials = count_trials(session.config.name, session.study_storage)
        n_open = sum(trials.get(state, 0) for state in ("running", "waiting"))
        done["search"] = (sum(trials.values()) - n_open) / work.n_trials
    if "finetune" in stages and "search" not in stages:
        results = (session.path / "finetuned").glob(f"*/{Finetuned.FILE}")
        done["finetune"] = len(list(results)) / work.n_exported
    return done


def measure_paces(session: Session) -> Paces:
    """Time some steps and evaluations on a copy of the supernet."""
    supernet = copy_supernet(session.blank_supernet)
    space, cost = supernet.space, _find_cost(session)
    macs = (cost(space.full), cost(space.smallest))
    read = _choose_clock(session.device)
    with torch.random.fork_rng():
        loader = session.training_loader(session.config.training.batch_size)
        n_workers, loader.n_workers = loader.n_workers, 0
        start = time.perf_counter()
        samples, targets = read_batch(next(iter(loader)))
        n_samples = count_samples(samples)
        loading = (time.perf_counter() - start) / n_samples / max(1, n_workers)
        batch = placement_of(supernet).put(samples), targets.to(session.device)
        alone, both = _time_in_turn(
            [
                _make_step(session, supernet, plan, batch)
                for plan in (Plan(True, ()), Plan(True, (space.smallest,)))
            ],
            n_samples,
            read,
        )
        judge = _make_judge(session, supernet)
        full, smallest = _time_in_turn(
            [partial(judge, widths) for widths in (space.full, space.smallest)],
            judge.n_images,
            read,
        )
    narrow = min(max(both - alone, 0.0), alone)
    return Paces(Pace(alone, narrow, *macs), Pace(full, smallest, *macs), loading)


def _make_judge(session: Session, supernet: Supernet) -> Judge:
    """Make a judge of samples that are in memory already: others may be slow to read."""
    images, size = session.calibration_images, session.config.evaluation.batch_size
    targets = fetch_batch(session.data.train, [0])[1]
    n_samples = count_samples(images)
    parts = [take_samples(images, slice(k, k + size)) for k in range(0, n_samples, size)]
    batches = [(part, targets.expand(count_samples(part), *targets.shape[1:])) for part in parts]
    return Judge(supernet, images, batches, batch_size=size, task=session.task)


def plan_work(session: Session) -> Work:
    """Count what the stages of a run do, before they do it."""
    config, data = session.config, session.data
    settings, cost = config.finetune, _find_cost(session)
    *_, full = members = list_members(session)
    epochs = [settings.epochs_of(m / full if full else 1.0) for m in members]
    n_train = len(data.train)
    n_views = min(settings.n_views or max(epochs), max(epochs))
    if settings.n_views == 0 or settings.features > 0:  # the full net runs at every step
        n_views = sum(epochs)
    teaches = settings.distillation > 0 or settings.features > 0
    steps, scores, n_profiles = _rehearse(session, cost)
    n_filled = count_fillable(session)
    search = limit_search(session, is_filled=0 < n_filled == len(settings.budgets))
    n_filling = 2 * n_filled  # more than that are not tried besides
    return Work(
        n_trained=config.training.epochs * n_train,
        steps=steps,
        scores=scores,
        n_profiles=n_profiles,
        n_evaluated=count_samples(session.calibration_images) + len(data.validation),
        n_trials=min(search.n_trials, search.n_evaluated or search.n_trials) + n_filling,
        searched=tuple(list_ladder(session)),
        finetuned=tuple((float(m), n * n_train) for m, n in zip(members, epochs, strict=True)),
        n_taught=n_views * n_train if teaches else 0,
        n_exported=len(members),
        n_operations=len(session.blank_supernet.grouping.operations),
        formats=tuple(config.export.formats),
        n_jobs=session.n_jobs,
    )


def plan_pruning(session: Session) -> Work:
    """Count what the stages of a run do that prunes at once.

    The width programs are left out, and the clock that checks budgets on latency: both are bounded
    by settings, and how much of that they take is not known before.
    """
    config, work = session.config, plan_work(session)
    *members, full = list_members(session)
    n_scored = config.oneshot.n_batches * config.training.batch_size
    return replace(
        work,
        # The units are put in the order of their importance, and scored once more to choose.
        n_trained=work.n_trained + 2 * n_scored,
        steps=((full,),),
        n_evaluated=int(work.n_evaluated * (REPAIRED if config.evaluation.repair else 1)),
        n_trials=len(members),
        searched=tuple(members),
    )


def _rehearse(
    session: Session, cost: Callable[[Widths], float]
) -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, int], ...], int]:
    """Ask the policy for its plans, with costs and scores that are made up.

    True costs are only asked for of what it plans: a path of many groups asks for thousands.

    Returns:
        Macs of the nets of some steps, macs and pictures of each score, and the path's profiles.
    """
    space, settings = session.blank_supernet.space, session.config.training
    full = cost(space.full)
    scored: list[tuple[Widths, int]] = []
    n_scored = count_samples(session.calibration_images) + min(
        len(session.data.calibration), settings.n_scoring
    )

    def share(widths: Widths) -> float:
        pairs = zip(widths.active, space.full.active, strict=True)
        return statistics.fmean(a / b for a, b in pairs)

    def score(widths: Widths, n_images: int = n_scored) -> float:
        scored.append((widths, n_images))
        pairs = zip(widths.active, space.full.active, strict=True)
        return -sum(math.exp(-3 * a / b) for a, b in pairs)

    scorer = CountedScorer(score, lambda widths: full * share(widths) ** 2, n_scored)
    loader = session.training_loader(settings.batch_size)
    context = make_context(space, loader, settings, scorer, seed=session.seed)
    policy = make_policy(settings.policy, settings.policy_options, context)
    macs = _Remembered(cost)
    steps = []
    for step in np.unique(np.linspace(0, context.n_steps - 1, _N_STEPS_LOOKED_AT).astype(int)):
        policy.begin_step(int(step))
        plan = policy.plan(int(step))
        nets = [space.full] if plan.full else []
        steps.append(tuple(macs(widths) for widths in (*nets, *plan.partial)))
    scores = tuple((macs(widths), n) for widths, n in scored)
    return tuple(steps), scores, len(policy.path())


class _Remembered(dict[Widths, float]):
    """Costs that are asked for once."""

    def __init__(self, cost: Callable[[Widths], float]) -> None:
        super().__init__()
        self._cost = cost

    def __call__(self, widths: Widths) -> float:
        return self[widths]

    def __missing__(self, widths: Widths) -> float:
        self[widths] = self._cost(widths)
        return self[widths]


class _OnePlan(Memoryless):
    """A policy that trains the same at every step."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def plan(self, step: int) -> Plan:
        """Return the plan."""
        return self._plan


def _make_step(
    session: Session, supernet: Supernet, plan: Plan, batch: tuple[Samples, Tensor]
) -> Callable[[int], object]:
    """Return a function that does a step on the first so many samples."""
    samples, targets = batch
    settings = session.config.training
    scorer = CountedScorer(lambda widths: 0.0, lambda widths: 0.0, 0)
    schedule = SubnetSchedule(supernet, _OnePlan(plan), scorer)
    learner = SupernetLearner(supernet, schedule, settings, task=session.task)
    optimizer = settings.make_optimizer(supernet)
    skipping = find_skipping(supernet)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # else the copy's weights may run away and be slow to compute

    def run(n_samples: int) -> None:
        supernet.train()
        optimizer.zero_grad()
        with skipping_before(skipping):
            learner.compute_gradients(
                0, take_samples(samples, slice(n_samples)), targets[:n_samples]
            )
        optimizer.step()

    return run


def _choose_clock(device: torch.device) -> Callable[[], float]:
    """Return what tells the seconds of a machine that does nothing else.

    With one thread on the CPU that is the processor's time: others who work there take none of it,
    and on the wall a net takes as often as long as there are of them.
    """
    is_fine = time.get_clock_info("process_time").resolution <= _FINE
    is_alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if is_alone and is_fine else time.perf_counter


def _time_in_turn(
    runs: Sequence[Callable[[int], object]], n_images: int, read: Callable[[], float]
) -> list[float]:
    """Return each function's least seconds for a picture: on all of them, if that is not too long.

    The least, since whatever else the machine does can only add to it.
    """
    n_first = min(_N_FIRST, n_images)
    first = [_clock(run, n_first, read) for run in runs]  # when there is more to do than later
    if sum(first) > 2 * _SECONDS:
        return [taken / n_first for taken in first]
    slowest = max(_clock(run, n_first, read) for run in runs)
    n_timed = min(n_images, max(n_first, int(n_first * _SECONDS / max(slowest, 1e-6))))
    rounds: list[list[float]] = []
    start = time.perf_counter()
    while len(rounds) < _N_ROUNDS and (not rounds or time.perf_counter() - start < 2 * _SECONDS):
        rounds.append([_clock(run, n_timed, read) for run in runs])
    return [min(taken) / n_timed for taken in zip(*rounds, strict=True)]


def _clock(run: Callable[[int], object], n_images: int, read: Callable[[], float]) -> float:
    start = read()
    run(n_images)
    return read() - start


def _find_cost(session: Session) -> Callable[[Widths], float]:
    return lambda widths: session.sizes.measure(widths)["macs"]
