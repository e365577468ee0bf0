"""What a study file says about exporting."""

from __future__ import annotations

from dataclasses import dataclass

from dpod_search.errors import ConfigError
from dpod_search.errors import check_list
from dpod_search.errors import check_range
from dpod_search.errors import show
from dpod_search.export.formats import FORMATS


@dataclass(frozen=True)
class ExportSettings:
    """Which files are written of every finetuned subnet.

    Args:
        formats: At least one of ``safetensors`` (weights, and ``model.py`` that rebuilds the net),
            ``torch_export`` (a whole program, .pt2), ``onnx``, and ``onnx_int8`` (quantised to
            8 bits); the last two need the extra ``dpod-search[onnx]``.
        tolerance: Largest difference of logits allowed between a module and its reloaded export,
            relative to the largest logit, 0 to 1; ``onnx_int8`` is exempt, its difference is stated.
        budgets: Of the run's budgets those whose subnets are exported, and nothing else; without
            any all are, with the full net. At most 1,000.
    """

    formats: tuple[str, ...] = ("safetensors", "torch_export")
    tolerance: float = 1e-4
    budgets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check names and ranges."""
        check_range("export.tolerance", self.tolerance, low=0, high=1)
        check_list("export.formats", self.formats, low=1, high=10)
        check_list("export.budgets", self.budgets, low=0, high=1_000)
        for name in self.formats:
            if name not in FORMATS:
                raise ConfigError(f"export.formats knows {sorted(FORMATS)}, got {show(name)}")

    @property
    def files(self) -> tuple[str, ...]:
        """All formats that are written: code comes with the weights, and weights with code."""
        wanted: list[str] = []
        for name in self.formats:
            wanted += ["safetensors", "python"] if name in ("safetensors", "python") else [name]
        return tuple(dict.fromkeys(wanted))
