"""Loads an exported model as its user does, where dpod_search cannot be imported.

Arguments: the model's folder, and a safetensors file of ``images`` and ``logits``. Prints, as JSON,
the largest difference by file, relative to the largest logit, and the classes it chooses.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Blocked:
    """Refuses the package, however it is asked for."""

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == "dpod_search":
            raise ImportError("dpod_search is not here")


if __name__ == "__main__":  # who only looks for doctests here goes on with the package
    sys.meta_path.insert(0, Blocked())  # type: ignore[arg-type]

import torch  # noqa: E402  # after the package is blocked
from safetensors.torch import load_file  # noqa: E402  # as above


def load_code(folder: Path) -> Callable[[Any], Any]:
    sys.path.insert(0, str(folder))
    import model  # type: ignore[import-not-found]  # the exported model.py

    assert Path(model.__file__).parent == folder
    return model.load()  # type: ignore[no-any-return]


def load_program(folder: Path) -> Callable[[Any], Any]:
    return torch.export.load(folder / "model.pt2").module()


def load_onnx(folder: Path) -> Callable[[Any], Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def main() -> None:
    folder, pictures = Path(sys.argv[1]), load_file(sys.argv[2])
    images, wanted = pictures["images"], pictures["logits"]
    said = {}
    with torch.no_grad():
        for load in (load_code, load_program, load_onnx):
            run = load(folder)
            parts = [run(images[:1]), run(images[1:3]), *(run(p) for p in images[3:].split(64))]
            logits = torch.cat(parts)
            difference = float((logits - wanted).abs().max() / wanted.abs().max())
            said[load.__name__] = {"difference": difference, "classes": logits.argmax(1).tolist()}
    try:
        import dpod_search  # noqa: F401
    except ImportError:
        assert "dpod_search" not in sys.modules
        print(json.dumps(said))  # noqa: T201  # read by the test


if __name__ == "__main__":
    main()
