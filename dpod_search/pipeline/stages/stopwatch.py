"""The subnets of a run timed on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from dpod_search.latency import Bench
from dpod_search.latency import Latency
from dpod_search.latency.measuring import AGREE_NETS
from dpod_search.latency.measuring import NET_ROUNDS
from dpod_search.latency.request import extract_net
from dpod_search.latency.request import find_reference
from dpod_search.latency.request import make_images
from dpod_search.latency.rounds import measure_in_rounds
from dpod_search.pipeline.latency_table import find_difference
from dpod_search.pipeline.session import Session
from dpod_search.rng import numpy_generator
from dpod_search.widths import Widths


class Stopwatch:
    """Times subnets and finetuned modules of a run inside a ``with`` block.

    Args:
        session: The run; its table's device must be this machine.
    """

    def __init__(self, session: Session) -> None:
        """Prepare a bench like the table's."""
        _, table = session.latency_table
        self._session = session
        self._bench = Bench(
            table.device.backend,
            session.device,
            n_threads=table.device.n_threads,
            batch_size=table.device.batch_size,
            nominal_ms=table.reference_ms,
        )
        self._images = make_images(session.blank_supernet.example_shape, table.device.batch_size)

    def __enter__(self) -> Stopwatch:
        """Open the bench, with the reference that the table has."""
        supernet = self._session.blank_supernet
        reference = extract_net(supernet, find_reference(supernet).widths)
        with ExitStack() as stack:
            stack.enter_context(self._bench)
            self._bench.refer_to(reference, self._images)
            stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        """Close the bench."""
        self._bench.__exit__(*error)

    def time_widths(self, widths: Widths) -> Latency:
        """Time a subnet, cut out."""
        module = extract_net(self._session.blank_supernet, widths.active)
        run = self._bench.prepare(module, self._images)
        seconds = self._session.config.latency.seconds / NET_ROUNDS
        (found,) = measure_in_rounds(
            1,
            lambda _: self._bench.time_run(run, max_seconds=seconds),
            numpy_generator(0, "latency shares"),
            n_rounds=NET_ROUNDS,
            tolerance=AGREE_NETS,
            tell=lambda: None,
        )
        return found


def can_measure(session: Session) -> bool:
    """Say whether this machine is the one that latencies are modelled for."""
    if session.latency is None:
        return False
    _, table = session.latency_table
    return not find_difference(table, session.device)


def time_shares(session: Session, widths: Iterable[Widths]) -> Mapping[Widths, float]:
    """Time subnets on this machine, as a share of the full net, in turn with it.

    Args:
        session: The run.
        widths: The subnets.

    Returns:
        By widths, the latency over the full net's.
    """
    full = session.blank_supernet.space.full
    found: dict[Widths, float] = {}
    with Stopwatch(session) as stopwatch:
        of_full = stopwatch.time_widths(full).quiet_ms
        for item in widths:
            found[item] = 1.0 if item == full else stopwatch.time_widths(item).quiet_ms / of_full
    return found


def confirm_share(session: Session, widths: Widths, wished: float) -> float:
    """Time a subnet as :func:`time_shares`, and once more where it is within a wish.

    Of many readings one that is within a wish is too good more often than not, for it is by that
    that it was taken; the slower of two of one subnet is not.

    Args:
        session: The run.
        widths: The subnet.
        wished: The share of the full net's latency that is wished for.

    Returns:
        The latency over the full net's; of two readings the larger one.
    """
    share = time_shares(session, [widths])[widths]
    if share > wished:
        return share
    return max(share, time_shares(session, [widths])[widths])
