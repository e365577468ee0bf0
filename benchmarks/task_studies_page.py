"""Writes docs/task-studies.md from the results of ``task_studies.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from statistics import mean
from typing import Any

from provenance import ROOT

from dpod_search.markdown import table
from dpod_search.quantities import label
from dpod_search.quantities import number
from dpod_search.quantities import percent
from dpod_search.quantities import plural
from dpod_search.quantities import spell


_HEAD = """\
# Studies of other tasks

What the shipped studies deliver that are no classifiers of pictures, or no convolutions. Written by `python benchmarks/task_studies.py`.

Members are the best on validation within a share of the full net's macs; of a language model, within a share of its parameters outside embeddings. Figures are those of the test split, means over seeds,
with each seed's in brackets. `alone` are the same widths from new weights, by the study's training settings, for the multiply-adds that the whole pipeline took for each member it delivers; `epochs` is how long
that was. Time is processor time on one core of a shared machine, from data to report.
"""


_END = """\
## What it says

Where the full net is trained to its end (the U-Net, the recurrent net), members keep most of what it knows at a fraction of its macs. The GPT's ten minutes end long before that: two epochs are shared by the full net and
all others, and a narrow net alone goes through the text four to sixteen times for the compute that falls to each member. It ends 0.12 to 0.21 bits lower, lower than the full net too. For one small net and a budget this
short, train it alone; what the study shows is that text goes through the loop.
"""


def write_page() -> None:
    """Write the page."""
    results = ROOT / "benchmarks" / "results" / "task_studies.json"
    cases = json.loads(results.read_text())["cases"]
    lines = [_HEAD]
    for name in dict.fromkeys(case["study"] for case in cases):
        lines += _describe([case for case in cases if case["study"] == name])
    lines.append(_END)
    (ROOT / "docs" / "task-studies.md").write_text("\n".join(lines).rstrip() + "\n")


def _describe(cases: list[dict[str, Any]]) -> Iterator[str]:
    metric = cases[0]["metric"]
    yield f"## {cases[0]['study']}"
    yield ""
    seconds = mean(case["cpu_seconds"] for case in cases)
    fronts = ", ".join(f"{c['n_on_front']} of {c['n_members']}" for c in cases)
    smallest = ", ".join(percent(case["smallest"]) for case in cases)
    yield (
        f"{plural(len(cases), 'seed')}, {number(seconds, 3)} s each; members that no other dominates after "
        f"finetuning: {fronts}; the smallest has {smallest} of the macs."
    )
    yield ""
    full = _tell(metric, [case["full"]["test"] for case in cases])
    rows = [("full net", "100 %", "100 %", full, "", "")]
    for share in dict.fromkeys(row["share"] for case in cases for row in case["rows"]):
        found = [row for case in cases for row in case["rows"] if row["share"] == share]
        alone = [row["alone"] for row in found if "alone" in row]
        rows.append(
            (
                f"≤ {percent(share, 0)}",
                percent(mean(row["of_full"] for row in found)),
                percent(mean(row["macs_share"] for row in found)),
                _tell(metric, [row["test"] for row in found]),
                _tell(metric, alone) if alone else "",
                number(mean(row["epochs"] for row in alone), 3) if alone else "",
            )
        )
    columns = ("within", "of the full net", "macs", label(metric), "alone", "epochs")
    yield from table(columns, rows)
    yield ""


def _tell(metric: str, found: list[dict[str, float]]) -> str:
    values = [metrics[metric] for metrics in found]
    each = ", ".join(spell(metric, value) for value in values)
    return f"{spell(metric, mean(values))} ({each})" if len(values) > 1 else each


if __name__ == "__main__":
    write_page()
