"""Nets of segmentation_models_pytorch for the wide zoo, on a small encoder without weights."""

from __future__ import annotations

import functools

from torch import nn
from zoo_nets import ZooNet
from zoo_nets import draw_pictures


PIXELS = 128
NETS = {
    "unet_resnet18": ("Unet", "resnet18"),
    "unet_mobilenet_v2": ("Unet", "mobilenet_v2"),
    "unetplusplus_resnet18": ("UnetPlusPlus", "resnet18"),
    "manet_resnet18": ("MAnet", "resnet18"),
    "linknet_resnet18": ("Linknet", "resnet18"),
    "linknet_mobilenet_v2": ("Linknet", "mobilenet_v2"),
    "fpn_resnet18": ("FPN", "resnet18"),
    "fpn_mobilenet_v2": ("FPN", "mobilenet_v2"),
    "pspnet_resnet18": ("PSPNet", "resnet18"),
    "pan_resnet18": ("PAN", "resnet18"),
    "deeplabv3_resnet18": ("DeepLabV3", "resnet18"),
    "deeplabv3plus_mobilenet_v2": ("DeepLabV3Plus", "mobilenet_v2"),
    "upernet_resnet18": ("UPerNet", "resnet18"),
    "segformer_resnet18": ("Segformer", "resnet18"),
}


def list_nets() -> list[ZooNet]:
    """Return the nets."""
    return [
        ZooNet(
            f"segmentation_models_pytorch:{name}",
            functools.partial(_build, *made_of),
            lambda n: draw_pictures(n, 3, PIXELS, PIXELS),
        )
        for name, made_of in NETS.items()
    ]


def _build(decoder: str, encoder: str) -> nn.Module:
    import segmentation_models_pytorch

    make = getattr(segmentation_models_pytorch, decoder)
    model: nn.Module = make(encoder_name=encoder, encoder_weights=None, classes=4)
    return model
