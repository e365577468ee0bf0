"""Be one of several ranks that train together, in a process that may be killed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from forking import FORKED
from torch import Tensor
from torch import nn
from training import fakes

from dpod_search.data import SeededLoader
from dpod_search.errors import DpodSearchError
from dpod_search.progress import SilentProgress
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.training import CheckpointFile
from dpod_search.training import Plan
from dpod_search.training import PolicyContext
from dpod_search.training import Ranks
from dpod_search.training import TrainingResult
from dpod_search.training import TrainingSettings
from dpod_search.training.learner import SupernetLearner
from dpod_search.training.policies import DpodOptions
from dpod_search.training.policies import DpodPolicy
from dpod_search.training.schedule import CountedScorer
from dpod_search.training.schedule import SubnetSchedule
from dpod_search.training.train import train_by_policy
from dpod_search.weights import write_tensors


SETTINGS = TrainingSettings(
    epochs=4, lr=0.05, policy_options={"n_profiles": 4}, group_lasso=1e-4, ema_decay=0.9
)
N_STEPS = 12


@dataclass(frozen=True)
class Part:
    """What a rank is to do.

    Args:
        folder: Where it leaves what it found, and the checkpoint.
        killed_ranks: Ranks that kill themselves.
        killed_at: After so many steps.
        fault: What goes wrong, on the last rank or on all.
    """

    folder: Path
    killed_ranks: tuple[int, ...] = ()
    killed_at: int = 0
    fault: str = ""


def run_ranks(n_ranks: int, work: Callable[[Part, Ranks], None], part: Part) -> list[int | None]:
    """Let as many processes as there are ranks do a part; return how they ended."""
    part.folder.mkdir(exist_ok=True)
    meeting = part.folder / "meeting"
    meeting.unlink(missing_ok=True)
    processes = [
        FORKED.Process(target=_be, args=(rank, n_ranks, work, part)) for rank in range(n_ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return codes


def _be(rank: int, n_ranks: int, work: Callable[[Part, Ranks], None], part: Part) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{part.folder / 'meeting'}",
        rank=rank,
        world_size=n_ranks,
        timeout=timedelta(minutes=4),
    )
    try:
        work(part, Ranks.joined())
        dist.barrier()
    except DpodSearchError as error:
        (part.folder / f"error{rank}.txt").write_text(f"{type(error).__name__}: {error}")
        os._exit(2)
    dist.destroy_process_group()


def hash_weights(module: nn.Module) -> str:
    """Return a digest of all weights and buffers, bit for bit."""
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


class WatchedSteps(SilentProgress):
    """Progress that notes the parameters after each step, and may end its process."""

    def __init__(self, supernet: Supernet, part: Part, ranks: Ranks) -> None:
        self._supernet, self._part, self._ranks = supernet, part, ranks
        self._step = self._depth = 0
        self._file = part.folder / f"steps{ranks.rank}.txt"
        self._file.write_text("")

    def start(self, task: str, total: int, done: int = 0) -> None:
        self._depth += 1
        if self._depth == 1:
            self._step = done

    def finish(self) -> None:
        self._depth -= 1

    def advance(self, n: int = 1, note: str = "") -> None:
        if self._depth > 1:  # scores of the path
            return
        self._step += n
        parameters = nn.ParameterList(self._supernet.parameters())
        with self._file.open("a") as file:
            file.write(f"{self._step} {note} {hash_weights(parameters)}\n")
        if self._ranks.rank in self._part.killed_ranks and self._step == self._part.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)


class OtherRates(DpodPolicy):
    """A policy whose subnets learn at other rates on another rank."""

    def __init__(self, context: PolicyContext) -> None:
        super().__init__(context, DpodOptions(warmup_share=0))

    def plan(self, step: int) -> Plan:
        """Plan rates that depend on the rank."""
        plan = super().plan(step)
        return Plan(plan.full, plan.partial, (0.5 + 0.1 * dist.get_rank(),) * len(plan.partial))


class Wayward(DpodPolicy):
    """A policy that trains other subnets on another rank."""

    def __init__(self, context: PolicyContext, **options: Any) -> None:
        super().__init__(context, DpodOptions(**options))

    def plan(self, step: int) -> Plan:
        """Plan what depends on the rank."""
        return super().plan(step + dist.get_rank())


def make_shared_loader(ranks: Ranks, n: int = 24) -> SeededLoader:
    """Return a rank's share of batches of eight (of twelve for three ranks)."""
    return SeededLoader(
        torch.utils.data.TensorDataset(*fakes.make_pictures(n)),
        batch_size=8 if ranks.n_ranks != 3 else 12,
        seed=3,
        shuffle=True,
        drop_last=True,
        crop_padding=1,
        flip=True,
        rank=ranks.rank,
        n_ranks=ranks.n_ranks,
    )


def train(part: Part, ranks: Ranks) -> TrainingResult:
    """Train, and leave the final weights and the history as this rank has them."""
    # Other weights on other ranks, and as none that is resumed: the first one's must win.
    supernet = fakes.make_supernet(dropout=0.2, seed=ranks.rank)
    n_pictures = 36 if ranks.n_ranks == 3 else 24

    def score(widths: Any) -> float:
        assert ranks.is_first, "only the first rank scores"
        # Any number that depends on the weights.
        with torch.no_grad(), supernet.active(widths):
            supernet.eval()
            return float(supernet(fakes.make_pictures(6, seed=5)[0]).softmax(1)[:, 0].mean())

    is_last = ranks.rank == ranks.n_ranks - 1
    loader: Any = make_shared_loader(ranks, n_pictures)
    if part.fault == "nan" and is_last:
        loader = list(loader)
        loader[1][0][0, 0, 0, 0] = float("nan")
    if part.fault == "loader" and is_last:
        loader = list(loader)[:-1]
    if part.fault == "tiny":
        loader = [(images[:1], labels[:1]) for images, labels in loader]
    own = {"policy": Wayward, "rates": OtherRates}.get(part.fault)
    result = train_by_policy(
        supernet,
        loader,
        dataclasses.replace(SETTINGS, policy_options={}) if own else SETTINGS,
        CountedScorer(score, lambda widths: float(sum(widths.values())), 6),
        seed=0,
        checkpoint=CheckpointFile(
            part.folder / "checkpoint.safetensors", key="run", every_seconds=0
        )
        if ranks.is_first
        else CheckpointFile(Path("/nowhere/checkpoint.safetensors"), key="another"),
        progress=WatchedSteps(supernet, part, ranks),
        policy=own,
    )
    found = {
        "weights": hash_weights(supernet),
        "history": [dict(item) for item in result.history],
        "path": [dict(widths) for widths in result.path],
        "macs": result.macs,
        "scoring_macs": result.scoring_macs,
    }
    (part.folder / f"result{ranks.rank}.json").write_text(json.dumps(found))
    return result


class Residual(nn.Module):
    """A block that can be removed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.norm(self.conv(x)))


def make_removable() -> Supernet:
    """Make a supernet with a block that some subnets lack."""
    torch.manual_seed(0)
    net = nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(1, 4, 3, padding=1),
            first=Residual(4),
            second=Residual(4),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            head=nn.Linear(4, fakes.N_CLASSES),
        )
    )
    example = torch.zeros(2, *fakes.SHAPE)
    return build_supernet(net, example, ratios=(0.5,), removes_blocks=True)


def compute_gradients(ranks: Ranks, half: int | None, *, full: bool) -> dict[str, Tensor]:
    """Compute the gradients of a step on one half of eight pictures (None: on one's own)."""
    supernet = make_removable()
    supernet.train()
    # The net without blocks comes last, after all parameters have gradients, and then first.
    smallest, whole = supernet.space.smallest, supernet.space.full
    plan = Plan(True, (smallest,)) if full else Plan(False, (smallest, whole.replace("stem", 2)))
    schedule = SubnetSchedule(supernet, fakes.FixedPolicy(plan), fakes.make_scorer(), ranks=ranks)
    learner = SupernetLearner(supernet, schedule, ranks=ranks)
    images, labels = fakes.make_pictures(8)
    own = slice(ranks.rank if half is None else half, None, 2)
    learner.compute_gradients(0, images[own], labels[own])
    return {n: p.grad for n, p in supernet.named_parameters() if p.grad is not None}


def leave_gradients(part: Part, ranks: Ranks) -> None:
    """Write down the gradients that this rank would step along."""
    for full in (True, False):
        gradients = compute_gradients(ranks, None, full=full)
        write_tensors(part.folder / f"gradients{full}{ranks.rank}.safetensors", gradients)
