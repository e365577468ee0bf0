"""The code that loads a model is Python, wherever the run folder lies."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

import pytest

from dpod_search.records.exported import ExportedFile
from dpod_search.records.exported import ExportedModel
from dpod_search.records.exported import ModelInput
from dpod_search.records.loading import write_loading


FILES = {"python": "model.py", "torch_export": "model.pt2", "onnx_int8": "model.int8.onnx"}


def make_model() -> ExportedModel:
    shown = ModelInput(
        shape=(1, 8, 8), peak=None, mean=None, std=None, how="as it is", classes=("0", "1")
    )
    files = {
        form: ExportedFile(path=f"exported/3/{name}", sha256="0f", bytes=9)
        for form, name in FILES.items()
    }
    return ExportedModel(
        trial=3,
        widths={"conv": 4},
        sizes={"macs": 1},
        footprint={"macs": 1},
        validation_before={"accuracy": 0.9},
        validation={"accuracy": 0.9},
        test={"accuracy": 0.9},
        files=files,
        notes=(),
        max_difference=0.0,
        input=shown,
        input_shape=(1, 8, 8),
        classes=("0", "1"),
    )


@pytest.mark.parametrize(
    ("run", "folder"),
    [
        (None, ""),
        (PurePosixPath(), "exported/3/"),
        (PurePosixPath("runs/one"), "runs/one/exported/3/"),
        (PurePosixPath('a "b" \\c'), 'a "b" \\c/exported/3/'),
    ],
)
def test_files_are_found_from_where_the_code_runs(run: PurePosixPath | None, folder: str) -> None:
    for loading in write_loading(make_model(), "classification", run=run):
        texts = [
            node.value
            for node in ast.walk(ast.parse(loading.code))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert f"{folder}{FILES[loading.form]}" in texts
