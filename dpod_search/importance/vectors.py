"""Numbers of the elements of a parameter's axis, and the batches that a criterion looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpod_search.tabulated import FloatArray


Batch = tuple[Tensor, Tensor]
# From what the net returns and the labels to a number.
Loss = Callable[[Any, Tensor], Tensor]


def sum_along(tensor: Tensor, axis: int) -> FloatArray:
    """Sum a tensor over all axes but one, in double precision, shape (size of that axis,)."""
    others = [i for i in range(tensor.dim()) if i != axis]
    whole = tensor.detach()
    summed = whole.sum(others, dtype=torch.float64) if others else whole.double()
    return np.asarray(summed.cpu().numpy(), dtype=np.float64)
