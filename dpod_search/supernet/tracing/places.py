"""Where the tensors of a model lie, found by the tensor."""

from __future__ import annotations

from torch import Tensor
from torch import nn


class Places:
    """The paths of a model's parameters and buffers.

    Args:
        model: Its tensors may be replaced later: those are then not found.
    """

    def __init__(self, model: nn.Module) -> None:
        """Go through the model once."""
        self._held: dict[int, tuple[dict[str, Tensor | None], str, str]] = {}
        for path, module in model.named_modules():
            for is_learnt, table in ((True, module._parameters), (False, module._buffers)):
                for name, tensor in table.items():
                    if tensor is not None and isinstance(tensor, nn.Parameter) is is_learnt:
                        place = (table, name, f"{path}.{name}".removeprefix("."))
                        self._held.setdefault(id(tensor), place)

    def find(self, tensor: Tensor) -> str | None:
        """Return the first path of a tensor, None if the model does not hold it there."""
        table, name, path = self._held.get(id(tensor), ({}, "", ""))
        return path if table.get(name) is tensor else None
