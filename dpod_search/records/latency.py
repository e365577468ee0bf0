"""How right the modelled latencies of a run are: ``latency.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic.dataclasses import dataclass

from dpod_search.quantities import percent
from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Flag
from dpod_search.records.record import Number
from dpod_search.records.record import Positive
from dpod_search.records.record import Record
from dpod_search.records.record import Text


@dataclass(frozen=True, kw_only=True)
class LatencyDevice(Record):
    """The device that a latency table was measured on; fields as in the table's fingerprint."""

    processor: Text
    machine: Text
    system: Text
    n_cores: Count
    device: Text
    backend: Text
    version: Text
    n_threads: Positive
    batch_size: Positive

    def describe(self) -> str:
        """Say it in one clause."""
        threads = "1 thread" if self.n_threads == 1 else f"{self.n_threads} threads"
        return (
            f"{self.processor} ({self.device}), {self.backend} with {self.version}, {threads}, "
            f"batches of {self.batch_size}"
        )


@dataclass(frozen=True, kw_only=True)
class LatencyFit(FileRecord):
    """What is known of the model that gave the modelled latencies: ``latency.json``.

    It is written by ``search``, if latency is asked for.

    Args:
        table: The hash of the latency table.
        device: What it tells of.
        is_other_device: Whether that is not the machine that the run was made on.
        difference: In what the two differ; empty if in nothing.
        full_ms: Modelled milliseconds of the full net.
        weights: Weight of each part of the model, by name.
        mape: Mean error on the subnets held out, as a share.
        worst: Largest error on them, as a share.
        rank_correlation: Of predictions and measurements on them.
        n_held_out: How many they were.
    """

    FILE: ClassVar[str] = "latency.json"

    table: Text
    device: LatencyDevice
    is_other_device: Flag
    difference: Text
    full_ms: Number
    weights: Mapping[str, Number]
    mape: Number
    worst: Number
    rank_correlation: Number
    n_held_out: Count

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
