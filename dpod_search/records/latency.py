"""How right the modelled latencies of a run are: ``latency.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpod_search.quantities import percent
from dpod_search.records.fields import Fields


@dataclass(frozen=True)
class LatencyDevice:
    """The device that a latency table was measured on; fields as in the table's fingerprint."""

    processor: str
    device: str
    backend: str
    version: str
    n_threads: int
    batch_size: int

    def describe(self) -> str:
        """Say it in one clause."""
        threads = "1 thread" if self.n_threads == 1 else f"{self.n_threads} threads"
        return (
            f"{self.processor} ({self.device}), {self.backend} with {self.version}, {threads}, "
            f"batches of {self.batch_size}"
        )


@dataclass(frozen=True)
class LatencyFit:
    """What is known of the model that gave the modelled latencies.

    Args:
        device: What it tells of.
        is_other_device: Whether that is not the machine that the run was made on.
        difference: In what the two differ; empty if in nothing.
        full_ms: Modelled milliseconds of the full net.
        mape: Mean error on the subnets held out, as a share.
        worst: Largest error on them, as a share.
        rank_correlation: Of predictions and measurements on them.
        n_held_out: How many they were.
    """

    device: LatencyDevice
    is_other_device: bool
    difference: str
    full_ms: float
    mape: float
    worst: float
    rank_correlation: float
    n_held_out: int

    def describe_error(self) -> str:
        """Say how wrong it is in one clause."""
        mean, worst = (percent(x).replace(" ", "\u00a0") for x in (self.mape, self.worst))
        return (
            f"{mean} off on average and {worst} at "
            f"worst on {self.n_held_out:,} subnets that were measured and not fitted to; their "
            f"ranks correlate with {self.rank_correlation:.2f}"
        )

    def describe_device(self) -> str:
        """Say what device it tells of; plainly, if that is another one."""
        told = f"The table was measured on {self.device.describe()}"
        if not self.is_other_device:
            return f"{told}."
        # What differs is written from the table's device to the run's.
        return (
            f"{told}. This is another device than the one that the run was made on "
            f"({self.difference}): the milliseconds are that device's, and no subnet was timed."
        )


def read_latency(path: Path) -> LatencyFit:
    """Read how right the modelled latencies are."""
    fields = Fields.from_file(path)
    device = fields.inner("device")
    return LatencyFit(
        device=LatencyDevice(
            **{name: device.text(name) for name in ("processor", "device", "backend", "version")},
            n_threads=device.integer("n_threads", low=1),
            batch_size=device.integer("batch_size", low=1),
        ),
        is_other_device=fields.flag("is_other_device"),
        difference=fields.text("difference"),
        full_ms=fields.number("full_ms"),
        mape=fields.number("mape"),
        worst=fields.number("worst"),
        rank_correlation=fields.number("rank_correlation"),
        n_held_out=fields.integer("n_held_out"),
    )
