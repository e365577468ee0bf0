from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dpod_search
from dpod_search.quantities import comparison
from dpod_search.quantities import count
from dpod_search.quantities import in_own_unit
from dpod_search.quantities import in_percent
from dpod_search.quantities import kib
from dpod_search.quantities import label
from dpod_search.quantities import name_whole
from dpod_search.quantities import number
from dpod_search.quantities import percent
from dpod_search.quantities import plural
from dpod_search.quantities import points
from dpod_search.quantities import quantity
from dpod_search.quantities import seconds
from dpod_search.quantities import short
from dpod_search.quantities import short_comparison
from dpod_search.quantities import size_heading
from dpod_search.quantities import size_of
from dpod_search.quantities import spell


NAMES = ("macs", "params", "weight_bytes", "peak_bytes", "latency", "latency_ms", "energy")
POSITIVE = st.floats(min_value=1e-12, max_value=1e18)


def is_zero(text: str) -> bool:
    return not set(text) & set("123456789")


@given(value=POSITIVE, n_digits=st.integers(0, 3))
def test_nothing_above_zero_is_ever_written_as_zero(value: float, n_digits: int) -> None:
    written = [write(value) for write in (number, count, kib, seconds, short)]
    written.append(points(max(value, 1e-6)))
    written += [percent(value, n_digits), in_percent(value, n_digits)]
    written += [spell(name, value) for name in (*NAMES, "accuracy")]
    written += [size_of(name, value) for name in NAMES]
    assert not [text for text in written if is_zero(text)]


@given(value=POSITIVE, more=st.floats(1.0101, 3.0), name=st.sampled_from(NAMES))
def test_values_a_hundredth_apart_are_written_differently(
    value: float, more: float, name: str
) -> None:
    assert spell(name, value) != spell(name, more * value)
    assert size_of(name, value) != size_of(name, more * value)


@given(value=st.floats(0.0, 1e18), name=st.sampled_from(NAMES))
def test_what_is_written_is_the_value(value: float, name: str) -> None:
    text = spell(name, value).removesuffix(" ms").replace(",", "")
    assert math.isclose(float(text), value, rel_tol=6e-4)


@given(value=POSITIVE)
def test_a_latency_never_lacks_its_unit(value: float) -> None:
    for name in ("latency", "latency_ms"):
        assert spell(name, value).endswith(" ms")
        assert "ms" in label(name)
        assert "ms" in quantity(name)
        assert "ms" in size_heading(name)


@given(share=st.floats(0.0, 1.0))
def test_shares_keep_the_digits_asked_for(share: float) -> None:
    text, _, sign = percent(share, 2).partition(" ")
    assert sign == "%"
    assert math.isclose(float(text), 100 * share, abs_tol=0.0051)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (spell("latency", 0.19), "0.19 ms"),
        (spell("latency", 0.19337), "0.1934 ms"),
        (spell("macs", 1234567), "1,234,567"),
        (spell("macs", 1234567.4), "1,234,567"),
        (spell("peak_bytes", 40960), "40,960"),
        (spell("validation_accuracy", 0.97125), "97.12 %"),
        (spell("energy", 0.0), "0"),
        (spell("energy", 1e-9), "1e-09"),
        (spell("energy", math.inf), "inf"),
        (in_own_unit("latency", 0.193371), "0.193371 ms"),
        (in_own_unit("accuracy", 0.9), "0.9"),
        (number(4000.84, 6), "4,000.84"),
        (kib(40), "0.0391"),
        (kib(2048), "2.0"),
        (percent(0.1234), "12.3 %"),
        (percent(0.0004), "0.04 %"),
        (percent(0.036, 0), "4 %"),
        (percent(0.0), "0.0 %"),
        (percent(1.0), "100.0 %"),
        (seconds(0.031), "0.031 s"),
        (seconds(75.25), "75.2 s"),
        (points(0.0003), "0.03"),
        (points(0.97 - 0.96999999999999), "0.0"),
    ],
)
def test_numbers_as_people_write_them(written: str, text: str) -> None:
    assert written == text


@pytest.mark.parametrize(
    ("difference", "written"),
    [(0.0123, "1.2"), (-0.0123, "\u22121.2"), (0.0, "0.0"), (-1e-12, "0.0"), (0.1, "10.0")],
)
def test_points_keep_their_sign_and_know_no_minus_zero(difference: float, written: str) -> None:
    assert points(difference) == written


@pytest.mark.parametrize(
    ("n", "written"), [(5, "5"), (5e4, "50k"), (1.2e6, "1.2M"), (2e9, "2G"), (1e12, "1T")]
)
def test_short_numbers(n: float, written: str) -> None:
    assert short(n) == written


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


def test_nouns_follow_their_number() -> None:
    assert plural(1, "trial") == "1 trial"
    assert plural(1200, "trial") == "1,200 trials"


# Coordinates of pictures, hues, correlations and what is counted in steps are no quantities.
OWN_SPELLING = {
    "report/graph/svg.py",
    "report/graph/marks.py",
    "report/sections.py",
    "records/latency.py",
    "records/trials.py",  # seconds, as a file holds them
    "pipeline/stages/model_card.py",  # how pixels are normalised, to be computed with
    "report/summary.py",
    "figures/groups.py",
    "figures/latency.py",
    "bars/drawing.py",
    "cli/inspection.py",  # a number of subnets may be too large for a float
    "cli/latency.py",  # rounds what --json prints
    "cli/show.py",
}


def test_what_people_read_spells_no_number_of_its_own() -> None:
    package = Path(dpod_search.__file__).parent
    files = [
        f
        for room in ("bars", "cli", "dashboard", "figures", "records", "report")
        for f in (package / room).rglob("*.py")
    ]
    found = {
        file.relative_to(package).as_posix()
        for file in [*files, package / "pipeline" / "stages" / "model_card.py"]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FormattedValue)
        and re.search(r"[,%eg]|\.[0-9]", ast.unparse(node.format_spec) if node.format_spec else "")
    }
    assert found == OWN_SPELLING


@pytest.mark.parametrize(
    ("name", "lost", "is_maximized", "told", "in_short"),
    [
        ("accuracy", 0.019, True, "1.9 points less accurate", "1.9 worse"),
        ("accuracy", -0.01, True, "1.0 point more accurate", "1.0 better"),
        ("accuracy", 1e-12, True, "equally accurate", "equal"),
        ("mean_iou", -0.003, True, "mean IoU 0.3 points higher (better)", "0.3 better"),
        ("pixel_accuracy", 0.02, True, "pixel accuracy 2.0 points lower (worse)", "2.0 worse"),
        ("rmse", 0.155, False, "RMSE 0.155 higher (worse)", "0.155 worse"),
        ("bits_per_character", -0.2, False, "bits per character 0.2 lower (better)", "0.2 better"),
        ("r2", 0.1, True, "R\u00b2 0.1 lower (worse)", "0.1 worse"),
        ("rmse", 0.0, False, "equal in RMSE", "equal"),
    ],
)
def test_a_comparison_needs_no_sign(
    name: str, lost: float, is_maximized: bool, told: str, in_short: str
) -> None:
    assert comparison(name, lost, is_maximized=is_maximized) == told
    assert short_comparison(name, lost) == in_short


def test_a_share_says_of_what_it_is() -> None:
    told = name_whole("macs<=25% and params<=50 % and latency<=2")
    assert told == "macs<=25% of the full net's and params<=50% of the full net's and latency<=2"
