"""Finding layers that can be run as one with the BatchNorm behind them.

What a model's code does is not asked, but watched while it runs: what the layer makes must be
read by its norm and by no other operation, and forgotten when the model has run.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from dpod_search.evaluation.normed_layer import NormedLayer
from dpod_search.inputs import Example
from dpod_search.inputs import ModelCall
from dpod_search.inputs import call_with_samples
from dpod_search.placement import evaluating
from dpod_search.supernet import kind_of


def find_normed_layers(model: nn.Module, images: Example | ModelCall) -> tuple[NormedLayer, ...]:
    """Find the layers whose output one BatchNorm alone reads, by running the model once.

    Args:
        model: Run in evaluation mode, and left as it was.
        images: A few, shape (n, C, ...), where the model is; or all inputs of a few samples.

    Returns:
        Each with its norm, in the order in which they ran.
    """
    watch = _Watch()
    with torch.no_grad(), evaluating(model), ExitStack() as hooks:
        for module in [*model.modules()]:
            if _is_free(module) and _is_layer(module):
                hooks.callback(module.register_forward_hook(watch.note_output).remove)
            elif _is_free(module) and _is_norm(module):
                hooks.callback(module.register_forward_pre_hook(watch.note_input).remove)
                hooks.callback(module.register_forward_hook(watch.note_end).remove)
        with watch:
            returned = call_with_samples(images).run(model)
    found = watch.pairs()
    del returned  # held until now: what the model returns is not forgotten
    return found


@dataclass(eq=False)
class _Made:
    """What a layer made, and who read it."""

    layer: nn.Module
    tensor: weakref.ref[Tensor]
    norms: list[_BatchNorm] = field(default_factory=list)
    n_reads: int = 0
    n_reads_by_norm: int = 0


class _Watch(TorchDispatchMode):
    """Counts the operations that read what layers make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch's own
        self._made: list[_Made] = []
        self._by_tensor = WeakIdKeyDictionary()
        self._n_calls: Counter[nn.Module] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        for value in tree_leaves((args, kwargs or {})):
            if isinstance(value, Tensor) and value in self._by_tensor:
                self._by_tensor[value].n_reads += 1
        return func(*args, **(kwargs or {}))

    def note_output(self, layer: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
        self._n_calls[layer] += 1
        n_axes = len(getattr(layer, "kernel_size", ())) + 2
        # In half precision a folded weight is not as good as a norm's own arithmetic.
        if output.ndim == n_axes and output.dtype in (torch.float32, torch.float64):
            made = _Made(layer, weakref.ref(output))
            self._made.append(made)
            self._by_tensor[output] = made

    def note_input(self, norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(norm, _BatchNorm)
        self._n_calls[norm] += 1
        made = self._find(inputs)
        if made is not None:
            made.norms.append(norm)
            made.n_reads_by_norm -= made.n_reads

    def note_end(self, _norm: nn.Module, inputs: tuple[Any, ...], _output: Tensor) -> None:
        made = self._find(inputs)
        if made is not None:
            made.n_reads_by_norm += made.n_reads

    def _find(self, inputs: tuple[Any, ...]) -> _Made | None:
        is_known = bool(inputs) and inputs[0] in self._by_tensor
        return self._by_tensor[inputs[0]] if is_known else None

    def pairs(self) -> tuple[NormedLayer, ...]:
        return tuple(
            NormedLayer(made.layer, norm)
            for made in self._made
            for norm in made.norms[:1]
            if self._n_calls[made.layer] == self._n_calls[norm] == len(made.norms) == 1
            and _dtypes(made.layer) == _dtypes(norm)
            and made.n_reads == made.n_reads_by_norm
            and made.tensor() is None
        )


def _dtypes(module: nn.Module) -> set[torch.dtype]:
    tensors = (*module.parameters(), *module.buffers())
    return {tensor.dtype for tensor in tensors if tensor.is_floating_point()}


# Both of the very classes: what a subclass of the user's does besides would be left out.
def _is_layer(module: nn.Module) -> bool:
    kind = kind_of(module)
    pads_zeros = getattr(module, "padding_mode", "zeros") == "zeros"
    return kind.run is not None and kind.is_exactly(module) and pads_zeros


def _is_norm(module: nn.Module) -> bool:
    kind = kind_of(module)
    return kind.folds and kind.is_exactly(module) and module.running_mean is not None


def _is_free(module: nn.Module) -> bool:
    """Say whether nobody looks at or changes what the module is given and returns."""
    has_hooks = module._forward_hooks or module._forward_pre_hooks
    return not has_hooks and "forward" not in vars(module)
