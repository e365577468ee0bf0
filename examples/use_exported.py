"""A delivered model without this package: ``python examples/use_exported.py runs/digits``.

It runs each model of a run in the forms that are there, and says how they differ. The page:
docs/exported-models.md.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import torch
from torch import Tensor


def run_code(file: Path, images: Tensor) -> Tensor:
    """Run ``model.py``, which reads the weights beside it. It is code: look at it before."""
    spec = importlib.util.spec_from_file_location("delivered", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["delivered"] = module
    spec.loader.exec_module(module)
    return module.load()(images)


def run_program(file: Path, images: Tensor) -> Tensor:
    """Run ``model.pt2``. Load only what you trust."""
    return torch.export.load(str(file)).module()(images)


def run_onnx(file: Path, images: Tensor) -> Tensor:
    """Run ``model.onnx``; of PyTorch it needs nothing."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


RUNNERS = {"python": run_code, "torch_export": run_program, "onnx": run_onnx}


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = Path(sys.argv[1])
    manifest = json.loads((run / "exported" / "manifest.json").read_text(encoding="utf-8"))
    for entry in manifest["models"]:
        # Real pictures are scaled as entry["input"] says.
        images = torch.randn(4, *entry["input"]["shape"])
        files = {
            name: run / entry["files"][name]["path"] for name in RUNNERS if name in entry["files"]
        }
        with torch.no_grad():
            logits = {name: RUNNERS[name](file, images) for name, file in files.items()}
        first = next(iter(logits.values()))
        apart = max((other - first).abs().max().item() for other in logits.values())
        print(f"trial {entry['trial']}: {', '.join(logits)} differ by {apart:.1e} at most")


if __name__ == "__main__":
    main()
