"""Make torchvision importable beside a build of PyTorch it was not compiled for.

With a CPU-only PyTorch and the package index's torchvision, torchvision's compiled operators
cannot be loaded, and ``import torchvision`` then fails on ``operator torchvision::nms does not
exist``, although nothing here detects objects. Declaring the missing schemas is enough.
"""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType
from typing import Any

import torch

from dpod_search.errors import ConfigError


logger = logging.getLogger(__name__)

_MISSING = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# A library's declarations vanish with the object, so it is kept here.
_libraries: list[torch.library.Library] = []


def ensure_torchvision() -> None:
    """Import torchvision, declaring its missing operators if that is what it fails on.

    Raises:
        ConfigError: If torchvision is not installed or cannot be imported.
    """
    try:
        _import_torchvision()
    except ImportError as error:
        raise ConfigError(f"torchvision cannot be imported ({error}); install it") from error
    except RuntimeError as error:
        raise ConfigError(
            f"torchvision does not fit torch {torch.__version__} ({error}); install matching builds"
        ) from error


def import_torchvision(submodule: str) -> ModuleType:
    """Import a part of torchvision, for instance ``datasets``.

    Nothing of torchvision is imported before this is called: it takes more than a second.

    Raises:
        ConfigError: As :func:`ensure_torchvision`.
    """
    ensure_torchvision()
    return importlib.import_module(f"torchvision.{submodule}")


def is_unfit_torchvision(error: RuntimeError) -> bool:
    """Say whether an import failed because torchvision's compiled operators are missing."""
    return "operator torchvision::" in str(error)


def _import_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _libraries or not is_unfit_torchvision(error):
            raise
        _forget_partial_import()
        _declare_operators()
        importlib.import_module("torchvision")


def _forget_partial_import() -> None:
    # The failed import leaves submodules behind, which the second one must run again.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare_operators() -> None:
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    _libraries.append(library)
    for name in _MISSING:
        library.define(f"{name}{_SCHEMA}")
    logger.info(
        "torchvision's compiled operators do not fit torch %s: declared %s without a kernel",
        torch.__version__,
        " and ".join(_MISSING),
    )
