"""What a policy's training step costs beside a step of the same net trained alone: time and memory."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from collections.abc import Iterable
from contextlib import contextmanager
from statistics import fmean
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from workload import Prepared

from dpod_search.finetune import DistillationLearner
from dpod_search.placement import place_module
from dpod_search.supernet import extract_subnet
from dpod_search.training import Learner
from dpod_search.training import OptimizerSettings
from dpod_search.training import PolicyContext
from dpod_search.training.learner import SupernetLearner
from dpod_search.training.policies import Policy
from dpod_search.training.policies import make_policy


# A policy is looked at in so many steps, evenly spread over its training.
N_PLACES = 24
N_ROUNDS = 5


class MemoryWatch(TorchDispatchMode):
    """Follows every tensor storage that operations make, and the most bytes alive at once.

    Args:
        alive: Tensors that are there before.
    """

    def __init__(self, alive: Iterable[Tensor]) -> None:
        """Count what is there."""
        super().__init__()
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0
        for tensor in alive:
            self._note(tensor)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        """Run an operation, then count."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)
        if reference.cdata in self._storages:
            return
        self._storages = {
            key: pair for key, pair in self._storages.items() if not pair[0].expired()
        }
        self._storages[reference.cdata] = (reference, storage.nbytes())
        self.peak = max(self.peak, sum(size for _, size in self._storages.values()))


class Stepper:
    """Makes whole training steps: gradients, clipping, update.

    Args:
        module: What is trained.
        learner: What a step does with a batch.
    """

    def __init__(self, module: nn.Module, learner: Learner) -> None:
        """Make the optimizer."""
        self.module = module.train()
        self.learner = learner
        self.settings = OptimizerSettings(lr=1e-4)
        self.optimizer = self.settings.make(module)

    def step(self, step: int, images: Tensor, labels: Tensor) -> None:
        """Make one step."""
        self.optimizer.zero_grad()
        self.learner.compute_gradients(step, images, labels)
        nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
        self.optimizer.step()

    def time(self, step: int, images: Tensor, labels: Tensor) -> float:
        """Return the processor seconds of a step (the wall's on a GPU)."""
        is_gpu = images.device.type == "cuda"
        clock: Callable[[], float] = time.perf_counter if is_gpu else time.process_time
        start = clock()
        self.step(step, images, labels)
        if is_gpu:
            torch.cuda.synchronize()
        return clock() - start

    def watch(self, step: int, images: Tensor, labels: Tensor) -> int:
        """Return the peak bytes of a step: weights, gradients, momentum, activations."""
        if images.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.step(step, images, labels)
            return torch.cuda.max_memory_allocated()
        state = [t for slot in self.optimizer.state.values() for t in slot.values()]
        held = [*self.module.parameters(), *self.module.buffers(), images, labels]
        with MemoryWatch([*held, *(t for t in state if isinstance(t, Tensor))]) as watch:
            self.step(step, images, labels)
        return watch.peak


def measure_policy_step(prepared: Prepared, policy_name: str) -> dict[str, Any]:
    """Measure steps of a policy, turn and turn about with dense steps, on a copy of the supernet.

    Returns:
        Mean seconds and largest peak bytes of a step, and both as ratios to the dense net's:
        time for each multiply-add, and bytes.
    """
    supernet = copy.deepcopy(prepared.supernet)
    policy = _make_grown(prepared, policy_name)
    partial = Stepper(supernet, SupernetLearner(supernet, policy, cost=prepared.cost))
    net = extract_subnet(supernet, supernet.space.full)
    place_module(net, torch.device(prepared.workload.device))
    dense = Stepper(net, DistillationLearner(net, net, 0.0, 1.0))
    images, labels = next(iter(prepared.loader))
    placed = images.to(prepared.workload.device, memory_format=torch.channels_last)
    labels = labels.to(placed.device)
    n_steps = prepared.dense_steps
    places = [(2 * i + 1) * n_steps // (2 * N_PLACES) for i in range(N_PLACES)]
    with _one_thread():
        for place in places[:: N_PLACES // 4]:
            partial.step(place, placed, labels)
            dense.step(place, placed, labels)
        seconds: list[list[float]] = [[] for _ in places]
        dense_seconds: list[float] = []
        for _ in range(N_ROUNDS):
            for place, found in zip(places, seconds, strict=True):
                found.append(partial.time(place, placed, labels))
                dense_seconds.append(dense.time(place, placed, labels))
        peak = max(partial.watch(place, placed, labels) for place in places)
        dense_peak = dense.watch(0, placed, labels)
    a_step = fmean(median(found) for found in seconds)
    macs = fmean(_cost_of(policy, place, prepared) for place in places)
    return {
        "seconds": a_step,
        "dense_seconds": median(dense_seconds),
        "macs_ratio": macs / prepared.full_macs,
        "time_per_mac_ratio": a_step / macs / (median(dense_seconds) / prepared.full_macs),
        "peak_bytes": peak,
        "peak_ratio": peak / dense_peak,
    }


def _cost_of(policy: Policy, step: int, prepared: Prepared) -> float:
    plan = policy.plan(step)
    return prepared.full_macs * plan.full + sum(map(prepared.cost, plan.partial))


def _make_grown(prepared: Prepared, name: str) -> Policy:
    """Make a policy and walk it through a training; what it trains does not depend on a net."""
    space = prepared.supernet.space
    context = PolicyContext(
        space,
        prepared.cost,
        lambda widths: fmean(widths.active) / fmean(space.full.active),
        prepared.dense_steps,
        prepared.seed,
    )
    policy = make_policy(name, {}, context)
    for step in range(prepared.dense_steps):
        policy.begin_step(step)
    return policy


@contextmanager
def _one_thread():  # type: ignore[no-untyped-def]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
