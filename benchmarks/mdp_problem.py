"""Published pruning problems as width programs, and problems like them for a deeper net.

The published ones are those of MDP (Sun et al., arXiv 2504.02168): ResNet-50, latencies measured
on a TITAN V, Taylor importances. ``draw_problem`` makes others of the same form by a formula.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpod_search.errors import DataError
from dpod_search.programs import Limit
from dpod_search.programs import WidthProgram
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm


# Of each stage of a ResNet with bottlenecks: pixels a side, channels inside a block, importance
# of a layer; rungs of the groups inside a block, and of the group that the stage shares.
STAGES = (
    (56, 64, 60_000, 2, 4),
    (28, 128, 80_000, 4, 4),
    (14, 256, 120_000, 8, 8),
    (7, 512, 250_000, 16, 16),
)
RESNET101 = (3, 4, 23, 3)


def read_problems(file: Path) -> list[dict[str, Any]]:
    """Read problems in the form of ``mdp_instances.json.gz``, compressed or not.

    Raises:
        DataError: If the file is not there or holds something else.
    """
    try:
        content = file.read_bytes()
        text = gzip.decompress(content) if file.suffix == ".gz" else content
        problems: list[dict[str, Any]] = json.loads(text)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{file} holds no problems ({error}); name a file with --instances"
        ) from error
    if not isinstance(problems, list) or not all("capacity_us" in one for one in problems):
        raise DataError(f"{file} must hold a list of problems with capacity_us, groups and layers")
    return problems


def make_program(problem: dict[str, Any]) -> WidthProgram:
    """Turn a problem into a program: groups first, then the removable blocks."""
    choices = [group["choices"] for group in problem["groups"]]
    n_blocks = max(layer["block"] for layer in problem["layers"])
    terms = [(_tabulate(layer, "value", len(choices)), _tabulate(layer, "lat_us", len(choices)))
             for layer in problem["layers"]]  # fmt: skip
    latency = TableSum.of(cost for _, cost in terms)
    return WidthProgram(
        (*(n - 1 for n in choices), *(2 for _ in range(n_blocks))),
        TableSum.of(value for value, _ in terms),
        (Limit("latency_us", (latency,), float(problem["capacity_us"])),),
        {0: choices[0] - 2},
    )


def _tabulate(layer: dict[str, Any], what: str, n_groups: int) -> TableTerm:
    # No group may lose all of its channels: 0 of them is no rung.
    table = np.asarray(layer[what], dtype=np.float64)
    table = table[(slice(1, None),) * table.ndim]
    groups = (layer["group"],) if table.ndim == 1 else (layer["group"], layer["pre_group"])
    if list(groups) != sorted(groups):
        groups, table = groups[::-1], table.T
    return TableTerm(groups, table, (n_groups + layer["block"] - 1,) if layer["block"] else ())


@dataclass(frozen=True)
class Drawing:
    """How a problem is drawn.

    Args:
        seed: Of every number in it.
        share: Share of the full net's latency that is allowed.
        depths: Blocks of the four stages.
        fineness: How many times as many rungs as the published problems have.
        is_pruned: Whether groups have lost rungs before, each another share.
    """

    seed: int
    share: float
    depths: tuple[int, ...] = RESNET101
    fineness: int = 1
    is_pruned: bool = False


def draw_problem(drawing: Drawing) -> dict[str, Any]:
    """Draw a problem: importances that are concave in the width, latencies in steps and with noise."""
    return _Drawer(drawing).draw()


class _Drawer:
    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self.rng = np.random.default_rng(drawing.seed)
        self.rungs: list[int] = [32]
        self.channels: list[int] = [64]
        first = {"name": "conv1", "group": 0, "pre_group": None, "block": 0}
        first |= {"lat_us": [5000 + 100 * k for k in range(33)]}
        self.layers = [first | {"value": [round(164_000 * (k / 32) ** 0.7) for k in range(33)]}]

    def draw(self) -> dict[str, Any]:
        before, block = 0, 0
        for stage, depth in enumerate(self.drawing.depths):
            for index in range(depth):
                block += 1
                inside = [self._add_group(stage), self._add_group(stage)]
                if index == 0:
                    shared = self._add_group(stage, is_shared=True)
                    self._add_layer(stage, shared, before, 0)
                self._add_layer(stage, inside[0], shared if index else before, block)
                self._add_layer(stage, inside[1], inside[0], block, n_taps=9)
                self._add_layer(stage, shared, inside[1], block)
            before = shared
        full = sum(int(np.ravel(layer["lat_us"])[-1]) for layer in self.layers)
        return {
            "instance": f"{self.drawing.seed}",
            "model": "drawn, blocks " + "-".join(map(str, self.drawing.depths)),
            "capacity_us": int(self.drawing.share * full),
            "full_latency_us": full,
            "full_importance": sum(layer["value"][-1] for layer in self.layers),
            "groups": [{"choices": rungs + 1} for rungs in self.rungs],
            "layers": self.layers,
        }

    def _add_group(self, stage: int, *, is_shared: bool = False) -> int:
        _, channels, _, inner, shared = STAGES[stage]
        rungs = (shared if is_shared else inner) * self.drawing.fineness
        if self.drawing.is_pruned and not is_shared:
            rungs = max(1, round(rungs * self.rng.uniform(0.3, 1)))
        self.rungs.append(rungs)
        self.channels.append(4 * channels if is_shared else channels)
        return len(self.rungs) - 1

    def _add_layer(self, stage: int, group: int, before: int, block: int, n_taps: int = 1) -> None:
        side, _, importance, _, _ = STAGES[stage]
        rungs, full = self.rungs[group], self.channels[group]
        kept = np.arange(rungs + 1)[:, None] * full / rungs
        read = np.arange(self.rungs[before] + 1) * self.channels[before] / self.rungs[before]
        tiles = np.ceil(kept / 64) * 64  # a GPU computes whole tiles
        macs = tiles * np.ceil(read / 32) * 32 * side**2 * n_taps
        micros = macs / 2.6e5 * (1 + 0.25 * np.exp(-macs / 2e8)) + 60 * np.sqrt(
            tiles * side**2 / 2e5
        )
        micros *= 1 + 0.03 * self.rng.standard_normal(micros.shape)
        micros[0], micros[:, 0] = 0, 0
        scale = importance * self.rng.uniform(0.6, 1.4)
        values = scale * (np.arange(rungs + 1) / rungs) ** self.rng.uniform(0.65, 0.95)
        self.layers.append({"name": f"stage{stage}.{len(self.layers)}", "group": group,
                            "pre_group": before, "block": block,
                            "lat_us": np.rint(np.maximum(micros, 0)).astype(int).tolist(),
                            "value": np.rint(values).astype(int).tolist()})  # fmt: skip
