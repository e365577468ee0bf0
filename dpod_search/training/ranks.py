"""Several processes that train one supernet, joined by PyTorch's DistributedDataParallel.

Each rank runs its share of every batch; gradients are averaged over the ranks, so that all make
the same step. Whatever is decided is decided by the first rank, and told to the others: the
quality of subnets, what a checkpoint holds, BatchNorm's statistics. A training in one process
is one rank alone, for which everything here does nothing.

References:
    Li et al.: PyTorch Distributed: Experiences on Accelerating Data Parallel Training, 2020
    (arXiv 2006.15704).
"""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dpod_search.errors import ConfigError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import TrainingError
from dpod_search.rng import derive_seed
from dpod_search.training.checkpoint import CheckpointFile


# What PyTorch says of a process that is gone; its errors are of no common type.
_LOST = re.compile(r"Connection (?:reset|closed|refused)|Broken pipe|[Tt]imed out")
_TRANSPORTS = ("gloo", "NCCL", "TCPStore")


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, seen from one of them.

    Args:
        rank: The number of this process, from 0; the first one scores subnets and writes files.
        n_ranks: How many there are, >= 1.
    """

    rank: int = 0
    n_ranks: int = 1

    @classmethod
    def joined(cls) -> Ranks:
        """Return the ranks of PyTorch's process group; one alone if there is none.

        Raises:
            ConfigError: If the group has no means to share what is on the CPU.
        """
        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return cls()
        if "cpu:" not in dist.get_backend_config():
            raise ConfigError(
                f"the process group's backend is {dist.get_backend_config()}, which cannot share "
                'numbers on the CPU; make it with init_process_group("cpu:gloo,cuda:nccl")'
            )
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this rank decides, scores and writes."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether this is an ordinary training in one process."""
        return self.n_ranks == 1

    def check_batch(self, batch_size: int) -> None:
        """Check that a batch can be shared out evenly, in parts that BatchNorm can use.

        Raises:
            ConfigError: If it cannot; names the nearest sizes that can.
        """
        smallest = 2 * self.n_ranks
        below = batch_size // self.n_ranks * self.n_ranks
        if self.is_alone or (below == batch_size and batch_size >= smallest):
            return
        fits = [below, below + self.n_ranks] if below >= smallest else [smallest]
        raise ConfigError(
            f"training.batch_size is that of all {self.n_ranks} ranks together and must give each "
            f"equally many pictures, at least 2; got {batch_size}, set it to "
            f"{' or '.join(map(str, fits))}"
        )

    def check_share(self, n_images: int) -> None:
        """Check that BatchNorm can use this rank's part of a batch.

        However large ``batch_size`` is, a small data set may have no more to share.

        Args:
            n_images: Pictures of the part.

        Raises:
            ConfigError: If it is a single picture.
        """
        if self.is_alone or n_images > 1:
            return
        raise ConfigError(
            f"a batch of {n_images * self.n_ranks} pictures leaves each of {self.n_ranks} ranks "
            f"{n_images}, and BatchNorm needs 2; give more training pictures, a larger batch_size, "
            "or fewer ranks"
        )

    def join(self, module: nn.Module) -> Callable[..., Any]:
        """Return what runs a module forward so that its gradients are those of all ranks.

        Args:
            module: On its device; gets the weights and the buffers of the first rank.
        """
        if self.is_alone:
            return module
        # Buckets that are made anew after the first step would add up in another order than
        # in a training that resumes there. They are not with `find_unused_parameters`, which
        # removed blocks need anyway: the gradient of an unused parameter stays what it was.
        return DistributedDataParallel(_Team(module), find_unused_parameters=True)

    def share(self, value: Any) -> Any:
        """Return the first rank's JSON value on every rank."""
        if self.is_alone:
            return value
        data = json.dumps(value).encode() if self.is_first else b""
        return json.loads(self._share_bytes(data))

    def check_same(self, value: int, what: str) -> None:
        """Check that the ranks have the same number of something.

        Raises:
            ConfigError: If this rank has another number than the first.
        """
        first = self.share(value)
        if value != first:
            raise ConfigError(f"rank {self.rank} has {value} and not {first} {what}")

    def share_tensors(self, module: nn.Module) -> None:
        """Give every rank the weights and the buffers of the first."""
        if self.is_alone:
            return
        with torch.no_grad():
            for tensor in module.state_dict().values():
                # One that is stored channels last would arrive in another order.
                whole = tensor.contiguous()
                dist.broadcast(whole, 0)
                tensor.copy_(whole)

    def agree(self, score: Callable[..., float]) -> Callable[..., float]:
        """Make a function of which only the first rank computes the value."""
        if self.is_alone:
            return score
        return lambda *asked: float(self.share(score(*asked) if self.is_first else None))

    def check_plan(self, trained: str) -> None:
        """Check that the ranks are about to train the same, or they would wait for ever.

        Args:
            trained: What this rank is about to train: its subnets and their learning rates.

        Raises:
            TrainingError: If another rank is about to train something else.
        """
        if self.is_alone:
            return
        mine = torch.tensor([derive_seed(0, trained)])
        everyone = [torch.empty_like(mine) for _ in range(self.n_ranks)]
        dist.all_gather(everyone, mine)
        if any(not torch.equal(mine, other) for other in everyone):
            raise TrainingError(
                f"the ranks do not train the same subnets at the same rates (rank {self.rank}: "
                f"{trained}); a policy must depend on nothing but its context, the step and its "
                "own state, and ranks that go on must load the same state"
            )

    def average(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Average the losses of a step over the ranks; NaN on one is NaN on all."""
        if self.is_alone:
            return dict(losses)
        sums = torch.tensor(list(losses.values()), dtype=torch.float64)
        dist.all_reduce(sums)
        return dict(zip(losses, (sums / self.n_ranks).tolist(), strict=True))

    @contextmanager
    def handing_out(self, checkpoint: CheckpointFile | None) -> Iterator[CheckpointFile | None]:
        """Give every rank the checkpoint of the first to load from.

        The others need not see its file: they get a copy of their own for as long as the block
        lasts. The first rank hands it out once it has loaded it well.

        Args:
            checkpoint: Where the first rank keeps it; not looked at on others.

        Yields:
            A checkpoint to load, or None.
        """
        if self.is_alone:
            yield checkpoint
        elif self.is_first:
            yield checkpoint
            has_one = checkpoint is not None and checkpoint.path.exists()
            self.share(checkpoint.key if checkpoint is not None and has_one else None)
            if checkpoint is not None and has_one:
                self._share_bytes(checkpoint.path.read_bytes())
        else:
            key = self.share(None)
            with tempfile.TemporaryDirectory() as folder:
                copy = CheckpointFile(Path(folder) / "copy.safetensors", key=str(key))
                if key is not None:
                    copy.path.write_bytes(self._share_bytes(b""))
                yield copy

    @contextmanager
    def noticing_losses(self) -> Iterator[None]:
        """Say in one line, inside the block, that another rank was lost.

        Raises:
            TrainingError: If PyTorch cannot reach another rank any more.
        """
        if self.is_alone:
            yield
            return
        try:
            with warnings.catch_warnings():
                # It means weights of a single channel, whose strides say the same either way.
                warnings.filterwarnings("ignore", message="Grad strides do not match")
                yield
        except RuntimeError as error:
            if isinstance(error, DpodSearchError) or not _tells_of_loss(error):
                raise
            found = _LOST.search(str(error))
            reason = found.group() if found else type(error).__name__
            raise TrainingError(
                f"rank {self.rank} lost another of the {self.n_ranks} ranks ({reason}): it died or "
                "did not answer; the same command goes on from the last checkpoint"
            ) from error

    def _share_bytes(self, data: bytes) -> bytes:
        size = torch.tensor([len(data)])
        dist.broadcast(size, 0)
        content = torch.empty(int(size), dtype=torch.uint8)
        if self.is_first and data:
            content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        dist.broadcast(content, 0)
        return content.numpy().tobytes()


class _Team(nn.Module):
    """A module in the care of DistributedDataParallel."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        # Never used, on purpose: where all parameters are used, as in the full net, PyTorch
        # would warn on every rank that it looked for unused ones and found none.
        self.spare = nn.Parameter(torch.zeros(1, device=next(module.parameters()).device))

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.module(*inputs, **named)


def _tells_of_loss(error: RuntimeError) -> bool:
    text = str(error)
    is_of_transport = any(name in text for name in _TRANSPORTS)
    return isinstance(error, dist.DistError) or is_of_transport or bool(_LOST.search(text))
