"""Which operations a model runs, with which numbers and weights, and inside which of its modules."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


def place_of(tensor: Tensor) -> int:
    """Return where the memory of a tensor lies: the same for all its views."""
    return int(tensor.untyped_storage()._cdata)


class _OtherOperationError(Exception):
    """Ends a run that is known to differ."""


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations that run, with their numbers, and the weights or shapes they read.

    Args:
        places: Of the weights.
        wanted: What must run; the first that is another raises.
    """

    def __init__(
        self, places: Collection[int], wanted: Sequence[tuple[object, ...]] | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[object, ...]] = []
        self.around: list[tuple[str, ...]] = []
        self._places = places
        self._wanted = wanted
        self._inside: tuple[str, ...] = ()

    def watch(self, module: nn.Module, path: str) -> None:
        """Note which operations run inside calls of a module."""

        def enter(*_: object) -> None:
            self._inside = (*self._inside, path)

        def leave(*_: object) -> None:
            self._inside = self._inside[:-1]

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        read = map(self._describe, (*args, *(kwargs or {}).items()))
        self.seen.append((func, *read))
        self.around.append(self._inside)
        n_seen = len(self.seen)
        if self._wanted is not None and self._wanted[n_seen - 1 : n_seen] != self.seen[-1:]:
            raise _OtherOperationError
        return func(*args, **(kwargs or {}))

    def _describe(self, value: object) -> object:
        if isinstance(value, Tensor):
            place = place_of(value)
            return (tuple(value.shape), place if place in self._places else None)
        if isinstance(value, (tuple, list)):
            return tuple(map(self._describe, value))
        return repr(value)
