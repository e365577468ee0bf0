"""Small residual nets in the style of the CIFAR experiments, for pictures of 8 to 64 pixels.

References:
    He, Zhang, Ren and Sun (2016), "Deep residual learning for image recognition", section 4.2;
    shortcuts of option B (projections where the shape changes), arXiv 1512.03385.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor
from torch import nn

from dpod_search.errors import check_count


_MAX_WIDTH = 1024


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        stride: Stride of the first convolution and of the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Build the block; the shortcut is the identity unless the shape changes."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            parts = OrderedDict(conv=projection, bn=nn.BatchNorm2d(out_channels))
            self.shortcut = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block.

        Args:
            x: A ``batch x in_channels x height x width`` tensor.

        Returns:
            A ``batch x out_channels x height/stride x width/stride`` tensor, >= 0.
        """
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """A 3x3 stem, three stages of basic blocks, global average pooling, a linear head.

    Args:
        in_channels: Channels of the picture.
        n_classes: Outputs of the head.
        n_blocks: Blocks in each of the three stages.
        width: Channels of the first stage; the next two have twice and four times as many.
    """

    def __init__(self, in_channels: int, n_classes: int, *, n_blocks: int, width: int) -> None:
        """Build the net, its weights drawn from the global generator."""
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.stage1 = _make_stage(width, width, n_blocks, stride=1)
        self.stage2 = _make_stage(width, 2 * width, n_blocks, stride=2)
        self.stage3 = _make_stage(2 * width, 4 * width, n_blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Classify pictures.

        Args:
            x: A ``batch x in_channels x height x width`` tensor.

        Returns:
            Logits, ``batch x n_classes``.
        """
        x = F.relu(self.bn(self.conv(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


def build_resnet8(
    *, input_shape: tuple[int, int, int], n_classes: int, width: int = 16
) -> nn.Module:
    """Build ResNet-8: one block a stage; arguments as :class:`ResNet`'s, ``width`` 1 to 1,024."""
    check_count("model.arguments.width", width, low=1, high=_MAX_WIDTH)
    return ResNet(input_shape[0], n_classes, n_blocks=1, width=width)


def build_resnet20(
    *, input_shape: tuple[int, int, int], n_classes: int, width: int = 16
) -> nn.Module:
    """Build ResNet-20: three blocks a stage, 40.81 M macs at 3 x 32 x 32 and 10 classes.

    ``width`` is 1 to 1,024.
    """
    check_count("model.arguments.width", width, low=1, high=_MAX_WIDTH)
    return ResNet(input_shape[0], n_classes, n_blocks=3, width=width)


def _make_stage(in_channels: int, out_channels: int, n_blocks: int, stride: int) -> nn.Sequential:
    blocks = [BasicBlock(in_channels, out_channels, stride)]
    blocks += [BasicBlock(out_channels, out_channels, 1) for _ in range(n_blocks - 1)]
    return nn.Sequential(*blocks)
