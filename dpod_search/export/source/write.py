"""The whole file: imports, classes, ``build`` and ``load``."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence

from torch import Tensor
from torch import nn

from dpod_search.escaping import escape_docstring
from dpod_search.escaping import quote_python
from dpod_search.export.source.functions import Functions
from dpod_search.export.source.graph import trace_graph
from dpod_search.export.source.layers import CannotWriteError
from dpod_search.export.source.layout import lay_out
from dpod_search.export.source.modules import Modules
from dpod_search.inputs import ModelCall


_PARTS = '''class Parts(nn.Module):
    """A module of named parts; the classes below say what they compute."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, (nn.Module, nn.Parameter)):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part, persistent={persistent})
'''
_CONSTANT = '''class Constant:
    """A tensor that is no part of the weights."""

    def __init__(self, numbers, dtype):
        self.tensor = torch.tensor(numbers, dtype=dtype)
'''
_LOAD = '''def load(path=WEIGHTS):
    """Return the model with the weights of a file, in evaluation mode."""
    model = build()
    model.load_state_dict(load_file(path), assign=True)
    return model.eval()
'''


def write_source(
    module: nn.Module,
    example: Tensor | ModelCall,
    *,
    title: str = "A model exported by dpod-search.",
    notes: Sequence[str] = (),
    weights: str = "model.safetensors",
) -> str:
    """Write a module as Python that needs nothing but PyTorch and safetensors.

    Args:
        module: In evaluation mode.
        example: Pictures ``batch x ...``, two or more; or another call, of tensors.
        title: First line of the file.
        notes: Lines about the model.
        weights: Name of the file of weights beside it.

    Returns:
        The text. Its function ``build`` makes the module, ``load`` fills it with weights. Parts
        have the names that they have in the module, and so have the weights.

    Raises:
        CannotWriteError: If the module cannot be written as code, with the reason.
    """
    plain = copy.deepcopy(module).cpu().eval()
    functions = Functions()
    call = ModelCall((example,), {}) if isinstance(example, Tensor) else example
    modules = Modules(trace_graph(plain, call.map(Tensor.cpu)), functions)
    tree = modules.write()
    twice = sorted(set(functions.copied) & set(modules.classes))
    if twice:
        raise CannotWriteError(f"{twice[0]} is the name of a class and of a function")
    body = [
        *functions.copied.values(),
        *("\n".join(lines) for lines in modules.classes.values()),
        "\n".join(
            [
                "def build():",
                '    """Return the model with weights that are still to be loaded."""',
                *lay_out(tree, 1, before="return "),
            ]
        ),
        _LOAD.rstrip(),
    ]
    text = "\n\n\n".join(body)
    constant = f"WEIGHTS = Path(__file__).with_name({quote_python(weights)})"
    has_constants = "Constant(" in text
    if re.search(r"\bParts\b", text) or has_constants:
        parts = _PARTS.rstrip().replace(", persistent={persistent}", "")
        if has_constants:
            parts = parts.replace("            else:", _FOR_CONSTANTS + "            else:")
        text = f"{parts}\n\n\n{text}"
    if has_constants:
        text = f"{_CONSTANT.rstrip()}\n\n\n{text}"
    head = [_head(title, notes), "", _imports(functions, text), "", constant]
    return "\n".join([*head, "", "", text, ""])


_FOR_CONSTANTS = """            elif isinstance(part, Constant):
                self.register_buffer(name, part.tensor, persistent=False)
"""


def _head(title: str, notes: Sequence[str]) -> str:
    title = escape_docstring(title)
    if not notes:
        return f'"""{title}"""'
    # Names of groups come from the model, and may hold anything.
    return "\n".join([f'"""{title}', "", *map(escape_docstring, notes), '"""'])


def _imports(functions: Functions, text: str) -> str:
    lines = {*functions.imports, "from torch import nn", "from safetensors.torch import load_file"}
    lines.add("from pathlib import Path")
    if "torch." in text:
        lines.add("import torch")
    if "OrderedDict(" in text:
        lines.add("from collections import OrderedDict")
    others = ("torch", "safetensors")
    third = {line for line in lines if line.split()[1].partition(".")[0] in others}
    return "\n\n".join("\n".join(_sort(part)) for part in (lines - third, third) if part)


def _sort(lines: set[str]) -> list[str]:
    """Sort lines as isort does, with one line for what comes from one place."""
    plain = sorted(line for line in lines if line.startswith("import"))
    names: dict[str, list[str]] = {}
    for line in sorted(lines - set(plain)):
        _, place, _, name = line.split(maxsplit=3)
        names.setdefault(place, []).append(name)
    # Constants, then classes, then the rest.
    ordered = {
        place: sorted(held, key=lambda name: (not name.isupper(), name.islower(), name))
        for place, held in names.items()
    }
    return plain + [f"from {place} import {', '.join(held)}" for place, held in ordered.items()]
