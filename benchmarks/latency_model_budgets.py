"""Do subnets chosen under a share of the full net's latency measure that share?

The latency model's own budget, as a study has it: a share of what the model says of the full net.
Subnets are chosen by the width program (MDP), and at random: those of many drawn ones that the
model puts nearest below the budget. Each is extracted and timed in turn with the full net.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from latency_model_error import fit_model
from latency_model_setup import N_DRAWN
from latency_model_setup import Options
from latency_model_setup import console
from latency_model_setup import find_table
from latency_model_setup import make_supernet

from dpod_search.errors import InfeasibleError
from dpod_search.importance import measure_unit_importance
from dpod_search.latency import Bench
from dpod_search.latency import LatencyModel
from dpod_search.latency.layers import sample_subnets
from dpod_search.latency.measuring import AGREE_NETS
from dpod_search.latency.measuring import NET_ROUNDS
from dpod_search.latency.request import extract_net
from dpod_search.latency.request import make_images
from dpod_search.latency.rounds import measure_in_rounds
from dpod_search.pipeline.stages.correcting import correct
from dpod_search.programs import Limit
from dpod_search.programs import WidthProgram
from dpod_search.programs import solve_program
from dpod_search.rng import numpy_generator
from dpod_search.rng import torch_generator
from dpod_search.supernet import Supernet
from dpod_search.tabulated import TableSum
from dpod_search.widths import Widths


SHARES = (0.25, 0.5, 0.75)
SECONDS = 1.0  # for each subnet


def measure_budgets(options: Options, store: Callable[[str, dict[str, Any]], None]) -> None:
    """Choose and measure subnets of every net on every backend."""
    for name in options.nets:
        supernet = make_supernet(name)
        value = measure_value(supernet)
        for backend in options.backends:
            table = find_table(options, supernet, name, backend).table
            model = fit_model(supernet, table, options.settings.n_held_out)
            rows = measure_shares(supernet, backend, model, value, options)
            store(f"{name}, {backend}", {"mape": model.error.mape, "rows": rows})
            for share in SHARES:
                told = [
                    f"{r['measured']:.3f}"
                    for r in rows
                    if r.get("wished") == share and "measured" in r
                ]
                console.print(name, backend, share, *told)


def measure_value(supernet: Supernet) -> TableSum:
    """Return the importance that widths keep, on random pictures: only latency is looked at."""
    generator = torch_generator(0, "latency_model")
    images = torch.randn(16, *supernet.example_shape, generator=generator)
    labels = torch.randint(10, (16,), generator=generator)
    importance = measure_unit_importance(supernet, [(images, labels)], n_batches=1)
    supernet.eval()
    return importance.tabulate(supernet.space)


def choose_random(
    supernet: Supernet, model: LatencyModel, n_random: int
) -> Iterator[tuple[float, Widths]]:
    """Yield budgets and subnets that the model puts nearest below them."""
    space = supernet.space
    full_ms = model.measure(space.full)
    rng = numpy_generator(0, "latency_model", "budgets")
    drawn = sample_subnets(space, N_DRAWN, rng)
    shares = model.table(np.array([widths.active for widths in drawn])) / full_ms
    for share in SHARES:
        below = np.flatnonzero(shares <= share)
        for i in below[np.argsort(-shares[below])][:n_random]:
            yield share, drawn[i]


def measure_shares(
    supernet: Supernet,
    backend: str,
    model: LatencyModel,
    value: TableSum,
    options: Options,
) -> list[dict[str, Any]]:
    """Extract subnets and time them in turn with the full net.

    What the program chooses is corrected by the clock, as ``dpod-search mdp`` does it; what counts
    is measured once more, afterwards. The random picks are as the model alone chooses.
    """
    space = supernet.space
    images = make_images(supernet.example_shape, 1)
    full_ms = model.measure(space.full)
    seconds = 0.05 if options.is_quick else SECONDS
    rows: list[dict[str, Any]] = []
    with Bench(backend, n_threads=1) as bench:
        bench.refer_to(extract_net(supernet, space.full.active), images)
        of_full = bench.nominal_ms

        def measure(widths: Widths) -> float:
            run = bench.prepare(extract_net(supernet, widths.active), images)
            (found,) = measure_in_rounds(  # as a run measures its shares
                1,
                lambda _: bench.time_run(run, max_seconds=seconds / NET_ROUNDS),
                numpy_generator(0, "latency_model", "shares"),
                n_rounds=NET_ROUNDS,
                tolerance=AGREE_NETS,
                tell=lambda: None,
            )
            return found.quiet_ms / of_full

        for share in SHARES:

            def choose(factor: float, share: float = share) -> tuple[Widths, None]:
                limit = Limit("latency", (model.sum_ms,), factor * share * full_ms)
                solution = solve_program(WidthProgram(space.n_rungs, value, (limit,)))
                return space.canonical(space.from_rungs(solution.rungs)), None

            try:
                plain, _ = choose(1.0)
                found = correct(choose, measure, wished=share, n_corrections=8)
            except InfeasibleError as error:
                rows.append({"wished": share, "chooser": "mdp", "refused": str(error)})
                continue
            for chooser, widths in (("mdp, model alone", plain), ("mdp", found.widths)):
                row = _describe(model, share, chooser, widths)
                rows.append({**row, "measured": measure(widths)})
            rows[-1]["n_corrections"] = found.n_corrections
        for share, widths in choose_random(supernet, model, options.n_random):
            row = _describe(model, share, "random", widths)
            rows.append({**row, "measured": measure(widths)})
    return rows


def _describe(model: LatencyModel, share: float, chooser: str, widths: Widths) -> dict[str, Any]:
    space = model.space
    full_ms = model.measure(space.full)
    blocks = [i for i, rungs in enumerate(space.rungs) if rungs[0] == 0]
    return {
        "wished": share,
        "chooser": chooser,
        "predicted": model.measure(widths) / full_ms,
        "n_removed": sum(widths.active[i] == 0 for i in blocks),
    }
