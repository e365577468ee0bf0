"""The classification nets of torchvision, by name, untrained."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import show
from dpod_search.models.families import Family
from dpod_search.models.families import InputSize
from dpod_search.torchvision_ops import import_torchvision


# These two return a tuple in training unless the auxiliary heads are off, and warn unless told
# whether to draw their own initial weights.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def build_torchvision_net(
    name: str,
    *,
    n_classes: int,
    arguments: Mapping[str, Any],
    input_shape: tuple[int, int, int] | None = None,  # they all take RGB
) -> nn.Module:
    """Build one of torchvision's classification nets.

    Args:
        name: As torchvision spells it, for instance ``resnet18``.
        n_classes: Outputs of the head.
        arguments: Further arguments of torchvision's builder.
        input_shape: Not used: all take pictures of three channels, and most of any size.

    Returns:
        The net, untrained.

    Raises:
        ConfigError: If there is no such net, or it does not take these arguments.
    """
    models = import_torchvision("models")
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean torchvision:{near[0]}?" if near else "see torchvision.models"
        raise ConfigError(f"torchvision has no classification model {show(name)}; {hint}")
    fixed = {"weights", "num_classes"} & set(arguments)
    if fixed:
        raise ConfigError(
            f"model.arguments must not hold {sorted(fixed)} for torchvision:{name}; the classes "
            "come from the data, weights from model.weights"
        )
    given = {**_DEFAULTS.get(name, {}), **arguments}
    try:
        net: nn.Module = models.get_model(name, weights=None, num_classes=n_classes, **given)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"torchvision:{name} does not take model.arguments {dict(arguments)}: {error}"
        ) from error
    return net


def _find_size(name: str, _arguments: Mapping[str, Any], file: Path | None) -> InputSize | None:
    """Return what torchvision's own weights of a net were evaluated at.

    Of several the one counts whose file has the name that is given, else what is the default.
    """
    models = import_torchvision("models")
    if name not in models.list_models(module=models):
        return None  # which building it tells
    known = models.get_model_weights(name)
    named = [each for each in known if file is not None and each.url.endswith(f"/{file.name}")]
    weights = named[0] if named else known.DEFAULT
    (size,) = weights.transforms().crop_size
    return InputSize(size, is_fixed=min(weights.meta["min_size"]) == size)


TORCHVISION = Family(build=build_torchvision_net, find_size=_find_size)
