"""Lines of the user's own code, and which code is not theirs."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from types import FrameType

import torch


_TORCH_FOLDER = f"{Path(torch.__file__).parent}{os.sep}"  # and not torchvision's beside it
_OWN_FOLDER = f"{Path(__file__).parents[1]}{os.sep}"


@functools.cache
def is_internal(filename: str) -> bool:
    """Say whether a file is PyTorch's, one of this room, or none at all."""
    return filename.startswith((_TORCH_FOLDER, _OWN_FOLDER, "<"))


def find_line(frame: FrameType | None) -> str:
    """Return the innermost line of the user's that runs inside a forward.

    Args:
        frame: Where to look, and in the frames around it.

    Returns:
        ``file:line``; empty if there is none.
    """
    while frame is not None and is_internal(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return ""
    line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    while frame is not None and frame.f_code.co_name != "forward":
        frame = frame.f_back
    return "" if frame is None else line  # else it is the line that asked for the trace
