"""The tutorials run as notebooks, and print what their pages say, but for the numbers."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
SCRIPT = ROOT / "tools" / "notebooks.py"
# A net wrote them, and rounding on another machine may lead it elsewhere.
WRITTEN = "the miller "
# Those whose nets go to ONNX, which is an extra.
NEEDS = {"half-the-latency": "onnxruntime"}


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["notebooks"] = module  # dataclasses look there for the names of their module
    spec.loader.exec_module(module)
    return module


notebooks = load_script()


def read_outputs(page: Path) -> list[set[str]]:
    """Return the lines that each cell prints, numbers masked and columns drawn together."""
    cells = notebooks.split_page(page.read_text(encoding="utf-8"))
    return [
        {
            re.sub(r"\s+", " ", re.sub(r"-?\d[\d,.]*", "#", line))
            for line in cell.output.splitlines()
            if not line.startswith(WRITTEN)
        }
        for cell in cells
        if cell.kind != "markdown"
    ]


@pytest.mark.e2e
@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_tutorial_runs_and_prints_what_its_page_says(page: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    if page.stem in NEEDS:
        pytest.importorskip(NEEDS[page.stem])
    copy = tmp_path / page.name
    shutil.copy(page, copy)
    # A kernel leaves its marks at home, where it is told to.
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "RUNTIME")}
    environment = {**os.environ, **own, "IPYTHONDIR": str(tmp_path / "ipython")}
    # In a process of its own: what runs kernels brings loops, threads and warnings along.
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--run", str(copy)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_outputs(copy) == read_outputs(page), copy.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_notebook_is_one(page: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    made = notebooks.make_notebook(page.read_text(encoding="utf-8"))
    nbformat.validate(nbformat.from_dict(json.loads(json.dumps(made))))


TEXT = """# A page

Words, [a link](other.md).

```python
print(1)
```

```text
1
```

```sh
dpod-search run \\
    --study digits
```

```toml
name = "none of a cell's"
```

```python
x = 2
```
"""


def test_blocks_become_cells() -> None:
    cells: list[dict[str, Any]] = notebooks.make_notebook(TEXT)["cells"]
    assert [cell["cell_type"] for cell in cells] == [
        "markdown",
        "code",
        "code",
        "markdown",
        "code",
    ]
    assert cells[0]["source"] == "# A page\n\nWords, [a link]."
    assert cells[1]["outputs"][0]["text"] == "1\n"
    assert cells[2]["source"] == "!dpod-search run --study digits"
    assert cells[4]["outputs"] == []


def test_outputs_are_written_behind_their_cells_and_nothing_else_changes() -> None:
    assert notebooks.renew_outputs(TEXT, ["1\n", "", ""]) == TEXT
    renewed = notebooks.renew_outputs(TEXT, ["2\n", "done\n", ""])
    assert renewed == TEXT.replace("text\n1\n", "text\n2\n").replace(
        "digits\n```\n", "digits\n```\n\n```text\ndone\n```\n"
    )
