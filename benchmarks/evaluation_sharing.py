"""What evaluating the subnets of a generation together would gain; for ``evaluation_cost.py``."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from dpod_search.rng import numpy_generator
from dpod_search.rng import torch_generator
from dpod_search.supernet import Supernet
from dpod_search.supernet.layout import active_size
from dpod_search.widths import Widths


N_GENERATION = 50
N_ROUNDS = 15


def measure_sharing(supernet: Supernet) -> dict[str, Any]:
    """Say what evaluating a generation of a supernet's subnets together would gain."""
    return {
        "n": N_GENERATION,
        "spared": measure_shared_prefixes(supernet),
        "grouped": measure_grouped(),
    }


def measure_shared_prefixes(supernet: Supernet) -> dict[str, float]:
    """Say what share of a generation's macs one cache of all first layers' results would spare."""
    rng = numpy_generator(2, "evaluation_cost")
    space = supernet.space
    random = [space.sample(rng) for _ in range(N_GENERATION)]
    parents = np.array([widths.active for widths in random[:10]])
    children = []
    for _ in range(N_GENERATION):
        first, second = rng.choice(len(parents), 2, replace=False)
        picks = rng.random(parents.shape[1]) < 0.5
        active = np.where(picks, parents[first], parents[second])
        children.append(Widths(space.names, tuple(int(k) for k in active)))
    return {
        "random": _spared_share(supernet, random),
        "children of 10 parents": _spared_share(supernet, children),
    }


def _spared_share(supernet: Supernet, generation: Sequence[Widths]) -> float:
    total = spared = 0
    for widths in generation:
        total += sum(_macs(plan, widths) for plan in supernet.grouping.layers)
    upstream: set[int] = set()
    for plan in supernet.grouping.layers:
        segments = (*plan.output, *plan.weight_input)
        upstream |= {s.group for s in segments if s.group is not None} | set(plan.blocks)
        seen = set()
        for widths in generation:
            key = tuple(widths.active[group] for group in sorted(upstream))
            spared += _macs(plan, widths) if key in seen else 0
            seen.add(key)
    return spared / total


def _macs(plan: Any, widths: Widths) -> int:
    if not all(widths.active[block] for block in plan.blocks):
        return 0
    n_in, n_out = (active_size(part, widths.active) for part in (plan.weight_input, plan.output))
    return int(plan.n_positions * plan.kernel_numel * n_in * n_out)


def measure_grouped() -> float:
    """Compare four subnets' convolution as one grouped convolution, padded, with one by one."""
    generator = torch_generator(3, "evaluation_cost")
    widths = [(16, 20), (24, 12), (32, 28), (12, 32)]  # in, out
    widest = max(max(pair) for pair in widths)
    one_by_one = [
        (
            torch.randn(128, n_in, 16, 16, generator=generator).contiguous(
                memory_format=torch.channels_last
            ),
            torch.randn(n_out, n_in, 3, 3, generator=generator),
        )
        for n_in, n_out in widths
    ]
    images = torch.randn(128, 4 * widest, 16, 16, generator=generator).contiguous(
        memory_format=torch.channels_last
    )
    weight = torch.randn(4 * widest, widest, 3, 3, generator=generator)
    with torch.inference_mode():

        def separately() -> None:
            for x, w in one_by_one:
                functional.conv2d(x, w, padding=1)

        def together() -> None:
            functional.conv2d(images, weight, padding=1, groups=4)

        together(), separately()
        return median(_seconds(together) / _seconds(separately) for _ in range(N_ROUNDS))


def _seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start
