"""What all ways of the head-to-head comparison share: pictures, nets and one recipe of training.

Peers run in environments of their own, so this file needs nothing but PyTorch, NumPy and Pillow.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch import nn
from torch.utils.hooks import RemovableHandle


BUDGETS = (0.5, 0.25, 0.12, 0.06)
BATCH = 128
LR = 0.05
DECAY = 5e-4
N_ESTIMATING = 1500  # training pictures that BatchNorm statistics are estimated on


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures as bytes, (N, C, H, W), and their classes, (N,).

    Args:
        images: The bytes.
        labels: The classes.
        mean: Of each channel, bytes taken as 0 to 1.
        deviation: Likewise.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...] = (0.5,)
    deviation: tuple[float, ...] = (0.5,)

    @cached_property
    def scaled(self) -> Tensor:
        """The pictures as numbers, each channel of mean 0 and deviation 1 or so."""
        mean, deviation = (
            torch.tensor(values)[:, None, None] for values in (self.mean, self.deviation)
        )
        return self.images.float().div_(255).sub_(mean).div_(deviation)

    def part(self, start: int, end: int) -> Pictures:
        """Return some of them."""
        return replace(self, images=self.images[start:end], labels=self.labels[start:end])

    def batches(self, size: int = 500) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield them in order."""
        for start in range(0, len(self.labels), size):
            yield self.scaled[start : start + size], self.labels[start : start + size]


@dataclass(frozen=True)
class Set:
    """Pictures, a net, and how long it is trained before anything is pruned.

    Args:
        read: From the data folder and one to keep files in to pictures for training, then for test.
        build: Makes the net of a seed.
        sizes: Pictures to train, validate and test on.
        crop: Random shifts, in pixels.
        flip: Random mirroring.
        epochs: Of the full net, from new weights.
        unpruned: A pattern of the layers whose outputs nobody prunes.
        published: The trained net's file in the data folder, if it is not to be trained here.
        text: What a reader of the results should know.
    """

    read: Callable[[Path, Path], tuple[Pictures, Pictures]]
    build: Callable[[], nn.Module]
    sizes: tuple[int, int, int]
    crop: int
    flip: bool
    epochs: int
    unpruned: str
    published: str
    text: str


class Block(nn.Module):
    """Two convolutions and a shortcut around them."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem, three stages of blocks, pooling, a linear head."""

    def __init__(self, channels: int, widths: tuple[int, int, int], stride: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        self.stage1 = Block(widths[0], widths[0], 1)
        self.stage2 = Block(widths[0], widths[1], 2)
        self.stage3 = Block(widths[1], widths[2], 2)
        self.head = nn.Linear(widths[2], 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def build_small() -> nn.Module:
    """Build a ResNet-8 of widths 32, 64 and 128 for colour pictures, its stem of stride 2."""
    return ResNet(3, (32, 64, 128), 2)


def build_grey() -> nn.Module:
    """Build the same for grey pictures."""
    return ResNet(1, (32, 64, 128), 2)


class PaddedBlock(nn.Module):
    """Two convolutions; where channels double, the shortcut has zeros on both sides."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.n_zeros = (n_out - n_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.n_zeros:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.n_zeros, self.n_zeros))
        return F.relu(y + x)


class PaddedResNet(nn.Module):
    """The ResNet of 20 layers that was made for CIFAR-10, with the names of its published weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                PaddedBlock(n_in, n_out, n_out // n_in),
                *(PaddedBlock(n_out, n_out, 1) for _ in range(2)),
            )
            for n_in, n_out in ((16, 16), (16, 32), (32, 64))
        )
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def read_cifar(root: Path, kept: Path, side: int) -> tuple[Pictures, Pictures]:
    """Read the JPEG copy of CIFAR-10, shrunk to a side, and keep it as one file."""
    cache = kept / f"cifar10_{side}.npz"
    if not cache.exists():
        found: dict[str, list[tuple[str, np.ndarray]]] = {"train": [], "test": []}
        with tarfile.open(root / "cifar10_images.tar.gz") as archive:
            for member in archive:
                if member.name.endswith(".jpg"):
                    _, part, label, name = member.name.split("/")
                    content = archive.extractfile(member)
                    assert content is not None
                    with Image.open(BytesIO(content.read())) as image:
                        small = image.convert("RGB").resize((side, side), Image.Resampling.BOX)
                        found[part].append((f"{name}/{label}", np.asarray(small)))
        arrays = {}
        for part, items in found.items():
            # By number, so that a prefix has as many of each class.
            items.sort(key=lambda item: item[0])
            classes = sorted({name.split("/")[1] for name, _ in items})
            arrays[part] = np.stack([image.transpose(2, 0, 1) for _, image in items])
            arrays[f"{part}_labels"] = np.array(
                [classes.index(name.split("/")[1]) for name, _ in items]
            )
        np.savez(cache, **arrays)
    with np.load(cache) as found:
        return tuple(  # type: ignore[return-value]
            Pictures(torch.from_numpy(found[part]), torch.from_numpy(found[f"{part}_labels"]))
            for part in ("train", "test")
        )


def read_cifar16(root: Path, kept: Path) -> tuple[Pictures, Pictures]:
    """Read CIFAR-10 at 16 pixels."""
    return read_cifar(root, kept, 16)


def read_cifar32(root: Path, kept: Path) -> tuple[Pictures, Pictures]:
    """Read CIFAR-10 at 32 pixels, as nets that were trained on ImageNet's scale want it."""
    train, test = (
        replace(part, mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))
        for part in read_cifar(root, kept, 32)
    )
    return train, test


def read_fashion(root: Path, _kept: Path) -> tuple[Pictures, Pictures]:
    """Read Fashion-MNIST as it is."""
    found = []
    for part in ("train", "t10k"):
        images, labels = (
            _read_idx(root / "FashionMNIST" / "raw" / f"{part}-{name}")
            for name in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
        found.append(Pictures(images[:, None], labels.long()))
    return found[0], found[1]


def _read_idx(path: Path) -> Tensor:
    plain = path.exists()
    content = path.read_bytes() if plain else gzip.decompress(Path(f"{path}.gz").read_bytes())
    n_axes = content[3]
    sizes = np.frombuffer(content, ">i4", n_axes, 4).tolist()
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).copy()).view(
        sizes
    )


def split(
    parts: tuple[Pictures, Pictures], sizes: tuple[int, int, int]
) -> tuple[Pictures, Pictures, Pictures]:
    """Return the first pictures to train on, the next to validate on, and the first of test."""
    whole, test = parts
    n_train, n_validation, n_test = sizes
    end = n_train + n_validation
    return whole.part(0, n_train), whole.part(n_train, end), test.part(0, n_test)


SETS = {
    "cifar16": Set(
        read_cifar16,
        build_small,
        sizes=(20_000, 2_000, 5_000),
        crop=2,
        flip=True,
        epochs=20,
        unpruned="head",
        published="",
        text="CIFAR-10 (JPEG copy) at 16 pixels; a ResNet-8 of widths 32, 64 and 128, stem of stride 2, 3.07 M macs",
    ),
    "fashion": Set(
        read_fashion,
        build_grey,
        sizes=(10_000, 2_000, 5_000),
        crop=2,
        flip=True,
        epochs=10,
        unpruned="head",
        published="",
        text="Fashion-MNIST; the same net for grey pictures of 28 pixels, 9.2 M macs",
    ),
    "resnet20": Set(
        read_cifar32,
        PaddedResNet,
        sizes=(2_000, 2_000, 5_000),
        crop=4,
        flip=True,
        epochs=0,
        unpruned=r"conv1|linear|.*\.conv2",
        published="pretrained/resnet20_cifar10jpeg.safetensors",
        text="CIFAR-10 (JPEG copy); the published ResNet-20, 40.6 M macs, its inner widths alone",
    ),
}


def load_parts(name: str, root: Path, kept: Path) -> tuple[Pictures, Pictures, Pictures]:
    """Return the pictures of a set to train, to validate and to test on."""
    return split(SETS[name].read(root, kept), SETS[name].sizes)


def augment(images: Tensor, crop: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Shift and mirror each picture at random."""
    n, _, height, width = images.shape
    if flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    if crop:
        padded = F.pad(images, (crop,) * 4)
        top, left = torch.randint(2 * crop + 1, (2, n), generator=generator)
        rows = (top[:, None] + torch.arange(height))[:, :, None]
        columns = (left[:, None] + torch.arange(width))[:, None, :]
        images = padded[torch.arange(n)[:, None, None], :, rows, columns].permute(0, 3, 1, 2)
    return images.contiguous()


def train(
    net: nn.Module,
    pictures: Pictures,
    *,
    n_steps: int,
    crop: int,
    flip: bool,
    seed: int,
    lr: float = LR,
) -> None:
    """Train on labels by SGD with a falling rate; then estimate the statistics again."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=DECAY
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    net.train()
    strides = skip_before(net)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(n_steps):
        if len(order) < BATCH:
            order = torch.randperm(len(pictures.labels), generator=generator)
        index, order = order[:BATCH], order[BATCH:]
        images = augment(pictures.scaled[index], crop, flip, generator)
        loss = F.cross_entropy(net(images), pictures.labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    for layer, (stride, handle) in strides.items():
        handle.remove()
        layer.stride = stride
    estimate(net, pictures)


def skip_before(net: nn.Module) -> dict[nn.Conv2d, tuple[tuple[int, ...], RemovableHandle]]:
    """Take the positions that strided 1 x 1 convolutions look at out of their inputs.

    What is computed is the same; with few channels oneDNN's gradient of such layers writes past its
    memory on processors without AVX-512 (https://github.com/uxlfoundation/oneDNN/issues/6035).

    Returns:
        For each of them its stride and the hook, to undo it.
    """
    found: dict[nn.Conv2d, tuple[tuple[int, ...], RemovableHandle]] = {}
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.stride != (1, 1):
            down, right = layer.stride

            def take(_: nn.Module, inputs: tuple[Tensor], d: int = down, r: int = right) -> Tensor:
                return inputs[0][:, :, ::d, ::r]

            found[layer] = layer.stride, layer.register_forward_pre_hook(take)
            layer.stride = (1, 1)
    return found


@torch.no_grad()
def estimate(net: nn.Module, pictures: Pictures) -> None:
    """Estimate BatchNorm statistics on the first training pictures."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    net.train()
    for start in range(0, N_ESTIMATING, 500):
        net(pictures.scaled[start : start + 500])
    for norm in norms:
        norm.momentum = 0.1
    net.eval()


@torch.no_grad()
def measure(net: nn.Module, pictures: Pictures) -> float:
    """Return the share of pictures that a net is right on."""
    net.eval()
    right = sum(int((net(x).argmax(1) == y).sum()) for x, y in pictures.batches())
    return right / len(pictures.labels)


def count_macs(net: nn.Module, example: Tensor) -> int:
    """Count the multiply-adds of convolutions and linear layers for one picture."""
    total = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        total += layer.weight[0].numel() * output[0].numel()  # type: ignore[operator,index]

    hooks = [
        module.register_forward_hook(count)
        for module in net.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        net.eval()(example[:1])
    for hook in hooks:
        hook.remove()
    return total
