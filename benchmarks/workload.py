"""What the training benchmarks train: pictures, a net, and how long, for a small and a large machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch import nn

from dpod_search.data import DataSettings
from dpod_search.data import DataSplits
from dpod_search.data import ImageDataset
from dpod_search.data import SeededLoader
from dpod_search.data import gather_images
from dpod_search.data import load_data
from dpod_search.data.datasets import DatasetView
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import measure_accuracy
from dpod_search.finetune import DistillationLearner
from dpod_search.footprint import build_footprint
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.placement import place_module
from dpod_search.rng import numpy_generator
from dpod_search.rng import torch_generator
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.training import Loop
from dpod_search.training import OptimizerSettings
from dpod_search.widths import Widths


Batch = tuple[Tensor, Tensor]

# Seed of the random subnets that all policies and seeds are compared on.
_SUBNETS = 7


@dataclass(frozen=True)
class Workload:
    """One data set and one net.

    Args:
        name: Of the data set.
        data: Which pictures, and how they are split.
        model: Name of the net.
        dense_epochs: Training of a supernet costs as much as so many epochs of the full net.
        finetune_epochs: Of every finetuned subnet of a front, where policies are compared.
        member_epochs: Where a front is held against training alone, each member's finetuning
            costs as much as so many epochs of the full net.
        ranking_epochs: Of the random subnets, whose order is what is asked for.
        n_ranked: Seeds with which they are finetuned; with the others they are only evaluated.
        n_evaluated: Subnets a search may evaluate.
        n_train: Training pictures; None for all.
        batch_size: In training and finetuning.
        crop_padding: Random shifts, in pixels.
        flip: Random mirroring.
        lr: Highest learning rate of the supernet.
        precision: Of the passes in training.
        device: Where.
    """

    name: str
    data: DataSettings
    model: str
    dense_epochs: int
    finetune_epochs: int
    member_epochs: int
    ranking_epochs: int
    n_evaluated: int
    n_ranked: int = 3
    n_train: int | None = None
    batch_size: int = 64
    crop_padding: int = 1
    flip: bool = False
    lr: float = 0.1
    precision: str = "float32"
    device: str = "cpu"

    def prepare(self, seed: int) -> Prepared:
        """Load the pictures and build the blank supernet of a seed."""
        return Prepared(self, seed)


def make_workloads(preset: str, data_root: str) -> dict[str, Workload]:
    """Return the workloads of a preset by name.

    Args:
        preset: ``cpu`` for two cores, ``gpu`` for one large GPU.
        data_root: Folder that holds Fashion-MNIST.
    """
    digits = Workload("digits", DataSettings("digits"), "resnet8", 40, 10, 4, 4, 80)
    fashion = Workload(
        name="fashion_mnist",
        data=DataSettings(
            "fashion_mnist",
            root=data_root,
            image_size=14,
            validation_share=0.035,
            calibration_share=0.02,
        ),
        model="resnet8",
        dense_epochs=30,
        finetune_epochs=2,
        member_epochs=2,
        ranking_epochs=1,
        n_evaluated=80,
        n_ranked=1,
        n_train=6_000,
        flip=True,
    )
    if preset == "cpu":
        return {"digits": digits, "fashion_mnist": fashion}
    large = {"device": "cuda", "precision": "bfloat16", "model": "resnet20", "n_evaluated": 200}
    return {
        "digits": replace(digits, **large),  # type: ignore[arg-type]  # fields by name
        "fashion_mnist": replace(
            fashion,
            **large,  # type: ignore[arg-type]  # fields by name
            data=replace(fashion.data, image_size=None),
            dense_epochs=40,
            finetune_epochs=10,
            member_epochs=10,
            ranking_epochs=5,
            n_ranked=3,
            n_train=None,
            batch_size=256,
            crop_padding=2,
        ),
    }


class Stream:
    """A loader whose one epoch is as long as it is told, epochs of another one after another.

    Args:
        loader: Gives the batches.
        n_steps: How many.
    """

    def __init__(self, loader: SeededLoader, n_steps: int) -> None:
        """Stand at the first batch."""
        self._loader = loader
        self._n_steps = n_steps
        self._first = 0

    def __len__(self) -> int:
        """Return the number of batches."""
        return self._n_steps

    def set_position(self, epoch: int, batch: int = 0) -> None:
        """Choose the batch to go on with; there is one epoch only."""
        assert epoch == 0
        self._first = batch

    def __iter__(self) -> Iterator[Batch]:
        """Iterate from the position to the end."""
        step, length = self._first, len(self._loader)
        while step < self._n_steps:
            self._loader.set_position(*divmod(step, length))
            for batch in self._loader:
                if step == self._n_steps:
                    return
                yield batch
                step += 1


class Prepared:
    """A workload with one seed: the splits, the supernet, its costs.

    Args:
        workload: What.
        seed: Of splits, weights, order and augmentation.
    """

    def __init__(self, workload: Workload, seed: int) -> None:
        """Keep both; everything else is made when it is asked for."""
        self.workload = workload
        self.seed = seed

    @cached_property
    def splits(self) -> DataSplits:
        """The four splits."""
        return load_data(self.workload.data, self.seed)

    @cached_property
    def train(self) -> ImageDataset:
        """The training pictures, as many as the workload takes."""
        n = self.workload.n_train
        whole = self.splits.train
        return whole if n is None else DatasetView(whole, np.arange(min(n, len(whole))))

    @cached_property
    def calibration_images(self) -> Tensor:
        """Training pictures that BatchNorm statistics are estimated on."""
        return gather_images(self.train, 256)

    @cached_property
    def scoring(self) -> list[Batch]:
        """Pictures that judge a policy's path."""
        loader = SeededLoader(self.splits.calibration, batch_size=500, seed=self.seed)
        return list(islice(loader, 1))

    @cached_property
    def validation(self) -> list[Batch]:
        """Pictures that subnets are chosen on."""
        return list(SeededLoader(self.splits.validation, batch_size=500, seed=self.seed))

    @cached_property
    def test(self) -> list[Batch]:
        """Pictures that only report."""
        return list(SeededLoader(self.splits.test, batch_size=500, seed=self.seed))

    @property
    def loader(self) -> SeededLoader:
        """The training pictures, shuffled and augmented."""
        return SeededLoader(
            self.train,
            batch_size=self.workload.batch_size,
            seed=self.seed,
            shuffle=True,
            drop_last=True,
            crop_padding=self.workload.crop_padding,
            flip=self.workload.flip,
        )

    @property
    def dense_steps(self) -> int:
        """Steps of the full net that training a supernet may cost."""
        return self.workload.dense_epochs * len(self.loader)

    @property
    def dense_macs(self) -> float:
        """Multiply-adds of the forward passes of so many steps."""
        return self.dense_steps * self.workload.batch_size * self.full_macs

    @cached_property
    def supernet(self) -> Supernet:
        """The supernet, untrained at first."""
        model = build_model(
            ModelSettings(name=self.workload.model),
            input_shape=self.splits.input_shape,
            n_classes=self.splits.n_classes,
            seed=self.seed,
        )
        example = torch.randn(
            (2, *self.splits.input_shape), generator=torch_generator(self.seed, "example")
        )
        supernet = build_supernet(model, example)
        place_module(supernet, torch.device(self.workload.device))
        return supernet

    @cached_property
    def full_macs(self) -> float:
        """Macs of the full net."""
        return self.cost(self.supernet.space.full)

    def cost(self, widths: Widths) -> float:
        """Return the macs of a subnet."""
        return float(self._footprint.measure(widths)["macs"])

    @cached_property
    def _footprint(self):  # type: ignore[no-untyped-def]
        return build_footprint(self.supernet)

    def draw_subnets(self, n: int) -> list[Widths]:
        """Draw random subnets, every group alone; the same for every seed and policy."""
        space = self.supernet.space
        draws = numpy_generator(_SUBNETS, "random subnets")
        return [
            space.from_rungs([int(draws.integers(k)) for k in space.n_rungs]) for _ in range(n)
        ]

    def train_alone(self, widths: Widths, macs: float) -> float:
        """Train a subnet from new weights, alone, and return its accuracy on the test split.

        Args:
            widths: The subnet.
            macs: Multiply-adds that the forward passes of its training may cost.
        """
        module = extract_subnet(self.supernet, widths)
        _renew(module, torch_generator(self.seed, "alone", str(widths)))
        place_module(module, torch.device(self.workload.device))
        n_steps = max(1, round(macs / self.cost(widths) / self.workload.batch_size))
        Loop(
            module=module,
            loader=Stream(self.loader, n_steps),
            n_epochs=1,
            learner=DistillationLearner(module),
            optimizer=OptimizerSettings(lr=self.workload.lr),
            seed=self.seed,
        ).run()
        module.eval()
        calibrate(module, self.calibration_images)
        return measure_accuracy(module, self.test)


def _renew(module: nn.Module, generator: torch.Generator) -> None:
    # As models/resnet.py begins: by the layer's own fan-out, not by that of the net it came from.
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(
                layer.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
        elif isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
