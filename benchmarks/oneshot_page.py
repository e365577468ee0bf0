"""The page of the one-shot benchmark, ``docs/oneshot.md``, and its figure, from the results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import plotly.graph_objects as go
from oneshot_numbers import NAMES
from oneshot_numbers import ONE_SHOT
from oneshot_numbers import SEARCHED
from oneshot_numbers import Estimate
from oneshot_numbers import Net
from plotly.subplots import make_subplots
from provenance import ROOT

from dpod_search.figures.style import NEUTRAL
from dpod_search.figures.style import SERIES


PAGE = ROOT / "docs" / "oneshot.md"
IMAGES = ROOT / "docs" / "images"
RESULTS = ROOT / "benchmarks" / "results"


def write_page() -> None:
    """Write the page and the figures from the results."""
    results = json.loads((RESULTS / "oneshot.json").read_text())
    nets = []
    for name in dict.fromkeys(case["net"] for case in results["cases"]):
        net = Net(name, [case for case in results["cases"] if case["net"] == name])
        if net.seeds:
            nets.append(net)
    lines = [*_introduce()]
    nets.sort(key=lambda net: -len(net.seeds))
    for net in nets:
        draw(net).write_image(IMAGES / _name_image(net), width=960, height=460)
        lines += _write_net(net, results["machine"])
    lines += _explain(nets)
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


def _name_image(net: Net) -> str:
    return "oneshot.svg" if net.name == "resnet8" else f"oneshot-{net.name}.svg"


def _introduce() -> Iterator[str]:
    yield "# One shot, or a search"
    yield ""
    yield "Is the front of a searched supernet worth more than widths that are chosen in one shot, without a supernet and without a search?"
    yield "Written by `python benchmarks/oneshot.py`; Fashion-MNIST, the pictures, nets and supernet training of [Which policy trains best](policies.md)."
    yield ""
    yield "- **DPOD front**: a supernet of policy `dpod` is trained and searched; for each budget of macs the member counts that is best on validation."
    yield "- The **one-shot** methods narrow a net that was trained alone (policy `dense`) with as many multiply-adds as the supernet. Importance is measured"
    yield "  on the training pictures, and the units of every group are put in its order first (magnitude in that of magnitude, the others in Taylor's)."
    yield "  **MDP**: the width program, the most Taylor importance within the budget, blocks included, solved to a proven optimum."
    yield "  **Taylor**: one threshold on the importance of all units as it is; **Taylor per cost**: on importance for the macs of a unit. **Magnitude**:"
    yield "  one threshold on the norms of all units, divided by their group's root mean square. **Uniform**: the largest width ratio for all. **Random**: widths drawn within the budget, one draw a seed."
    yield "- **Supernet, MDP** and **supernet, uniform**: the same two choices, but on the supernet's weights, whose order training has made. They tell what the"
    yield "  supernet's weights are worth with the widths of the others, and what the searched widths are worth on the same weights."
    yield "- All are finetuned the same way, with as many epochs at a budget, whatever share of it they use, and their own full net as the teacher. Nothing is chosen on the test split."
    yield "- **Hypervolume**: as in [Which policy trains best](policies.md): of the five subnets, accuracy above chance over the logarithm of macs from 3 % to all."
    yield ""


def _write_net(net: Net, machine: dict[str, Any]) -> Iterator[str]:
    dpod, dense = net.cases("dpod"), net.cases("dense")
    first = dpod[0]
    commits = ", ".join(sorted({case["commit"] for case in (*dpod, *dense)}))
    n_seeds = len(net.seeds)
    yield f"## {net.name}"
    yield ""
    yield (
        f"{n_seeds} seed{'s' if n_seeds > 1 else ''}, {first['n_train']:,} training pictures. A supernet costs as much as {fmean(c['training_epochs'] for c in dpod):.1f} epochs of the full net, its search "
        f"{fmean(c['search_epochs'] for c in dpod):.1f} more; the net alone {fmean(c['training_epochs'] for c in dense):.1f}. The full nets have {Estimate.of([100 * c['full'] for c in dpod])} % in the supernet and "
        f"{Estimate.of([100 * c['full'] for c in dense])} % alone. PyTorch {machine['versions']['torch']}, {machine['n_cores']} cores; code of {commits}."
    )
    yield ""
    yield "Test accuracy after finetuning in percent; in brackets the standard error of the mean over seeds."
    yield ""
    heads = " | ".join(
        f"{b:.0%}, {e} epochs" for b, e in zip(net.budgets, net.epochs, strict=True)
    )
    yield f"| | {heads} | mean | hypervolume |"
    yield f"|---|{'---|' * (len(net.budgets) + 2)}"
    for key, name in NAMES.items():
        cells = [str(Estimate.of(net.values(key, i))) for i in range(len(net.budgets))]
        cells += [str(Estimate.of(net.means(key))), str(Estimate.of(net.volumes(key)))]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    for case in net.halves:
        volumes = [
            f"{name} {case['methods'][method]['volume']:.2f}"
            for (start, method), name in NAMES.items()
            if start == case["start"]
        ]
        yield f"Of seed {case['seed']} there is only what begins with policy `{case['start']}`, so it is in no table; hypervolumes: {', '.join(volumes)}."
        yield ""
    yield f"![Test accuracy over macs of every method, after and before finetuning](images/{_name_image(net)})"
    yield ""
    yield "Before finetuning, with BatchNorm statistics estimated anew for each subnet:"
    yield ""
    yield from _write_table(net, "before")
    yield "Macs that were used, in percent of the full net's. What no rung fits is left over; uniform widths have eight sizes only, and the member of the front"
    yield "that is best on validation need not be the largest."
    yield ""
    yield from _write_table(net, "macs_share")
    yield from _write_differences(net)
    yield from _write_widths(net)


def _write_table(net: Net, what: str) -> Iterator[str]:
    yield f"| | {' | '.join(f'{b:.0%}' for b in net.budgets)} |"
    yield f"|---|{'---|' * len(net.budgets)}"
    for key, name in NAMES.items():
        cells = [str(Estimate.of(net.values(key, i, what))) for i in range(len(net.budgets))]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def _write_differences(net: Net) -> Iterator[str]:
    yield "Points of test accuracy that one is ahead of the other, paired by seed. The best one-shot method is chosen by its mean test accuracy at the"
    yield "budget, so that it is a harder opponent than any single one."
    yield ""
    yield f"| | {' | '.join(f'{b:.0%}' for b in net.budgets)} |"
    yield f"|---|{'---|' * len(net.budgets)}"
    pairs = [
        ("DPOD front over the best one-shot method", SEARCHED, ONE_SHOT),
        ("DPOD front over MDP", SEARCHED, (("dense", "mdp"),)),
        ("MDP over uniform", ("dense", "mdp"), (("dense", "uniform"),)),
        ("MDP over random", ("dense", "mdp"), (("dense", "random"),)),
        ("weights: supernet over net alone, both MDP", ("dpod", "mdp"), (("dense", "mdp"),)),
        (
            "weights: supernet over net alone, both uniform",
            ("dpod", "uniform"),
            (("dense", "uniform"),),
        ),
        ("widths: searched over MDP, both supernet", SEARCHED, (("dpod", "mdp"),)),
        ("widths: searched over uniform, both supernet", SEARCHED, (("dpod", "uniform"),)),
    ]
    for title, key, others in pairs:
        cells = []
        for place in range(len(net.budgets)):
            best, ahead = net.compare(key, others, place)
            which = f", {NAMES[best]}" if len(others) > 1 else ""
            error = "" if ahead.error is None else f" ({ahead.error:.2f})"
            cells.append(f"{ahead.mean:+.2f}{error}{which}")
        yield f"| {title} | {' | '.join(cells)} |"
    yield ""


def _write_widths(net: Net) -> Iterator[str]:
    seed = net.seeds[0]
    groups = net.by_key[seed, "dpod"]["groups"]
    full = ":".join(str(group["full"]) for group in groups)
    names = ", ".join(f"`{group['name']}`" for group in groups)
    yield (
        f"Widths of seed {seed}; groups stand in the order {names} (full: {full}). The last of them, removable blocks, are 0 if removed."
    )
    yield ""
    yield f"| | {' | '.join(f'{b:.0%}' for b in net.budgets)} |"
    yield f"|---|{'---|' * len(net.budgets)}"
    for (start, method), name in NAMES.items():
        rows = net.by_key[seed, start]["methods"][method]["rows"]
        yield f"| {name} | {' | '.join(row['widths'] for row in rows)} |"
    yield ""


def draw(net: Net) -> go.Figure:
    """Draw test accuracy over macs: after finetuning on the left, before on the right."""
    figure = make_subplots(
        rows=1,
        cols=2,
        subplot_titles=("after finetuning", "before finetuning"),
        horizontal_spacing=0.07,
    )
    for column, what in enumerate(("test", "before"), start=1):
        for number, key in enumerate((SEARCHED, *ONE_SHOT)):
            is_spare = number >= len(SERIES)
            series = SERIES[number % len(SERIES)]
            color = NEUTRAL if is_spare else series.color
            found = [Estimate.of(net.values(key, i, what)) for i in range(len(net.budgets))]
            figure.add_scatter(
                x=[100 * budget for budget in net.budgets],
                y=[estimate.mean for estimate in found],
                error_y={"type": "data", "array": [e.error or 0 for e in found], "thickness": 1},
                name=NAMES[key],
                legendgroup=NAMES[key],
                showlegend=column == 1,
                mode="lines+markers",
                line={"color": color, "dash": series.dash, "width": 3 if number == 0 else 1.5},
                marker={"symbol": "x" if is_spare else series.symbol, "size": 8},
                row=1,
                col=column,
            )
        figure.update_xaxes(
            type="log",
            tickvals=[100 * budget for budget in net.budgets],
            ticktext=[f"{budget:.0%}" for budget in net.budgets],
            title="macs at most, share of the full net's",
            row=1,
            col=column,
        )
    figure.update_yaxes(title="test accuracy, %", row=1, col=1)
    figure.update_layout(
        template="plotly_white",
        font={"size": 13},
        margin={"l": 60, "r": 10, "t": 40, "b": 60},
    )
    return figure


def _explain(nets: Sequence[Net]) -> Iterator[str]:
    yield "## What it says"
    yield ""
    for net in nets:
        yield _count_wins(net)
    yield ""
    yield "Why, on ResNet-8 (seed 0, whose figures the tables above have):"
    yield ""
    yield "- **Few macs: the supernet's weights win.** Its subnets of 3 to 12 % of the macs are good before any finetuning. The net alone, cut to as little, is near"
    yield "  chance, and six to twelve epochs of finetuning make up most of the difference, but not all. Uniform widths show the same: the supernet's end higher at 3 and 6 %."
    yield "- **Many macs: the net alone wins.** All of its training went into the full net, which is better than the supernet's full net; half of it needs little"
    yield "  repair, and three epochs give that. The supernet's training was shared among all its widths."
    yield "- **The search adds little here** to the width program on the same weights, which takes one pass over the training pictures and evaluates no subnet. The member"
    yield "  of the front that is chosen for a budget is best before finetuning, on 2,100 pictures: of half of the macs it uses a third, and the width program's larger subnet ends higher."
    yield "- **MDP is the best one-shot method** by hypervolume, though hardly before Taylor per cost, one threshold on the same importance. Counting cost is what matters:"
    yield "  Taylor importance as it is fills the first layers and leaves the last stage at its narrowest, and random widths are better at every budget. Random widths that"
    yield "  use the budget are no weak opponent: at 6 % they are the best one-shot method by a little."
    yield "- **The block** that can be removed: the search drops it at every budget here (with seed 1 only up to 12 %), MDP on the supernet at 3 and 6 %, and MDP on the net alone never."
    yield "- Uniform widths are held back by their ladder of eight sizes: of 6 % they use 1.7 %."
    yield ""
    yield "What it does not say: finetuning is short here, and the longer it is, the less it counts what a subnet begins with (see [Against training from"
    yield "scratch](from-scratch.md)). The budget is macs, where MDP was made for latency. The net is small and has one block to remove."
    yield ""


def _count_wins(net: Net) -> str:
    found = [net.compare(SEARCHED, ONE_SHOT, i) for i in range(len(net.budgets))]
    ahead = [b for b, (_, e) in zip(net.budgets, found, strict=True) if e.mean > 0]
    clear = [e for _, e in found if e.error is not None and abs(e.mean) > 2 * e.error]
    best = max(ONE_SHOT, key=lambda key: fmean(net.volumes(key)))
    spoken = ", ".join(f"{budget:.0%}" for budget in ahead) or "none"
    doubt = (
        f"{len(clear)} of the {len(found)} differences are larger than two standard errors."
        if len(net.seeds) > 1
        else "This is one seed: there is no standard error over seeds, and the test split's 10,000 pictures alone give each accuracy one of 0.4 points."
    )
    return (
        f"{net.name}: the DPOD front is ahead of the best one-shot method at {spoken} of the macs and not at the others; its hypervolume is "
        f"{fmean(net.volumes(SEARCHED)):.2f}, that of the best one-shot method ({NAMES[best]}) {fmean(net.volumes(best)):.2f}. {doubt}"
    )


if __name__ == "__main__":
    write_page()
