"""Image classifiers of transformers from a local folder; nothing is downloaded, no code of it run."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import shorten
from dpod_search.errors import show
from dpod_search.files import expand_path
from dpod_search.files import read_json
from dpod_search.models.families import Family
from dpod_search.models.families import InputSize
from dpod_search.models.families import check_extra
from dpod_search.models.families import check_fixed
from dpod_search.models.families import is_pretrained
from dpod_search.own_code import describe_error
from dpod_search.torchvision_ops import ensure_torchvision


_logger = logging.getLogger(__name__)

_CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_FIXED = {"num_labels", "id2label", "label2id", "return_dict"}
_N_SHOWN = 3


class LogitsOnly(nn.Module):
    """A model of transformers that returns its logits, as training and accuracy take them.

    Args:
        net: Returns a dataclass with ``logits``; its parts are ``net.…`` here.
    """

    def __init__(self, net: nn.Module) -> None:
        """Hold the net."""
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return logits.

        Args:
            pixel_values: Pictures, shape (N, C, H, W).

        Returns:
            Shape (N, classes).
        """
        logits: Tensor = self.net(pixel_values).logits
        return logits


def build_transformers_net(
    name: str,
    *,
    input_shape: tuple[int, int, int],  # the configuration says it
    n_classes: int,
    arguments: Mapping[str, Any],
) -> nn.Module:
    """Build an image classifier from a folder that ``save_pretrained`` wrote.

    Args:
        name: The folder, with ``config.json`` and maybe ``model.safetensors``.
        input_shape: Not used: size and channels stand in the configuration.
        n_classes: Outputs of the head.
        arguments: Changes of the configuration; ``pretrained = false`` leaves weights that are in
            the folder.

    Returns:
        The net in a :class:`LogitsOnly`; with the folder's weights if there are any, all but a
        head with other classes.

    Raises:
        ConfigError: If transformers or the folder is missing, it holds no image classifier, or
            the configuration has no such settings.
        CheckpointError: If weights are missing, damaged, or anything but the head does not fit.
    """
    told = f"hf:{name}"
    check_extra("transformers", told)
    folder = expand_path(name)
    if not (folder / _CONFIG).is_file():
        raise ConfigError(_describe_missing(folder))
    check_fixed(arguments, _FIXED, told)
    loads = _finds_weights(folder, arguments)
    ensure_torchvision()
    import transformers

    changes = {key: value for key, value in arguments.items() if key != "pretrained"}
    with _quiet(transformers.utils.logging):
        try:
            config = _read_config(transformers, folder, changes, told)
            config.num_labels = n_classes
            config.return_dict = True
            classifier = transformers.AutoModelForImageClassification
            net = classifier.from_config(config)
        except ConfigError:
            raise
        except Exception as error:  # of a file or a setting that a model does not bear
            raise ConfigError(
                f"{told} holds no image classifier: {shorten(describe_error(error), 300)}"
            ) from error
        if loads:
            net = _load(classifier, config, folder, n_classes, told)
        elif "pretrained" not in arguments:
            _logger.warning("%s: the folder has no weights, they are drawn from the seed", told)
    return LogitsOnly(net.float())


def _describe_missing(folder: Path) -> str:
    """Say that there is no folder with a model, of one that lacks its configuration."""
    what = f"{folder} has no {_CONFIG}" if folder.is_dir() else f"there is no folder {folder}"
    return (
        f"model hf:<folder> must name a local folder with {_CONFIG}, and {what}; nothing is "
        "downloaded: save one with save_pretrained, or fetch it with `hf download`"
    )


def _is_there(folder: Path) -> bool:
    """Say whether a folder has weights in the form that is read."""
    return any((folder / name).is_file() for name in _WEIGHTS)


def _finds_weights(folder: Path, arguments: Mapping[str, Any]) -> bool:
    """Say whether weights are there and wanted.

    Raises:
        CheckpointError: If they are wanted, and only there in another form.
    """
    is_there = _is_there(folder)
    wanted = is_pretrained(arguments, default=is_there)
    if not is_there and (wanted or (_list_others(folder) and "pretrained" not in arguments)):
        raise CheckpointError(
            f"{_describe_weightless(folder)}, or say model.arguments.pretrained = false to start "
            "from random weights"
        )
    return wanted


def _list_others(folder: Path) -> list[str]:
    return [file.name for file in sorted(folder.glob("*.bin"))]


def _describe_weightless(folder: Path) -> str:
    others = _list_others(folder)
    held = f", but {others[0]}" if others else ""
    return f"{folder} has no {_WEIGHTS[0]}{held}; write one with save_pretrained"


def _advise(name: str, arguments: Mapping[str, Any]) -> str:
    folder = expand_path(name)
    if not (folder / _CONFIG).is_file():
        return _describe_missing(folder)
    if _is_there(folder):
        return "leave out model.arguments.pretrained = false to start from those of the folder"
    return _describe_weightless(folder)


def _read_config(transformers: Any, folder: Path, changes: Mapping[str, Any], told: str) -> Any:
    config = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    for key, value in changes.items():
        known = [name for name in config.to_dict() if not name.startswith("_")]
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"see {folder / _CONFIG}"
            raise ConfigError(f"{told} has no setting {show(key)} for model.arguments; {hint}")
        setattr(config, key, value)
    return config


def _load(classifier: Any, config: Any, folder: Path, n_classes: int, told: str) -> nn.Module:
    try:
        # This and no reader of ours, for it knows the older names of weights.
        net, info = classifier.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # of a damaged file
        raise CheckpointError(
            f"the weights in {folder} cannot be read: {shorten(describe_error(error), 300)}"
        ) from error
    found: nn.Module = net
    sizes = {name: (tuple(a), tuple(b)) for name, a, b in info["mismatched_keys"]}
    heads = _find_heads(found, n_classes)
    wrong = [
        f"{name} is {a} instead of {b}"
        for name, (a, b) in sorted(sizes.items())
        if name not in heads or a[1:] != b[1:]
    ]
    wrong += [f"it lacks {name}" for name in sorted(info["missing_keys"]) if name not in heads]
    wrong += [str(text) for text in info["error_msgs"]]
    if wrong:
        raise CheckpointError(f"{told}: the weights do not fit the model: {_shorten(wrong)}")
    fresh = {n.rpartition(".")[0] for n in (*sizes, *info["missing_keys"])}
    said = [f"{head} has {n_classes} classes and is drawn anew" for head in sorted(fresh)]
    if info["unexpected_keys"]:
        said.append(f"the model has no {_shorten(sorted(info['unexpected_keys']))}, left out")
    if said:
        _logger.warning("%s: %s", told, "; ".join(said))
    return found


def _find_heads(net: nn.Module, n_classes: int) -> set[str]:
    """Return the names of weights that may be drawn anew: those of layers with as many outputs."""
    kinds = nn.Linear | nn.Conv2d
    return {
        f"{path}.{name}"
        for path, module in net.named_modules()
        if isinstance(module, kinds) and len(module.weight) == n_classes
        for name in module._parameters
    }


def _shorten(texts: list[str]) -> str:
    more = f" and {len(texts) - _N_SHOWN} more" if len(texts) > _N_SHOWN else ""
    return "; ".join(texts[:_N_SHOWN]) + more


@contextmanager
def _quiet(log: Any) -> Iterator[None]:
    """Keep the library's bars and reports from the terminal: what they tell is told above."""
    level, has_bars = log.get_verbosity(), log.is_progress_bar_enabled()
    try:
        log.set_verbosity_error()
        log.disable_progress_bar()
        yield
    finally:
        log.set_verbosity(level)
        if has_bars:
            log.enable_progress_bar()


def _has_weights(name: str, arguments: Mapping[str, Any]) -> bool:
    return _is_there(expand_path(name)) and arguments.get("pretrained", True) is True


def _list_files(name: str, arguments: Mapping[str, Any]) -> tuple[Path, ...]:
    folder = expand_path(name)
    held = sorted(folder.glob("*.safetensors")) if _has_weights(name, arguments) else []
    return tuple(file for file in (folder / _CONFIG, *held) if file.is_file())


def _find_size(name: str, arguments: Mapping[str, Any], _file: Path | None) -> InputSize | None:
    """Return the size that stands in the configuration; nets of most classes take no other."""
    path = expand_path(name) / _CONFIG
    if not path.is_file():
        return None  # which building it tells
    told = read_json(path)
    size = arguments.get("image_size", told.get("image_size") if isinstance(told, dict) else None)
    return InputSize(size, is_fixed=True) if isinstance(size, int) else None


TRANSFORMERS = Family(
    build=build_transformers_net,
    is_trained=_has_weights,
    list_files=_list_files,
    find_size=_find_size,
    advise=_advise,
)
