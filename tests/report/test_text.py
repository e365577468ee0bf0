from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from report.run_folder import RunFolder

from dpod_search.figures.text import percent
from dpod_search.figures.text import stage_missing
from dpod_search.figures.text import value_of
from dpod_search.report import read_run
from dpod_search.report.markup import figure
from dpod_search.report.markup import table


def test_numbers_as_people_write_them() -> None:
    assert percent(0.1234) == "12.3\u00a0%"
    assert value_of("macs", 1234567.0) == "1,234,567"
    assert value_of("latency_ms", 1.23456) == "1.235"
    assert value_of("accuracy", 0.97) == "97.00\u00a0%"
    assert value_of("accuracy", None) == "–"


def test_commands_can_be_pasted_into_a_shell_and_take_the_run_s_own_settings(
    run: RunFolder,
) -> None:
    read = replace(read_run(run.write()), folder=Path("my runs/a"))
    command = "dpod-search export --run 'my runs/a'"
    assert stage_missing("export", read).endswith(f"Run: {command}")
    bare = replace(read, config=None)
    assert "--study digits --out 'my runs/a'" in stage_missing("export", bare)


def test_embedded_json_keeps_its_value_and_ends_no_script(hostile: str) -> None:
    value = {hostile: [hostile, "\u2028"]}
    markup = figure("front", "The front", "All trials.", "front.csv", value)
    embedded = markup.split('<script type="application/json">')[1].split("</script>")[0]
    assert json.loads(embedded) == value
    assert not set("<>&") & set(embedded)


def test_tables_escape_every_cell(hostile: str) -> None:
    markup = table(hostile, ["a", hostile], [[hostile, hostile]], texts=1)
    assert "<script" not in markup
    assert markup.count("&lt;/script&gt;") == 8


def test_a_row_must_fill_its_table() -> None:
    with pytest.raises(AssertionError):
        table("numbers", ["a", "b"], [["1"]])
