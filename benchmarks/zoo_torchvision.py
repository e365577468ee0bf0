"""Nets of torchvision for the wide zoo: classifiers, segmentation, backbones of detectors, videos."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn
from zoo_nets import ZooNet
from zoo_nets import draw_pictures

from dpod_search.torchvision_ops import import_torchvision


# Pixels of a picture, as few as the net takes.
CLASSIFIERS = {
    "resnet18": 64,
    "resnet50": 64,
    "resnext50_32x4d": 64,
    "alexnet": 64,
    "vgg11_bn": 64,
    "densenet121": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "mnasnet0_5": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "googlenet": 64,
    "inception_v3": 139,
    "regnet_x_400mf": 64,
    "regnet_y_400mf": 64,
    "convnext_tiny": 64,
    "vit_b_16": 64,
    "swin_t": 64,
    "swin_v2_t": 64,
    "maxvit_t": 224,
}
SEGMENTATIONS = {
    "fcn_resnet50": {"weights_backbone": None},
    "deeplabv3_mobilenet_v3_large": {"weights_backbone": None},
    "lraspp_mobilenet_v3_large": {"weights_backbone": None},
}
VIDEOS = ("r3d_18", "mc3_18", "r2plus1d_18")


def list_nets() -> list[ZooNet]:
    """Return the nets."""
    rows: list[tuple[str, Callable[[], nn.Module], tuple[int, ...]]] = []
    for name, size in CLASSIFIERS.items():
        arguments = {"image_size": size} if name == "vit_b_16" else {}
        if name in ("googlenet", "inception_v3"):
            # Their further heads run in training alone, and torchvision:<name> leaves them out, too.
            arguments = {"init_weights": True, "aux_logits": False}
        rows.append((name, functools.partial(_build, "", name, arguments), (3, size, size)))
    for name, given in SEGMENTATIONS.items():
        build = functools.partial(_build, "segmentation.", name, {**given, "num_classes": 21})
        rows.append((name, build, (3, 64, 64)))
    rows += [
        (name, functools.partial(_build, "video.", name, {}), (3, 4, 32, 32)) for name in VIDEOS
    ]
    rows += [
        (
            "resnet18_fpn",
            functools.partial(_build_fpn, "resnet_fpn_backbone", "resnet18"),
            PICTURE,
        ),
        (
            "mobilenet_v3_small_fpn",
            functools.partial(_build_fpn, "_mobilenet_extractor", "mobilenet_v3_small"),
            PICTURE,
        ),
    ]
    return [
        ZooNet(f"torchvision:{name}", build, lambda n, shape=shape: draw_pictures(n, *shape))
        for name, build, shape in rows
    ]


PICTURE = (3, 64, 64)


def _build(part: str, name: str, arguments: dict[str, Any]) -> nn.Module:
    models = import_torchvision("models")
    make = getattr(getattr(models, part.rstrip(".")) if part else models, name)
    model: nn.Module = make(weights=None, **arguments)
    return model


def _build_fpn(function: str, name: str) -> nn.Module:
    """Build the features of a detector: a backbone with a feature pyramid behind it."""
    tools = import_torchvision("models.detection.backbone_utils")
    if function == "resnet_fpn_backbone":
        net: nn.Module = tools.resnet_fpn_backbone(
            backbone_name=name, weights=None, trainable_layers=5
        )
    else:
        backbone = getattr(import_torchvision("models"), name)(weights=None)
        net = tools._mobilenet_extractor(backbone, fpn=True, trainable_layers=6)
    return net
