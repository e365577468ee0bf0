"""ONNX files through PyTorch's exporter, and 8-bit ones through onnxruntime's own tools."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import ExportError
from dpod_search.export.calls import list_dynamic
from dpod_search.export.calls import name_inputs
from dpod_search.export.calls import name_outputs
from dpod_search.export.calls import return_plain
from dpod_search.export.calls import try_each
from dpod_search.inputs import ModelCall


_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_IMAGES, _LOGITS, _OUTPUT = "images", "logits", "outputs"
_NUMBERED = "output_"  # an output of a tuple
_CHUNK = 32  # pictures that ranges are found on at a time


def check_onnx(formats: Collection[str]) -> None:
    """See that the packages are there which some formats need.

    Raises:
        ConfigError: If one is missing.
    """
    asked = sorted(name for name in formats if name.startswith("onnx"))
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if asked and missing:
        raise ConfigError(
            f"export format {asked[0]!r} needs {', '.join(missing)}; "
            'install it: pip install "dpod-search[onnx]"'
        )


def make_onnx(module: nn.Module, example: ModelCall) -> bytes:
    """Return a module as ONNX that takes any batch size: a file with graph and weights.

    Args:
        module: In evaluation mode.
        example: What it is called with, two samples or more. Pictures alone are the input
            ``images``, and what is made of them alone the output ``logits``; others have the names
            of arguments, and of keys and fields, or ``outputs``, ``output_0`` and so on.

    Raises:
        ConfigError: If the extra is not installed.
    """
    check_onnx(("onnx",))
    plain = return_plain(module, example)
    inputs = name_inputs(module, example)
    takes_images = len(inputs) == 1 and _is_picture(example.leading)
    with torch.no_grad():
        answers = name_outputs(example.run(plain))
    alone = _LOGITS if takes_images else _OUTPUT
    program = try_each(
        list_dynamic(plain, example),
        lambda axes: torch.onnx.export(
            plain,
            example.args,
            kwargs=dict(example.kwargs),
            dynamo=True,
            dynamic_shapes=axes,
            input_names=[_IMAGES] if takes_images else inputs,
            output_names=[_name_output(name) or alone for name in answers],
            external_data=False,
            verbose=False,
        ),
    )
    if program is None:  # pragma: no cover  (the older exporter only)
        raise RuntimeError("PyTorch's exporter returned nothing")
    proto = program.model_proto
    _drop_origins(proto)
    file: bytes = proto.SerializeToString(deterministic=True)
    return file


def _drop_origins(message: Any) -> None:
    """Take out of a graph what it was made from: lines of code, with the paths of their files.

    Nothing runs by it, it says where on a disk the user's code lies, and in a small net it is more
    than the weights.
    """
    for field, value in message.ListFields():
        if field.name == "metadata_props":
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _drop_origins(part)


def _is_picture(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim > 2


def _name_output(name: str) -> str:
    return f"{_NUMBERED}{name}" if name[:1].isdecimal() else name


def make_onnx_int8(module: nn.Module, example: ModelCall, pictures: Tensor) -> bytes:
    """Return a module as ONNX whose layers compute with 8-bit numbers.

    Weights and activations are quantised statically, each channel of a weight on a scale of its
    own, with pairs of QuantizeLinear and DequantizeLinear around every layer.

    Args:
        module: In evaluation mode.
        example: Pictures alone, two or more.
        pictures: Training pictures ``n x ...``: the ranges of activations are found on them.

    Raises:
        ConfigError: If the extra is not installed.
    """
    check_onnx(("onnx_int8",))
    from onnxruntime import quantization as ort
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, made = (Path(folder) / f"{n}.onnx" for n in ("plain", "ready", "int8"))
        plain.write_bytes(make_onnx(module, example))
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        ort.quantize_static(
            str(prepared),
            str(made),
            _make_reader(ort.CalibrationDataReader, pictures, _name_input(plain)),
            quant_format=ort.QuantFormat.QDQ,
            activation_type=ort.QuantType.QInt8,
            weight_type=ort.QuantType.QInt8,
            per_channel=True,
        )
        return made.read_bytes()


def _name_input(path: Path) -> str:
    import onnx

    name: str = onnx.load(path).graph.input[0].name
    return name


def _make_reader(base: Any, pictures: Tensor, name: str) -> Any:
    chunks: Iterator[Tensor] = iter(torch.split(pictures.detach().cpu(), _CHUNK))

    class Reader(base):  # type: ignore[misc]  # known at run time only
        def get_next(self) -> dict[str, Any] | None:
            """Return the next pictures, or None after the last."""
            chunk = next(chunks, None)
            return None if chunk is None else {name: chunk.numpy()}

    return Reader()


def read_onnx(path: Path) -> Callable[..., Any]:
    """Load an ONNX file into onnxruntime, on the CPU.

    Returns:
        What is called as the module was; a tensor, or several by name.

    Raises:
        ConfigError: If the extra is not installed.
    """
    check_onnx(("onnx",))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    names = [held.name for held in session.get_inputs()]
    made = [held.name.removeprefix(_NUMBERED) for held in session.get_outputs()]

    def run(*args: Any, **kwargs: Any) -> Any:
        tensors = ModelCall(args, kwargs).tensors
        if len(tensors) != len(names):
            raise ExportError(f"the ONNX graph takes {len(names)} inputs, not {len(tensors)}")
        feeds = {
            name: tensor.detach().cpu().numpy()
            for name, tensor in zip(names, tensors, strict=True)
        }
        results = [torch.from_numpy(result) for result in session.run(None, feeds)]
        return results[0] if len(results) == 1 else dict(zip(made, results, strict=True))

    return run
