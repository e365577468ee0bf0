from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from report.run_folder import RunFolder

from dpod_search.report import read_run
from dpod_search.report.markup import embed_json
from dpod_search.report.markup import table
from dpod_search.report.run import Objective
from dpod_search.report.text import kib
from dpod_search.report.text import label
from dpod_search.report.text import percent
from dpod_search.report.text import plural
from dpod_search.report.text import points
from dpod_search.report.text import quantity
from dpod_search.report.text import short
from dpod_search.report.text import size_heading
from dpod_search.report.text import size_of
from dpod_search.report.text import stage_missing
from dpod_search.report.text import value_of


@pytest.mark.parametrize(
    ("difference", "written"),
    [(0.0123, "1.2"), (-0.0123, "\u22121.2"), (0.0, "0.0"), (-0.0001, "0.0"), (0.1, "10.0")],
)
def test_points_keep_their_sign_and_know_no_minus_zero(difference: float, written: str) -> None:
    assert points(difference) == written


@pytest.mark.parametrize(
    ("n", "written"), [(5, "5"), (5e4, "50k"), (1.2e6, "1.2M"), (2e9, "2G"), (1e12, "1T")]
)
def test_short_numbers(n: float, written: str) -> None:
    assert short(n) == written


def test_numbers_as_people_write_them() -> None:
    assert percent(0.1234) == "12.3\u00a0%"
    assert kib(1536) == "1.5"
    assert plural(1, "trial") == "1 trial"
    assert plural(1200, "trial") == "1,200 trials"
    assert value_of(Objective("macs", "minimize"), 1234567.0) == "1,234,567"
    assert value_of(Objective("latency_ms", "minimize"), 1.23456) == "1.235"
    assert value_of(Objective("accuracy", "maximize"), None) == "–"


@pytest.mark.parametrize(
    ("name", "called", "heading", "written"),
    [
        ("macs", "MACs", "MACs", "2,048"),
        ("weight_bytes", "weight bytes", "weights (KiB)", "2.0"),
        ("peak_bytes", "peak activation memory (bytes)", "peak activation memory (KiB)", "2.0"),
        ("cache_bytes", "cache bytes", "cache (KiB)", "2.0"),
        ("n_kernels", "n kernels", "n kernels", "2,048"),
    ],
)
def test_footprints_stand_under_their_names_and_units_also_unknown_ones(
    name: str, called: str, heading: str, written: str
) -> None:
    assert quantity(name) == called
    assert size_heading(name) == heading
    assert size_of(name, 2048) == written


def test_sentences_name_footprints_without_units() -> None:
    assert label("peak_bytes") == "peak activation memory"
    assert label("n_kernels") == "n kernels"


def test_commands_can_be_pasted_into_a_shell_and_take_the_run_s_own_settings(
    run: RunFolder,
) -> None:
    read = replace(read_run(run.write()), folder=Path("my runs/a"))
    command = "dpod-search export --study 'my runs/a/config.toml' --out 'my runs/a'"
    assert stage_missing("export", read).endswith(f"Run: {command}")
    bare = replace(read, config=None)
    assert "--study digits --out 'my runs/a'" in stage_missing("export", bare)


def test_embedded_json_keeps_its_value_and_ends_no_script(hostile: str) -> None:
    value = {hostile: [hostile, "\u2028"]}
    embedded = embed_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(embedded) == value
    assert not set("<>&\u2028") & set(embedded)


def test_tables_escape_every_cell(hostile: str) -> None:
    markup = table(hostile, ["a", hostile], [[hostile, hostile]], texts=1)
    assert "<script" not in markup
    assert markup.count("&lt;/script&gt;") == 8


def test_a_row_must_fill_its_table() -> None:
    with pytest.raises(ValueError, match="zip"):
        table("numbers", ["a", "b"], [["1"]])
