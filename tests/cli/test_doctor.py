from __future__ import annotations

import json

import pytest

from dpod_search.pipeline import doctoring
from dpod_search.pipeline.doctoring import Finding
from dpod_search.pipeline.doctoring import meets


def test_all_that_is_looked_at_is_told_with_how_to_get_what_is_missing(call_main):
    code, out, err = call_main("doctor", "--no-smoke", "--json")
    found = json.loads(out)
    assert (code, err) == (0 if found["ok"] else 1, "")
    assert found["ok"] == all(check["ok"] for check in found["checks"])
    checks = {check["name"]: check for check in found["checks"]}
    assert {
        "python",
        "dpod-search",
        "torch",
        "optuna",
        "devices",
        "threads",
        "disk",
        "folder",
    } <= (checks.keys())
    assert checks["extra [wandb]"]["fix"] in ("", 'pip install "dpod-search[wandb]"')
    assert not any(name.startswith("smoke") for name in checks)


def test_a_small_run_goes_through_all_stages_and_leaves_nothing(call_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctoring, "_look_at_packages", lambda: iter(()))
    code, out, err = call_main("doctor")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    stages = [line.split()[2].rstrip(":") for line in lines if " smoke " in line]
    assert stages == ["train", "search", "finetune", "export", "report"]
    assert not list(tmp_path.iterdir())


def test_what_fails_is_exit_code_1_with_what_to_do(call_main, monkeypatch):
    def fail(*_, **__):
        raise ImportError("odd")

    monkeypatch.setattr(doctoring, "run_stages", fail)
    code, out, _ = call_main("doctor")
    assert code == 1
    assert out.splitlines()[-1].startswith("failed smoke train: ImportError: odd; ")


@pytest.mark.parametrize(
    ("version", "bounds", "is_met"),
    [
        ("5.0.0", ">=5.0,<6", True),
        ("5", "<6,>=5.0", True),
        ("6.0", ">=5.0,<6", False),
        ("4.9.1", ">=5.0,<6", False),
        ("2.13.0+cpu", ">=2.6", True),
        ("0.10.0", ">=0.9", True),
        ("3.11.7", ">=3.11", True),
        ("1.0", "", True),
    ],
)
def test_versions_are_compared_as_numbers(version, bounds, is_met):
    assert meets(version, bounds) is is_met


def test_a_package_that_is_too_old_is_told(monkeypatch):
    monkeypatch.setattr(doctoring.metadata, "version", lambda _: "4.1")
    finding = doctoring._look_at_package("optuna", ">=5.0,<6")
    assert finding == Finding(
        "optuna",
        is_ok=False,
        told="4.1, and >=5.0,<6 is needed",
        fix='pip install "optuna>=5.0,<6"',
    )
