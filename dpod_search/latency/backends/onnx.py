"""onnxruntime, which merges norms and activations into convolutions."""

from __future__ import annotations

import importlib.util
import io
import warnings
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import tell_first_line
from dpod_search.latency.timing import Run


_INPUT, _OUTPUT = "images", "result"
_PACKAGES = ("onnx", "onnxruntime")


class OnnxRuntimeBackend:
    """Runs modules in onnxruntime, with all its optimisations of the graph."""

    name = "onnxruntime"

    def find_version(self) -> str:
        """Return onnxruntime's version.

        Raises:
            ConfigError: If it is not installed.
        """
        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise ConfigError(
                f'latency.backend "onnxruntime" needs {", ".join(missing)}; '
                'install it: pip install "dpod-search[onnx]"'
            )
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"

    def prepare(
        self, module: nn.Module, images: Tensor, *, device: torch.device, n_threads: int
    ) -> Run:
        """Convert the module and open a session on it."""
        self.find_version()
        return open_session(convert(module, images), images, device=device, n_threads=n_threads)


def convert(module: nn.Module, images: Tensor) -> bytes:
    """Return a module as ONNX for one batch size.

    Args:
        module: On the CPU, in evaluation mode.
        images: The batch.

    Raises:
        ConfigError: If PyTorch cannot convert it.
    """
    module.eval().cpu()
    file: Any = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # The older exporter: it makes the same graphs of such nets, some 20 times as fast.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (images,),
                file,
                dynamo=False,
                input_names=[_INPUT],
                output_names=[_OUTPUT],
            )
    except Exception as error:  # it raises whatever a model or an operator makes it
        raise ConfigError(
            f"the net cannot be converted to ONNX ({tell_first_line(error)}); "
            'set latency.backend = "eager"'
        ) from error
    return bytes(file.getvalue())


def open_session(model: bytes, images: Tensor, *, device: torch.device, n_threads: int) -> Run:
    """Return what runs an ONNX model once.

    Args:
        model: The bytes of the file.
        images: The batch.
        device: The CPU, or CUDA with onnxruntime's build for it.
        n_threads: Threads within an operation.

    Raises:
        ConfigError: If this build of onnxruntime has no provider for the device.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f'onnxruntime runs on cpu and cuda here, not on {device.type}; set device = "cpu"'
        )
    wanted = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
    known = onnxruntime.get_available_providers()
    if wanted not in known:
        raise ConfigError(
            f"onnxruntime has no {wanted} here (it has {', '.join(known)}); "
            'install a build that has, or set device = "cpu"'
        )
    try:
        where = (wanted, {"device_id": device.index or 0}) if device.type == "cuda" else wanted
        session = onnxruntime.InferenceSession(model, options, providers=[where])
    except Exception as error:  # its kinds of errors have no base of their own
        raise ConfigError(f"onnxruntime cannot run the net ({tell_first_line(error)})") from error
    if session.get_providers()[0] != wanted:
        raise ConfigError(
            f"onnxruntime could not start {wanted} and would run on the CPU; mend its libraries, "
            'or set device = "cpu"'
        )
    # Channels last it would be copied in every run.
    pictures = images.detach().cpu().contiguous().numpy()
    feed = {session.get_inputs()[0].name: pictures}
    # A result that comes back to the CPU is there: nothing is left to wait for. On a GPU the time of
    # copying pictures and result is in it.
    return lambda: session.run(None, feed)
