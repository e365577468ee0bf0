"""What a study file says about its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from dpod_search.errors import check_count
from dpod_search.errors import check_range


MAX_PIXELS = 16_384  # of a side


@dataclass(frozen=True)
class DataSettings:
    """Where the samples come from and how they are split.

    Args:
        name: ``digits``, ``fashion_mnist``, ``cifar10``, ``diabetes``, ``imagefolder:<folder>``,
            ``segmentation:<folder>``, ``text:<file>``, ``arrays:<file.npz>``, or your own
            ``package.module:function``.
        root: Folder of downloaded sets, and where places of ``segmentation:``, ``text:`` and
            ``arrays:`` begin; relative to the current directory.
        download: Fetch a set that is not in ``root`` yet.
        arguments: Keyword arguments of an imported function, or what else ``segmentation:``,
            ``text:`` and ``arrays:`` know, such as ``context`` of a text (docs/your-own-data.md).
        image_size: Height and width to resize pictures to, 1 to 16,384 pixels; without it pictures
            keep their size, and those of a folder of classes become 64 x 64.
        validation: Folder of the pictures that accuracy is searched on, one subfolder a class;
            only with ``imagefolder:<folder>``, in place of the ``val/`` in it.
        test: Folder of the pictures to test on, likewise, in place of the ``test/`` in it.
        validation_share: Share of the training pictures that accuracy is searched on, if the
            source has no validation set, 0.01 to 0.9; the three shares together leave 0.05 to
            train on.
        calibration_share: Share of the training pictures that judge the shrinks of the path, 0.01
            to 0.9.
        test_share: Share of the training pictures to test on, if the source has no test set, 0.01
            to 0.9.

    Raises:
        ConfigError: If a share or the size is out of range, or the shares leave nothing to
            train on.
    """

    name: str = "digits"
    root: str = "data"
    download: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    validation: str | None = None
    test: str | None = None
    validation_share: float = 0.2
    calibration_share: float = 0.1
    test_share: float = 0.2

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("validation_share", "calibration_share", "test_share"):
            check_range(f"data.{name}", getattr(self, name), low=0.01, high=0.9)
        total = self.validation_share + self.calibration_share + self.test_share
        check_range(
            "the sum of data.validation_share, calibration_share and test_share",
            round(total, 9),  # 0.9 + 0.01 + 0.04 is a little more than 0.95
            low=0,
            high=0.95,
        )
        if self.image_size is not None:
            check_count("data.image_size", self.image_size, low=1, high=MAX_PIXELS)
