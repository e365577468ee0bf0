"""The code in docs/exported-models.md runs on the models of a finished run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline.tiny import copy_run
from pipeline.tiny import find_finished

from dpod_search.export import FORMATS
from dpod_search.export import export
from dpod_search.files import read_json
from dpod_search.finetune import FinetunedSubnet


pytest.importorskip("onnxruntime")

PAGE = Path(__file__).resolve().parents[1] / "docs" / "exported-models.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_runs(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_run(find_finished(tmp_path_factory), tmp_path / "runs" / "digits")
    model = read_json(run / "exported" / "manifest.json")["models"][0]
    folder = (run / model["files"]["python"]["path"]).parent
    folder.rename(folder.with_name("9"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "model", raising=False)
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    module = torch.export.load("runs/digits/exported/9/model.pt2").module()
    with torch.no_grad():
        wanted = module(images)
    names: dict[str, Any] = {"images": images}
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)
    assert len(blocks) == 4
    for block in blocks:
        if "dpod.export" in block:
            names["finetuned"] = FinetunedSubnet(names["net"], {}, {}, (1, 8, 8))  # type: ignore[arg-type]
        elif "onnxruntime" in block:
            plain = FinetunedSubnet(names["net"], {}, {}, (1, 8, 8))  # type: ignore[arg-type]
            export(plain, "runs/digits/exported/9/model.onnx")
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  # our own page
        if "logits" in block:
            logits = torch.as_tensor(names["logits"]).detach()
            torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5)
    sys.modules.pop("model", None)
    endings = {kind.ending for kind in FORMATS.values()}
    assert {file.name for file in Path("out").iterdir()} == {f"model{e}" for e in endings}


def test_every_format_is_on_the_page() -> None:
    for name, kind in FORMATS.items():
        assert f"`model{kind.ending}`" in TEXT
        assert name == "python" or f"| `{name}` |" in TEXT
