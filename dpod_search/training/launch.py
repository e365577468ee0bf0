"""Processes that ``torchrun`` started: who this one is, its device, and how it joins the others."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import NoReturn

import torch
import torch.distributed as dist

from dpod_search.environment import read_rank
from dpod_search.errors import ConfigError
from dpod_search.errors import TrainingError
from dpod_search.placement import parse_device
from dpod_search.training.ranks import Ranks


# For as long ranks wait for one that does not answer. The first one scores the shrinks of the
# path while the others wait, and downloads the pictures before that.
PATIENCE = timedelta(minutes=30)


def launched_ranks() -> Ranks:
    """Return the ranks that this process belongs to, whether or not they have joined yet.

    They are those of PyTorch's process group if there is one, else what the launcher says in the
    environment (``RANK`` and ``WORLD_SIZE``), else one rank alone.
    """
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks(*read_rank())


def choose_device(name: str) -> torch.device:
    """Return this rank's device.

    Args:
        name: As the study names it: ``cuda`` is this rank's own GPU.

    Raises:
        ConfigError: If it is no device, or one that several ranks cannot have.
    """
    device = parse_device(name)
    if launched_ranks().is_alone or device.type == "cpu":
        return device
    if device.type != "cuda" or ":" in name:
        raise ConfigError(
            f"device {name!r} cannot be shared by several ranks; "
            'set device = "cuda" for a GPU each, or "cpu"'
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def joined_ranks(device_name: str) -> Iterator[Ranks]:
    """Join the other ranks inside the block; alone, or in a group that exists, do nothing.

    Args:
        device_name: As the study names it.

    Yields:
        The ranks, joined.

    Raises:
        ConfigError: If the device is one that several ranks cannot have, or there are fewer GPUs
            than ranks; or if the launcher does not say how the ranks find each other.
        TrainingError: If this rank is told to end (SIGTERM), as ``torchrun`` does with all ranks
            when one of them has died; or if another rank was lost.
    """
    if launched_ranks().is_alone or dist.is_initialized():
        yield Ranks.joined()
        return
    device = choose_device(device_name)
    if device.type == "cuda":
        _use_gpu(device)
    # Numbers that are not on the GPU go through gloo, which notices at once who is gone.
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    try:
        with launched_ranks().noticing_losses():
            _make_group(backend)
            with _ending_in_an_error(device):
                yield Ranks.joined()
                dist.barrier()  # nobody hangs up while another still listens
    except BaseException:
        is_first_to_fail()  # before the others see the connection close, and fail for that
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


@functools.cache
def is_first_to_fail() -> bool:
    """Claim that no other rank has failed before this one, and say whether it is so.

    One failure brings all ranks down, and only the first has something to say. The answer stays
    the same however often it is asked for.
    """
    if launched_ranks().is_alone or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]  # documented, but not in its __all__
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=5),
        )
        start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return int(store.add(f"dpod_search/failed/{start}", 1)) == 1
    except (KeyError, ValueError, RuntimeError):  # torchrun itself is gone
        return True


def _use_gpu(device: torch.device) -> None:
    n_gpus = torch.cuda.device_count()
    if device.index >= n_gpus:
        raise ConfigError(
            f"rank {launched_ranks().rank} needs {device}, but there are {n_gpus} GPUs here; start "
            'no more ranks than GPUs (--nproc-per-node), or set device = "cpu"'
        )
    torch.cuda.set_device(device)


def _make_group(backend: str) -> None:
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except ValueError as error:  # MASTER_ADDR or MASTER_PORT is not set
        raise ConfigError(
            f"the environment says that this is one of {launched_ranks().n_ranks} ranks (RANK, "
            f"WORLD_SIZE), but not how to find the others ({error}); start it with torchrun, or "
            "unset RANK to train alone"
        ) from error


@contextmanager
def _ending_in_an_error(device: torch.device) -> Iterator[None]:
    # While PyTorch waits for a GPU no handler runs: there torchrun's signal ends the process.
    if device.type != "cpu" or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except BaseException:
        # This rank ends as it is; torchrun's signal must not come between it and its last line.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise TrainingError(
        f"rank {launched_ranks().rank} was told to end, as torchrun tells all ranks when one of "
        "them has died; the same command goes on from the last checkpoint"
    )
