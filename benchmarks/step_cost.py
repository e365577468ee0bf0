"""What a policy's training step costs beside a step of the same net trained alone: time and memory."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from statistics import fmean
from statistics import median

import torch
from torch import Tensor
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from workload import Prepared

from dpod_search.finetune import DistillationLearner
from dpod_search.placement import device_of
from dpod_search.placement import limit_threads
from dpod_search.placement import place_module
from dpod_search.placement import placement_of
from dpod_search.supernet import Supernet
from dpod_search.supernet import extract_subnet
from dpod_search.training import Learner
from dpod_search.training import OptimizerSettings
from dpod_search.training import PolicyContext
from dpod_search.training.learner import SupernetLearner
from dpod_search.training.loop import clip_gradients
from dpod_search.training.policies import Policy
from dpod_search.training.policies import make_policy
from dpod_search.training.schedule import CountedScorer
from dpod_search.training.schedule import SubnetSchedule
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


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
        self.optimizer = self.settings.make_optimizer(module)

    def step(self, step: int, images: Tensor, labels: Tensor) -> None:
        """Make one step."""
        self.optimizer.zero_grad()
        self.learner.compute_gradients(step, images, labels)
        clip_gradients(self.module, 5.0)
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


def measure_policy_step(prepared: Prepared, policy_name: str) -> dict[str, float]:
    """Measure steps of a policy over its whole training, on a copy of the supernet.

    Returns:
        As :func:`compare_steps`.
    """
    supernet = copy.deepcopy(prepared.supernet)
    n_steps = prepared.dense_steps
    policy = grow_policy(policy_name, supernet.space, prepared.cost, n_steps, prepared.seed)
    places = [(2 * i + 1) * n_steps // (2 * N_PLACES) for i in range(N_PLACES)]
    return compare_steps(supernet, policy, prepared.cost, places, next(iter(prepared.loader)))


def compare_steps(
    supernet: Supernet,
    policy: Policy,
    cost: Callable[[Widths], float],
    places: Sequence[int],
    pictures: tuple[Tensor, Tensor],
) -> dict[str, float]:
    """Measure steps of a policy, turn and turn about with dense steps.

    Args:
        supernet: Where it is trained; its weights are moved.
        policy: Grown as far as it grows.
        cost: Macs of a subnet.
        places: Steps that are looked at.
        pictures: A batch, and its labels.

    Returns:
        Mean seconds and largest peak bytes of a step, and both as ratios to the dense net's:
        time for each multiply-add, and bytes.
    """
    full = supernet.space.full
    net = extract_subnet(supernet, full)
    is_channels_last = supernet.grouping.runs_channels_last
    place_module(net, device_of(supernet), is_channels_last=is_channels_last)
    images, labels = pictures
    batch = (placement_of(supernet).put(images), labels.to(device_of(supernet)))
    ours = Stepper(
        supernet,
        SupernetLearner(
            supernet,
            SubnetSchedule(supernet, policy, CountedScorer(lambda widths: 0.0, cost, 0)),
        ),
    )
    dense = Stepper(net, DistillationLearner(net))
    with limit_threads(1):
        for place in places[:: len(places) // 4]:  # the first steps fill memory and momenta
            ours.step(place, *batch)
            dense.step(place, *batch)
        seconds: list[list[float]] = [[] for _ in places]
        dense_seconds: list[float] = []
        for _ in range(N_ROUNDS):
            for place, found in zip(places, seconds, strict=True):
                found.append(ours.time(place, *batch))
                dense_seconds.append(dense.time(place, *batch))
        peak = max(ours.watch(place, *batch) for place in places)
        dense_peak = dense.watch(0, *batch)
    a_step, a_dense = fmean(map(median, seconds)), median(dense_seconds)
    plans = [policy.plan(place) for place in places]
    macs = fmean(cost(full) * plan.full + sum(map(cost, plan.partial)) for plan in plans)
    return {
        "seconds": a_step,
        "dense_seconds": a_dense,
        "macs_ratio": macs / cost(full),
        "time_per_mac_ratio": a_step / macs / (a_dense / cost(full)),
        "peak_bytes": peak,
        "peak_ratio": peak / dense_peak,
    }


def grow_policy(
    name: str, space: WidthSpace, cost: Callable[[Widths], float], n_steps: int, seed: int
) -> Policy:
    """Make a policy and walk it through a training without a net.

    A judge who prefers many channels lets its path grow; what is timed does not depend on it.
    """

    def judge(widths: Widths) -> float:
        return fmean(widths.active) / fmean(space.full.active)

    policy = make_policy(name, {}, PolicyContext(space, cost, judge, n_steps, seed))
    for step in range(n_steps):
        policy.begin_step(step)
    return policy
