"""The nets of timm's registry, by name; their weights are downloaded if the study says so."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import shorten
from dpod_search.errors import show
from dpod_search.models.families import Family
from dpod_search.models.families import InputSize
from dpod_search.models.families import check_extra
from dpod_search.models.families import check_fixed
from dpod_search.models.families import is_pretrained
from dpod_search.own_code import describe_error
from dpod_search.torchvision_ops import ensure_torchvision


_logger = logging.getLogger(__name__)

_FIXED = {"num_classes", "in_chans", "checkpoint_path", "scriptable", "exportable", "no_jit"}


def build_timm_net(
    name: str,
    *,
    input_shape: tuple[int, int, int],
    n_classes: int,
    arguments: Mapping[str, Any],
) -> nn.Module:
    """Build one of timm's nets.

    Args:
        name: As timm spells it, for instance ``resnet10t`` or ``resnet10t.c3_in1k``.
        input_shape: Channels, height and width of a picture.
        n_classes: Outputs of the head.
        arguments: Further arguments of timm's builder. ``pretrained = true`` downloads weights,
            all but a head with other classes.

    Returns:
        The net.

    Raises:
        ConfigError: If timm is missing, has no such net, or does not take these arguments.
        CheckpointError: If weights are asked for and cannot be had.
    """
    told = f"timm:{name}"
    check_extra("timm", told)
    ensure_torchvision()
    import timm

    # A name with a colon would be looked for on a server.
    if not timm.is_model(name.partition(".")[0]) or ":" in name:
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f"did you mean timm:{near[0]}?" if near else "see timm.list_models()"
        raise ConfigError(f"timm has no model {show(name)}; {hint}")
    check_fixed(arguments, _FIXED, told)
    loads = is_pretrained(arguments, default=False)
    given = {key: value for key, value in arguments.items() if key != "pretrained"}

    def build(*, pretrained: bool) -> nn.Module:
        net: nn.Module = timm.create_model(
            name,
            pretrained=pretrained,
            num_classes=n_classes,
            in_chans=input_shape[0],
            **given,
        )
        return net

    try:
        net = build(pretrained=False)
    except Exception as error:  # timm's builders raise whatever they do
        raise ConfigError(
            f"{told} does not take model.arguments {show(given)}: {describe_error(error)}"
        ) from error
    return _load(told, lambda: build(pretrained=True), n_classes, input_shape[0]) if loads else net


def _load(told: str, build: Any, n_classes: int, n_channels: int) -> nn.Module:
    try:
        net: nn.Module = build()
    except Exception as error:  # of the network, or of what the weights do not fit
        raise CheckpointError(
            f"the weights of {told} cannot be had: {shorten(describe_error(error), 300)}; leave out "
            "model.arguments.pretrained, or give a file as model.weights"
        ) from error
    made_for: Mapping[str, Any] = getattr(net, "pretrained_cfg", {})
    changes = []
    if made_for.get("num_classes") not in {None, n_classes}:
        changes.append(f"the head has {n_classes} classes and is drawn anew")
    if made_for.get("input_size", (n_channels,))[0] != n_channels:
        changes.append(f"the first layer is made over for {n_channels} channels")
    _logger.warning("%s: %s", told, "; ".join(["timm's weights are loaded", *changes]))
    return net


def _advise(_name: str, _arguments: Mapping[str, Any]) -> str:
    return (
        "say model.arguments.pretrained = true for those that timm downloads, or name a file in "
        "model.weights, or train for at least one epoch"
    )


def _find_size(name: str, arguments: Mapping[str, Any], _file: Path | None) -> InputSize | None:
    check_extra("timm", f"timm:{name}")
    ensure_torchvision()
    import timm

    size = arguments.get("img_size")
    if isinstance(size, int):
        return InputSize(size, is_fixed=True)
    made_for = timm.get_pretrained_cfg(name)
    if made_for is None:
        return None
    return InputSize(int(made_for.input_size[-1]), is_fixed=bool(made_for.fixed_input_size))


TIMM = Family(
    build=build_timm_net,
    is_trained=lambda _, arguments: arguments.get("pretrained") is True,
    find_size=_find_size,
    advise=_advise,
)
