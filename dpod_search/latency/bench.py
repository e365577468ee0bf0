"""A place to time nets: a machine, a backend, and a reference net beside them."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.latency.backends import get_backend
from dpod_search.latency.backends.eager import EagerBackend
from dpod_search.latency.backends.onnx import open_session
from dpod_search.latency.fingerprint import Fingerprint
from dpod_search.latency.fingerprint import take_fingerprint
from dpod_search.latency.timing import Latency
from dpod_search.latency.timing import Reference
from dpod_search.latency.timing import Run
from dpod_search.latency.timing import choose_clock
from dpod_search.latency.timing import measure_interleaved
from dpod_search.placement import limit_threads
from dpod_search.placement import place_module


_REFERENCE_SHAPE = (1, 32, 28, 28)


class Bench:
    """Times nets inside a ``with`` block, which may be entered again and again.

    The reference net is a small one of this package's own, four convolutions of 32 channels, until
    :meth:`refer_to` names a better one: what else a machine does befalls nets of like operations
    alike. It is run by the same backend, by eager PyTorch where the backend compiles.

    Args:
        backend: Name of what runs the nets.
        device: Where.
        n_threads: CPU threads, for all that is timed inside the block; None leaves PyTorch's.
        batch_size: Pictures in a pass; only the fingerprint asks for it.
        nominal_ms: Milliseconds of the reference that latencies are given for, from an earlier
            bench on the same device; None measures them.

    Raises:
        ConfigError: If the backend is not known or not installed.
    """

    def __init__(
        self,
        backend: str = "eager",
        device: torch.device | None = None,
        *,
        n_threads: int | None = 1,
        batch_size: int = 1,
        nominal_ms: float | None = None,
    ) -> None:
        """Look whether the backend is there; nothing runs yet."""
        self.device = device or torch.device("cpu")
        self.n_threads = n_threads or torch.get_num_threads()
        self.fingerprint: Fingerprint = take_fingerprint(
            backend, self.device, n_threads=self.n_threads, batch_size=batch_size
        )
        self._backend = get_backend(backend)
        self._opened = ExitStack()
        self._is_open = False
        self._nominal_ms = nominal_ms
        self._reference: Reference | None = None

    def __enter__(self) -> Self:
        """Set the threads, and prepare the reference."""
        with ExitStack() as stack:
            stack.enter_context(limit_threads(self.n_threads))
            if self._reference is None:
                self._reference = self._make_reference()
            self._reference.calibrate()
            self._opened = stack.pop_all()
        self._is_open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the threads back."""
        self._is_open = False
        self._opened.__exit__(kind, error, trace)

    @property
    def nominal_ms(self) -> float:
        """Milliseconds of the reference net that latencies are given for."""
        return self._open_reference().calibrate()

    def refer_to(self, module: nn.Module, images: Tensor) -> None:
        """Take another net as the reference: a narrow one of the model to be timed, best.

        Call it inside the block, before anything is timed.

        Args:
            module: A plain module.
            images: What it runs on.

        Raises:
            ConfigError: If the backend cannot run it.
        """
        backend = EagerBackend() if self._backend.name == "compile" else self._backend
        self.refer_to_run(
            backend.prepare(module, images, device=self.device, n_threads=self.n_threads)
        )

    def refer_to_run(self, run: Run) -> None:
        """Take what :meth:`prepare` returned as the reference."""
        clock = choose_clock(self.device.type, self.n_threads)
        self._reference = Reference(run, self._nominal_ms, clock)
        self._reference.calibrate()

    def prepare(self, module: nn.Module, images: Tensor) -> Run:
        """Make a net ready to be timed; see :meth:`Backend.prepare`."""
        return self._backend.prepare(module, images, device=self.device, n_threads=self.n_threads)

    def prepare_onnx(self, model: bytes, images: Tensor) -> Run:
        """Make the bytes of an ONNX file ready to be timed.

        Raises:
            ConfigError: If onnxruntime cannot run them here.
        """
        return open_session(model, images, device=self.device, n_threads=self.n_threads)

    def time(
        self,
        module: nn.Module,
        images: Tensor,
        *,
        max_seconds: float = 1.0,
        n_bursts: int | None = None,
    ) -> Latency:
        """Time forward passes of a net, in turn with the reference.

        Args:
            module: A plain module; it is moved to the bench's device, in evaluation mode.
            images: The batch, shape (N, C, ...).
            max_seconds: As for :func:`measure_interleaved`.
            n_bursts: So many and no more.

        Raises:
            ConfigError: If the backend cannot run the net.
        """
        return self.time_run(
            self.prepare(module, images), max_seconds=max_seconds, n_bursts=n_bursts
        )

    def time_run(
        self, run: Run, *, max_seconds: float = 1.0, n_bursts: int | None = None
    ) -> Latency:
        """Time what :meth:`prepare` returned."""
        return measure_interleaved(
            run, self._open_reference(), max_seconds=max_seconds, n_bursts=n_bursts
        )

    def _make_reference(self) -> Reference:
        backend = EagerBackend() if self._backend.name == "compile" else self._backend
        images = torch.zeros(_REFERENCE_SHAPE)
        run = backend.prepare(
            make_reference_net(), images, device=self.device, n_threads=self.n_threads
        )
        return Reference(run, self._nominal_ms, choose_clock(self.device.type, self.n_threads))

    def _open_reference(self) -> Reference:
        if self._reference is None or not self._is_open:
            raise ConfigError("a Bench times nets inside its `with` block only")
        return self._reference


def make_reference_net() -> nn.Module:
    """Return the net that others are timed in turn with."""
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    net = nn.Sequential(*layers).eval()
    return place_module(net, torch.device("cpu"), is_channels_last=True)
