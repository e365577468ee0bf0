"""The table of the stages: what each of them depends on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dpod_search.pipeline.stages.table import STAGES


REPORT = next(stage for stage in STAGES if stage.name == "report")


@pytest.mark.parametrize("name", ["front.json", "latency.json", "oneshot.json", "trials.csv"])
def test_the_report_depends_on_every_record_that_it_shows(tmp_path, name):
    (tmp_path / "config.toml").touch()
    session = SimpleNamespace(path=tmp_path)
    inputs = [REPORT.describe_inputs(session)]
    for content in ("one", "another"):
        (tmp_path / name).write_text(content)
        inputs.append(REPORT.describe_inputs(session))
    assert len({str(found) for found in inputs}) == 3
