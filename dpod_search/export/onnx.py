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


_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_INPUT, _OUTPUT = "images", "logits"
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


def make_onnx(module: nn.Module, example: Tensor) -> bytes:
    """Return a module as ONNX that takes any batch size: a file with graph and weights.

    Args:
        module: In evaluation mode.
        example: Pictures, two or more.

    Raises:
        ConfigError: If the extra is not installed.
    """
    check_onnx(("onnx",))
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: batch},),
        input_names=[_INPUT],
        output_names=[_OUTPUT],
        external_data=False,
        verbose=False,
    )
    if program is None:  # pragma: no cover  (the older exporter only)
        raise RuntimeError("PyTorch's exporter returned nothing")
    file: bytes = program.model_proto.SerializeToString(deterministic=True)
    return file


def make_onnx_int8(module: nn.Module, example: Tensor, pictures: Tensor) -> bytes:
    """Return a module as ONNX whose layers compute with 8-bit numbers.

    Weights and activations are quantised statically, each channel of a weight on a scale of its
    own, with pairs of QuantizeLinear and DequantizeLinear around every layer.

    Args:
        module: In evaluation mode.
        example: Pictures, two or more.
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
            _make_reader(ort.CalibrationDataReader, pictures),
            quant_format=ort.QuantFormat.QDQ,
            activation_type=ort.QuantType.QInt8,
            weight_type=ort.QuantType.QInt8,
            per_channel=True,
        )
        return made.read_bytes()


def _make_reader(base: Any, pictures: Tensor) -> Any:
    chunks: Iterator[Tensor] = iter(torch.split(pictures.detach().cpu(), _CHUNK))

    class Reader(base):  # type: ignore[misc]  # known at run time only
        def get_next(self) -> dict[str, Any] | None:
            """Return the next pictures, or None after the last."""
            chunk = next(chunks, None)
            return None if chunk is None else {_INPUT: chunk.numpy()}

    return Reader()


def read_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """Load an ONNX file into onnxruntime, on the CPU.

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
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> Tensor:
        logits = session.run(None, {name: images.detach().cpu().numpy()})[0]
        return torch.from_numpy(logits)

    return run
