"""What a step of a policy costs beside a step of the dense net; a part of ``supernet_cost.py``."""

from __future__ import annotations

from typing import Any

import torch
from discovery import build_net
from step_cost import N_ROUNDS
from step_cost import compare_steps
from step_cost import grow_policy
from torch import Tensor
from torch import nn

from dpod_search.footprint import build_footprint
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.placement import place_module
from dpod_search.rng import torch_generator
from dpod_search.supernet import build_supernet
from dpod_search.widths import Widths


PER_MAC_LIMIT = 1.10
PEAK_LIMIT = 1.15
N_STEPS = 400  # of the training that the policy is walked through
N_PLACES = 16  # steps of it that are timed, after the warm-up


def build_policy_nets() -> dict[str, tuple[nn.Module, Tensor]]:
    """Build the nets on which steps of the policy are timed, each with a batch."""
    generator = torch_generator(0, "supernet_cost/policy")
    shapes = {"resnet8": (64, 1, 8, 8), "resnet20": (64, 3, 32, 32)}
    nets: dict[str, tuple[nn.Module, Tensor]] = {
        f"{name}, {shape[-1]} px, batch {shape[0]}": (
            build_model(ModelSettings(name=name), input_shape=shape[1:], n_classes=10, seed=0),
            torch.randn(shape, generator=generator),
        )
        for name, shape in shapes.items()
    }
    model = build_net("mobilenet_v2", 96)[0]
    return {
        **nets,
        "mobilenet_v2, 96 px, batch 16": (model, torch.randn(16, 3, 96, 96, generator=generator)),
    }


def measure_policy(model: nn.Module, images: Tensor) -> dict[str, Any]:
    """Measure the steps of dpod after its warm-up, full net and partial net, beside dense steps."""
    supernet = build_supernet(model, images[:2])
    footprint = build_footprint(supernet)

    def cost(widths: Widths) -> float:
        return footprint.measure(widths)["macs"]

    is_channels_last = supernet.grouping.runs_channels_last
    place_module(supernet, torch.device("cpu"), is_channels_last=is_channels_last)
    policy = grow_policy("dpod", supernet.space, cost, N_STEPS, 0)
    both = [step for step in range(N_STEPS) if policy.plan(step).partial]
    places = both[:: len(both) // N_PLACES][:N_PLACES]
    labels = torch.arange(len(images)) % 10
    found = compare_steps(supernet, policy, cost, places, (images, labels))
    return {
        "step_ms": 1e3 * found["seconds"],
        "dense_ms": 1e3 * found["dense_seconds"],
        "macs_ratio": found["macs_ratio"],
        "per_mac_ratio": found["time_per_mac_ratio"],
        "peak_mib": found["peak_bytes"] / 2**20,
        "peak_ratio": found["peak_ratio"],
    }


def describe_policy(policy: dict[str, Any]) -> list[str]:
    """Return the section on the policy's steps."""
    return [
        "## A step of the policy",
        "",
        f"Steps of `dpod` after its warm-up, a full net and a partial one over the whole path, in turn with steps of the dense net; means over {N_PLACES}",
        f"steps of medians of {N_ROUNDS} rounds. Limits: time per multiply-add {PER_MAC_LIMIT:.2f} of the dense net's, peak memory {PEAK_LIMIT:.2f} of it (all tensors alive).",
        "",
        "| net | dense step | policy's step | its macs | time per mac | peak memory | ratio | within |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {p['dense_ms']:.1f} ms | {p['step_ms']:.1f} ms | {p['macs_ratio']:.2f} | {p['per_mac_ratio']:.2f} "
            f"| {p['peak_mib']:.0f} MiB | {p['peak_ratio']:.2f} "
            f"| {'yes' if p['per_mac_ratio'] <= PER_MAC_LIMIT and p['peak_ratio'] <= PEAK_LIMIT else 'no'} |"
            for name, p in policy.items()
        ),
        "",
    ]
