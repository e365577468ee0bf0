"""The code in docs/training-policies.md runs, from top to bottom, and so does its study file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pipeline.tiny import load_tiny
from training.fakes import single_thread
from training.policies.contract import make_context
from training.policies.contract import run_policy

from dpod_search.pipeline import run_stages
from dpod_search.training import POLICIES
from dpod_search.training.policies import make_policy


PAGE = Path(__file__).resolve().parents[1] / "docs" / "training-policies.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    with single_thread():
        for block in BLOCKS:
            exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  # our own page

    assert capsys.readouterr().out.startswith("12 steps, ")
    policy = names["NarrowFirst"](make_context(), period=3)
    plans = run_policy(policy, range(60))
    assert [bool(plan.partial) for plan in plans] == [True, False, False] * 20


def test_the_policy_of_the_page_goes_through_a_run_by_its_import_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_policies.py").write_text(BLOCKS[0])
    monkeypatch.chdir(tmp_path)
    study = load_tiny(
        "training.policy=my_policies:NarrowFirst",
        "training.policy_options={period = 3}",
        "search.n_trials=8",
        "finetune.n_subnets=1",
    )
    run_stages(study, tmp_path / "run")
    assert (tmp_path / "run" / "report.html").is_file()


def test_every_policy_has_a_section_and_a_row_and_its_options_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in POLICIES:
        assert f"\n## {name}\n" in text
        assert f"\n| `{name}` |" in text
    make_policy("sandwich", {"n_random": 1}, make_context())
