"""Trained weights of the user's in a model: all of them, but for a head with other classes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch import nn

from dpod_search.errors import CheckpointError
from dpod_search.errors import show
from dpod_search.models.checkpoints import StateDicts
from dpod_search.models.checkpoints import read_state_dicts
from dpod_search.models.checkpoints import tell_keys
from dpod_search.weights import fill_module


_logger = logging.getLogger(__name__)

# What wrappers put before every name: DataParallel, torch.compile, trainers.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
# Files from before PyTorch 0.4.1 do not have it; nothing that a trained net computes needs it.
_COUNT = "num_batches_tracked"
_AVERAGED = "n_averaged"  # of torch.optim.swa_utils, beside the averaged weights
_OUTPUTS_FIRST = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d  # as axis 0 of all they hold


@dataclass(frozen=True)
class TakenWeights:
    """What of a file was taken otherwise than it stands there.

    Args:
        key: Where in the file the state dict stood; empty where nothing else was in it.
        heads: Layers that were drawn anew, and how many outputs each has in the file.
    """

    key: str
    heads: Mapping[str, int]


def load_given_weights(
    model: nn.Module, path: Path, *, n_classes: int, key: str | None = None
) -> TakenWeights:
    """Load a file of trained weights into a model; what was taken otherwise than it stands is logged.

    Args:
        model: The model, in place. A head with other classes than the file's keeps what it has.
        path: A safetensors file, or one of ``torch.save``.
        n_classes: Classes of the model: a layer of so many outputs is a head.
        key: Where in the file the state dict stands, if it holds several.

    Returns:
        What was taken otherwise than it stands in the file.

    Raises:
        CheckpointError: If the file cannot be read, or anything but a head does not fit; names
            what, with shapes.
    """
    wanted = model.state_dict()
    held, tensors = _choose(read_state_dicts(path), wanted, path, key)
    told = [f"its entry {show(held)} is taken"] if held else []
    tensors, prefix = _strip(tensors, wanted)
    if prefix:
        told.append(f"names are taken without {prefix!r}")
    tensors |= {n: t for n, t in wanted.items() if n.endswith(_COUNT) and n not in tensors}
    heads = {}
    for head, names, n_given in _find_heads(model, tensors, n_classes):
        heads[head] = n_given
        told.append(f"{head} has {n_classes} classes and in the file {n_given}: it is drawn anew")
        tensors |= {name: wanted[name] for name in names}
    fill_module(model, tensors, path)
    if told:
        _logger.warning("model.weights %s: %s", path, "; ".join(told))
    return TakenWeights(held, heads)


def list_fitting(model: nn.Module, path: Path) -> list[str]:
    """Return where in a file state dicts stand that have a model's names.

    Args:
        model: The model, which is left as it is.
        path: A safetensors file, or one of ``torch.save``.

    Raises:
        CheckpointError: If the file cannot be read.
    """
    wanted = model.state_dict()
    found = read_state_dicts(path)
    return [key for key, tensors in found.items() if _has_names(tensors, wanted)]


def _choose(
    found: StateDicts, wanted: Mapping[str, Tensor], path: Path, key: str | None
) -> tuple[str, dict[str, Tensor]]:
    """Return the key and the tensors of the state dict that is meant."""
    if key is not None:
        if key not in found:
            raise CheckpointError(
                f"{path} has no state dict at model.weights_key {show(key)}; it has some at "
                f"{tell_keys(found)}"
            )
        return key, found[key]
    if len(found) == 1:
        return next(iter(found.items()))
    fitting = [name for name, tensors in found.items() if _has_names(tensors, wanted)]
    if len(fitting) != 1:
        raise CheckpointError(
            f"{path} holds several state dicts, at {tell_keys(found)}, "
            f"{'several' if fitting else 'none'} with the model's names; say which in "
            "model.weights_key"
        )
    return fitting[0], found[fitting[0]]


def _has_names(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    def keep(names: Iterable[str]) -> set[str]:
        return {name for name in names if not name.endswith(_COUNT)}

    return keep(_strip(tensors, wanted)[0]) == keep(wanted)


def _strip(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """Return tensors by the names in the model, and what stood before all of them."""
    taken, stripped = dict(tensors), ""
    for _ in _PREFIXES:
        for prefix in _PREFIXES:
            inside = {n: t for n, t in taken.items() if n != _AVERAGED or n in wanted}
            is_own = any(name.startswith(prefix) for name in wanted)
            if inside and not is_own and all(name.startswith(prefix) for name in inside):
                taken = {name.removeprefix(prefix): t for name, t in inside.items()}
                stripped += prefix
    return taken, stripped


def _find_heads(
    model: nn.Module, tensors: Mapping[str, Tensor], n_classes: int
) -> Iterator[tuple[str, list[str], int]]:
    """Yield layers that differ in their number of outputs alone: path, names, outputs given."""
    for path, module in model.named_modules():
        if not isinstance(module, _OUTPUTS_FIRST):
            continue
        own = {
            f"{path}.{name}".removeprefix("."): p
            for name, p in module._parameters.items()
            if p is not None
        }
        pairs = [(p, tensors.get(name)) for name, p in own.items()]
        given = {len(got) for _, got in pairs if got is not None and got.dim()}
        fits = all(
            got is not None and got.dim() and len(p) == n_classes and got.shape[1:] == p.shape[1:]
            for p, got in pairs
        )
        if pairs and fits and len(given) == 1 and given != {n_classes}:
            yield path or "the model", list(own), given.pop()
