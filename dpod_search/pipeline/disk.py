"""About how much of a disk a run folder takes, before it does.

Weights are counted; what stands around them is as measured on small runs. Good to about a factor of
two, as the seconds are. Left out are the loggers' files, figures as PNG, and a latency table.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages.affording import list_members
from dpod_search.quantities import disk_size


_REPORT_BYTES = 5_000_000  # nearly all of it is the library that draws
_TRIAL_BYTES = 2_400  # in the study's journal, and in trials.csv
_FIXED_BYTES = 30_000  # settings, records, markers, the log

# Of an exported model: the share of its weights, and bytes besides, of it and of each operation.
_EXPORTED = {
    "safetensors": (1.0, 6_000, 0),
    "torch_export": (1.0, 20_000, 3_000),
    "onnx": (1.0, 10_000, 500),
    "onnx_int8": (0.25, 10_000, 1_000),
}
_WITH_OPTIMIZER = 3  # times the weights: a checkpoint, while one trains


def estimate_bytes(session: Session, stages: Collection[str]) -> dict[str, float]:
    """Estimate the bytes that stages leave in the run folder.

    Args:
        session: The run; its trained weights are not needed.
        stages: Names of stages that are not done.

    Returns:
        By stage.
    """
    config, weights = session.config, _count_weights(session)
    *_, full = members = list_members(session)
    shares = [m / full if full else 1.0 for m in members]
    is_at_once = bool(config.oneshot.method)
    n_trials = len(config.oneshot.budgets) if is_at_once else config.search.n_trials
    n_operations = len(session.blank_supernet.grouping.operations)
    exported = 0.0
    for name in config.export.formats:
        share, each, of_operation = _EXPORTED.get(name, (1.0, 0, 0))
        exported += sum(s * share * weights + each + n_operations * of_operation for s in shares)
    found = {
        "train": weights + _FIXED_BYTES,
        "search": float(n_trials * _TRIAL_BYTES),
        "finetune": sum(shares) * weights,
        "export": exported,
        "report": float(_REPORT_BYTES),
    }
    return {name: n_bytes for name, n_bytes in found.items() if name in stages}


def describe_bytes(session: Session, n_bytes: float) -> str:
    """Say about how much of a disk will be taken, and if there is less than that."""
    told = f"about {disk_size(n_bytes)} of disk in {session.path}"
    free = _find_free(session.path)
    if free is not None and free < n_bytes + _WITH_OPTIMIZER * _count_weights(session):
        return f"{told}, where {disk_size(free)} are free: make room, or choose another --out"
    return told


def _count_weights(session: Session) -> float:
    state = session.blank_supernet.net.state_dict().values()
    return float(sum(tensor.numel() * tensor.element_size() for tensor in state))


def _find_free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
