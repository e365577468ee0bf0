"""The page on what evaluating a subnet costs; written by ``evaluation_cost.py``."""

from __future__ import annotations

from typing import Any


RATIO_LIMIT = 1.6


def write_page(results: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    machine, sharing = results["machine"], results["sharing"]
    memory = results["memory"]
    rows_of_memory = list(zip(memory["usual"], memory["small"], strict=True))
    first, last = rows_of_memory[1][1], rows_of_memory[-1][1]
    lines = [
        "# What evaluating a subnet costs",
        "",
        f"Written by `python benchmarks/evaluation_cost.py` at commit {results['commit']}, on {machine['n_cores']} cores",
        f"({machine['processor']}), torch {machine['versions']['torch']}. Times are processor milliseconds of one thread; the machine's load at the start was {results['load']:.1f}.",
        "",
        "## Time",
        "",
        "Evaluating is calibrating BatchNorm statistics on some pictures and measuring accuracy on others. `folded` is the forward",
        "of the same subnet over all of these pictures, extracted as a plain net, its BatchNorms folded (`torch.fx.experimental.optimization.fuse`),",
        f"in the same memory format; `plain` is that without folding. Medians of {results['n_rounds']} rounds in turn, limit {RATIO_LIMIT:.1f} times `folded`.",
        "",
        "| net | widths | folded | plain | calibration | evaluation | times folded | times plain | within |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['widths']} | {row['folded_ms']:.1f} | {row['plain_ms']:.1f} | {row['calibration_ms']:.1f} "
            f"| {row['evaluation_ms']:.1f} | {row['ratio']:.2f} | {row['ratio_to_plain']:.2f} | {'yes' if row['ratio'] <= RATIO_LIMIT else 'no'} |"
            for name, rows in results["nets"].items()
            for row in rows
        ),
        "",
        "A convolution or linear layer whose output one BatchNorm alone reads is run as one with it. In calibration, statistics are taken",
        "over rows of several places' channels, and the output is scaled in place; a copy would cost more than the scaling. For accuracy, the norm",
        "is folded into the weight. Norms elsewhere, and layers that somebody else looks at, run as they are.",
        "",
        "## Memory",
        "",
        f"{last['n']:,} evaluations of random subnets of `digits`, each in a process of its own. oneDNN, which PyTorch convolves with, keeps a kernel",
        "for every shape that it has met, the last 1,024 of them; memory grows until these are there, and then no more. With room for",
        f"{memory['room']} (`{memory['variable']}={memory['room']}`) they are there early: {last['resident_mib'] - first['resident_mib']:+.0f} MiB from evaluation {first['n']} to the last.",
        "",
        f"| evaluations | resident MiB | resident MiB, room for {memory['room']} | live tensors |",
        "|---|---|---|---|",
        *(
            f"| {usual['n']:,} | {usual['resident_mib']:.0f} | {small['resident_mib']:.0f} | {usual['n_tensors']} |"
            for usual, small in rows_of_memory
        ),
        "",
        "## Evaluating a generation together",
        "",
        "Not done, as on the CPU it would gain little or lose:",
        "",
        f"- Keeping what the first layers compute for subnets that share their widths would spare at most {100 * sharing['spared']['random']:.0f} % of the macs of",
        f"  {sharing['n']} random subnets of resnet20, and {100 * sharing['spared']['children of 10 parents']:.0f} % of those of {sharing['n']} children of 10 parents, at the price of keeping the activations.",
        f"- Four subnets' convolution as one, in groups padded to the widest, takes {sharing['grouped']:.1f} times as long as one by one.",
    ]
    return "\n".join(lines) + "\n"
