"""The model that a study is drafted for: called, tried on such samples, its weights loaded."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import nn

from dpod_search.data.image_folder import DEFAULT_SIZE
from dpod_search.data.image_folder import FolderImages
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.escaping import spell_name
from dpod_search.files import expand_path
from dpod_search.imports import import_object
from dpod_search.imports import is_import_path
from dpod_search.inputs import count_samples
from dpod_search.models import ModelSettings
from dpod_search.models import build_untried
from dpod_search.models.build import try_model
from dpod_search.models.families import InputSize
from dpod_search.models.given_weights import TakenWeights
from dpod_search.models.given_weights import list_fitting
from dpod_search.models.given_weights import load_given_weights
from dpod_search.models.transformers_nets import LogitsOnly
from dpod_search.pipeline.drafts.found import CLASSES
from dpod_search.pipeline.drafts.found import FoundData
from dpod_search.pipeline.drafts.places import spell_own
from dpod_search.quantities import count
from dpod_search.tasks import resolve_task


_SEED = 0
_LARGEST = 224  # pixels of a side that nobody asked for
_STEP, _SMALL_STEP, _SMALL = 32, 4, 64  # what sizes are rounded to, and below which to the finer
# Sizes that are tried, the nearest first, with a model that does not take the one that is wished.
_COMMON = (28, 32, 48, 64, 96, 128, 160, 192, 224, 256, 299, 384)
# Parameters of a function of the user's that say what the data are.
_CLASS_NAMES = ("n_classes", "num_classes", "classes", "num_labels", "vocab_size", "n_tokens")
_CHANNEL_NAMES = ("in_channels", "in_chans", "n_channels", "channels")
_SIZE_NAMES = ("image_size", "img_size")
_LENGTH_NAMES = ("context", "block_size", "sequence_length", "n_features", "in_features")
# Without a model, one that is built in.
_BUILT_IN: Mapping[str, str] = MappingProxyType(
    {CLASSES: "resnet8", "segmentation": "unet", "language-model": "gpt"}
)
_ROWS = (CLASSES, "regression", "multilabel")  # what is told of a row of numbers
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_OTHERS = (nn.LayerNorm, nn.MultiheadAttention, nn.RNNBase, nn.Embedding)


@dataclass(frozen=True, eq=False)
class FoundModel:
    """A model that takes the samples.

    Args:
        settings: What a study says of it.
        net: The model, as it was built last.
        image_size: Height and width of pictures, or None to leave what they are.
        tried_size: What it was tried with, or None likewise.
        is_wished: Whether that is the size that was tried first.
        made_for: The size that its library or its weights say, if they say one.
        taken: What of the file of weights was taken otherwise than it stands, if there is one.
        fitting: Where in that file weights stand that fit, if in several places.
    """

    settings: ModelSettings
    net: nn.Module
    image_size: int | None
    tried_size: int | None
    is_wished: bool
    made_for: InputSize | None
    taken: TakenWeights | None
    fitting: tuple[str, ...]

    @property
    def n_params(self) -> int:
        """Parameters of the model."""
        return sum(parameter.numel() for parameter in self.net.parameters())

    @property
    def wants_adamw(self) -> bool:
        """Whether it is none of the nets that SGD trains well: convolutions with BatchNorm."""
        modules = list(self.net.modules())
        is_usual = any(isinstance(m, _CONVOLUTIONS) for m in modules) and any(
            isinstance(m, _NORMS) for m in modules
        )
        return not is_usual or any(isinstance(m, _OTHERS) for m in modules)

    def tell(self) -> str:
        """Say in a line what it is."""
        weights = "random weights"
        if self.settings.weights is not None:
            weights = f"weights of {spell_name(self.settings.weights)}"
            heads = self.taken.heads if self.taken is not None else {}
            if heads:
                weights += f", {', '.join(heads)} drawn anew"
        elif self.settings.is_trained:
            weights = "weights of its own"
        return f"{spell_name(self.settings.name)}: {count(self.n_params)} parameters, {weights}"


def find_model(text: str | None, weights: str | None, data: FoundData) -> FoundModel:
    """Build a model for data, and try it.

    Args:
        text: A name as ``model.name`` has them, or ``file.py:function``; None for one that is built
            in.
        weights: The file of its weights, or None.
        data: What it must take.

    Raises:
        ConfigError: If there is no such model, it cannot be built, or it does not take the samples.
        CheckpointError: If the file of weights is missing, damaged, or of another model.
    """
    name = _choose_built_in(data) if text is None else spell_own(text)
    if weights is not None:
        _check_file(weights)
    ModelSettings(name, weights=weights)  # complains of two kinds of weights
    wished = _round_size(data)
    settings = ModelSettings(name, _name_arguments(name, data, wished))
    net = _build(settings, data, wished)
    taken: TakenWeights | None = None
    fitting: tuple[str, ...] = ()
    if weights is not None:
        settings = replace(settings, weights=weights)
        fitting = tuple(list_fitting(_unwrap(net), expand_path(weights)))
        key = _choose_key(fitting) if len(fitting) > 1 else None
        settings = replace(settings, weights_key=key)
        taken = _load(weights, key, net, data)
    made_for = settings.find_input_size() if data.is_picture else None
    if weights is not None and taken is not None and not taken.heads and made_for is not None:
        # Of these classes: they were trained on pictures like these, at a size that nobody knows.
        made_for = made_for if made_for.is_fixed else None
    elif made_for is not None and not settings.is_trained and not made_for.is_fixed:
        made_for = None
    wished = wished if made_for is None else made_for.size
    settings, net, size = _fit(settings, net, data, wished)
    return FoundModel(
        settings=settings,
        net=net,
        image_size=_leave_size(size, data),
        tried_size=size,
        is_wished=size == wished,
        made_for=made_for,
        taken=taken,
        fitting=fitting,
    )


def _choose_built_in(data: FoundData) -> str:
    if data.task in _BUILT_IN and (data.is_picture or data.task == "language-model"):
        return _BUILT_IN[data.task]
    if data.task in _ROWS and len(data.shape) == 1 and not data.is_of_tokens:
        return "mlp"
    raise ConfigError(
        f"no model that is built in takes samples of shape {data.shape} for {data.task}; give "
        "--model with your own, as package.module:function or file.py:function"
    )


def _check_file(weights: str) -> None:
    path = expand_path(weights)
    try:
        is_there = path.is_file()
    except OSError:
        is_there = False
    if not is_there:
        raise CheckpointError(
            f"--weights: there is no file {spell_name(weights)}; give a .safetensors file, or one "
            "of torch.save"
        )


def _round_size(data: FoundData) -> int | None:
    """Return the usual short side of pictures that can be resized, rounded and limited."""
    if not data.is_resized or (
        data.has_one_size and not isinstance(data.source_set, FolderImages)
    ):
        return None
    short = min(data.shape[1:])
    step = _SMALL_STEP if short < _SMALL else _STEP
    return min(_LARGEST, max(step, step * round(short / step)))


def _name_arguments(name: str, data: FoundData, size: int | None) -> dict[str, Any]:
    """Return what a function of the user's must be told of the data, by the names it has for it."""
    if not is_import_path(name):
        return {}
    shape = data.shape_at(size)
    known: dict[str, Any] = dict.fromkeys(_CLASS_NAMES, data.n_classes)
    known |= {"input_shape": list(shape)}
    if data.is_picture:
        known |= dict.fromkeys(_CHANNEL_NAMES, shape[0]) | dict.fromkeys(_SIZE_NAMES, shape[-1])
    elif len(shape) == 1:
        known |= dict.fromkeys(_LENGTH_NAMES, shape[0])
    try:
        parameters = inspect.signature(import_object(name)).parameters
    except (TypeError, ValueError):  # what cannot be called is told where it is
        return {}
    return {key: value for key, value in known.items() if _differs(parameters.get(key), value)}


def _differs(parameter: inspect.Parameter | None, value: object) -> bool:
    if parameter is None or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        return False
    return bool(parameter.default != value)


def _build(settings: ModelSettings, data: FoundData, size: int | None) -> nn.Module:
    return build_untried(
        replace(settings, weights=None, weights_key=None),
        input_shape=data.shape_at(size),
        n_classes=data.n_classes,
        seed=_SEED,
    )


def _load(weights: str, key: str | None, net: nn.Module, data: FoundData) -> TakenWeights:
    path = expand_path(weights)
    return load_given_weights(_unwrap(net), path, n_classes=data.n_classes, key=key)


def _unwrap(net: nn.Module) -> nn.Module:
    return net.net if isinstance(net, LogitsOnly) else net


def _choose_key(fitting: tuple[str, ...]) -> str:
    averaged = [key for key in fitting if "ema" in key.lower() or "averag" in key.lower()]
    return (averaged or list(fitting))[0]


def _fit(
    settings: ModelSettings, net: nn.Module, data: FoundData, wished: int | None
) -> tuple[ModelSettings, nn.Module, int | None]:
    """Find a size of pictures that a model takes; raise what it said of the one that is wished."""
    first: ConfigError | None = None
    for size in _list_sizes(data, wished):
        arguments = _name_arguments(settings.name, data, size)
        try:
            if arguments != settings.arguments:
                settings = replace(settings, arguments=arguments)
                net = _build(settings, data, size)
                if settings.weights is not None:
                    _load(settings.weights, settings.weights_key, net, data)
            _try(net, settings.name, data, size)
        except ConfigError as error:
            first = first or error
        else:
            return settings, net.train(), size
    assert first is not None
    raise first


def _list_sizes(data: FoundData, wished: int | None) -> Iterator[int | None]:
    yield wished
    if data.is_resized:
        near = min(data.shape[1:]) if wished is None else wished
        yield from sorted((s for s in _COMMON if s != wished), key=lambda size: abs(size - near))


def _try(net: nn.Module, name: str, data: FoundData, size: int | None) -> None:
    example = data.make_example(size)
    answer = try_model(
        net,
        name,
        input_shape=data.shape_at(size),
        n_classes=data.n_classes,
        seed=_SEED,
        example=None if data.is_usual else example,
    )
    if not data.is_usual:
        resolve_task(data.task).check_outputs(answer, count_samples(example))


def _leave_size(size: int | None, data: FoundData) -> int | None:
    """Return None for a size that pictures have by themselves."""
    if isinstance(data.source_set, FolderImages):
        return None if size == DEFAULT_SIZE else size
    is_own = data.has_one_size and data.shape[1:] == (size, size)
    return None if is_own else size
