"""Data that were looked at, as plain facts."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dpod_search.data.collating import list_tensors
from dpod_search.data.datasets import ImageDataset
from dpod_search.data.datasets import fetch_batch
from dpod_search.data.image_folder import FolderImages
from dpod_search.data.segmentation_folder import FolderMasks
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.escaping import spell_name
from dpod_search.inputs import Samples
from dpod_search.quantities import count
from dpod_search.quantities import plural
from dpod_search.tasks.batches import read_samples


CLASSES = "classification"
_N_KNOWN_TEST = 10_000  # of the sets that are downloaded


@dataclass(frozen=True, eq=False)
class FoundData:
    """Data, looked at.

    Args:
        called: What the user calls them.
        settings: What a study must say of them, at the least.
        source: What they are made of, pictures at a size that does not matter; None where they
            have to be downloaded first.
        task: What their targets are for.
        shape: Of one sample: channels, height and width of a picture. Of pictures of many sizes
            the usual ones.
        is_picture: Whether samples are pictures.
        is_resized: Whether ``data.image_size`` reaches them.
        has_one_size: Whether all pictures that were looked at have one size.
        is_grey: Whether pictures have no colours.
        n_train: Samples that are split, or all trained on.
        n_classes: Numbers that a model returns for a sample, or a place of it.
        class_names: A name for each, or none.
    """

    called: str
    settings: DataSettings
    source: DataSource | None
    task: str
    shape: tuple[int, ...]
    is_picture: bool
    is_resized: bool
    has_one_size: bool
    is_grey: bool
    n_train: int
    n_classes: int
    class_names: tuple[str, ...]

    @property
    def source_set(self) -> ImageDataset | None:
        """The samples that are split, if they are there."""
        return None if self.source is None else self.source.train

    @property
    def is_of_files(self) -> bool:
        """Whether pictures are decoded from files whenever they are fetched."""
        return isinstance(self.source_set, FolderImages | FolderMasks)

    @property
    def is_of_tokens(self) -> bool:
        """Whether samples are whole numbers."""
        if self.is_picture or self.source is None:
            return False
        first = list_tensors(self.make_example(None))[0]
        return not first.is_floating_point()

    @property
    def is_usual(self) -> bool:
        """Whether the model is one from pictures to a logit a class."""
        return self.is_picture and self.task == CLASSES

    def shape_at(self, size: int | None) -> tuple[int, ...]:
        """Return the shape of a sample at a ``data.image_size``."""
        return self.shape if size is None else (self.shape[0], size, size)

    def make_example(self, size: int | None) -> Samples:
        """Return two samples: blank pictures, or the first ones of others."""
        if self.is_picture or self.source is None:
            return torch.zeros(2, *self.shape_at(size))
        samples, _ = fetch_batch(self.source.train, [0, min(1, self.n_train - 1)])
        return read_samples(samples)

    @property
    def n_held_out(self) -> dict[str, int]:
        """Samples of the parts that the data have apart from those to train on."""
        if self.source is None:
            return {"test": _N_KNOWN_TEST}
        parts = {"validation": self.source.validation, "test": self.source.test}
        return {name: len(part) for name, part in parts.items() if part is not None}

    def tell(self) -> str:
        """Say all that in a line: ``pictures/: 3,000 pictures of 10 classes, 32 x 32, colour``."""
        if self.is_picture:
            what = (
                f"{plural(self.n_train, 'picture')}{self._tell_targets()}, {self._tell_pictures()}"
            )
        elif self.task == "language-model":
            what = f"{plural(self.n_train, 'row')} of {count(self.shape[0])} tokens"
            what += self._tell_targets()
        else:
            sizes = " x ".join(map(str, self.shape)) or "1"
            what = f"{plural(self.n_train, 'sample')} of {sizes} numbers{self._tell_targets()}"
        parts = [f"{count(n)} for {name}" for name, n in self.n_held_out.items()]
        apart = f"; apart from these {' and '.join(parts)}" if parts else ""
        if self.source is None:
            apart += f"; not in {spell_name(self.settings.root)}/ yet, nothing was downloaded"
        return f"{spell_name(self.called)}: {what}{apart}"

    def _tell_pictures(self) -> str:
        colours = "grey" if self.is_grey else "colour"
        if self.shape[0] not in {1, 3}:
            colours = plural(self.shape[0], "channel")
        size = f"{self.shape[1]} x {self.shape[2]}"
        sized = size if self.has_one_size else f"of many sizes, {size} in the middle"
        return f"{sized}, {colours}"

    def _tell_targets(self) -> str:
        n = self.n_classes
        classes = f"{count(n)} classes"
        return {
            CLASSES: f" of {classes}",
            "segmentation": f" with masks of {classes}",
            "multilabel": f" with {plural(n, 'label')}",
            "regression": f" with {plural(n, 'number')} to be told",
            "sequence-labels": f" with one of {classes} a place",
            "language-model": f", {count(n)} different ones",
        }[self.task]
