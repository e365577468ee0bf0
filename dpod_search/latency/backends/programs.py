"""Nets as lists of PyTorch's own operators, in JSON: run elsewhere without the model's code.

PyTorch reads its own file of an exported program by unpickling parts of it, which runs whatever
the file says, and a request may come from anywhere. Here a program is the operators that were
exported, by name, with numbers as their arguments. What is read calls these operators only, and
none that opens a file. Weights are not kept: a clock does not see their values.

ONNX does not do instead: eager PyTorch and its compiler run no ONNX files, and a table for them is
to be measured on devices without the model too, as ``dpod-search latency request`` promises.

Small nets spend much of their time on calling modules. So each operator is given the number of
modules that were entered right before it, and is called through so many.
"""

from __future__ import annotations

import math
import operator
import re
import warnings
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch import fx
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import tell_first_line


_GET_ITEM = "getitem"
_OPERATOR = re.compile(r"aten\.([a-z0-9_]+)\.([A-Za-z0-9_]+)")
_UNNAMED = (torch.dtype, torch.memory_format, torch.layout)  # enumerations, by their own names
_INPUT, _TENSOR, _CALL = "images", "tensor{}", "call{}"
_MAX_DEPTH = 100  # of modules in modules
# What may go wrong with values that are not what they should be, in fx and PyTorch too.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
Value = Any  # of JSON


def write_program(module: nn.Module, images: Tensor) -> dict[str, Value]:
    """Return a module as JSON values.

    Args:
        module: In evaluation mode, on the CPU.
        images: The batch that it is for.

    Raises:
        ConfigError: If PyTorch cannot export it, or it calls operators that are not PyTorch's.
    """
    try:
        with warnings.catch_warnings():
            # A recurrent layer makes its list of parameters anew, and a hook a weight.
            warnings.filterwarnings("ignore", "The tensor attribute.* assigned during export")
            program = torch.export.export(module, (images,))
    except Exception as error:  # it raises whatever a model or an operator makes it
        raise ConfigError(
            f"the net cannot be exported ({tell_first_line(error)}); "
            'try latency.backend = "onnxruntime"'
        ) from error
    held = {**program.state_dict, **program.constants}
    places: dict[fx.Node, int] = {}
    tensors: list[Value] = []
    calls: list[Value] = []
    specs = iter(program.graph_signature.input_specs)
    stack: Mapping[str, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            name = next(specs).target
            # The one input without a target is the pictures; what nothing reads is left out.
            used = _describe(held[name]) if name is not None and node.users else None
            tensors.append(_INPUT if name is None else used)
        elif node.op == "call_function":
            keywords = {key: _write(value, places) for key, value in node.kwargs.items()}
            before, stack = stack, node.meta.get("nn_module_stack") or stack
            depth = len(stack.keys() - before.keys())
            calls.append([_name(node.target), _write(node.args, places), keywords, depth])
        elif node.op != "output":
            raise ConfigError(f"the net cannot be packed ({node.op} {node.target}); measure here")
        else:
            return {"tensors": tensors, "calls": calls, "result": _write(node.args[0], places)}
        places[node] = len(places)
    raise AssertionError("a graph ends with its output")


def read_program(value: Value, device: torch.device) -> nn.Module:
    """Make a module of what :func:`write_program` gave.

    Args:
        value: The program.
        device: Where it will run.

    Returns:
        A module that takes the pictures; its weights are random.

    Raises:
        DataError: If it is no program, or has operators that PyTorch lacks here.
    """
    try:
        return _read_program(value, device)
    except _DAMAGE as error:
        raise DataError(
            f"a net of the latency request cannot be read ({tell_first_line(error)})"
        ) from error


def _read_program(value: Value, device: torch.device) -> nn.Module:
    root, graph = nn.Module(), fx.Graph()
    nodes: list[fx.Node | None] = []
    if value["tensors"].count(_INPUT) != 1:
        raise ValueError("it does not take one batch of pictures")
    # fx wants inputs before all else, whatever the order they are counted in.
    images = graph.placeholder(_INPUT)
    for i, entry in enumerate(value["tensors"]):
        if entry is None or entry == _INPUT:
            nodes.append(None if entry is None else images)
            continue
        name = _TENSOR.format(i)
        _register(root, name, entry)
        nodes.append(graph.get_attr(name))
    for i, (name, arguments, keywords, depth) in enumerate(value["calls"]):
        given = tuple(_read(arguments, nodes, device))
        known = {str(key): _read(item, nodes, device) for key, item in keywords.items()}
        if not all(key.isidentifier() for key in known):
            raise ValueError("an argument has a name that is none")
        if type(depth) is not int or not 0 <= depth <= _MAX_DEPTH:
            raise ValueError(f"an operator cannot be in {depth!r} modules")
        if depth == 0:
            nodes.append(graph.call_function(_find(name), given, known))
            continue
        call = _Call(_find(name))
        for _ in range(depth - 1):
            call = _Call(call)
        root.add_module(_CALL.format(i), call)
        nodes.append(graph.call_module(_CALL.format(i), given, known))
    graph.output(_read(value["result"], nodes, device))
    return fx.GraphModule(root, graph).eval()


class _Call(nn.Module):
    """A module that is what it calls: a forward of its own would take as long again."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.__dict__["forward"] = function


def _name(target: Any) -> str:
    if target is operator.getitem:
        return _GET_ITEM
    name = str(target)
    try:
        _find(name)
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"the net cannot be packed, for it calls {name}, which is none of PyTorch's plain "
            'operators; try latency.backend = "onnxruntime"'
        ) from error
    return name


def _find(name: str) -> Callable[..., Any]:
    if name == _GET_ITEM:
        return operator.getitem
    found = _OPERATOR.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} names no operator")
    function = getattr(getattr(torch.ops.aten, found[1]), found[2])
    # TorchScript's functions, one of which writes files, have no kernel; from_file reads them.
    is_plain = torch._C._dispatch_has_kernel(function.name())
    if not is_plain or any(argument.name == "filename" for argument in function._schema.arguments):
        raise ValueError(f"{name} is no plain operator")
    return function  # type: ignore[no-any-return]


def _describe(tensor: Tensor) -> Value:
    return [list(tensor.shape), str(tensor.dtype), isinstance(tensor, nn.Parameter)]


def _register(root: nn.Module, name: str, entry: Value) -> None:
    shape, dtype, is_parameter = entry
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"a tensor cannot have the shape {shape}")
    kind = _find_constant(dtype)
    if not isinstance(kind, torch.dtype):
        raise ValueError(f"{dtype!r} is no kind of numbers")
    if not kind.is_floating_point:
        # Zeros, as these are indices.
        root.register_buffer(name, torch.zeros(shape, dtype=kind))
        return
    # Numbers that a net keeps at one scale: where they vanish, a processor takes far longer.
    tensor = torch.ones(shape)
    if len(shape) > 1:
        tensor.normal_(generator=torch.Generator().manual_seed(0))
        tensor /= math.sqrt(max(1, math.prod(shape[1:])))
    tensor = tensor.to(kind)
    if is_parameter:
        root.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
    else:
        root.register_buffer(name, tensor)


def _write(value: Any, places: Mapping[fx.Node, int]) -> Value:
    """Return an argument; what is no plain value is a dictionary of one entry."""
    if isinstance(value, fx.Node):
        return {"of": places[value]}
    if isinstance(value, list | tuple):
        return [_write(item, places) for item in value]
    if isinstance(value, torch.device):
        return {"device": ""}  # wherever it will run
    if isinstance(value, _UNNAMED):
        return {"torch": str(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(f"the net cannot be packed: {value!r} stands in its graph")


def _read(value: Value, nodes: list[fx.Node | None], device: torch.device) -> Any:
    if isinstance(value, list):
        return [_read(item, nodes, device) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, item),) = value.items()
    if kind == "of":
        if type(item) is not int or item < 0 or nodes[item] is None:
            raise ValueError(f"{item!r} is no place")
        return nodes[item]
    if kind == "device":
        return device
    if kind == "float":
        return float(item)
    return _find_constant(item)


def _find_constant(name: Value) -> Any:
    found = getattr(torch, str(name).removeprefix("torch."))
    if not isinstance(found, _UNNAMED):
        raise ValueError(f"{name!r} is no constant of PyTorch")
    return found
