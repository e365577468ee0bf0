"""The code in docs/handlers.md runs, from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


PAGE = Path(__file__).resolve().parents[1] / "docs" / "handlers.md"


def test_the_page_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  # our own page

    for handler in ("carry", "carry_with", "combine", "freeze", "slide"):
        assert f"`{handler}" in PAGE.read_text(encoding="utf-8")
    assert len(blocks) == 3

    net = names["Net"](names["Affine"](8)).eval()
    supernet = build_supernet(net, names["picture"], handlers=names["handlers"])
    with supernet.active(names["subnet"]):
        narrow = supernet(names["picture"])
    plain = extract_subnet(supernet, names["subnet"])
    torch.testing.assert_close(narrow, plain(names["picture"]))
