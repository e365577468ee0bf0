"""A model from its settings: found by name, drawn from a seed, tried once on a blank sample."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import show
from dpod_search.files import expand_path
from dpod_search.imports import call_with
from dpod_search.imports import import_object
from dpod_search.imports import is_import_path
from dpod_search.inputs import Samples
from dpod_search.inputs import call_on
from dpod_search.inputs import spell_dtype
from dpod_search.models.families import Family
from dpod_search.models.families import InputSize
from dpod_search.models.families import name_a_file
from dpod_search.models.given_weights import load_given_weights
from dpod_search.models.gpt import build_gpt
from dpod_search.models.gru import build_gru
from dpod_search.models.mlp import build_mlp
from dpod_search.models.resnet import build_resnet8
from dpod_search.models.resnet import build_resnet20
from dpod_search.models.timm_nets import TIMM
from dpod_search.models.torchvision_nets import TORCHVISION
from dpod_search.models.transformers_nets import TRANSFORMERS
from dpod_search.models.transformers_nets import LogitsOnly
from dpod_search.models.unet import build_unet
from dpod_search.own_code import describe_error
from dpod_search.own_code import own_code
from dpod_search.rng import derive_seed
from dpod_search.rng import seeded


# A builder takes ``input_shape``, ``n_classes`` and its own arguments, all by keyword.
MODELS: Mapping[str, Callable[..., nn.Module]] = {
    "resnet8": build_resnet8,
    "resnet20": build_resnet20,
    "gru": build_gru,
    "mlp": build_mlp,
    "unet": build_unet,
    "gpt": build_gpt,
}

# Of those that take no pictures: axes of a sample, and what it is.
_SAMPLES: Mapping[str, tuple[int, str]] = {
    "mlp": (1, "rows of numbers"),
    "gpt": (1, "rows of tokens"),
}
_PICTURES = (3, "pictures, channels x height x width")

# Libraries of models, by what stands before the colon of a name.
FAMILIES: Mapping[str, Family] = {
    "torchvision": TORCHVISION,
    "timm": TIMM,
    "hf": TRANSFORMERS,
}


@dataclass(frozen=True)
class ModelSettings:
    """Which model a study starts from.

    Args:
        name: A key of ``MODELS`` such as ``resnet8``, ``torchvision:<name>``, ``timm:<name>``, ``hf:<folder>``
            (an image classifier of transformers), or your own ``package.module:callable``.
        arguments: Keyword arguments of the model's builder. ``pretrained = true`` downloads
            weights of timm; those in a folder of ``hf:`` are taken without it.
        weights: Path of a file with the model's weights, relative to the current directory:
            ``.safetensors``, or a state dict of ``torch.save``. A head with other classes is
            drawn anew. Without it the model starts from random weights.
        weights_key: Where the state dict stands in a file that holds several, for instance
            ``ema``; keys in each other have dots between.
    """

    name: str = "resnet8"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    weights_key: str | None = None

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.weights_key is not None and self.weights is None:
            raise ConfigError("model.weights_key is about a file; name it in model.weights")
        if self.weights is not None and comes_trained(self.name, self.arguments):
            raise ConfigError(
                f"model {self.name} has weights of its own, and model.weights names others; leave "
                "those out, or say model.arguments.pretrained = false"
            )

    @property
    def is_trained(self) -> bool:
        """Whether the model starts from trained weights, of a file or of its own."""
        return self.weights is not None or comes_trained(self.name, self.arguments)

    @property
    def advice(self) -> str:
        """What to do where trained weights are wanted and the model comes with none."""
        family, own_name = _find_family(self.name)
        advise = name_a_file if family is None else family.advise
        return advise(own_name, self.arguments)

    def find_input_size(self) -> InputSize | None:
        """Return the size of pictures that the model's library knows it by, if it says one.

        Raises:
            ConfigError: If the library or the net is missing.
        """
        family, own_name = _find_family(self.name)
        file = None if self.weights is None else expand_path(self.weights)
        return None if family is None else family.find_size(own_name, self.arguments, file)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the model is made of, besides code."""
        family, own_name = _find_family(self.name)
        held = () if family is None else family.list_files(own_name, self.arguments)
        return held if self.weights is None else (*held, expand_path(self.weights))


def comes_trained(name: str, arguments: Mapping[str, Any]) -> bool:
    """Say whether a model by name brings trained weights: of timm if asked, of a folder if there."""
    family, own_name = _find_family(name)
    return family is not None and family.is_trained(own_name, arguments)


def build_model(
    settings: ModelSettings,
    *,
    input_shape: tuple[int, ...],
    n_classes: int,
    seed: int,
    example: Samples | None = None,
) -> nn.Module:
    """Build a model; the caller's random state stays as it was.

    Args:
        settings: Which model.
        input_shape: Shape of a sample: channels, height and width of a picture.
        n_classes: Numbers that the model returns for a sample, or for each place of it: classes,
            labels, targets, tokens.
        seed: Seed of the study; equal seeds give equal weights.
        example: One sample or a few, shape ``(n, *input_shape)``, or several inputs, that the model
            must take; what it returns is for the task to check. Without one the model must turn a blank picture
            into one logit a class.

    Returns:
        The model in training mode, on the CPU, in float32.

    Raises:
        ConfigError: If the name is unknown, the arguments do not fit, or the model does not take
            such samples, or answers a blank picture otherwise.
        CheckpointError: If the weights are missing, damaged, more than tensors, or of another
            model.
    """
    model = build_untried(settings, input_shape=input_shape, n_classes=n_classes, seed=seed)
    try_model(
        model,
        settings.name,
        input_shape=input_shape,
        n_classes=n_classes,
        seed=seed,
        example=example,
    )
    return model.train()


def try_model(
    model: nn.Module,
    name: str,
    *,
    input_shape: tuple[int, ...],
    n_classes: int,
    seed: int,
    example: Samples | None = None,
) -> object:
    """Call a model once; arguments and errors as of :func:`build_model`.

    Returns:
        What it answered; the model is in evaluation mode.
    """
    with seeded(derive_seed(seed, "model/try")):
        if example is not None:
            return _try_once(model, name, example)
        answer = _try_once(model, name, torch.zeros(1, *input_shape))
        _check_logits(answer, name, n_classes)
        return answer


def build_untried(
    settings: ModelSettings, *, input_shape: tuple[int, ...], n_classes: int, seed: int
) -> nn.Module:
    """Build a model that may take anything; errors as those of :func:`build_model`.

    Args:
        settings: Which model.
        input_shape: Shape of one sample of its first input.
        n_classes: Numbers that it returns for a sample or a place of it, for models by name.
        seed: Seed of the study.

    Returns:
        The model as its builder left it.
    """
    with seeded(derive_seed(seed, "model")):
        model = _build(settings, input_shape, n_classes)
        if settings.weights is not None:
            load_given_weights(
                model.net if isinstance(model, LogitsOnly) else model,
                expand_path(settings.weights),
                n_classes=n_classes,
                key=settings.weights_key,
            )
    return model


def _build(settings: ModelSettings, input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    name = settings.name
    if name in MODELS or _find_family(name)[0] is not None:
        model = _build_known(settings, input_shape, n_classes)
    elif is_import_path(name):
        model = _call_own(name, settings.arguments)
    else:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {near[0]!r}? It" if near else "it"
        raise ConfigError(
            f"model.name {show(name)} is not known; {hint} is one of {', '.join(MODELS)}, "
            "torchvision:<name>, timm:<name>, hf:<folder>, or package.module:callable"
        )
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{name} must return a torch.nn.Module, got a {type(model).__name__}")
    return model


def _build_known(
    settings: ModelSettings, input_shape: tuple[int, ...], n_classes: int
) -> nn.Module:
    name = settings.name
    n_axes, samples = _SAMPLES.get(name, _PICTURES)
    if len(input_shape) != n_axes:
        raise ConfigError(
            f"model {show(name)} takes {samples}, got samples of shape {input_shape}; choose a "
            "model for these, or your own package.module:callable"
        )
    family, own_name = _find_family(name)
    if family is None:
        if {"input_shape", "n_classes"} & set(settings.arguments):
            raise ConfigError(
                f"model.arguments must not hold input_shape or n_classes for {name}: "
                "both come from the data"
            )
        arguments = {**settings.arguments, "input_shape": input_shape, "n_classes": n_classes}
        net: nn.Module = call_with(MODELS[name], arguments, name=name)
        return net
    shape = input_shape[0], input_shape[1], input_shape[2]
    return family.build(
        own_name, input_shape=shape, n_classes=n_classes, arguments=settings.arguments
    )


def _find_family(name: str) -> tuple[Family | None, str]:
    prefix, colon, own_name = name.partition(":")
    return (FAMILIES.get(prefix) if colon else None), own_name


def _call_own(name: str, arguments: Mapping[str, Any]) -> Any:
    with own_code(name, ConfigError):
        return call_with(import_object(name), arguments, name=name)


def _try_once(model: nn.Module, name: str, samples: Samples) -> object:
    """Call a model, in evaluation mode: else the samples would move the BatchNorm statistics."""
    model.eval()
    try:
        with torch.no_grad():
            answer: object = call_on(model, samples)
    except Exception as error:  # whatever a user's model raises
        kind, change = _describe_samples(samples)
        raise ConfigError(
            f"model {name} cannot take {kind}: {describe_error(error)}; change {change}"
        ) from error
    return answer


def _describe_samples(samples: Samples) -> tuple[str, str]:
    """Say what samples are, and what to change where a model does not take them."""
    if not isinstance(samples, Tensor):
        return f"inputs of shapes {samples}", "the data or the model"
    shape = tuple(samples.shape[1:])
    if len(shape) == 3 and samples.is_floating_point():
        return f"pictures of shape {shape}", "data.image_size or model.arguments"
    dtype = spell_dtype(samples.dtype)
    return f"{dtype} samples of shape {shape}", "the data or the model"


def _check_logits(answer: object, name: str, n_classes: int) -> None:
    got = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
    if got != (1, n_classes):
        raise ConfigError(
            f"model {name} must return logits of shape (1, {n_classes}), one a class of the data, "
            f"got {got}; set its number of classes in model.arguments, or, where it is no classifier, "
            "what it is for in task.name"
        )
