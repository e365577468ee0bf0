"""How latency is measured, and how its model is made."""

from __future__ import annotations

from dataclasses import dataclass

from dpod_search.errors import MAX_PROCESSES
from dpod_search.errors import MAX_SECONDS
from dpod_search.errors import ConfigError
from dpod_search.errors import check_count
from dpod_search.errors import check_range
from dpod_search.errors import show


TOLERANCE = 0.02  # half the interval of a median, as a share of it, that is narrow enough
MIN_FIT = 8  # measured subnets
BACKEND_NAMES = ("eager", "compile", "onnxruntime")


@dataclass(frozen=True)
class LatencySettings:
    """How latency is measured, and how its model is made.

    The objective ``latency_ms`` is measured for every subnet. ``latency``, which can be an
    objective, a constraint and a budget, is what a model says that was fitted to a table of
    layers and to some measured subnets.

    Args:
        backend: What runs the subnets: ``eager`` PyTorch, ``compile`` (``torch.compile``) or
            ``onnxruntime`` (the extra ``onnx``).
        batch_size: Pictures in a forward pass, 1 to 1,000,000.
        n_threads: CPU threads, 1 to 1,024 and as many as the machine can bear. With one thread
            processor time is counted, which neighbours on the machine disturb less.
        table: A file that ``dpod-search latency measure`` wrote, on this or another device;
            without it this machine is measured when ``latency`` is asked for.
        n_grid: Widths of each axis of a layer's table, at most, 2 to 1,000; between them latency
            is interpolated.
        n_fit: Measured subnets that the model is fitted to, 8 to 100,000.
        n_held_out: Further ones that only tell its error, 4 to 100,000.
        seconds: Time for one subnet, 0 to 1,000,000,000.
        max_error: Largest mean error of the model on the held-out subnets, as a share of their
            latency, 0 to 1,000; a worse model is refused.
    """

    backend: str = "eager"
    batch_size: int = 1
    n_threads: int = 1
    table: str | None = None
    n_grid: int = 8
    n_fit: int = 32
    n_held_out: int = 16
    seconds: float = 0.5
    max_error: float = 0.15

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.backend not in BACKEND_NAMES:
            names = ", ".join(BACKEND_NAMES)
            raise ConfigError(f"latency.backend must be one of {names}, got {show(self.backend)}")
        check_count("latency.batch_size", self.batch_size, low=1, high=1_000_000)
        check_count("latency.n_threads", self.n_threads, low=1, high=MAX_PROCESSES)
        check_count("latency.n_grid", self.n_grid, low=2, high=1_000)
        check_count("latency.n_fit", self.n_fit, low=MIN_FIT, high=100_000)
        check_count("latency.n_held_out", self.n_held_out, low=4, high=100_000)
        check_range("latency.seconds", self.seconds, low=0, high=MAX_SECONDS)
        check_range("latency.max_error", self.max_error, low=0, high=1_000)
