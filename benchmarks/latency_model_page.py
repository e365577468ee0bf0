"""The page on how true latencies are; written by ``latency_model.py``."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any


MAPE_LIMIT, RANK_LIMIT = 0.08, 0.97
REPEAT_LIMIT = 0.05
BUDGET_LIMITS = {0.5: 0.52}
CLOCK_WORDS = {
    "corrected": "corrected",
    "processor": "processor time alone",
    "wall": "clock on the wall",
}


def write_page(results: dict[str, Any]) -> str:
    """Return the page as Markdown, of the parts that there are."""
    parts = {"error": _write_error, "repeat": _write_repeat, "budgets": _write_budgets}
    lines = [
        "# How true the latencies are",
        "",
        "Written by `python benchmarks/latency_model.py`. What is measured how is told in [Latency](latency.md).",
        "One thread, one picture in a pass, untrained nets with removable blocks: resnet20 for 3 x 32 x 32 pictures, torchvision's",
        "mobilenet_v2 for 3 x 64 x 64, ten classes.",
        *_write_machines(results),
    ]
    for name, write in parts.items():
        if name in results:
            lines += ["", *write(results[name])]
    return "\n".join(lines) + "\n"


def _write_machines(results: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "| measured | commit | cores | processor | torch | onnxruntime | load before |"
    yield "|---|---|---|---|---|---|---|"
    for part, found in results.items():
        for name, each in found.items():
            machine = each["machine"]
            versions = machine["versions"]
            yield (
                f"| {part}: {name} | {each['commit']} | {machine['n_cores']} | {machine['processor']} "
                f"| {versions['torch']} | {versions.get('onnxruntime', 'none')} | {each['load_before']:.1f} |"
            )


def _write_error(found: dict[str, Any]) -> Iterator[str]:
    yield "## The model's error"
    yield ""
    yield "A table of layers is measured, the model fitted to some whole subnets, and its error taken on others that it has not seen"
    yield f"(limits: {_share(MAPE_LIMIT)} on average, rank correlation {RANK_LIMIT}). *Macs alone* is a + b macs, fitted to the same subnets in the same way."
    yield "*Other splits* is the model's mean over 20 random splits of the same measured subnets, with its worst. *Interval* is half the 95 % interval of one"
    yield "subnet's median, in the middle of all: what measuring leaves open."
    yield ""
    yield "| net, backend | subnets fitted, held out | from, to (ms) | model: error, worst, rank | other splits: error (worst), rank (worst) | macs alone: error, worst, rank | interval | layers in the table | minutes | within |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, each in found.items():
        model, macs, alike = each["model"], each["macs"], each["alike"]
        is_within = model["mape"] <= MAPE_LIMIT and model["rank_correlation"] >= RANK_LIMIT
        low, high = each["span"]
        minutes = "" if each["seconds"] is None else f"{each['seconds'] / 60:.1f}"
        yield (
            f"| {name} | {each['n_fit']}, {model['n_nets']} | {low:.2f}, {high:.2f} | {_error(model)} "
            f"| {_share(alike['mape'])} ({_share(alike['worst_mape'])}), {alike['rank_correlation']:.3f} ({alike['worst_rank_correlation']:.3f}) "
            f"| {_error(macs)} | {_share(each['interval'])} | {each['n_cells']} | {minutes} | {_yes(is_within)} |"
        )
    yield ""
    yield "What the models are made of, by how they were fitted:"
    yield ""
    for name, each in found.items():
        weights = ", ".join(f"{part} {weight:.3g}" for part, weight in each["weights"].items())
        yield f"- {name}: {weights}"


def _write_repeat(found: dict[str, Any]) -> Iterator[str]:
    each = next(iter(found.values()))
    yield "## Measured again under load"
    yield ""
    yield f"{len(each['subnets'])} subnets of {each['net']}, measured again and again, each time by a new process with a new bench, on the machine as it was (*quiet*)"
    yield f"and while other processes multiplied matrices and streamed memory on all cores (*loaded*, kind `{each['load_kind']}`). *Corrected* is what"
    yield "dpod-search says; the other two are medians of the very same passes that no reference net corrects. The largest difference of any"
    yield f"subnet, limit {_share(REPEAT_LIMIT)} for the corrected one:"
    yield ""
    yield f"| backend | first, then | minutes between | {' | '.join(CLOCK_WORDS.values())} | within |"
    yield "|---|---|---|---|---|---|---|"
    for backend, each in found.items():
        for pair in each["pairs"]:
            worst = [_share(pair[clock]["worst"]) for clock in CLOCK_WORDS]
            is_within = pair["corrected"]["worst"] <= REPEAT_LIMIT
            yield (
                f"| {backend} | {pair['first']}, {pair['last']} | {pair['minutes']:.0f} | {' | '.join(worst)} "
                f"| {_yes(is_within)} |"
            )
    yield ""
    yield "Of every two measurements of the same subnet, whenever they were made, quiet or loaded: the difference in the middle, the largest,"
    yield f"and how many are within {_share(REPEAT_LIMIT)}."
    yield ""
    yield f"| backend | measurements of a subnet | {' | '.join(CLOCK_WORDS.values())} |"
    yield "|---|---|---|---|---|"
    for backend, each in found.items():
        told = [
            f"{_share(one['median'])}, {_share(one['worst'])}, {_share(one['within'])}"
            for one in (each["all"][clock] for clock in CLOCK_WORDS)
        ]
        yield f"| {backend} | {each['n_measurements']} | {' | '.join(told)} |"
    yield ""
    yield "Load before a measurement, in the middle of all, and the reference's slowest burst over its fastest while one subnet was measured:"
    yield (
        "; ".join(
            f"{backend} quiet load {each['load']['quiet']:.1f}, drift {each['drift']['quiet']:.2f}, loaded "
            f"{each['load']['loaded']:.1f}, {each['drift']['loaded']:.2f}"
            for backend, each in found.items()
        )
        + "."
    )


def _write_budgets(found: dict[str, Any]) -> Iterator[str]:
    yield "## Wished and measured"
    yield ""
    yield "Subnets chosen under a share of the full net's latency, then extracted and timed in turn with the full net. *MDP* is the width program's"
    yield "choice (importance by Taylor on random pictures: only latency is looked at): as the model alone has it, and corrected by the clock as"
    yield "`dpod-search mdp` does it, measured once more afterwards. *Random* are those of many drawn subnets that the model puts nearest below the"
    yield f"budget, not corrected. Limit: {_share(BUDGET_LIMITS[0.5])} measured for 50 % wished."
    yield ""
    yield "| net, backend | wished | MDP, model alone | MDP, corrected | corrections | blocks removed | random: how many | measured, in the middle | from, to | within |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, each in found.items():
        for wished in sorted({row["wished"] for row in each["rows"]}):
            rows = [row for row in each["rows"] if row["wished"] == wished]
            yield _write_budget(name, wished, rows)
    refusals = {
        f"- {name}, {_share(row['wished'])}: {row['refused']}"
        for name, each in found.items()
        for row in each["rows"]
        if "refused" in row
    }
    if refusals:
        yield ""
        yield "Out of reach:"
        yield ""
        yield from sorted(refusals)


def _write_budget(name: str, wished: float, rows: list[dict[str, Any]]) -> str:
    by_chooser = {row["chooser"]: row for row in rows if "measured" in row}
    drawn = [row["measured"] for row in rows if row["chooser"] == "random"]
    cells = [name, _share(wished)]
    if "mdp" in by_chooser:
        found = by_chooser["mdp"]
        cells += [_share(by_chooser["mdp, model alone"]["measured"]), _share(found["measured"])]
        cells += [str(found["n_corrections"]), str(found["n_removed"])]
    else:
        cells += ["out of reach", "", "", ""]
    if drawn:
        ends = f"{_share(min(drawn))}, {_share(max(drawn))}"
        cells += [str(len(drawn)), _share(median(drawn)), ends]
    else:
        cells += ["0", "", ""]
    limit = BUDGET_LIMITS.get(wished, wished + 0.02)
    is_within = "mdp" in by_chooser and by_chooser["mdp"]["measured"] <= limit
    cells.append("yes" if is_within else "no" if "mdp" in by_chooser else "")
    return f"| {' | '.join(cells)} |"


def _error(error: dict[str, float]) -> str:
    return f"{_share(error['mape'])}, {_share(error['worst'])}, {error['rank_correlation']:.3f}"


def _share(value: float) -> str:
    text = f"{100 * value:.1f}".removesuffix(".0")
    return f"{text} %"


def _yes(is_within: bool) -> str:
    return "yes" if is_within else "no"
