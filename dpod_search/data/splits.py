"""Four datasets kept apart: train, calibration, validation and test, from one seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpod_search.data.collating import list_tensors
from dpod_search.data.datasets import DatasetView
from dpod_search.data.datasets import ImageDataset
from dpod_search.data.datasets import fetch_batch
from dpod_search.data.registry import open_source
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.data.source import IntArray
from dpod_search.errors import DataError
from dpod_search.escaping import spell_name
from dpod_search.inputs import Samples
from dpod_search.quantities import count
from dpod_search.rng import numpy_generator
from dpod_search.showing import Sheet
from dpod_search.showing import Shown
from dpod_search.tasks.batches import read_samples


@dataclass(frozen=True, eq=False, repr=False)
class DataSplits(Shown):
    """The samples of a study, none in two places.

    Args:
        train: Trains the weights.
        calibration: Judges the shrinks of the path while the supernet is trained.
        validation: Gives the accuracy that is searched on.
        test: Is touched once, at the end.
        n_classes: Numbers that the model returns for a sample, or for each place of it: classes,
            labels, targets, tokens.
        class_names: A name for each of them, or none.
        input_shape: Shape of a sample: channels, height and width of a picture.
        example: The first two training samples, shape ``(2, *input_shape)``, of any type.
        fingerprint: SHA-256 over the samples, their targets and who went where.
    """

    train: ImageDataset
    calibration: ImageDataset
    validation: ImageDataset
    test: ImageDataset
    n_classes: int
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    example: Samples
    fingerprint: str

    def _describe(self) -> Sheet:
        sizes = self.summary()["sizes"]
        rows = [(name, count(size)) for name, size in sizes.items()]
        facts = [("shape", " x ".join(map(str, self.input_shape)))]
        facts.append(("classes" if self.class_names else "outputs", count(self.n_classes)))
        if self.class_names:
            facts.append(("of", ", ".join(self.class_names)))
        facts.append(("fingerprint", self.fingerprint[:12]))
        return Sheet("DataSplits", facts, ("split", "samples"), rows)

    def summary(self) -> dict[str, Any]:
        """Return what a report says about the data, as JSON values."""
        return {
            "sizes": {
                "train": len(self.train),
                "calibration": len(self.calibration),
                "validation": len(self.validation),
                "test": len(self.test),
            },
            "n_classes": self.n_classes,
            "class_names": list(self.class_names),
            "input_shape": list(self.input_shape),
            "fingerprint": self.fingerprint,
        }


def load_data(settings: DataSettings, seed: int) -> DataSplits:
    """Load the samples of a study and split them.

    Args:
        settings: Which samples, and the shares.
        seed: Seed of the study; the same seed gives the same splits.

    Returns:
        The splits, as near to the shares as whole samples allow; where samples have classes, every
        class in each of them.

    Raises:
        ConfigError: If a setting does not fit the source.
        DataError: If the samples are missing, of one class alone, or there are too few of them or
            of a class.
    """
    return split_source(open_source(settings), settings, seed)


def split_source(source: DataSource, settings: DataSettings, seed: int) -> DataSplits:
    """Split what a source handed over; arguments and errors as of :func:`load_data`."""
    class_names = tuple(spell_name(str(name)) for name in source.class_names)
    if source.train_labels is not None and source.n_classes < 2:
        raise DataError(
            f"{settings.name} has one class alone, {', '.join(class_names)}: there is nothing to "
            "tell apart; add another"
        )
    shares = {"calibration": settings.calibration_share}
    if source.validation is None:
        shares["validation"] = settings.validation_share
    if source.test is None:
        shares["test"] = settings.test_share
    if source.train_labels is None:
        indices = split_unlabelled(len(source.train), shares, seed=seed)
    else:
        names = class_names or tuple(map(str, range(source.n_classes)))
        indices = split_indices(source.train_labels, shares, seed=seed, class_names=names)
    views = {name: DatasetView(source.train, index) for name, index in indices.items()}
    example, _ = fetch_batch(views["train"], [0, min(1, len(views["train"]) - 1)])
    return DataSplits(
        train=views["train"],
        calibration=views["calibration"],
        validation=views["validation"] if source.validation is None else source.validation,
        test=views["test"] if source.test is None else source.test,
        n_classes=source.n_classes,
        class_names=class_names,
        input_shape=tuple(list_tensors(example)[0].shape[1:]),
        example=read_samples(example),
        fingerprint=_fingerprint(source, indices),
    )


def split_indices(
    labels: IntArray, shares: dict[str, float], *, seed: int, class_names: tuple[str, ...]
) -> dict[str, IntArray]:
    """Split the positions of labelled pictures, class by class.

    Args:
        labels: ``n`` classes, in [0, number of class names).
        shares: Share of each held-out split, in (0, 1); together below 1.
        seed: Seed of the study.
        class_names: A name for each class, for the message.

    Returns:
        Positions of the pictures of each held-out split and of ``train``, the rest: disjoint,
        together all, each with every class, each in an order drawn from the seed.

    Raises:
        DataError: If a class has fewer pictures than there are splits.
    """
    parts = (*shares, "train")
    strata = []
    for index, class_name in enumerate(class_names):
        members = np.flatnonzero(labels == index)
        if len(members) < len(parts):
            raise DataError(
                f"class {class_name!r} has too few pictures ({len(members)}): each of the "
                f"{len(parts)} splits ({', '.join(parts)}) needs one; add pictures or drop it"
            )
        strata.append(members)
    return _deal(strata, shares, seed)


def split_unlabelled(n: int, shares: dict[str, float], *, seed: int) -> dict[str, IntArray]:
    """Split the positions of samples that have no class, as one stratum.

    Args:
        n: Samples.
        shares: As for :func:`split_indices`, whose result this has too.
        seed: Seed of the study.

    Raises:
        DataError: If there are fewer samples than splits.
    """
    parts = (*shares, "train")
    if n < len(parts):
        raise DataError(
            f"there are too few samples to train on ({n}): each of the {len(parts)} splits "
            f"({', '.join(parts)}) needs one; add some"
        )
    return _deal([np.arange(n)], shares, seed)


def _deal(strata: list[IntArray], shares: dict[str, float], seed: int) -> dict[str, IntArray]:
    parts: dict[str, list[IntArray]] = {name: [] for name in (*shares, "train")}
    for index, stratum in enumerate(strata):
        members = numpy_generator(seed, "split", index).permutation(stratum)
        start = 0
        for name, n in _count_held_out(len(members), shares).items():
            parts[name].append(members[start : start + n])
            start += n
        parts["train"].append(members[start:])
    # In an order of their own: the first pictures of a split must not all be of one class.
    return {
        name: numpy_generator(seed, "split-order", name).permutation(np.concatenate(part))
        for name, part in parts.items()
    }


def _count_held_out(n: int, shares: dict[str, float]) -> dict[str, int]:
    counts = {name: max(1, round(share * n)) for name, share in shares.items()}
    # Rounding up in a small class must leave a picture to train on.
    while sum(counts.values()) > n - 1:
        counts[max(counts, key=lambda name: counts[name])] -= 1
    return counts


def _fingerprint(source: DataSource, indices: dict[str, IntArray]) -> str:
    digest = hashlib.sha256(source.content_hash.encode())
    # Targets that are no labels are in the hash of the content.
    splits = [indices[name] for name in sorted(indices)]
    arrays = [source.train_labels, *splits, source.test_labels, source.validation_labels]
    for array in [array for array in arrays if array is not None]:
        digest.update(f"{len(array)}:".encode())
        digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return digest.hexdigest()
