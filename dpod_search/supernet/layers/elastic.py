"""The one table of layer kinds, and finding the entry of a layer in it.

An elastic layer is a plain subclass that runs at several widths by slicing views. It shares the
parameters of the layer it replaces. Ordered dropout keeps the *first* channels (FjORD, Horvath et
al., 2021, arXiv 2102.13451), so the weights of a subnet are prefix views.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from torch import nn

from dpod_search.errors import GroupingError
from dpod_search.supernet.layers.attention import ATTENTION
from dpod_search.supernet.layers.batch_norm import BATCH_NORM
from dpod_search.supernet.layers.batch_norm import INSTANCE_NORM
from dpod_search.supernet.layers.conv import CONV
from dpod_search.supernet.layers.embedding import EMBEDDING
from dpod_search.supernet.layers.group_norm import GROUP_NORM
from dpod_search.supernet.layers.kind import LAYER_TENSORS
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.kind import holds_layer_tensors
from dpod_search.supernet.layers.layer_norm import LAYER_NORM
from dpod_search.supernet.layers.layer_norm import RMS_NORM
from dpod_search.supernet.layers.linear import LINEAR
from dpod_search.supernet.layers.linear import PROJECTION
from dpod_search.supernet.layers.own_classes import own_elastic_type
from dpod_search.supernet.layers.prelu import PRELU
from dpod_search.supernet.layers.recurrent import RECURRENT
from dpod_search.supernet.layers.recurrent_cells import CELL
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import WidthState
from dpod_search.supernet.layers.transposed import TRANSPOSED
from dpod_search.supernet.layers.transposed_linear import TRANSPOSED_LINEAR
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.tracing.tracer import full_name


# By the class of a plain layer, or by the full name of another package's.
KINDS: dict[type[nn.Module] | str, LayerKind] = {
    layer: kind
    for kind in (
        CONV,
        TRANSPOSED,
        TRANSPOSED_LINEAR,
        LINEAR,
        EMBEDDING,
        PROJECTION,
        ATTENTION,
        RECURRENT,
        CELL,
        BATCH_NORM,
        INSTANCE_NORM,
        LAYER_NORM,
        RMS_NORM,
        GROUP_NORM,
        PRELU,
    )
    for layer in kind.twins
}

# By the class of an elastic layer: of another package's it is no subclass.
_TWINS: dict[Any, LayerKind] = {twin: k for k in KINDS.values() for twin in k.twins.values()}

# What has no place in the table.
OTHER = LayerKind(name="other", twins={}, handler=None)

# A subclass may replace these methods, and still computes what its base does.
_NOT_COMPUTING = frozenset(
    {
        "reset_parameters",
        "extra_repr",
        "train",
        "state_dict",
        "load_state_dict",
        "_save_to_state_dict",
        "_load_from_state_dict",
    }
)
_COMPUTING = frozenset({"__call__", "__getattr__", "__getattribute__", "__torch_function__"})


def kind_of(layer: nn.Module) -> LayerKind:
    """Return the kind that a layer is of, plain, elastic or of a subclass; ``OTHER`` if of none."""
    names = _names_of(type(layer))
    return next(filter(None, (KINDS.get(name) or _TWINS.get(name) for name in names)), OTHER)


def kind_named(name: str) -> LayerKind:
    """Return the kind of a name, ``OTHER`` if there is none."""
    return next((kind for kind in KINDS.values() if kind.name == name), OTHER)


def kind_run_as(layer: nn.Module) -> LayerKind | None:
    """Return the kind that a plain layer is of itself, or computes as; None if of none."""
    return KINDS.get(layer_type(layer)) or KINDS.get(full_name(type(layer)))


def _names_of(layer: type) -> Iterator[Any]:
    for held in layer.__mro__:
        yield from (held, full_name(held))


def layer_type(module: nn.Module) -> type[nn.Module]:
    """Return the layer of PyTorch's that a module is, or computes as: a subclass adds names only.

    Args:
        module: Any module.

    Returns:
        Its own type where it is no such subclass.
    """
    own: Any = type(module)
    base: type[nn.Module] = _base_of(own)
    is_changed = "forward" in vars(module) or not holds_layer_tensors(module)
    return type(module) if is_changed else base


def make_elastic(layer: nn.Module, plan: LayerPlan, state: WidthState) -> ElasticLayer:
    """Make the elastic twin of a plain layer, sharing its parameters and buffers.

    Args:
        layer: A layer of a class in the table, one that computes as one of them does, or a
            subclass with a forward of its own that calls the layer's function.
        plan: Which channels of it belong to which groups.
        state: The active widths of the supernet it is for.

    Raises:
        GroupingError: If the layer is of another type.
    """
    elastic_type = _find_twin(layer)
    if elastic_type is None:  # by a handler of the user's
        raise GroupingError(
            f"{plan.name} has a handler of PyTorch's layers but is a {full_name(type(layer))}, "
            "which cannot run narrow; take its entry out of handlers"
        )
    elastic: Any = elastic_type.__new__(elastic_type)
    nn.Module.__init__(elastic)
    # Settings such as stride and eps, and the very parameters, are the plain layer's own.
    elastic.__dict__.update({key: _own(value) for key, value in vars(layer).items()})
    elastic.plan, elastic.state = plan, state
    made: ElasticLayer = elastic
    return made


def _find_twin(layer: nn.Module) -> Any:
    own: Any = type(layer)
    for key in (own, full_name(own)):
        if key in KINDS:
            return KINDS[key].twins[key]
    base = next((held for held in own.__mro__ if _is_base(held)), None)
    computes_as_base = layer_type(layer) is not own
    if base is None or not (computes_as_base or KINDS[base].subclasses == "own forward"):
        return None
    twin: Any = KINDS[base].twins[base]
    return own_elastic_type(twin, own, not computes_as_base)


def _own(value: object) -> object:
    return value.copy() if isinstance(value, dict) else value


def _is_base(layer: Any) -> bool:
    """Say whether subclasses of a class may be of its kind."""
    return layer in KINDS and KINDS[layer].subclasses != "none"


@functools.cache
def _base_of(kind: Any) -> Any:
    base = next((held for held in kind.__mro__ if _is_base(held)), kind)
    between = kind.__mro__[: kind.__mro__.index(base)]
    is_parametrized = any(held.__module__.startswith("torch.") for held in between)
    is_same = not is_parametrized and all(_only_adds_names(held, base) for held in between)
    return base if is_same else kind


def _only_adds_names(kind: type, base: type[nn.Module]) -> bool:
    for name, value in vars(kind).items():
        if name in _COMPUTING:
            return False
        if name.startswith("__") or name in _NOT_COMPUTING:
            continue
        # A property may stand for a tensor, which only instances have.
        if hasattr(base, name) or name in LAYER_TENSORS or hasattr(type(value), "__set__"):
            return False
    return True
