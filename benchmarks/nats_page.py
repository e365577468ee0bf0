"""The page of ``nats_supernet.py``, ``docs/nats-supernet.md``, from its results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from provenance import ROOT


PAGE = ROOT / "docs" / "nats-supernet.md"
RESULTS = ROOT / "benchmarks" / "results" / "nats_supernet.json"
TAU_LIMIT = 0.70
JUDGED = "supernet accuracy"


def write_page() -> None:
    """Write the page from whatever presets were run."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    lines = [
        "# How well a supernet ranks",
        "",
        "NATS-Bench's size space holds 32,768 networks of five widths, each trained alone for 90 epochs on CIFAR-10. A supernet",
        "of its widest network is trained once, and its subnets' accuracies are held against the published ones. Written by",
        "`python benchmarks/nats_supernet.py`.",
        "",
        "- **Tau** is Kendall's tau-b between a prediction and the published accuracy, of 500 networks that were drawn evenly from the",
        "  table: 1 puts every pair in the right order, 0 is chance. In brackets the 95 % interval of a bootstrap over networks.",
        "- **Deciles**: the same among fifty networks of similar macs, where size alone says less.",
        "- Subnets are calibrated and run as they are in the supernet, on training pictures that were kept apart. Nothing is",
        "  finetuned. The published accuracies are of the test pictures, one seed; differences below 0.3 points are noise.",
        "- The rebuilt network has the table's macs and params at all 32,768 widths. In the supernet a cell's skip between two widths",
        "  that happen to be equal is a projection, where the published network has the identity.",
        "",
    ]
    if not results:
        lines += ["No preset was run yet."]
    for name, found in results.items():
        lines += _write_preset(name, found)
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


def _write_preset(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    preset, hours = found["preset"], found["hours"]
    training = preset["training"]
    where = found["machine"]["cuda"] or f"{preset['threads']} CPU threads"
    yield f"## Preset `{name}`"
    yield ""
    yield (
        f"Policy `{training['policy']}` {json.dumps(training['policy_options'])}, distillation "
        f"{training['distillation']:g}, {training['epochs']} epochs of pictures of {preset['side']} px in batches of "
        f"{training['batch_size']} ({found['n_steps']:,} steps, {training['precision']}), {found['pictures']}. "
        f"{hours['training']:.2f} hours of training, {hours['evaluation']:.2f} of evaluating 500 networks, "
        f"{hours['search']:.2f} of searching, on {where}. The full net has {100 * found['full_accuracy']:.1f} %. "
        f"Commit {found['commit']}."
    )
    yield ""
    yield from _write_ranking(found["ranking"])
    if "forecasts" in found:
        yield from _write_forecasts(found["forecasts"])
    yield from _write_fronts(found["fronts"])


def _write_ranking(ranking: Mapping[str, Any]) -> Iterator[str]:
    recall = next(name for name in ranking[JUDGED] if name.startswith("top"))
    yield f"| prediction | tau | {recall} | mean tau of deciles |"
    yield "|---|---|---|---|"
    for name, scores in ranking.items():
        yield f"| {name} | {_format(scores['tau'])} | {_format(scores[recall])} | {scores['mean of deciles']:.3f} |"
    yield ""
    yield f"| macs, M | {' | '.join(ranking)} |"
    yield f"|---|{'---|' * len(ranking)}"
    for bands in zip(*(scores["deciles"] for scores in ranking.values()), strict=True):
        least, most = (bands[0][end] / 1e6 for end in ("least", "most"))
        yield f"| {least:.0f} to {most:.0f} | {' | '.join(map(_format, bands))} |"
    yield ""
    ours, params = ranking[JUDGED], ranking["params"]
    pairs = list(zip(ours["deciles"], params["deciles"], strict=True))
    n_above = sum(mine["value"] > other["value"] for mine, other in pairs)
    tau = ours["tau"]["value"]
    yield f"- Tau of the supernet's accuracy: limit {TAU_LIMIT:.2f}, reached {tau:.3f}: {_judge(tau > TAU_LIMIT)}."
    yield f"- Deciles in which it is above that of params: {n_above} of {len(pairs)}: {_judge(n_above == len(pairs))}."
    yield ""


def _write_forecasts(forecasts: Mapping[str, Any]) -> Iterator[str]:
    yield "A few published accuracies stand for finetunings that were paid for: what they let expect of the other networks, by"
    yield "[the forecast](finetuning.md#what-is-foretold) of two fidelities. Tau over those, mean of five draws of what is known."
    yield ""
    names = list(next(iter(forecasts.values())))
    yield f"| known | {' | '.join(f'{name} | its deciles' for name in names)} |"
    yield f"|---|{'---|---|' * len(names)}"
    for n_known, found in forecasts.items():
        cells = [f"{found[n]['tau']:.3f} | {fmean(found[n]['deciles']):.3f}" for n in names]
        yield f"| {n_known} | {' | '.join(cells)} |"
    yield ""
    most = forecasts[max(forecasts, key=int)]
    tau = most["two fidelities"]["tau"]
    pairs = list(zip(most["two fidelities"]["deciles"], most["params"]["deciles"], strict=True))
    n_above = sum(mine > other for mine, other in pairs)
    yield f"- Tau of two fidelities with the most: limit 0.80, reached {tau:.3f}: {_judge(tau > 0.8)}."
    yield f"- Deciles in which it is above that of params: {n_above} of {len(pairs)}: {_judge(n_above == len(pairs))}."
    yield ""


def _write_fronts(fronts: Mapping[str, Any]) -> Iterator[str]:
    yield "The front that the pipeline picks by the supernet's accuracy, graded by the published table. The gap is that of"
    yield "[How good the search is](search-quality.md): points below the true front, averaged over the logarithm of macs. `params` picks"
    yield "from the whole table, as many networks as the pipeline, evenly over the costs; `random` picks by lot from as many networks as"
    yield "the search evaluated. More picks make a smaller gap, whoever picks."
    yield ""
    yield "| picked by | networks | gap, points |"
    yield "|---|---|---|"
    for name, grade in fronts.items():
        yield f"| {name} | {grade['n_networks']:.0f} | {grade['gap']:.3f} |"
    yield ""


def _format(score: Mapping[str, float]) -> str:
    return f"{score['value']:.3f} ({score['low']:.2f} to {score['high']:.2f})"


def _judge(is_met: bool) -> str:
    return "met" if is_met else "not met"
