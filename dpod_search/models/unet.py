"""A small U-Net: a class for every pixel of a picture.

References:
    Ronneberger, Fischer and Brox (2015), "U-Net: convolutional networks for biomedical image
    segmentation", arXiv 1505.04597; padded and normalised here, so that sizes stay.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import check_count


class UNet(nn.Module):
    """Pairs of 3x3 convolutions on the way down and up again, joined at each size.

    Args:
        in_channels: Channels of a picture.
        n_classes: Classes of a pixel.
        width: Channels at the full size; each halving of the size has twice as many.
        depth: Halvings of the size.
    """

    def __init__(self, in_channels: int, n_classes: int, *, width: int, depth: int) -> None:
        """Build the net, its weights drawn from the global generator."""
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            _make_pair(n_in, n_out)
            for n_in, n_out in zip([in_channels, *widths], widths, strict=False)
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(2 * n, n, 1, bias=False) for n in reversed(widths[:-1])
        )
        self.up = nn.ModuleList(_make_pair(2 * n, n) for n in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, n_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits (N, n_classes, H, W) of pictures (N, C, H, W).

        A size that is odd is rounded down on the way down, and comes back by interpolation to that
        of the other side.
        """
        x = self.down[0](pictures)
        sides = []
        for down in self.down[1:]:
            sides.append(x)
            x = down(F.max_pool2d(x, 2))
        for narrow, up in zip(self.narrow, self.up, strict=True):
            side = sides.pop()
            grown = F.interpolate(narrow(x), size=side.shape[2:], mode="nearest")
            x = up(torch.cat([side, grown], dim=1))
        logits: Tensor = self.head(x)
        return logits


def build_unet(
    *, input_shape: tuple[int, ...], n_classes: int, width: int = 16, depth: int = 3
) -> nn.Module:
    """Build a U-Net.

    Args:
        input_shape: Channels, height and width of a picture, of at least ``2 ** depth`` pixels.
        n_classes: Classes of a pixel.
        width: Channels at the full size, 1 to 1,024.
        depth: Halvings of the size, 1 to 6.

    Raises:
        ConfigError: If a number is out of range, or the pictures are too small.
    """
    check_count("model.arguments.width", width, low=1, high=1_024)
    check_count("model.arguments.depth", depth, low=1, high=6)
    if min(input_shape[1:]) < 2**depth:
        raise ConfigError(
            f"model.arguments.depth = {depth} halves pictures of "
            f"{' x '.join(map(str, input_shape[1:]))} to nothing; make it "
            f"<= {min(input_shape[1:]).bit_length() - 1}"
        )
    return UNet(input_shape[0], n_classes, width=width, depth=depth)


def _make_pair(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(out_channels),
            relu1=nn.ReLU(inplace=True),
            conv2=nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            bn2=nn.BatchNorm2d(out_channels),
            relu2=nn.ReLU(inplace=True),
        )
    )
