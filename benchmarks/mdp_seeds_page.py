"""The page of the benchmark of seeds from the width program, ``docs/mdp-seeds.md``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from statistics import fmean
from statistics import stdev
from typing import Any

from provenance import ROOT
from scipy.stats import t


PAGE = ROOT / "docs" / "mdp-seeds.md"
RESULTS = ROOT / "benchmarks" / "results" / "mdp_seeds.json"
BUDGETS = ("30", "60", "100")
TITLES = {
    "nats": "NATS-Bench's table",
    "digits": "The supernet of digits, as shipped",
}
ABOUT = {
    "nats": (
        "32,768 networks, accuracy as published, macs as published; the costs of the program are these macs, as tables. "
        "Importance is measured on the rebuilt net as a supernet, trained by the policy `independent` for one epoch on "
        "16-pixel CIFAR-10 (JPEG copy), some three minutes of one core. There is no path."
    ),
    "digits": (
        "The study `digits` as it is, its supernet trained anew for every seed (policy `dpod`), blocks removable. Accuracy is "
        "that of the validation split. Nobody knows the front: networks are scored against the best of all that any of these "
        "searches has evaluated on the same supernet."
    ),
}  # fmt: skip  (prose)


# Written by hand, from the tables of five seeds.
CONCLUSION = (
    "**After a path: no. Without one: at the beginning, yes. Hence `search.n_mdp` is 0 unless set.**",
    "",
    "- On supernets of digits trained along a path (policy `dpod`) the eight seeds change nothing that five seeds can show: -0.1 (0.2)",
    "  points of hypervolume after 30 networks, -0.2 (0.2) after 60, -0.2 (0.3) after 100; in place of the ladder 0.0, +0.1 and 0.0.",
    "  Path and ladder alone have 97 % of it before the sampler begins, the eight seeds alone 86 %: the supernet is at its best on",
    "  the path it was trained along.",
    "- Where there is no path they are far better than the ladder before the sampler begins (89 % of the hypervolume against 66 % on",
    "  NATS-Bench, 88 % against 67 % on digits), and the searches are ahead of those with the ladder alone after 30 networks: by",
    "  2.2 (0.7) points on NATS-Bench, better in all seeds, and 2.3 (1.1) on digits, better in four of five and not settled by five.",
    "  After 60 it is 0.3 (0.2) and 0.7 (0.7), after 100 -0.1 (0.1) and 0.6 (0.5): the sampler finds networks as good by itself.",
    "- They do not stand in for both ends. Without the largest and the smallest network (`mdp` alone) the searches on NATS-Bench",
    "  fall behind those with the ladder after 60 and 100, in four of five seeds; on digits they do not. With these two and no",
    "  other uniform networks (`ends + mdp`) they are level with `ladder + mdp` on both.",
    "- It is the budget and not the importance that does it. With all units of a layer held equally important",
    "  (`mdp (log of width)`, nothing measured) the seeds on NATS-Bench are as good: +2.7 (0.7) after 30. The logarithm of the share",
    "  of importance kept gives slightly better seeds there (90.1 % against 89.3 %) and no better searches; so the program's",
    "  value stays as published.",
    "",
    "`search.n_mdp = 8` is worth a second of processor time where the training has no path and fewer than some sixty networks can",
    "be evaluated; keep `search.n_ladder` at 2 or more.",
)


def write_page() -> None:
    """Write the page from whatever results there are."""
    results = json.loads(RESULTS.read_text())
    lines = [
        "# Do seeds from the width program help?",
        "",
        "The [width program](mdp.md) can propose the first subnets of a search: those that keep most importance at eight budgets,",
        "evenly spaced in the logarithm of macs (`search.n_mdp`). This page compares searches with and without them, all else equal:",
        "`nsga2` with its surrogate, every setting at its default. Written by `python benchmarks/mdp_seeds.py`.",
        "",
        *CONCLUSION,
        "",
        "## How to read the tables",
        "",
        "- **Evaluated** counts measured networks in the order of the trials, seeds included. **Seeds alone** is the score of the seeds",
        "  before the sampler has proposed anything; how many they are stands beside it.",
        "- **Hypervolume**: share of the front's, accuracy over log macs, in percent; **gap**: accuracy missing to the front,",
        "  averaged over log macs, in points. Both as in [How good the search is](search-quality.md), with the same reference point.",
        "- Values are means over seeds with the standard error in brackets. **Difference** is to `path + ladder`, today's default, and of",
        "  rows without a path to `ladder`: seed by seed, with the standard error of these differences and in how many seeds the row",
        "  was better. In bold: not 0 at 95 % by Student's t, with no allowance for there being many comparisons.",
        "- `path`: profiles of the training; `ladder`: eight uniform networks; `ends`: the largest and the smallest alone;",
        "  `mdp`: the width program with the importance kept as its value, as published; `mdp (log)`: with the sum over layers of the logarithm of the share that each keeps;",
        "  `mdp (log of width)`: the same with all units of a layer alike, hence without any measured importance. `none`: the",
        "  sampler begins with random networks.",
        "",
    ]
    for part, title in TITLES.items():
        if part in results:
            lines += _write_part(title, ABOUT[part], results[part])
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


def _write_part(title: str, about: str, part: Mapping[str, Any]) -> Iterator[str]:
    arms = part["arms"]
    n_seeds = len(next(iter(arms.values()))["n_seeds"])
    yield f"## {title}"
    yield ""
    yield about
    if "pools" in part:
        sizes = ", ".join(f"{pool['n_networks']:,}" for pool in part["pools"])
        yield f"Networks evaluated on each supernet: {sizes}."
    yield f"{n_seeds} {'seeds' if n_seeds > 1 else 'seed'}; commit {part['commit']}."
    yield ""
    for metric, heading, digits in (
        ("hypervolume", "Hypervolume, %", 2),
        ("gap", "Gap, points", 3),
    ):
        yield f"### {heading}"
        yield ""
        columns = (f"{b} evaluated | difference" for b in BUDGETS)
        yield f"| seeds | their number | seeds alone | {' | '.join(columns)} |"
        yield f"|---|---|---|{'---|' * (2 * len(BUDGETS))}"
        for name, arm in arms.items():
            compared = part["compared"].get(name)
            cells = [f"`{name}`", _write_range(arm["n_seeds"])]
            alone = arm["budgets"]["seeds"].get(metric)
            cells.append(_write_spread(alone, digits) if alone else "-")
            for budget in BUDGETS:
                cells.append(_write_spread(arm["budgets"][budget][metric], digits))
                cells.append(
                    _write_difference(compared[budget][metric], digits, n_seeds)
                    if compared
                    else "-"
                )
            yield f"| {' | '.join(cells)} |"
        yield ""
    costs = [(arm["seeds_cpu_s"], arm["search_cpu_s"]) for arm in arms.values()]
    yield (
        f"Making the seeds of an arm took at most {max(c[0] for c in costs):.1f} s of processor time, "
        f"a search of 100 networks {min(c[1] for c in costs):.1f} to {max(c[1] for c in costs):.1f} s."
    )
    yield ""


def _write_range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _write_spread(values: Sequence[float], digits: int) -> str:
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{fmean(values):.{digits}f} ({error:.{digits}f})"


def _write_difference(found: Mapping[str, float], digits: int, n_seeds: int) -> str:
    text = f"{found['mean']:+.{digits}f} ({found['error']:.{digits}f})"
    is_clear = abs(found["mean"]) > t.ppf(0.975, max(n_seeds - 1, 1)) * found["error"]
    return f"{f'**{text}**' if is_clear else text}, {found['n_better']}/{n_seeds}"
